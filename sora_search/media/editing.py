"""The edits that people make to footage: one table for learning, measuring, tests and the demo.

Names and strengths are the same in every suite. A random choice (where a crop
lies, which way a picture turns) comes from the seed, the edit's name and the
video's hash, so an edit is the same on every machine and in every order.
The usual and hard edits scale with the picture: a length in pixels is meant for one
of 288 px on its short side. Disturbances are in pixels as they are.

    USUAL_EDITS     20: what happens to footage that is passed on
    HARD_EDITS      16: small crops, turns, screens filmed, footage inside other footage
    DISTURBANCES    5 kinds x 5 strengths

What is done to the pictures stands in `operations`, and in `compositions` where another video is
part of it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from sora_search.datatypes import TimeSpan
from sora_search.media import clips, compositions, operations
from sora_search.media.clips import Clip, EditedClip
from sora_search.media.decoding import VideoReader
from sora_search.media.sampling import SamplingConfig

Generator = np.random.Generator
Operation = Callable[[EditedClip, Generator], EditedClip]
Composition = Callable[[EditedClip, Generator, Clip], EditedClip]
Suite = Literal["usual", "hard", "disturbance"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One row of the table.

    Attributes:
        name: As in reports.
        suite: Where it is counted.
        needs_carrier: Whether footage of another video is part of it.
        min_duration_s: Shorter clips cannot be edited so.
    """

    name: str
    suite: Suite
    apply: Operation | Composition
    needs_carrier: bool = False
    min_duration_s: float = 0.0


def read_clip(
    path: Path | str,
    *,
    span: TimeSpan | None = None,
    frames_per_s: float | None = None,
    short_side: int | None = None,
) -> Clip:
    """Decode a short video, or a span of a longer one, whole into memory.

    Args:
        path: The file.
        span: This part alone.
        frames_per_s: Rate of the clip; by default the file's average rate, or 25 where it
            has none.
        short_side: Larger pictures are scaled down to this short side, in pixels.

    Raises:
        MediaError: If nothing can be decoded.
        OSError: If the file is not there or may not be read.
    """
    with VideoReader.open(path) as reader:
        rate = frames_per_s or float(reader.info.average_frame_rate or 25)
        height, width = reader.info.height, reader.info.width
        size = None
        if short_side is not None and min(height, width) > short_side:
            scale = short_side / min(height, width)
            size = round(height * scale), round(width * scale)
        batches = reader.read(SamplingConfig(rate, min_frames=1), frame_size=size, span=span)
        return Clip(np.concatenate([batch.frames for batch in batches]), rate)


def edit_clip(
    name: str, clip: Clip, *, seed: int = 0, video_hash: str = "", carrier: Clip | None = None
) -> EditedClip:
    """Edit a clip as the table's row `name` says.

    Args:
        name: A key of `EDITS`.
        clip: The original; it is not changed.
        seed: Another seed makes other random choices.
        video_hash: What tells the video from others (its content's hash).
        carrier: Footage of another video, any size, rate and length (best `CARRIER_S` of
            `compositions`); only for edits with `needs_carrier`.

    Returns:
        The edited clip with the truth about times and places.

    Raises:
        ValueError: If there is no such edit, the clip is too short for it, or the
            carrier is missing.

    Example:
        >>> clip = Clip(np.zeros((30, 90, 160, 3), np.uint8), 15.0)
        >>> edit_clip("trim", clip).matches[0].video_span
        TimeSpan(start_s=0.6, end_s=1.4)
    """
    if name not in EDITS:
        raise ValueError(f"no edit {name!r}; there are {', '.join(EDITS)}")
    edit = EDITS[name]
    if clip.duration_s < edit.min_duration_s:
        raise ValueError(
            f"{name!r} needs {edit.min_duration_s:g} s of video, got {clip.duration_s:.2f}"
        )
    rng = generator_of(name, video_hash, seed)
    if not edit.needs_carrier:
        return edit.apply(clips.unedited(clip), rng)  # type: ignore[call-arg]
    if carrier is None:
        raise ValueError(f"{name!r} needs a carrier: a clip of another video")
    return edit.apply(clips.unedited(clip), rng, carrier)  # type: ignore[call-arg]


