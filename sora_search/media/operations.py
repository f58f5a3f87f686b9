"""What is done to one clip: picture, place, time, and things laid over it.

Each takes a clip and a source of random choices and gives the edited clip, with the truth about
times and places. `editing` has the table of names and strengths.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.media import clips
from sora_search.media.clips import EditedClip, Pictures, repainted
from sora_search.media.writing import through_h264

Generator = np.random.Generator

#: The short side that lengths in pixels are given for.
REFERENCE_SIDE = 288


# Quality


def reencode(clip: EditedClip, rng: Generator, *, crf: int) -> EditedClip:
    """Through H.264."""
    frames = through_h264(clip.frames, frames_per_s=clip.frames_per_s, crf=crf)
    return repainted(clip, frames)


def downscale(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    """Scaled down to a share of its size, and back."""
    height, width = clip.size
    small = (max(1, round(height * share)), max(1, round(width * share)))
    shrunk = clips.resize_frames(clip.frames, small)
    return repainted(clip, clips.resize_frames(shrunk, clip.size))


def soften(clip: EditedClip, rng: Generator, *, sigma: float) -> EditedClip:
    """Blurred by so many pixels of a picture of `REFERENCE_SIDE`."""
    return blur(clip, rng, sigma=sigma * min(clip.size) / REFERENCE_SIDE)


def blur(clip: EditedClip, rng: Generator, *, sigma: float) -> EditedClip:
    """Blurred by so many of its pixels."""
    frames = np.empty(clip.frames.shape, np.uint8)
    for row, frame in enumerate(clip.frames):
        cv2.GaussianBlur(frame, (0, 0), sigma, dst=frames[row])
    return repainted(clip, frames)


def noise(clip: EditedClip, rng: Generator, *, sigma: float) -> EditedClip:
    """Grain, in gray levels."""
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


def light(clip: EditedClip, rng: Generator) -> EditedClip:
    """Another brightness, contrast and gamma."""
    brightness, contrast = rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.3)
    return _toned(clip, rng.uniform(0.7, 1.4), contrast=contrast, brightness=brightness)


def darken(clip: EditedClip, rng: Generator, *, factor: float) -> EditedClip:
    """All levels times a factor."""
    return _toned(clip, brightness=factor)


def _toned(
    clip: EditedClip, gamma: float = 1.0, *, contrast: float = 1.0, brightness: float = 1.0
) -> EditedClip:
    levels = (np.arange(256) / 255) ** gamma
    levels = ((levels - 0.5) * contrast + 0.5) * brightness
    table = np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)
    return repainted(clip, _by_rows(clip.frames, lambda rows: cv2.LUT(rows, table)))


def gray(clip: EditedClip, rng: Generator) -> EditedClip:
    """Without color."""

    def to_gray(rows: Pictures) -> Pictures:
        return cv2.cvtColor(cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]

    return repainted(clip, _by_rows(clip.frames, to_gray))


def hue(clip: EditedClip, rng: Generator) -> EditedClip:
    """Colors turned by up to 40 degrees, and paler or stronger."""
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


def crop(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    """Cut to a share of its width and height, anywhere."""
    height, width = (max(1, round(side * share)) for side in clip.size)
    top = int(rng.integers(clip.size[0] - height + 1))
    left = int(rng.integers(clip.size[1] - width + 1))
    return clips.cropped(clip, left=left, top=top, width=width, height=height)


def mirror(clip: EditedClip, rng: Generator) -> EditedClip:
    """Left and right swapped."""
    return clips.mirrored(clip)


def letterbox(clip: EditedClip, rng: Generator) -> EditedClip:
    """Between two black bars."""
    # Wide pictures go into 4:3, all others into 16:9: black bars one way or the other.
    height, width = clip.size
    aspect = 4 / 3 if width / height >= 1.5 else 16 / 9
    size = (max(height, round(width / aspect)), max(width, round(height * aspect)))
    return _centered(clip, np.zeros((len(clip), *size, 3), np.uint8))


def blurred_pillars(clip: EditedClip, rng: Generator) -> EditedClip:
    """Between what is beside or above it, blurred."""
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


def stretch(clip: EditedClip, rng: Generator) -> EditedClip:
    """Wider or narrower by 1.3."""
    height, width = clip.size
    factor = 1.3 if rng.random() < 0.5 else 1 / 1.3
    return clips.resized(clip, height=height, width=max(1, round(width * factor)))


def rotate(clip: EditedClip, rng: Generator, *, degrees: float) -> EditedClip:
    """Turned either way, cut to its size."""
    angle = math.radians(degrees if rng.random() < 0.5 else -degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    y, x = clip.size[0] / 2, clip.size[1] / 2
    matrix = np.array(
        [[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y], [0, 0, 1]]
    )
    return clips.warped(clip, matrix)


def rotate_90(clip: EditedClip, rng: Generator) -> EditedClip:
    """Turned a quarter either way."""
    return clips.turned(clip, quarters=1 if rng.random() < 0.5 else 3)


def rotate_180(clip: EditedClip, rng: Generator) -> EditedClip:
    """Upside down."""
    return clips.turned(clip, quarters=2)


def screen(clip: EditedClip, rng: Generator) -> EditedClip:
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
    return _toned(soften(filmed, rng, sigma=1.5), rng.uniform(0.7, 1.4))


# Things laid over and around


def laid_over(clip: EditedClip, rng: Generator) -> EditedClip:
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


def vertical(clip: EditedClip, rng: Generator) -> EditedClip:
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


def frame_rate(clip: EditedClip, rng: Generator, *, frames_per_s: float) -> EditedClip:
    """At another rate."""
    return clips.retimed(clip, frames_per_s=frames_per_s)


def speed(clip: EditedClip, rng: Generator, *, speed: float) -> EditedClip:
    """Faster or slower."""
    return clips.retimed(clip, speed=speed)


def trim(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    """Its middle."""
    start_s = clip.duration_s * (1 - share) / 2
    return clips.cut(clip, start_s, clip.duration_s - start_s)


def swapped(clip: EditedClip, rng: Generator) -> EditedClip:
    """The second half before the first."""
    middle_s = clip.duration_s / 2
    halves = clips.cut(clip, middle_s, clip.duration_s), clips.cut(clip, 0.0, middle_s)
    return clips.joined(halves)


def drop_frames(clip: EditedClip, rng: Generator, *, share: float) -> EditedClip:
    """Some frames never arrive; the one before stays on screen. The first one arrives."""
    num_lost = min(len(clip) - 1, round(len(clip) * share))
    lost = 1 + rng.permutation(len(clip) - 1)[:num_lost]
    rows = np.arange(len(clip))
    rows[lost] = 0
    rows = np.maximum.accumulate(rows)
    return replace(clip, frames=clip.frames[rows], geometry=clip.geometry[rows])


def social(clip: EditedClip, rng: Generator) -> EditedClip:
    """What a clip goes through on its way around: several edits at once."""
    clip = crop(clips.mirrored(clip), rng, share=0.85)
    clip = clips.retimed(laid_over(clip, rng), speed=1.1)
    return reencode(clip, rng, crf=36)
