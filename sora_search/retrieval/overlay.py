"""Pictures laid over one another: at which time they agree best, in what looks and what moves.

The query's frames are read at a grid of points over what they show of the indexed picture,
so that both sides are rows of numbers at the same places.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan
from sora_search.retrieval.footage import Footage, Frame, Gray
from sora_search.retrieval.geometry import moved, visible_outline
from sora_search.retrieval.placement import Placement
from sora_search.retrieval.synchrony import MAX_OFFSET_S, Clock, find_time

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]

NUM_MOMENTS = 5
"""Moments of a range at which features and pictures are compared."""

MIN_TEXTURE = 5.0
"""Standard deviation, in levels, of a block that can be recognized."""

SAME_BLOCK = 0.5
"""Correlation from which on a block looks the same."""

USUAL_BLOCK, MIN_LIVE_BLOCKS = 0.9, 6
"""A block that correlates less with the mean of some seconds shows something that was not always
there; of fewer of them nothing follows."""

MAX_PITCH = 1.5
"""Pixels from one point to the next that a picture may have; above, it is shrunk."""

_COMMON_S = ((6.0, 1.0), (4.0, 0.5), (0.0, 0.0))
"""Of ranges from the first of each pair on (in seconds) moments are multiples of the second."""

GRID_POINTS, FINE_GRID_POINTS = 5_000, 20_000
"""Points at which pictures are compared: many pictures, and few."""

_BLOCK_SIDE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """How both sides agree when laid over one another, at the time where they do so best."""

    placement: Placement
    clock: Clock
    appearance: float
    motion: float | None
    contrast: float

    @property
    def likeness(self) -> float:
        """How well both sides agree in all; for comparing geometries of the same ranges."""
        return self.appearance + (self.motion or 0.0)


def moments_of(span: TimeSpan) -> Floats:
    """Moments of the query to look at, spread over the range, away from its uncertain ends."""
    times_s = span.start_s + span.duration_s * (np.arange(NUM_MOMENTS) + 0.5) / NUM_MOMENTS
    # Ranges that differ by little ask for the same frames, whose features are known.
    step_s = next(step_s for least_s, step_s in _COMMON_S if span.duration_s >= least_s)
    return np.asarray(np.round(times_s / step_s) * step_s) if step_s else times_s


def lay(
    query: Footage,
    video: Footage,
    clock: Clock,
    placement: Placement,
    span: TimeSpan,
    *,
    reach_s: tuple[float, float] = (MAX_OFFSET_S, MAX_OFFSET_S),
) -> Laid:
    """Lay the query into the indexed picture, and find the time at which they agree best.

    It is looked for within `reach_s` before and after the supposed `clock`.
    """
    moments = moments_of(span)
    timing = None
    rows = _rows_inside(query.times_s, span)
    window = Window.over(placement.at(moments)[NUM_MOMENTS // 2], video, query, GRID_POINTS)
    if len(rows) >= 3 and len(video.times_s) >= 3 and window.covered.sum() >= _BLOCK_SIDE**2:
        times_s = query.times_s[rows]
        timing = find_time(
            window.read([query.frames[row] for row in rows], placement.at(times_s)),
            window.read(video.frames),
            window.blocks,
            times_s,
            video.times_s,
            clock,
            reach_s=reach_s,
        )
    if timing is not None:
        clock = clock.shifted(timing.offset_s, timing.factor)
    over = Overlay.of(query, video, clock, placement, moments)
    appearance = float(over.is_alike.sum() / max(1, over.is_textured.sum()))
    if timing is None:
        return Laid(placement, clock, appearance, None, 0.0)
    return Laid(placement, clock, appearance, timing.motion, timing.contrast)


def pairs_at(
    query: Footage, video: Footage, clock: Clock, times_s: Floats
) -> tuple[Integers, Integers]:
    """Rows of frames of both sides that show the same, near some times of the query.

    The query has more frames: the one that belongs to a frame of the video is taken.
    """
    video_rows = video.nearest(clock(times_s))
    return query.nearest(clock.back(video.times_s[video_rows])), video_rows


def _rows_inside(times_s: Floats, span: TimeSpan) -> Integers:
    """Frames inside of a range but not at its ends, which may be wrong."""
    margin_s = min(0.5, span.duration_s / 10)
    inside = (times_s > span.start_s + margin_s) & (times_s < span.end_s - margin_s)
    return np.flatnonzero(inside)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A grid of points over the visible part of the indexed picture.

    Attributes:
        matrix: Takes places of the grid to places of the indexed picture.
        covered: Which points the query shows, shape ``(rows, columns)``.
        blocks: The number of the block of each covered point, shape ``(P,)``.
    """

    matrix: Floats
    covered: NDArray[np.bool_]
    blocks: Integers

    @classmethod
    def over(
        cls,
        placement: Floats,
        video: Footage,
        query: Footage,
        num_points: int,
    ) -> "Window":
        """About `num_points` over what the query shows of the indexed picture.

        Args:
            placement: Takes places of the indexed picture to places of the query.
            video: The indexed frames.
            query: Those of the query, which may hide a part.
            num_points: How many points there are to be, covered or not.
        """
        query_width_height = np.array(query.size[::-1], np.float64)
        video_width_height = np.array(video.size[::-1], np.float64)
        from_shares, to_shares = (
            np.diag([*video_width_height, 1]),
            np.diag([*query_width_height, 1]),
        )
        shares = np.linalg.inv(to_shares) @ placement @ from_shares
        outline = visible_outline(shares) * video_width_height
        (left, top), extent = outline.min(axis=0), np.maximum(np.ptp(outline, axis=0), 1.0)
        pitch = math.sqrt(float(extent.prod()) / num_points)
        columns, rows = (max(2, min(num_points, int(side / pitch))) for side in extent)
        matrix = np.array([[pitch, 0, left], [0, pitch, top], [0, 0, 1.0]])
        y, x = np.mgrid[:rows, :columns] + 0.5
        places = moved(placement @ matrix, np.column_stack([x.ravel(), y.ravel()]))
        covered = ((places > 0) & (places < query_width_height)).all(axis=1)
        if query.hidden is not None:
            covered &= ~query.hidden.covers(places / query_width_height)
        covered = covered.reshape(rows, columns)
        block = y.astype(np.int64) // _BLOCK_SIDE * columns + x.astype(np.int64) // _BLOCK_SIDE
        return cls(matrix, covered, np.unique(block[covered], return_inverse=True)[1].ravel())

    def read(self, frames: Sequence[Frame], placements: Floats | None = None) -> Floats32:
        """Frames at the covered points, shape ``(T, P)``.

        `placements`, shape ``(T, 3, 3)``, take places of the indexed picture to places of
        the frames; without them the frames are those of the indexed picture.
        """
        if placements is None:
            placements = np.broadcast_to(np.eye(3), (len(frames), 3, 3))
        matrices = placements @ self.matrix
        slopes = matrices[:, :2, :2] / matrices[:, 2:, 2:]
        pitches = np.sqrt(np.abs(np.linalg.det(slopes))).tolist()
        matrices = matrices @ TO_MIDDLES
        read = np.empty((len(frames), int(self.covered.sum())), np.float32)
        for row, (frame, pitch) in enumerate(zip(frames, pitches, strict=True)):
            picture = _shrunk(frame, pitch)
            (height, width), (whole_height, whole_width) = picture.shape, frame.gray.shape
            to_picture = np.array([[width / whole_width], [height / whole_height], [1.0]])
            laid = cv2.warpPerspective(
                picture,
                FROM_MIDDLES @ (to_picture * matrices[row]),
                self.covered.shape[::-1],
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            read[row] = laid[self.covered]
        return read


def _shrunk(frame: Frame, pitch: float) -> Gray:
    """A picture in which points that are so many pixels apart lie next to each other.

    Else the pixels between them would not count.
    """
    times = int(math.log2(max(1.0, pitch)))
    picture, pitch = frame.halved(times), pitch / 2**times
    if pitch <= MAX_PITCH:
        return picture
    height, width = (max(2, round(side / pitch)) for side in picture.shape)
    smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)


