"""A clip in memory, and the operations that edits are made of.

Every operation gives a new clip and carries the truth along: which span of the
result shows which span of the original, and where its picture lies. A chain of
operations is therefore an edit whose right answer is known exactly.

Places are continuous coordinates: the picture covers ``[0, W] x [0, H]``, the
centre of the first pixel lies at ``(0.5, 0.5)``. Scaling is then a diagonal
matrix, whatever the sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Match, TimeSpan

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames at a constant rate, each on screen for ``1 / frames_per_s`` seconds.

    Attributes:
        frames: uint8 RGB, shape ``(T, H, W, 3)``, T >= 1.
        frames_per_s: Their rate, above 0.
    """

    frames: Pictures
    frames_per_s: float

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or self.frames.dtype != np.uint8:
            raise ValueError(f"need uint8 (T, H, W, 3), got {self.frames.dtype} {shape}")
        if not 0 < self.frames_per_s < float("inf"):
            raise ValueError(f"need a rate above 0, got {self.frames_per_s=}")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.frames.shape}, {self.frames_per_s:g} fps)"

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's start to the last one's end."""
        return len(self.frames) / self.frames_per_s

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.frames.shape[1], self.frames.shape[2]

    def frames_at(self, times_s: NDArray[np.floating]) -> Pictures:
        """The frames on screen at these times; the last frame for times after the end."""
        return self.frames[self._rows_at(times_s)]

    def _rows_at(self, times_s: NDArray[np.floating]) -> NDArray[np.int64]:
        # The small term keeps i / rate * rate on row i in spite of rounding.
        rows = np.floor(times_s * self.frames_per_s + 1e-6).astype(np.int64)
        clipped: NDArray[np.int64] = np.clip(rows, 0, len(self.frames) - 1)
        return clipped


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EditedClip(Clip):
    """A clip made from another one, with the truth about it.

    Attributes:
        matches: What it shows of the original: spans of both sides, in order of the
            edited clip's time, score 1. Their ratio of lengths is the speed.
        geometry: float64, shape ``(T, 3, 3)``: a homography for each frame that takes
            places of the original picture to places of the edited one. Where a frame
            shows nothing of the original its matrix means nothing.
        original_size: Height and width of the original picture.
    """

    matches: tuple[Match, ...]
    geometry: NDArray[np.float64]
    original_size: tuple[int, int]

    def __post_init__(self) -> None:
        Clip.__post_init__(self)
        if self.geometry.shape != (len(self.frames), 3, 3):
            raise ValueError(f"need (T, 3, 3), got {self.geometry.shape=} {self.frames.shape=}")

    @property
    def speed(self) -> float:
        """Seconds of the original for each second of the edited clip; 1.0 is unchanged."""
        shown = [m for m in self.matches if m.query_span and m.video_span]
        video_s = sum(m.video_span.duration_s for m in shown if m.video_span)
        query_s = sum(m.query_span.duration_s for m in shown if m.query_span)
        return video_s / query_s

    @property
    def mirrored(self) -> bool:
        """Whether left and right are swapped."""
        matrix = self.geometry[self._first_shown()]
        return bool(np.linalg.det(matrix) * matrix[2, 2] < 0)

    def corners(self, row: int | None = None) -> NDArray[np.float64]:
        """Where the original's corners lie in frame `row`, shape ``(4, 2)`` of x, y in pixels.

        The order is that of the original: top left, top right, bottom right, bottom
        left. They lie outside of the picture where the edit cut something away.
        `row` is by default the first frame that shows the original.
        """
        height, width = self.original_size
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
        moved = corners @ self.geometry[self._first_shown() if row is None else row].T
        return np.asarray(moved[:, :2] / moved[:, 2:])

    def rectangle(self, row: int | None = None) -> tuple[float, float, float, float]:
        """Left, top, width and height of the original's part of the picture, as shares of it."""
        height, width = self.size
        share = np.clip(self.corners(row) / (width, height), 0.0, 1.0)
        (left, top), (right, bottom) = share.min(axis=0), share.max(axis=0)
        return float(left), float(top), float(right - left), float(bottom - top)

    def later(self, by_s: float) -> "EditedClip":
        """The same of an original that starts so many seconds earlier."""
        matches = tuple(
            replace(
                match,
                video_span=match.video_span
                and TimeSpan(match.video_span.start_s + by_s, match.video_span.end_s + by_s),
            )
            for match in self.matches
        )
        return replace(self, matches=matches)

    def _first_shown(self) -> int:
        span = self.matches[0].query_span
        return int(self._rows_at(np.array([span.start_s if span else 0.0]))[0])


def unedited(clip: Clip) -> EditedClip:
    """The clip as an edit of itself: where every chain begins."""
    span = TimeSpan(0.0, clip.duration_s)
    geometry = np.broadcast_to(np.eye(3), (len(clip), 3, 3))
    return EditedClip(
        clip.frames, clip.frames_per_s, (Match(span, span, 1.0),), geometry, clip.size
    )


# Places


