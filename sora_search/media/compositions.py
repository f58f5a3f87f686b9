"""What is made of a clip and another video: at the clip's size and rate.

The other video is the carrier, of any size, rate and length. `editing` has the table of names and
strengths.
"""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.media import clips
from sora_search.media.clips import Clip, EditedClip, Pictures, repainted

Generator = np.random.Generator

#: Seconds of a carrier that the compositions like to have; shorter ones are repeated.
CARRIER_S = 20.0


def pip(
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


def collage(clip: EditedClip, rng: Generator, carrier: Clip) -> EditedClip:
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


def blend(clip: EditedClip, rng: Generator, carrier: Clip, *, share: float) -> EditedClip:
    """Another video over it."""
    other = clips.fitted(carrier, like=clip, num_frames=len(clip))
    frames = np.empty(clip.frames.shape, np.uint8)
    for row, (ours, theirs) in enumerate(zip(clip.frames, other, strict=True)):
        cv2.addWeighted(ours, 1 - share, theirs, share, 0.0, dst=frames[row])
    return repainted(clip, frames)


def excerpt(clip: EditedClip, rng: Generator, carrier: Clip) -> EditedClip:
    """Two seconds, anywhere inside other footage."""
    length_s = min(2.0, clip.duration_s)
    start_s = rng.uniform(0, clip.duration_s - length_s)
    piece = clips.cut(clip, start_s, start_s + length_s)
    around = _surroundings(clip, carrier)
    return clips.inserted(piece, around, row=int(rng.integers(len(around) - len(piece) + 1)))


def two_excerpts(clip: EditedClip, rng: Generator, carrier: Clip) -> EditedClip:
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