def generator_of(purpose: str, video_hash: str, seed: int) -> Generator:
    """Random numbers that depend on these three alone."""
    digest = hashlib.sha256(f"{seed}\n{purpose}\n{video_hash}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


# The table


def _table() -> dict[str, Edit]:
    usual: dict[str, Operation] = {
        "reencode": partial(operations.reencode, crf=40),
        "downscale": partial(operations.downscale, share=0.25),
        "crop-85": partial(operations.crop, share=0.85),
        "crop-60": partial(operations.crop, share=0.60),
        "mirror": operations.mirror,
        "letterbox": operations.letterbox,
        "blurred-pillars": operations.blurred_pillars,
        "stretch": operations.stretch,
        "rotate-8": partial(operations.rotate, degrees=8),
        "light": operations.light,
        "gray": operations.gray,
        "hue": operations.hue,
        "blur": partial(operations.soften, sigma=2.5),
        "noise": partial(operations.noise, sigma=15),
        "overlay": operations.laid_over,
        "12-fps": partial(operations.frame_rate, frames_per_s=12.0),
        "speed-0.7": partial(operations.speed, speed=0.7),
        "speed-1.5": partial(operations.speed, speed=1.5),
        "trim": partial(operations.trim, share=0.4),
        "social": operations.social,
    }
    hard: dict[str, Operation] = {
        "crop-45": partial(operations.crop, share=0.45),
        "crop-30": partial(operations.crop, share=0.30),
        "rotate-25": partial(operations.rotate, degrees=25),
        "rotate-90": operations.rotate_90,
        "rotate-180": operations.rotate_180,
        "screen": operations.screen,
        "vertical": operations.vertical,
        "swapped": operations.swapped,
    }
    composed: dict[str, Composition] = {
        "pip": compositions.pip,
        "pip-rounded": partial(compositions.pip, shape="rounded"),
        "pip-circle": partial(compositions.pip, shape="circle"),
        "pip-moving": partial(compositions.pip, moving=True),
        "collage": compositions.collage,
        "blend": partial(compositions.blend, share=0.5),
        "excerpt": compositions.excerpt,
        "two-excerpts": compositions.two_excerpts,
    }
    strengths: dict[str, list[Operation]] = {
        "noise": [partial(operations.noise, sigma=sigma) for sigma in (4, 8, 16, 32, 48)],
        "blur": [partial(operations.blur, sigma=sigma) for sigma in (0.5, 1, 2, 4, 6)],
        "crf": [partial(operations.reencode, crf=crf) for crf in (30, 36, 42, 47, 51)],
        "darkness": [
            partial(operations.darken, factor=factor) for factor in (0.7, 0.5, 0.35, 0.2, 0.1)
        ],
        "dropped": [
            partial(operations.drop_frames, share=share) for share in (0.1, 0.25, 0.5, 0.75, 0.9)
        ],
    }
    rows = [Edit(name, "usual", operation) for name, operation in usual.items()]
    rows += [Edit(name, "hard", operation) for name, operation in hard.items()]
    rows += [
        Edit(
            name,
            "hard",
            operation,
            needs_carrier=True,
            min_duration_s=_MIN_DURATION_S.get(name, 0.0),
        )
        for name, operation in composed.items()
    ]
    rows += [
        Edit(f"{kind}-{strength}", "disturbance", operation)
        for kind, operations in strengths.items()
        for strength, operation in enumerate(operations, start=1)
    ]
    return {row.name: row for row in rows}


_MIN_DURATION_S = {"two-excerpts": 5.0}

#: Every edit by its name.
EDITS: Mapping[str, Edit] = _table()
USUAL_EDITS: tuple[str, ...] = tuple(n for n, edit in EDITS.items() if edit.suite == "usual")
HARD_EDITS: tuple[str, ...] = tuple(n for n, edit in EDITS.items() if edit.suite == "hard")
#: Kind of disturbance -> its five edits, weakest first.
DISTURBANCES: Mapping[str, tuple[str, ...]] = {
    kind: tuple(f"{kind}-{strength}" for strength in range(1, 6))
    for kind in ("noise", "blur", "crf", "darkness", "dropped")
}