def cropped(clip: EditedClip, *, left: int, top: int, width: int, height: int) -> EditedClip:
    """Cut a rectangle out, in pixels."""
    frames = clip.frames[:, top : top + height, left : left + width]
    return _placed(clip, np.ascontiguousarray(frames), _shift(-left, -top))


def resized(
    clip: EditedClip, *, height: int, width: int, interpolation: int | None = None
) -> EditedClip:
    """Scale the picture, by area when it shrinks and bilinear otherwise."""
    frames = resize_frames(clip.frames, (height, width), interpolation=interpolation)
    old_height, old_width = clip.size
    return _placed(clip, frames, np.diag([width / old_width, height / old_height, 1.0]))


def mirrored(clip: EditedClip) -> EditedClip:
    """Swap left and right, pixel by pixel."""
    frames = np.empty(clip.frames.shape, np.uint8)
    for row, frame in enumerate(clip.frames):
        cv2.flip(frame, 1, dst=frames[row])
    matrix = np.array([[-1.0, 0.0, clip.size[1]], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return _placed(clip, frames, matrix)


def turned(clip: EditedClip, *, quarters: int) -> EditedClip:
    """Turn by quarters of a circle against the clock, exactly."""
    height, width = clip.size
    frames = np.ascontiguousarray(np.rot90(clip.frames, quarters, axes=(1, 2)))
    matrix = np.eye(3)
    for _ in range(quarters % 4):
        matrix = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, width], [0.0, 0.0, 1.0]]) @ matrix
        height, width = width, height
    return _placed(clip, frames, matrix)


def warped(
    clip: EditedClip, matrix: NDArray[np.float64], *, color: tuple[int, int, int] = (0, 0, 0)
) -> EditedClip:
    """Move the picture by a homography, ``(3, 3)`` or one a frame ``(T, 3, 3)``; the size stays."""
    height, width = clip.size
    matrices = np.broadcast_to(matrix, (len(clip), 3, 3))
    # OpenCV counts from the centre of the first pixel.
    for_opencv = _shift(-0.5, -0.5) @ matrices @ _shift(0.5, 0.5)
    frames = np.empty(clip.frames.shape, np.uint8)
    for row, frame in enumerate(clip.frames):
        frames[row] = cv2.warpPerspective(
            frame, for_opencv[row], (width, height), borderValue=color
        )
    return _placed(clip, frames, matrices)


def pasted(
    clip: EditedClip,
    canvas: Pictures,
    *,
    left: int | NDArray[np.int64],
    top: int | NDArray[np.int64],
    mask: NDArray[np.float32] | None = None,
) -> EditedClip:
    """Lay the clip over `canvas`, frames ``(T, H', W', 3)``, at a place or at one a frame.

    `mask`, shape ``(H, W)`` of shares, says how much the clip covers; it covers all by default.
    """
    height, width = clip.size
    lefts = np.broadcast_to(left, len(clip))
    tops = np.broadcast_to(top, len(clip))
    frames = canvas.copy()
    for row, (x, y) in enumerate(zip(lefts.tolist(), tops.tolist(), strict=True)):
        window = frames[row, y : y + height, x : x + width]
        if mask is None:
            window[:] = clip.frames[row]
        else:
            window[:] = cv2.blendLinear(clip.frames[row], window, mask, 1.0 - mask)
    matrices = np.stack([_shift(x, y) for x, y in zip(lefts, tops, strict=True)])
    return _placed(clip, frames, matrices)


def repainted(clip: EditedClip, frames: Pictures) -> EditedClip:
    """The same places and times with other pixels, frames of the same shape."""
    if frames.shape != clip.frames.shape:
        raise ValueError(f"need {clip.frames.shape}, got {frames.shape=}")
    return replace(clip, frames=frames)


def resize_frames(
    frames: Pictures, size: tuple[int, int], *, interpolation: int | None = None
) -> Pictures:
    """Scale frames ``(T, H, W, C)`` to `size` (height, width).

    Pictures that shrink in both directions are averaged by area, others
    interpolated: OpenCV's area mode would repeat pixels where it enlarges.
    """
    height, width = size
    if frames.shape[1:3] == (height, width):
        return frames
    if interpolation is None:
        shrinks = height <= frames.shape[1] and width <= frames.shape[2]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    result = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
    for row, frame in enumerate(frames):
        cv2.resize(frame, (width, height), dst=result[row], interpolation=interpolation)
    return result


def _placed(clip: EditedClip, frames: Pictures, matrix: NDArray[np.float64]) -> EditedClip:
    return replace(clip, frames=frames, geometry=matrix @ clip.geometry)


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


# Times


