"""The edits that people make to footage: one table for learning, measuring, tests and the demo.

Names and strengths are the same in every suite. A random choice (where a crop
lies, which way a picture turns) comes from the seed, the edit's name and the
video's hash, so an edit is the same on every machine and in every order.
The usual and hard edits scale with the picture: a length in pixels is meant for one
of 288 px on its short side. Disturbances are in pixels as they are.

    USUAL_EDITS     20: what happens to footage that is passed on
    HARD_EDITS      16: small crops, turns, screens filmed, footage inside other footage
    DISTURBANCES    5 kinds x 5 strengths
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan
from sora_search.media import clips
from sora_search.media.clips import Clip, EditedClip, Pictures, repainted
from sora_search.media.decoding import VideoReader
from sora_search.media.sampling import SamplingConfig
from sora_search.media.writing import through_h264

Generator = np.random.Generator
Operation = Callable[[EditedClip, Generator], EditedClip]
Composition = Callable[[EditedClip, Generator, Clip], EditedClip]
Suite = Literal["usual", "hard", "disturbance"]

#: Seconds of a carrier that the compositions like to have; shorter ones are repeated.
CARRIER_S = 20.0
#: The short side that lengths in pixels are given for.
REFERENCE_SIDE = 288


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
        carrier: Footage of another video, any size, rate and length (best `CARRIER_S`);
            only for edits with `needs_carrier`.

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


# Quality


def _reencode(clip: EditedClip, rng: Generator, *, crf: int) -> EditedClip:
    frames = through_h264(clip.frames, frames_per_s=clip.frames_per_s, crf=crf)
    return repainted(clip, frames)


def _downscale(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    height, width = clip.size
    small = (max(1, round(height * share)), max(1, round(width * share)))
    shrunk = clips.resize_frames(clip.frames, small)
    return repainted(clip, clips.resize_frames(shrunk, clip.size))


def _soften(clip: EditedClip, rng: Generator, *, sigma: float) -> EditedClip:
    return _blur(clip, rng, sigma=sigma * min(clip.size) / REFERENCE_SIDE)


def _blur(clip: EditedClip, rng: Generator, *, sigma: float) -> EditedClip:
    frames = np.empty(clip.frames.shape, np.uint8)
    for row, frame in enumerate(clip.frames):
        cv2.GaussianBlur(frame, (0, 0), sigma, dst=frames[row])
    return repainted(clip, frames)


def _noise(clip: EditedClip, rng: Generator, *, sigma: float) -> EditedClip:
    # Frames read one long row of normal numbers from random places on: drawing
    # fresh ones for each frame would cost ten times as much and look the same.
    shape = clip.frames.shape[1:]
    length = math.prod(shape)
    normal = rng.standard_normal(length + 65_536, dtype=np.float32) * sigma
    noise = np.rint(normal).astype(np.int16)
    frames = np.empty(clip.frames.shape, np.uint8)
    for row, start in enumerate(rng.integers(65_536, size=len(clip))):
        grain = noise[start : start + length].reshape(shape)
        cv2.add(clip.frames[row], grain, dst=frames[row], dtype=cv2.CV_8U)
    return repainted(clip, frames)


# Light and color


def _light(clip: EditedClip, rng: Generator) -> EditedClip:
    brightness, contrast = rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.3)
    return _toned(clip, rng.uniform(0.7, 1.4), contrast=contrast, brightness=brightness)


def _darken(clip: EditedClip, rng: Generator, *, factor: float) -> EditedClip:
    return _toned(clip, brightness=factor)


def _toned(
    clip: EditedClip, gamma: float = 1.0, *, contrast: float = 1.0, brightness: float = 1.0
) -> EditedClip:
    levels = (np.arange(256) / 255) ** gamma
    levels = ((levels - 0.5) * contrast + 0.5) * brightness
    table = np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)
    return repainted(clip, _by_rows(clip.frames, lambda rows: cv2.LUT(rows, table)))


def _gray(clip: EditedClip, rng: Generator) -> EditedClip:
    def to_gray(rows: Pictures) -> Pictures:
        return cv2.cvtColor(cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]

    return repainted(clip, _by_rows(clip.frames, to_gray))


def _hue(clip: EditedClip, rng: Generator) -> EditedClip:
    degrees, saturation = rng.uniform(-40, 40), rng.uniform(0.6, 1.4)
    levels = np.arange(256)
    table = np.stack(
        [
            (levels + degrees / 360 * 256) % 256,  # HSV_FULL: the circle has 256 steps
            np.clip(levels * saturation, 0, 255),
            levels,
        ],
        axis=-1,
    )
    table = np.floor(table).astype(np.uint8)[None]

    def shift(rows: Pictures) -> Pictures:
        hsv = cv2.LUT(cv2.cvtColor(rows, cv2.COLOR_RGB2HSV_FULL), table)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)  # type: ignore[return-value]

    return repainted(clip, _by_rows(clip.frames, shift))


def _by_rows(frames: Pictures, change: Callable[[Pictures], object]) -> Pictures:
    """Apply a change that looks at single pixels to all frames in one call."""
    num, height, width, _ = frames.shape
    changed = change(np.ascontiguousarray(frames).reshape(num * height, width, 3))
    return np.asarray(changed, np.uint8).reshape(frames.shape)


# Places


def _crop(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    height, width = (max(1, round(side * share)) for side in clip.size)
    top = int(rng.integers(clip.size[0] - height + 1))
    left = int(rng.integers(clip.size[1] - width + 1))
    return clips.cropped(clip, left=left, top=top, width=width, height=height)


def _mirror(clip: EditedClip, rng: Generator) -> EditedClip:
    return clips.mirrored(clip)


def _letterbox(clip: EditedClip, rng: Generator) -> EditedClip:
    # Wide pictures go into 4:3, all others into 16:9: black bars one way or the other.
    height, width = clip.size
    aspect = 4 / 3 if width / height >= 1.5 else 16 / 9
    size = (max(height, round(width / aspect)), max(width, round(height * aspect)))
    return _centered(clip, np.zeros((len(clip), *size, 3), np.uint8))


def _blurred_pillars(clip: EditedClip, rng: Generator) -> EditedClip:
    height, width = clip.size
    wide = max(round(height * 16 / 9), round(width * 4 / 3))
    # The background is a strip of the picture, enlarged to the new width. Blurred at a
    # quarter of the size it costs a sixteenth.
    strip = max(1, round(height * width / wide))
    top = (height - strip) // 2
    small = (max(1, height // 4), max(1, wide // 4))
    background = clips.resize_frames(clip.frames[:, top : top + strip], small)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), height / 80) for frame in background])
    return _centered(clip, clips.resize_frames(blurred.astype(np.uint8), (height, wide)))


def _centered(clip: EditedClip, canvas: Pictures) -> EditedClip:
    top, left = ((canvas.shape[1 + axis] - clip.size[axis]) // 2 for axis in (0, 1))
    return clips.pasted(clip, canvas, left=left, top=top)


def _stretch(clip: EditedClip, rng: Generator) -> EditedClip:
    height, width = clip.size
    factor = 1.3 if rng.random() < 0.5 else 1 / 1.3
    return clips.resized(clip, height=height, width=max(1, round(width * factor)))


def _rotate(clip: EditedClip, rng: Generator, *, degrees: float) -> EditedClip:
    angle = math.radians(degrees if rng.random() < 0.5 else -degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    y, x = clip.size[0] / 2, clip.size[1] / 2
    matrix = np.array(
        [[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y], [0, 0, 1]]
    )
    return clips.warped(clip, matrix)


def _rotate_90(clip: EditedClip, rng: Generator) -> EditedClip:
    return clips.turned(clip, quarters=1 if rng.random() < 0.5 else 3)


def _rotate_180(clip: EditedClip, rng: Generator) -> EditedClip:
    return clips.turned(clip, quarters=2)


def _screen(clip: EditedClip, rng: Generator) -> EditedClip:
    """A screen filmed by hand: perspective, a slight shake, blur and another gamma."""
    height, width = clip.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    moved = corners + inwards * rng.uniform(0, 0.12, (4, 2)) * (width, height)
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    # A hand sways slowly: a sum of two slow waves, at most 1 % of the side.
    times = np.arange(len(clip)) / clip.frames_per_s
    hertz, phase = rng.uniform(0.5, 2.0, (2, 2, 1)), rng.uniform(0, 2 * np.pi, (2, 2, 1))
    sway = np.sin(2 * np.pi * hertz * times + phase).mean(axis=1) * 0.01
    shake = np.broadcast_to(np.eye(3), (len(clip), 3, 3)).copy()
    shake[:, 0, 2], shake[:, 1, 2] = sway[0] * width, sway[1] * height
    filmed = clips.warped(clip, shake @ matrix, color=(24, 24, 24))
    return _toned(_soften(filmed, rng, sigma=1.5), rng.uniform(0.7, 1.4))


# Things laid over and around


def _overlay(clip: EditedClip, rng: Generator) -> EditedClip:
    """A logo over 20 % of the width in a corner, and a line of subtitles."""
    height, width = clip.size
    layer = np.zeros((height, width, 3), np.uint8)
    share = np.zeros((height, width), np.float32)
    wide, high = max(2, round(width * 0.2)), max(2, round(min(width * 0.2, height * 0.4) * 0.6))
    margin = max(1, round(min(height, width) * 0.04))
    left = margin if rng.random() < 0.5 else width - margin - wide
    top = margin if rng.random() < 0.5 else round(height * 0.75) - high
    box = np.s_[top : top + high, left : left + wide]
    layer[box] = rng.integers(256, size=3)
    share[box] = 0.85
    name = "".join(chr(code) for code in rng.integers(65, 91, size=3))
    scale = high / 40
    ink = 255 - layer[top, left].astype(int)
    cv2.putText(
        layer, name, (left + 1, top + round(high * 0.8)), cv2.FONT_HERSHEY_DUPLEX, scale,
        ink.tolist(), max(1, round(scale * 1.5)), cv2.LINE_AA,
    )  # fmt: skip
    text = _sentence(rng)
    _write_line(layer, share, text, bottom=round(height * 0.94), text_width=width * 0.8)
    return repainted(clip, _blended(clip.frames, layer, share))


def _vertical(clip: EditedClip, rng: Generator) -> EditedClip:
    """9:16 cut out of the middle, a bar above and one below, and a caption in one of them."""
    height, width = clip.size
    wide = min(width, max(1, round(height * 9 / 16)))
    high = min(height, max(1, round(wide * 16 / 9)))
    middle = clips.cropped(
        clip, left=(width - wide) // 2, top=(height - high) // 2, width=wide, height=high
    )
    bar = max(2, round(high * 0.15))
    background = np.zeros((high + 2 * bar, wide, 3), np.uint8)
    caption_bottom = bar * 0.7 if rng.random() < 0.5 else high + bar * 1.7
    share = np.zeros(background.shape[:2], np.float32)
    text = _sentence(rng)
    _write_line(background, share, text, bottom=round(caption_bottom), text_width=wide * 0.9)
    canvas = np.repeat(background[None], len(clip), axis=0)
    return clips.pasted(middle, canvas, left=0, top=bar)


def _sentence(rng: Generator) -> str:
    words = ("you", "will", "never", "believe", "what", "happened", "next", "look", "at", "this")
    return " ".join(rng.choice(words, size=4))


def _write_line(
    layer: Pictures, share: NDArray[np.float32], text: str, *, bottom: int, text_width: float
) -> None:
    """Write white text with a black rim, centered, into a layer and its shares."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (wide, _), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = text_width / wide
    left = round((layer.shape[1] - text_width) / 2)
    thick = max(1, round(scale * 2))
    covered = np.zeros(share.shape, np.uint8)
    # A thicker stroke would also be a wider line: the rim is the line itself, shifted.
    for x, y, ink in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, 255)):
        place = (left + x * thick, bottom + y * thick)
        cv2.putText(layer, text, place, font, scale, (ink, ink, ink), thick, cv2.LINE_AA)
        cv2.putText(covered, text, place, font, scale, (255,), thick, cv2.LINE_AA)
    np.maximum(share, covered / np.float32(255), out=share)