# OpenCV counts from the middle of the first pixel.
FROM_MIDDLES = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
TO_MIDDLES = np.linalg.inv(FROM_MIDDLES)


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """Some frames of the query and those of the video that they show, at the same points.

    Attributes:
        laid: The query's, shape ``(T, P)``.
        original: The video's, shape ``(T, P)``.
        blocks: The number of the block of each point, shape ``(P,)``.
        correlation: How both agree in each block, shape ``(T, B)``.
        is_textured: Which blocks of the video have texture, shape ``(T, B)``.
    """

    laid: Floats32
    original: Floats32
    blocks: Integers
    correlation: Floats
    is_textured: NDArray[np.bool_]

    @classmethod
    def of(
        cls, query: Footage, video: Footage, clock: Clock, placement: Placement, times_s: Floats
    ) -> "Overlay":
        """What both show at some times of the query, at least one."""
        rows, video_rows = pairs_at(query, video, clock, times_s)
        matrices = placement.at(query.times_s[rows])
        window = Window.over(matrices[len(rows) // 2], video, query, FINE_GRID_POINTS)
        laid = window.read([query.frames[row] for row in rows], matrices)
        original = window.read([video.frames[row] for row in video_rows])
        pairs = [
            correlate_blocks(*pair, window.blocks) for pair in zip(laid, original, strict=True)
        ]
        correlation, is_textured = (np.stack(side) for side in zip(*pairs, strict=True))
        return cls(laid, original, window.blocks, correlation, is_textured)

    @property
    def is_alike(self) -> NDArray[np.bool_]:
        """Which textured blocks look the same, shape ``(T, B)``."""
        return self.is_textured & (self.correlation > SAME_BLOCK)

    def shares_alike(self) -> Floats:
        """The share of them at each time, shape ``(T,)``; NaN where there is no texture."""
        num = self.is_textured.sum(axis=1)
        return np.where(num > 0, self.is_alike.sum(axis=1) / np.maximum(1, num), np.nan)

    def shares_of_changes_alike(self) -> Floats:
        """The same of the blocks in which the video is not as it usually is.

        There the query must also be more like that frame than like the mean of all; NaN where
        hardly any block is not as usual.
        """
        usual = self.original.mean(axis=0)
        to_usual, changes = (
            np.stack([correlate_blocks(frame, usual, self.blocks)[0] for frame in side])
            for side in (self.laid, self.original)
        )
        is_live = self.is_textured & (changes < USUAL_BLOCK)
        num_alike = (is_live & self.is_alike & (self.correlation > to_usual)).sum(axis=1)
        num = is_live.sum(axis=1)
        return np.where(num >= MIN_LIVE_BLOCKS, num_alike / np.maximum(1, num), np.nan)


def correlate_blocks(
    ours: Floats32, theirs: Floats32, blocks: Integers
) -> tuple[Floats, NDArray[np.bool_]]:
    """How two pictures at the same points agree, block by block, whatever their brightness.

    Returns:
        The correlation of each block, and whether the second picture has texture there.
    """
    size = np.bincount(blocks)
    a = ours - (np.bincount(blocks, ours) / size)[blocks]
    b = theirs - (np.bincount(blocks, theirs) / size)[blocks]
    ours_2, theirs_2 = np.bincount(blocks, a * a), np.bincount(blocks, b * b)
    shared = np.bincount(blocks, a * b)
    is_textured = (theirs_2 > MIN_TEXTURE**2 * size) & (size >= _BLOCK_SIDE**2 / 2)
    return shared / np.sqrt(np.maximum(ours_2 * theirs_2, 1e-6)), is_textured