def retimed(
    clip: EditedClip, *, speed: float = 1.0, frames_per_s: float | None = None
) -> EditedClip:
    """Play `speed` times as fast, at another frame rate if one is given.

    Each new frame is the one on screen in the middle of its interval; nothing is
    interpolated.
    """
    rate = clip.frames_per_s if frames_per_s is None else frames_per_s
    num_frames = max(1, round(clip.duration_s / speed * rate))
    rows = clip._rows_at((np.arange(num_frames) + 0.5) / rate * speed)
    stretched = tuple(_stretch(match, speed) for match in clip.matches)
    retimed_clip = replace(
        clip,
        frames=clip.frames[rows],
        geometry=clip.geometry[rows],
        frames_per_s=rate,
        matches=stretched,
    )
    # Rounding to whole frames may cut some milliseconds off the end.
    return replace(retimed_clip, matches=_within(stretched, 0.0, retimed_clip.duration_s))


def cut(clip: EditedClip, start_s: float, end_s: float) -> EditedClip:
    """Keep the frames from `start_s` to `end_s`, both moved to the nearest border of frames."""
    first = min(round(start_s * clip.frames_per_s), len(clip) - 1)
    last = max(first + 1, round(end_s * clip.frames_per_s))
    first_s = first / clip.frames_per_s
    kept = replace(clip, frames=clip.frames[first:last], geometry=clip.geometry[first:last])
    inside = _within(clip.matches, first_s, first_s + kept.duration_s)
    return replace(kept, matches=tuple(_later(match, -first_s) for match in inside))


def joined(parts: Sequence[EditedClip]) -> EditedClip:
    """One after the other; all of one size, one rate and one original."""
    matches: list[Match] = []
    start_s = 0.0
    for part in parts:
        matches += [_later(match, start_s) for match in part.matches]
        start_s += part.duration_s
    return replace(
        parts[0],
        frames=np.concatenate([part.frames for part in parts]),
        geometry=np.concatenate([part.geometry for part in parts]),
        matches=tuple(matches),
    )


def inserted(clip: EditedClip, carrier: Pictures, *, row: int) -> EditedClip:
    """Replace the frames of `carrier` from `row` on by the clip, as long as it lasts.

    `carrier`, shape ``(T', H, W, 3)``, has the clip's size and rate.
    """
    frames = carrier.copy()
    frames[row : row + len(clip)] = clip.frames
    geometry = np.broadcast_to(np.eye(3), (len(carrier), 3, 3)).copy()
    geometry[row : row + len(clip)] = clip.geometry
    matches = tuple(_later(match, row / clip.frames_per_s) for match in clip.matches)
    return replace(clip, frames=frames, geometry=geometry, matches=matches)


def _stretch(match: Match, speed: float) -> Match:
    span = match.query_span
    assert span is not None
    return replace(match, query_span=TimeSpan(span.start_s / speed, span.end_s / speed))


def _later(match: Match, by_s: float) -> Match:
    span = match.query_span
    assert span is not None
    return replace(match, query_span=TimeSpan(max(0.0, span.start_s + by_s), span.end_s + by_s))


def _within(matches: Sequence[Match], start_s: float, end_s: float) -> tuple[Match, ...]:
    """The parts of the matches between two times of the edited clip."""
    kept = []
    for match in matches:
        query, video = match.query_span, match.video_span
        assert query is not None
        assert video is not None
        low, high = max(start_s, query.start_s), min(end_s, query.end_s)
        if high - low < 1e-9:
            continue
        speed = video.duration_s / query.duration_s
        video_low = video.start_s + (low - query.start_s) * speed
        video_span = TimeSpan(video_low, video_low + (high - low) * speed)
        kept.append(replace(match, query_span=TimeSpan(low, high), video_span=video_span))
    return tuple(kept)


# Carriers: footage of other videos that a clip is laid over or put into


def fitted(carrier: Clip, *, like: Clip, num_frames: int, start_s: float = 0.0) -> Pictures:
    """Frames of `carrier` at the size and rate of `like`, filling the picture.

    What sticks out is cut off. Starts over when the carrier ends.
    """
    times = start_s + (np.arange(num_frames) + 0.5) / like.frames_per_s
    frames = carrier.frames_at(times % carrier.duration_s)
    return _filling(frames, like.size)


def joined_carrier(clips: Sequence[Clip], *, like: Clip, duration_s: float = 20.0) -> Clip:
    """One long carrier of several clips in turn, at the size and rate of `like`."""
    num_frames = round(duration_s * like.frames_per_s)
    pieces: list[Pictures] = []
    while sum(map(len, pieces)) < num_frames:
        clip = clips[len(pieces) % len(clips)]
        length = max(1, round(clip.duration_s * like.frames_per_s))
        pieces.append(fitted(clip, like=like, num_frames=length))
    return Clip(np.concatenate(pieces)[:num_frames], like.frames_per_s)


def _filling(frames: Pictures, size: tuple[int, int]) -> Pictures:
    height, width = size
    scale = max(height / frames.shape[1], width / frames.shape[2])
    inner = (
        max(height, round(frames.shape[1] * scale)),
        max(width, round(frames.shape[2] * scale)),
    )
    grown = resize_frames(frames, inner)
    top, left = (inner[0] - height) // 2, (inner[1] - width) // 2
    return np.ascontiguousarray(grown[:, top : top + height, left : left + width])