def _blended(frames: Pictures, layer: Pictures, share: NDArray[np.float32]) -> Pictures:
    """`layer` over all frames, where `share` is above 0; only the rows it touches are computed."""
    result = frames.copy()
    rows = np.flatnonzero(share.any(axis=1))
    # One strip for each run of rows that follow one another (logo, subtitles).
    for strip in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        if len(strip) == 0:
            continue
        band = slice(int(strip[0]), int(strip[-1]) + 1)
        columns = np.flatnonzero(share[band].any(axis=0))
        part = np.s_[band, int(columns[0]) : int(columns[-1]) + 1]
        over = share[part]
        for row in range(len(frames)):
            under = result[row][part]
            under[:] = cv2.blendLinear(layer[part], under, over, 1.0 - over)
    return result


# Times


def _frame_rate(clip: EditedClip, rng: Generator, *, frames_per_s: float) -> EditedClip:
    return clips.retimed(clip, frames_per_s=frames_per_s)


def _speed(clip: EditedClip, rng: Generator, *, speed: float) -> EditedClip:
    return clips.retimed(clip, speed=speed)


def _trim(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    start_s = clip.duration_s * (1 - share) / 2
    return clips.cut(clip, start_s, clip.duration_s - start_s)


def _swapped(clip: EditedClip, rng: Generator) -> EditedClip:
    middle_s = clip.duration_s / 2
    halves = clips.cut(clip, middle_s, clip.duration_s), clips.cut(clip, 0.0, middle_s)
    return clips.joined(halves)


def _drop_frames(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    """Some frames never arrive; the one before stays on screen. The first one arrives."""
    num_lost = min(len(clip) - 1, round(len(clip) * share))
    lost = 1 + rng.permutation(len(clip) - 1)[:num_lost]
    rows = np.arange(len(clip))
    rows[lost] = 0
    rows = np.maximum.accumulate(rows)
    return replace(clip, frames=clip.frames[rows], geometry=clip.geometry[rows])


def _social(clip: EditedClip, rng: Generator) -> EditedClip:
    """What a clip goes through on its way around: several edits at once."""
    clip = _crop(clips.mirrored(clip), rng, share=0.85)
    clip = clips.retimed(_overlay(clip, rng), speed=1.1)
    return _reencode(clip, rng, crf=36)


# Compositions with another video, at the clip's size and rate


def _pip(
    clip: EditedClip,
    rng: Generator,
    carrier: Clip,
    *,
    shape: Literal["rectangle", "rounded", "circle"] = "rectangle",
    moving: bool = False,
) -> EditedClip:
    """Small, over another video; half of them mirrored."""
    height, width = clip.size
    share = rng.uniform(0.22, 0.60)
    if rng.random() < 0.5:
        clip = clips.mirrored(clip)
    canvas = clips.fitted(carrier, like=clip, num_frames=len(clip))
    small = clips.resized(
        clip, height=max(2, round(height * share)), width=max(2, round(width * share))
    )
    if shape == "circle":
        side = min(small.size)
        top, left = (small.size[0] - side) // 2, (small.size[1] - side) // 2
        small = clips.cropped(small, left=left, top=top, width=side, height=side)
    free_y, free_x = height - small.size[0], width - small.size[1]
    if moving:
        lefts = np.linspace(0, free_x, len(clip))
        tops = np.linspace(rng.uniform(0, free_y), rng.uniform(0, free_y), len(clip))
        if rng.random() < 0.5:
            lefts = lefts[::-1]
        place = np.rint(lefts).astype(np.int64), np.rint(tops).astype(np.int64)
    else:
        place = (
            np.full(len(clip), rng.integers(free_x + 1)),
            np.full(len(clip), rng.integers(free_y + 1)),
        )
    return clips.pasted(small, canvas, left=place[0], top=place[1], mask=_mask(small.size, shape))


def _mask(size: tuple[int, int], shape: str) -> NDArray[np.float32] | None:
    """Shares of a rectangle with round corners (a quarter of the short side), or of a circle."""
    if shape == "rectangle":
        return None
    height, width = size
    radius = min(size) * (0.5 if shape == "circle" else 0.25)
    # How far a pixel's centre lies outside of the rectangle that the corners' centres span.
    y = np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius)
    x = np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius)
    away = np.hypot(np.maximum(y, 0)[:, None], np.maximum(x, 0)[None])
    mask: NDArray[np.float32] = np.clip(radius - away + 0.5, 0, 1).astype(np.float32)
    return mask


