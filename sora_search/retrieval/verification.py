"""Whether two ranges show the same footage: decoded frames against decoded frames.

Vectors say which moments look alike. Here the pictures themselves are laid over one
another:

    geometry     features of some pairs of frames, plain and mirrored, pooled into one
                 geometry (`geometry`); without one the ranges are not the same
    time         the query's frames, laid into the indexed picture, against its frames
                 at every offset: what changes from frame to frame tells times apart
    appearance   share of the textured blocks that look the same
    motion       how well the changes from frame to frame agree

The same place filmed again has the same geometry and nearly the same appearance: only
motion tells another take from a copy, and where nothing moves nothing can.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FoundEdit, Match, TimeSpan
from sora_search.retrieval.footage import FRAMES_PER_S, Footage, FootageReader, Gray
from sora_search.retrieval.geometry import (
    TOLERANCE,
    find_edit,
    moved,
    visible_outline,
)
from sora_search.retrieval.placement import Placement, place_features
from sora_search.retrieval.synchrony import Clock, find_time
from sora_search.retrieval.windows import Rectangle

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]

# Measured on the 36 usual and hard edits of suite videos of use `choose`, times wrong by up
# to .7 s and speeds by 5 %, and on other moments of the same video and of its group.

PADDING_S = 1.5
"""Read on either side of a range: starts found from vectors were wrong by up to this."""

MAX_FRAMES_S = 12.0
"""Most seconds of either side that are held: of longer ranges the middle is looked at."""

NUM_PAIRS = 5
"""Pairs of frames for the geometry; every other one first, all where these agree too little."""

MIN_FEATURES = 30
"""Features of a frame below which nothing follows from finding no geometry: an empty sky."""

MIN_CELLS = 8
"""Cells of a geometry; 50 pairs of other videos had at most 6."""

HOPELESS_CELLS, FEW_CELLS = 6, 25
"""Below the second, the first pairs do not settle the geometry and all are looked at; below
the first they do not need to be: other videos had up to 4, copies that were found 8 or more."""

MIN_APPEARANCE, SCENE_APPEARANCE = 0.25, 0.5
"""Needed beside motion, and where nothing moves. Copies had .4 or more, nearly all .7 (less:
insets in a circle), once the geometry was right; other scenes that happen to fit .1 to .3."""

SURE_MOTION, LIKELY_MOTION, OTHER_MOTION = 0.80, 0.60, 0.25
"""Enough alone, enough where it stands out, and too little for doubt. Nine copies in ten had
.8 or more, the others, blends and filmed screens above all, .3 and up; other takes and
moments up to .25, some up to .6 (a caption that moves alike in many videos of a series, one person
who repeats an exercise .77), and a robot that does its task again .86 and .89."""

SURE_CONTRAST = 17.0
"""How far the motion of a copy stands out among other times, in deviations. Copies with less
motion than `SURE_MOTION` nearly all had 17 or more, other moments at most 12, the exercise 14
to 16 and, cropped, once more than 17: a repeated movement can pass for a copy."""

MIN_TEXTURE = 5.0
"""Standard deviation, in levels, of a block that can be recognized."""

SAME_BLOCK = 0.5
"""Correlation from which on a block looks the same."""

CLEAR_APPEARANCE, RETRY_APPEARANCE, ODD_APPEARANCE, RETRY_CONTRAST = 0.95, 0.75, 0.5, 6.0
"""Below the first, geometry is fitted anew at the time found, and below the second at times
around it, where motion stands out by the last or appearance is below the third, at odds with
the geometry: panning cameras had .15 to .5 at first and .5 to 1.0 then."""

CLEAR_MOTION = 0.95
"""Together with `CLEAR_APPEARANCE`, enough to look no further for another geometry."""

_COMMON_S = 0.5
_GRID_POINTS, _FINE_GRID_POINTS = 5_000, 20_000
_BLOCK_SIDE = 8


@dataclass(frozen=True, slots=True)
class Verification:
    """What decoded frames say about two ranges.

    Attributes:
        is_same: True for the same footage, False where that was not confirmed, None
            where the scene is the same but too little moves, or too differently, to be
            certain: still pictures above all. None without an `edit` where the pictures
            hold next to nothing to recognize them by.
        cells: Places of 8 px in which features of both pictures agree.
        appearance: Share of the textured blocks that look the same, in [0, 1].
        motion: Correlation of the changes from frame to frame, in [-1, 1]; None where
            nothing moves.
        contrast: How far the motion stands out among other times, in deviations.
        offset_s: How much later the middle of the range is in the indexed video than the
            given spans say.
        match: The ranges with their times corrected; None without geometry or spans.
        edit: How the picture was changed; None without geometry.
    """

    is_same: bool | None
    cells: int = 0
    appearance: float = 0.0
    motion: float | None = None
    contrast: float = 0.0
    offset_s: float = 0.0
    match: Match | None = None
    edit: FoundEdit | None = None

    def reason(self) -> str:
        """What decided, in words."""
        if self.edit is None:
            if self.is_same is None:
                return "the pictures hold too little to recognize them by"
            return f"no geometry: {self.cells} places agree, {MIN_CELLS} are needed"
        if self.is_same:
            return "geometry, appearance and what moves agree"
        if self.motion is None:
            if self.is_same is None:
                return "same scene, but nothing moves that could tell takes apart"
            return f"of the picture only {self.appearance:.0%} looks the same".replace("%", " %")
        if self.appearance < MIN_APPEARANCE:
            return f"of the picture only {self.appearance:.0%} looks the same".replace("%", " %")
        if self.is_same is None:
            return f"same scene, but what moves agrees only in part ({self.motion:.2f})"
        return f"same scene, but what moves differs ({self.motion:.2f}): another moment or take"


def verify_match(
    reader: FootageReader,
    query_path: Path | str,
    video_path: Path | str,
    match: Match,
    *,
    window: Rectangle | None = None,
) -> Verification:
    """Read the frames around a match of two files, and `verify` it.

    A `window` is the part of the query picture that is to show the same footage. Of ranges
    longer than `MAX_FRAMES_S` the middle is looked at; their speed stays what the match says,
    which long ranges tell better than a piece of them.

    Raises:
        MediaError: If nothing of a range can be decoded.
        OSError: If a file is not there or may not be read.
    """
    query_span, video_span = match.query_span, match.video_span
    longest_s = max(span.duration_s for span in (query_span, video_span, TimeSpan(0, 1)) if span)
    share = min(1.0, (MAX_FRAMES_S - 2 * PADDING_S) / longest_s)
    query_piece, video_piece = _middle(query_span, share), _middle(video_span, share)
    found = verify(
        reader.read(query_path, _padded(query_piece), window),
        reader.read(video_path, _padded(video_piece)),
        query_span=query_piece,
        video_span=video_piece,
        window=window,
    )
    if found.match is None:
        return found
    if share == 1.0:
        return replace(found, match=replace(found.match, score=match.score))
    assert video_span is not None
    start_s = max(0.0, video_span.start_s + found.offset_s)
    whole = TimeSpan(start_s, max(start_s + 1e-3, video_span.end_s + found.offset_s))
    return replace(found, match=replace(match, video_span=whole))


def verify(
    query: Footage,
    video: Footage,
    *,
    query_span: TimeSpan | None,
    video_span: TimeSpan | None,
    window: Rectangle | None = None,
) -> Verification:
    """Compare the frames of two ranges that are supposed to show the same footage.

    Args:
        query: Frames of the query, about ten a second, from `PADDING_S` before its range
            to as much after it where there is that much.
        video: The same of the indexed video.
        query_span: The range of the query; None for a still picture.
        video_span: The range of the indexed video; None for a still picture.
        window: The part of the query picture that `query` shows; None for all of it.
    """
    clock = _clock_between(query, query_span, video, video_span)
    eyes = _Eyes(query, video)
    times_s = _moments(eyes.query, query_span)
    if min(len(query), len(video)) == 1:
        found, clock = _find_moment(eyes, clock, times_s)
    else:
        found = eyes.find(clock, times_s[::2])
        if found is not None and HOPELESS_CELLS <= found.cells < FEW_CELLS:
            found = eyes.find(clock, times_s)
    if found is None or found.cells < MIN_CELLS:
        is_same = False if eyes.can_tell(clock, times_s[::2]) else None
        return Verification(is_same, cells=found.cells if found else 0)
    laid = _lay(eyes, clock, found, query_span)
    laid = _sharpened(eyes, laid, clock, times_s[::2], query_span)
    laid = _plainest(eyes, laid, clock, query_span)
    to_whole, whole_size = _around(window, eyes.query.size)
    edit = find_edit(
        to_whole @ laid.placement.at(times_s).mean(axis=0),
        eyes.video.size,
        whole_size,
        speed=laid.clock.speed,
        is_moving=laid.placement.is_moving,
    )
    offset_s, match = 0.0, None
    if query_span is not None and video_span is not None and min(len(query), len(video)) > 1:
        offset_s = laid.clock.at_origin_s - clock.at_origin_s
        match = _corrected(laid, query_span, eyes.video.times_s)
    return Verification(
        _is_same(laid),
        laid.placement.cells,
        laid.appearance,
        laid.motion,
        laid.contrast,
        offset_s,
        match,
        edit,
    )


def _is_same(laid: "_Laid") -> bool | None:
    if laid.motion is None:
        return None if laid.appearance >= SCENE_APPEARANCE else False
    if laid.appearance < MIN_APPEARANCE or laid.motion < OTHER_MOTION:
        return False
    needed = LIKELY_MOTION if laid.contrast >= SURE_CONTRAST else SURE_MOTION
    return True if laid.motion >= needed else None


def _find_moment(eyes: "_Eyes", clock: Clock, times_s: Floats) -> tuple["Placement | None", Clock]:
    """Where a side of one frame lies in the other, and at which of its moments.

    Some moments tell the geometry, and with it the picture itself tells which is the moment.
    """
    is_query = len(eyes.query.times_s) == 1

    def clock_at(moment_s: float) -> Clock:
        at_s = (times_s[0], moment_s) if is_query else (moment_s, eyes.video.times_s[0])
        return Clock(float(at_s[0]), float(at_s[1]), clock.speed)

    def find_at(at: Clock) -> Placement | None:
        return eyes.find(at, np.array([at.origin_s]))

    moments_s = (eyes.video if is_query else eyes.query).times_s
    rows = np.unique(np.linspace(0, len(moments_s) - 1, NUM_PAIRS).round().astype(int))
    tried = [(find_at(at), at) for at in map(clock_at, moments_s[rows])]
    placement, best = max(tried, key=lambda pair: pair[0].cells if pair[0] else 0)
    if placement is None or placement.cells < MIN_CELLS:
        return placement, best

    def likeness(at: Clock) -> float:
        return _appearance(eyes.query, eyes.video, at, placement, np.array([at.origin_s]))

    best = max(map(clock_at, moments_s), key=likeness)
    again = find_at(best)
    return (again if again and again.cells >= placement.cells else placement), best


def _middle(span: TimeSpan | None, share: float) -> TimeSpan | None:
    if span is None or share == 1.0:
        return span
    cut_s = span.duration_s * (1 - share) / 2
    return TimeSpan(span.start_s + cut_s, span.end_s - cut_s)


def _padded(span: TimeSpan | None) -> TimeSpan | None:
    return span and TimeSpan(max(0.0, span.start_s - PADDING_S), span.end_s + PADDING_S)


def _around(window: Rectangle | None, size: tuple[int, int]) -> tuple[Floats, tuple[int, int]]:
    """From places in a window of that size (H, W) to places in the picture; its size (H, W)."""
    if window is None:
        return np.eye(3), size
    height, width = size[0] / window.height, size[1] / window.width
    shift = np.array([[1, 0, window.left * width], [0, 1, window.top * height], [0, 0, 1]])
    return shift, (round(height), round(width))


def _clock_between(
    query: Footage,
    query_span: TimeSpan | None,
    video: Footage,
    video_span: TimeSpan | None,
) -> Clock:
    speed = video_span.duration_s / query_span.duration_s if query_span and video_span else 1.0
    query_s, video_s = (
        (span.start_s + span.end_s) / 2 if span else float(side.times_s.mean())
        for side, span in ((query, query_span), (video, video_span))
    )
    return Clock(query_s, video_s, speed)


def _moments(query: Footage, span: TimeSpan | None) -> Floats:
    """Moments of the query to look at, spread over the range, away from its uncertain ends."""
    if span is None:
        span = TimeSpan(query.times_s[0], query.times_s[-1] + 1e-3)
    times_s = span.start_s + span.duration_s * (np.arange(NUM_PAIRS) + 0.5) / NUM_PAIRS
    # Ranges that differ by little ask for the same frames, whose features are known.
    return (
        np.round(times_s / _COMMON_S) * _COMMON_S if span.duration_s >= 8 * _COMMON_S else times_s
    )


def _corrected(laid: "_Laid", span: TimeSpan, video_times_s: Floats) -> Match:
    """The ranges on the line of time found, within what there is of the indexed video."""
    half_s = float(np.median(np.diff(video_times_s))) / 2 if len(video_times_s) > 1 else 0.0
    edges = laid.clock(np.array([span.start_s, span.end_s]))
    edges = np.clip(edges, max(0.0, video_times_s[0] - half_s), video_times_s[-1] + half_s)
    start_s, end_s = np.clip(laid.clock.back(edges), span.start_s, span.end_s)
    if end_s - start_s < 1e-3 or edges[1] - edges[0] < 1e-3:
        start_s, end_s = span.start_s, span.end_s
        edges = np.array([max(0.0, edges[0]), max(0.0, edges[0]) + span.duration_s])
    return Match(
        TimeSpan(float(start_s), float(end_s)),
        TimeSpan(float(edges[0]), float(edges[1])),
        laid.appearance,
    )


# --- geometry ------------------------------------------------------------------------------------


class _Eyes:
    """Both sides, and where one lies in the other."""

    def __init__(self, query: Footage, video: Footage) -> None:
        self.query, self.video = query, video

    def find(self, clock: Clock, times_s: Floats) -> Placement | None:
        """The placement that the pairs of frames at some times of the query agree on."""
        pairs = list(dict.fromkeys(zip(*self._rows(clock, times_s), strict=True)))
        return place_features(
            [self.video.frames[row].features for _, row in pairs],
            [self.query.frames[row].features for row, _ in pairs],
            width=self.video.size[1],
            times_s=self.query.times_s[[row for row, _ in pairs]],
            tolerance=TOLERANCE * max(self.query.size),
        )

    def can_tell(self, clock: Clock, times_s: Floats) -> bool:
        """Whether the frames of either side hold enough to be recognized by."""
        medians = [
            float(np.median([len(side.frames[row].features.points) for row in rows]))
            for side, rows in zip((self.query, self.video), self._rows(clock, times_s), strict=True)
        ]
        return max(medians) >= MIN_FEATURES

    def _rows(self, clock: Clock, times_s: Floats) -> tuple[list[int], list[int]]:
        """The frames of the query and of the indexed video at some times of the query."""
        rows = self.query.nearest(times_s)
        return rows.tolist(), self.video.nearest(clock(self.query.times_s[rows])).tolist()


# --- pictures laid over one another --------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """How both sides agree when laid over one another, at the time where they do so best."""

    placement: Placement
    clock: Clock
    appearance: float
    motion: float | None
    contrast: float

    @property
    def likeness(self) -> float:
        return self.appearance + (self.motion or 0.0)


def _sharpened(
    eyes: _Eyes, laid: _Laid, supposed: Clock, times_s: Floats, span: TimeSpan | None
) -> _Laid:
    """The same with the geometry of frames that belong together.

    While the camera moves, frames of different moments give a geometry that holds at
    none, and that in turn hides the right time: then some times around are tried.
    """
    found_at = supposed
    for _ in range(2):
        away_s = np.abs(laid.clock(times_s) - found_at(times_s)).max()
        if laid.appearance >= CLEAR_APPEARANCE or laid.contrast < RETRY_CONTRAST:
            break
        if away_s > 1 / FRAMES_PER_S:
            found_at = laid.clock
            laid = _relaid(eyes, laid, [found_at], times_s, span)
    is_odd = laid.contrast >= RETRY_CONTRAST or laid.appearance < ODD_APPEARANCE
    if laid.appearance >= RETRY_APPEARANCE or not is_odd:
        return laid
    around = [supposed.shifted(offset_s) for offset_s in (-0.6, -0.3, -0.1, 0.1, 0.3, 0.6)]
    again = _relaid(eyes, laid, around, times_s, span)
    if again is not laid and again.appearance < CLEAR_APPEARANCE:
        again = _relaid(eyes, again, [again.clock], times_s, span)
    return again


def _relaid(
    eyes: _Eyes, laid: _Laid, clocks: Sequence[Clock], times_s: Floats, span: TimeSpan | None
) -> _Laid:
    """Laid anew with the best geometry that some clocks lead to, where that is better."""
    found = [(placement, clock) for clock in clocks if (placement := eyes.find(clock, times_s))]
    if not found:
        return laid
    placement, clock = max(found, key=lambda pair: pair[0].cells)
    if placement.cells < MIN_CELLS:
        return laid
    again = _lay(eyes, clock, placement, span)
    return again if again.likeness > laid.likeness else laid


def _plainest(eyes: _Eyes, laid: _Laid, supposed: Clock, span: TimeSpan | None) -> _Laid:
    """The same with the whole picture at its own speed, where that explains all.

    Frames that are a moment apart, and movement that repeats itself, lead to a geometry and a
    speed that nobody made.
    """
    is_plain = abs(laid.clock.speed - 1) < 0.03 and laid.appearance >= CLEAR_APPEARANCE
    if is_plain and (laid.motion is None or laid.motion >= CLEAR_MOTION):
        return laid
    scale = np.divide(eyes.query.size[::-1], eyes.video.size[::-1])
    if abs(scale[0] / scale[1] - 1) > TOLERANCE:
        return laid
    whole = replace(laid.placement, matrices=np.diag([*scale, 1.0])[None])
    again = _lay(eyes, replace(supposed, speed=1.0), whole, span)
    is_better = again.appearance >= CLEAR_APPEARANCE and again.likeness > laid.likeness
    return again if is_better else laid


def _lay(eyes: _Eyes, clock: Clock, placement: Placement, span: TimeSpan | None) -> _Laid:
    """Lay the query into the indexed picture, and find the time at which they agree best."""
    query, video = eyes.query, eyes.video
    moments = _moments(query, span)
    timing = None
    rows = _rows_inside(query.times_s, span)
    window = _Window.over(
        placement.at(moments)[NUM_PAIRS // 2], video.size, query.size, _GRID_POINTS
    )
    if len(rows) >= 3 and len(video.times_s) >= 3 and window.covered.sum() >= _BLOCK_SIDE**2:
        times_s = query.times_s[rows]
        timing = find_time(
            window.read([query.frames[row].gray for row in rows], placement.at(times_s)),
            window.read([frame.gray for frame in video.frames]),
            window.blocks,
            times_s,
            video.times_s,
            clock,
        )
    if timing is not None:
        clock = clock.shifted(timing.offset_s, timing.factor)
    appearance = _appearance(query, video, clock, placement, moments)
    if timing is None:
        return _Laid(placement, clock, appearance, None, 0.0)
    return _Laid(placement, clock, appearance, timing.motion, timing.contrast)


def _rows_inside(times_s: Floats, span: TimeSpan | None) -> Integers:
    """Frames inside of a range but not at its ends, which may be wrong."""
    if span is None:
        return np.arange(len(times_s))
    margin_s = min(0.5, span.duration_s / 10)
    inside = (times_s > span.start_s + margin_s) & (times_s < span.end_s - margin_s)
    return np.flatnonzero(inside)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
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
        video_size: tuple[int, int],
        query_size: tuple[int, int],
        num_points: int,
    ) -> "_Window":
        query_width_height = np.array(query_size[::-1], np.float64)
        video_width_height = np.array(video_size[::-1], np.float64)
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
        covered = ((places > 0) & (places < query_width_height)).all(axis=1).reshape(rows, columns)
        block = y.astype(np.int64) // _BLOCK_SIDE * columns + x.astype(np.int64) // _BLOCK_SIDE
        return cls(matrix, covered, np.unique(block[covered], return_inverse=True)[1].ravel())

    def read(self, frames: Sequence[Gray], placements: Floats | None = None) -> Floats32:
        """Frames at the covered points, shape ``(T, P)``.

        `placements`, shape ``(T, 3, 3)``, take places of the indexed picture to places of
        the frames; without them the frames are those of the indexed picture.
        """
        read = np.empty((len(frames), int(self.covered.sum())), np.float32)
        for row, frame in enumerate(frames):
            matrix = self.matrix if placements is None else placements[row] @ self.matrix
            step = math.sqrt(abs(float(np.linalg.det(matrix[:2, :2] / matrix[2, 2]))))
            if step > 1.5:  # else the pixels between the points would not count
                height, width = (max(2, round(side / step)) for side in frame.shape)
                matrix = np.diag([width / frame.shape[1], height / frame.shape[0], 1]) @ matrix
                smaller = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
                frame = np.asarray(smaller, np.uint8)
            laid = cv2.warpPerspective(
                frame,
                _FROM_MIDDLES @ matrix @ np.linalg.inv(_FROM_MIDDLES),
                self.covered.shape[::-1],
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            read[row] = laid[self.covered]
        return read


# OpenCV counts from the middle of the first pixel.
_FROM_MIDDLES = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])


def _appearance(
    query: Footage, video: Footage, clock: Clock, placement: Placement, times_s: Floats
) -> float:
    """Share of the textured blocks that look the same at some moments of the query."""
    rows = query.nearest(times_s)
    at_s = query.times_s[rows]
    matrices = placement.at(at_s)
    window = _Window.over(matrices[len(at_s) // 2], video.size, query.size, _FINE_GRID_POINTS)
    if not window.covered.any():
        return 0.0
    laid = window.read([query.frames[row].gray for row in rows], matrices)
    original = window.read([video.frames[row].gray for row in video.nearest(clock(at_s))])
    blocks = window.blocks
    size = np.bincount(blocks)
    num_same = num_textured = 0
    for ours, theirs in zip(laid, original, strict=True):
        a = ours - (np.bincount(blocks, ours) / size)[blocks]
        b = theirs - (np.bincount(blocks, theirs) / size)[blocks]
        shared = np.bincount(blocks, a * b)
        ours_2, theirs_2 = np.bincount(blocks, a * a), np.bincount(blocks, b * b)
        is_textured = (theirs_2 > MIN_TEXTURE**2 * size) & (size >= _BLOCK_SIDE**2 / 2)
        is_same = shared > SAME_BLOCK * np.sqrt(np.maximum(ours_2 * theirs_2, 1e-6))
        num_same += int((is_textured & is_same).sum())
        num_textured += int(is_textured.sum())
    return num_same / num_textured if num_textured else 0.0