def _collage(clip: EditedClip, rng: Generator, carrier: Clip) -> EditedClip:
    """One of 2 x 2; the others are three moments of the carrier."""
    height, width = clip.size[0] // 2 * 2, clip.size[1] // 2 * 2
    cell_size = (max(1, height // 2), max(1, width // 2))
    small = clips.resized(clip, height=cell_size[0], width=cell_size[1])
    cells = [
        clips.fitted(carrier, like=small, num_frames=len(clip), start_s=carrier.duration_s * third)
        for third in (0, 1 / 3, 2 / 3)
    ]
    place = int(rng.integers(4))
    cells.insert(place, small.frames)
    rows = [np.concatenate(cells[i : i + 2], axis=2) for i in (0, 2)]
    left, top = cell_size[1] * (place % 2), cell_size[0] * (place // 2)
    return clips.pasted(small, np.concatenate(rows, axis=1), left=left, top=top)


def _blend(clip: EditedClip, rng: Generator, carrier: Clip, *, share: float) -> EditedClip:
    other = clips.fitted(carrier, like=clip, num_frames=len(clip))
    frames = np.empty(clip.frames.shape, np.uint8)
    for row, (ours, theirs) in enumerate(zip(clip.frames, other, strict=True)):
        cv2.addWeighted(ours, 1 - share, theirs, share, 0.0, dst=frames[row])
    return repainted(clip, frames)


def _excerpt(clip: EditedClip, rng: Generator, carrier: Clip) -> EditedClip:
    """Two seconds, anywhere inside other footage."""
    length_s = min(2.0, clip.duration_s)
    start_s = rng.uniform(0, clip.duration_s - length_s)
    piece = clips.cut(clip, start_s, start_s + length_s)
    around = _surroundings(clip, carrier)
    return clips.inserted(piece, around, row=int(rng.integers(len(around) - len(piece) + 1)))


def _two_excerpts(clip: EditedClip, rng: Generator, carrier: Clip) -> EditedClip:
    """Two to three seconds each, from two moments, apart from one another in other footage."""
    longest_s = min(3.0, clip.duration_s / 2)
    first_s, second_s = rng.uniform(2.0, longest_s, size=2)
    spare_s = clip.duration_s - first_s - second_s
    early_s, late_s = np.sort(rng.uniform(0, spare_s, size=2))
    first = clips.cut(clip, early_s, early_s + first_s)
    second = clips.cut(clip, first_s + late_s, first_s + late_s + second_s)
    around = _surroundings(clip, carrier)
    # At least a second of other footage between them.
    gap = round(clip.frames_per_s)
    free = len(around) - len(first) - len(second) - gap
    row, later = np.sort(rng.integers(free + 1, size=2))
    second_row = int(later) + len(first) + gap
    ahead = clips.inserted(first, around[:second_row], row=int(row))
    behind = clips.inserted(second, around[second_row:], row=0)
    return clips.joined((ahead, behind))


def _surroundings(clip: Clip, carrier: Clip) -> Pictures:
    return clips.fitted(carrier, like=clip, num_frames=round(CARRIER_S * clip.frames_per_s))


# The table


def _table() -> dict[str, Edit]:
    usual: dict[str, Operation] = {
        "reencode": partial(_reencode, crf=40),
        "downscale": partial(_downscale, share=0.25),
        "crop-85": partial(_crop, share=0.85),
        "crop-60": partial(_crop, share=0.60),
        "mirror": _mirror,
        "letterbox": _letterbox,
        "blurred-pillars": _blurred_pillars,
        "stretch": _stretch,
        "rotate-8": partial(_rotate, degrees=8),
        "light": _light,
        "gray": _gray,
        "hue": _hue,
        "blur": partial(_soften, sigma=2.5),
        "noise": partial(_noise, sigma=15),
        "overlay": _overlay,
        "12-fps": partial(_frame_rate, frames_per_s=12.0),
        "speed-0.7": partial(_speed, speed=0.7),
        "speed-1.5": partial(_speed, speed=1.5),
        "trim": partial(_trim, share=0.4),
        "social": _social,
    }
    hard: dict[str, Operation] = {
        "crop-45": partial(_crop, share=0.45),
        "crop-30": partial(_crop, share=0.30),
        "rotate-25": partial(_rotate, degrees=25),
        "rotate-90": _rotate_90,
        "rotate-180": _rotate_180,
        "screen": _screen,
        "vertical": _vertical,
        "swapped": _swapped,
    }
    composed: dict[str, Composition] = {
        "pip": _pip,
        "pip-rounded": partial(_pip, shape="rounded"),
        "pip-circle": partial(_pip, shape="circle"),
        "pip-moving": partial(_pip, moving=True),
        "collage": _collage,
        "blend": partial(_blend, share=0.5),
        "excerpt": _excerpt,
        "two-excerpts": _two_excerpts,
    }
    strengths: dict[str, list[Operation]] = {
        "noise": [partial(_noise, sigma=sigma) for sigma in (4, 8, 16, 32, 48)],
        "blur": [partial(_blur, sigma=sigma) for sigma in (0.5, 1, 2, 4, 6)],
        "crf": [partial(_reencode, crf=crf) for crf in (30, 36, 42, 47, 51)],
        "darkness": [partial(_darken, factor=factor) for factor in (0.7, 0.5, 0.35, 0.2, 0.1)],
        "dropped": [partial(_drop_frames, share=share) for share in (0.1, 0.25, 0.5, 0.75, 0.9)],
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
