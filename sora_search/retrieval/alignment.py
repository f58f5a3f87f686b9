"""From a similarity matrix to the ranges that two videos share. Pure numpy.

One side of the matrix is the query, the other an indexed video; a cell says how
alike two moments are. Shared footage shows as a diagonal whose slope is the speed.

    grid       both sides are brought to one step of time, so that a short clip
               looked at densely aligns with an hour looked at twice a second
    evidence   similarity minus the zero point, not below `FLOOR`
    paths      diagonals found by dynamic programming (`paths`), ended after
               `MAX_GAP_S` without evidence: two excerpts stay two ranges
    seconds    a straight line through the peaks along the path, finer than a
               sample, gives the edges on both sides
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan
from sora_search.retrieval.paths import EDGE_SHARE, Path, find_paths

FLOOR = -0.3
"""Least evidence of a cell: one bad moment must not end a path."""

MAX_GAP_S = 1.5
"""Longest time without evidence inside one range, on either side."""

MIN_EVIDENCE_S = 0.15
"""Least sum of evidence times seconds of a range; scaled down for sides under `WINDOW_S`."""

WINDOW_S = 2.0
"""A range is judged by its best window of this length (shorter where a side is)."""

FINEST_STEP_S = 0.125
"""Steps of the common grid are this times a power of two, so that few grids occur."""

SPEED_GAIN = 0.01
"""A speed other than the original's must raise the mean similarity along the line by so much."""

_MAX_CELLS = 4_000_000
"""Videos are aligned together up to this many cells, which bounds memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When the samples of one side were taken.

    Attributes:
        times_s: float64 seconds, shape ``(L,)``, increasing.
        start_s: Where the first sample's span starts.
        end_s: Where the last sample's span ends.
    """

    times_s: NDArray[np.float64]
    start_s: float
    end_s: float

    @classmethod
    def from_spans(cls, spans: Sequence[TimeSpan | None]) -> "Timeline":
        """Of the spans of a `VideoEmbedding`; a still picture lasts from 0 to 0."""
        if len(spans) == 1 and spans[0] is None:
            return cls(np.zeros(1), 0.0, 0.0)
        edges = np.array([(s.start_s, s.end_s) for s in spans if s is not None], np.float64)
        times = np.asarray((edges[:, 0] + edges[:, 1]) / 2, np.float64)
        if len(times) > 2:
            # The outer spans reach to the borders of the file: their samples are not in the middle.
            half = float(np.median(np.diff(times))) / 2
            times[0] = max(edges[0, 0], edges[0, 1] - half)
            times[-1] = min(edges[-1, 1], edges[-1, 0] + half)
        return cls(times, float(edges[0, 0]), float(edges[-1, 1]))

    @classmethod
    def regular(cls, num_samples: int, step_s: float = 0.5, start_s: float = 0.0) -> "Timeline":
        """Samples in the middle of equal steps."""
        times = start_s + (np.arange(num_samples, dtype=np.float64) + 0.5) * step_s
        return cls(times, start_s, start_s + num_samples * step_s)

    def __len__(self) -> int:
        return len(self.times_s)

    def __repr__(self) -> str:
        return f"Timeline({len(self)} samples, {self.start_s:.3f}-{self.end_s:.3f} s)"

    @property
    def step_s(self) -> float:
        """Usual time between samples; infinite for a single one."""
        return float(np.median(np.diff(self.times_s))) if len(self) > 1 else float("inf")


@dataclass(frozen=True, slots=True)
class AlignedSpan:
    """One range that both sides share.

    Attributes:
        row_span: Where it is on the row side; None when that side is a single moment of no length.
        column_span: The same for the columns.
        evidence: Mean evidence along the path.
        window_evidence: Mean evidence of the best `WINDOW_S`; a shorter path counts as if the
            rest of the window had none, unless a side as a whole is shorter.
        is_static: True where nothing moves and the ranges are the sides of a rectangle.
        diagonal: The two spans of equal length in such a rectangle that are most alike: frames may
            see movement where vectors see none. None where the ranges are a line by themselves.
    """

    row_span: TimeSpan | None
    column_span: TimeSpan | None
    evidence: float
    window_evidence: float
    is_static: bool = False
    diagonal: tuple[TimeSpan, TimeSpan] | None = None


def align(
    similarity: NDArray[np.float32],
    *,
    zero_point: float,
    rows: Timeline | None = None,
    columns: Timeline | None = None,
) -> list[AlignedSpan]:
    """Find every range that two videos share.

    Args:
        similarity: Cosine of row moments against column moments, shape ``(Lq, Lv)``.
        zero_point: Similarity from which on a cell speaks for shared footage.
        rows: Times of the rows; two a second where None.
        columns: Times of the columns; two a second where None.

    Returns:
        The ranges, best first; empty if there is none.

    Raises:
        ValueError: If shapes disagree or `similarity` holds NaN.

    Example:
        >>> eye = np.eye(8, dtype=np.float32)
        >>> [span] = align(eye, zero_point=0.5)
        >>> str(span.row_span), str(span.column_span), span.evidence
        ('0:00.0-0:04.0', '0:00.0-0:04.0', 0.5)
    """
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(f"need a matrix (Lq, Lv), got {similarity.shape=}")
    rows = rows or Timeline.regular(similarity.shape[0])
    columns = columns or Timeline.regular(similarity.shape[1])
    return align_videos([similarity], zero_point=zero_point, rows=rows, columns=[columns])[0]


def align_videos(
    similarities: Sequence[NDArray[np.float32]],
    *,
    zero_point: float,
    rows: Timeline,
    columns: Sequence[Timeline],
) -> list[list[AlignedSpan]]:
    """`align` one query with many videos; the same answer, in much less time than one by one."""
    for matrix, timeline in zip(similarities, columns, strict=True):
        if matrix.shape != (len(rows), len(timeline)):
            raise ValueError(f"need {(len(rows), len(timeline))} similarities, got {matrix.shape=}")
        if not np.isfinite(matrix).all():
            raise ValueError("similarity holds NaN or infinity")
    found: list[list[AlignedSpan]] = [[] for _ in similarities]
    for step_s, members in _group_by_grid(similarities, rows, columns):
        row_grid = _grid(rows, step_s)
        sides = [_grid(columns[i], step_s) for i in members]
        resampled = [
            _resample(similarities[i], rows, row_grid, columns[i], side)
            for i, side in zip(members, sides, strict=True)
        ]
        for i, spans in zip(
            members, _align_on_grid(resampled, zero_point, row_grid, sides, step_s), strict=True
        ):
            found[i] = spans
    return found


def join_spans(spans: Sequence[AlignedSpan]) -> list[AlignedSpan]:
    """Put together what was cut: ranges of one video found in overlapping parts of a long query.

    Two ranges are one when the second goes on where the first ends, on both sides
    (within `MAX_GAP_S`), or when it lies inside the first on both sides.

    Returns:
        The ranges, best first.
    """
    joined: list[AlignedSpan] = []
    for span in sorted(spans, key=_by_start):
        for i, earlier in enumerate(joined):
            if _continues(earlier, span):
                joined[i] = _union(earlier, span)
                break
        else:
            joined.append(span)
    return sorted(joined, key=lambda span: (-span.window_evidence, _by_start(span)))


def _by_start(span: AlignedSpan) -> tuple[float, float]:
    row, column = span.row_span, span.column_span
    return (row.start_s if row else 0.0, column.start_s if column else 0.0)


def _continues(earlier: AlignedSpan, later: AlignedSpan) -> bool:
    if not (earlier.row_span and later.row_span and earlier.column_span and later.column_span):
        return False
    row_gap = later.row_span.start_s - earlier.row_span.end_s
    column_gap = later.column_span.start_s - earlier.column_span.end_s
    speed = earlier.column_span.duration_s / earlier.row_span.duration_s
    same_line = abs(column_gap - speed * row_gap) <= MAX_GAP_S / 2
    return row_gap <= MAX_GAP_S and column_gap <= MAX_GAP_S and same_line


def _union(a: AlignedSpan, b: AlignedSpan) -> AlignedSpan:
    lengths = [span.row_span.duration_s if span.row_span else 1.0 for span in (a, b)]
    return AlignedSpan(
        _hull(a.row_span, b.row_span),
        _hull(a.column_span, b.column_span),
        float(np.average([a.evidence, b.evidence], weights=lengths)),
        max(a.window_evidence, b.window_evidence),
        a.is_static and b.is_static,
        a.diagonal or b.diagonal if a.is_static and b.is_static else None,
    )


def _hull(a: TimeSpan | None, b: TimeSpan | None) -> TimeSpan | None:
    if a is None or b is None:
        return a or b
    return TimeSpan(min(a.start_s, b.start_s), max(a.end_s, b.end_s))


# --- one step of time for both sides ------------------------------------------------------------


def _group_by_grid(
    similarities: Sequence[NDArray[np.float32]], rows: Timeline, columns: Sequence[Timeline]
) -> list[tuple[float, list[int]]]:
    """Videos that share a grid step with this query, in groups of bounded size."""
    steps = [_grid_step(rows, timeline) for timeline in columns]
    groups: list[tuple[float, list[int]]] = []
    cells = 0
    for i in sorted(range(len(steps)), key=lambda i: steps[i]):
        cells += similarities[i].size
        if not groups or groups[-1][0] != steps[i] or cells > _MAX_CELLS:
            groups.append((steps[i], []))
            cells = similarities[i].size
        groups[-1][1].append(i)
    return groups


def _grid_step(rows: Timeline, columns: Timeline) -> float:
    """The largest grid step that loses no sample of the denser side (within 2 %)."""
    finest = min(rows.step_s, columns.step_s)
    if not np.isfinite(finest):
        return 4 * FINEST_STEP_S
    octave = np.floor(np.log2(max(1.0, finest * 1.02 / FINEST_STEP_S)))
    return float(FINEST_STEP_S * 2.0**octave)


def _grid(side: Timeline, step_s: float) -> Timeline:
    """The same stretch of time in steps of `step_s`, from the first sample to the last."""
    first, last = side.times_s[0], side.times_s[-1]
    num = int(np.floor((last - first) / step_s + 1e-6)) + 1
    return Timeline(first + np.arange(num) * step_s, side.start_s, side.end_s)


def _resample(
    similarity: NDArray[np.float32],
    rows: Timeline,
    row_grid: Timeline,
    columns: Timeline,
    column_grid: Timeline,
) -> NDArray[np.float32]:
    """Similarities at the times of the grid, linear between the samples."""
    similarity = _interpolate(similarity, rows.times_s, row_grid.times_s)
    return _interpolate(similarity.T, columns.times_s, column_grid.times_s).T


def _interpolate(
    values: NDArray[np.float32], times_s: NDArray[np.float64], at_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    if len(times_s) == len(at_s) and np.abs(times_s - at_s).max() < FINEST_STEP_S / 10:
        return values
    right = np.clip(np.searchsorted(times_s, at_s), 1, len(times_s) - 1)
    left = right - 1
    share = np.clip((at_s - times_s[left]) / (times_s[right] - times_s[left]), 0, 1)
    weight = share.astype(np.float32)[:, None]
    return np.asarray(values[left] * (1 - weight) + values[right] * weight, np.float32)


def _align_on_grid(
    matrices: Sequence[NDArray[np.float32]],
    zero_point: float,
    rows: Timeline,
    columns: Sequence[Timeline],
    step_s: float,
) -> list[list[AlignedSpan]]:
    """Align matrices that share rows and step."""
    floor = np.float32(FLOOR)
    evidence = [np.maximum(matrix - np.float32(zero_point), floor) for matrix in matrices]
    shares = [min(1.0, min(matrix.shape) * step_s / WINDOW_S) for matrix in matrices]
    found = []
    for matrix, timeline, paths in zip(
        evidence,
        columns,
        find_paths(
            evidence,
            max_gap=MAX_GAP_S / step_s,
            least=[MIN_EVIDENCE_S / step_s * share for share in shares],
        ),
        strict=True,
    ):
        pair = _Pair(matrix, rows, timeline, step_s)
        spans = [pair.measure(path) for path in paths]
        found.append(sorted(spans, key=lambda span: (-span.window_evidence, _by_start(span))))
    return found


# --- times, finer than a sample -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """One query and one video on the common grid."""

    evidence: NDArray[np.float32]
    rows: Timeline
    columns: Timeline
    step_s: float

    def measure(self, path: Path) -> AlignedSpan:
        """The range of a path in seconds, with its evidence."""
        cells = self.evidence[path.rows, path.columns]
        window = max(1, min(round(WINDOW_S / self.step_s), *self.evidence.shape))
        sums = np.convolve(cells, np.ones(min(window, len(cells)), np.float32), "valid")
        (top, bottom, left, right) = path.rectangle
        if path.is_static or min(self.evidence.shape) == 1:
            row_edges = self._edges(self.rows, top, bottom)
            column_edges = self._edges(self.columns, left, right)
        else:
            row_edges, column_edges = self._line_edges(path)
        return AlignedSpan(
            _span(*row_edges, self.rows),
            _span(*column_edges, self.columns),
            float(cells.mean()),
            float(sums.max() / window),
            path.is_static,
            self._diagonal(path.rectangle) if path.is_static else None,
        )

    def _diagonal(self, rectangle: tuple[int, int, int, int]) -> tuple[TimeSpan, TimeSpan] | None:
        """The diagonal from border to border of a rectangle with the most evidence."""
        top, bottom, left, right = rectangle
        inside = self.evidence[top : bottom + 1, left : right + 1]
        is_tall = inside.shape[0] > inside.shape[1]
        inside = inside.T if is_tall else inside
        length, free = inside.shape[0], inside.shape[1] - inside.shape[0] + 1
        if length < 2:
            return None
        at = np.arange(length)
        level = [float(inside[at, at + shift].mean()) for shift in range(free)]
        shift = int(np.argmax(level))
        row, column = (top + shift, left) if is_tall else (top, left + shift)
        spans = [
            _span(*self._edges(side, first, first + length - 1), side)
            for side, first in ((self.rows, row), (self.columns, column))
        ]
        return (spans[0], spans[1]) if spans[0] and spans[1] else None

    def _edges(self, side: Timeline, first: int, last: int) -> tuple[float, float]:
        """From half a step before the first sample to half a step after the last."""
        half = self.step_s / 2
        start = side.start_s if first == 0 else float(side.times_s[first]) - half
        end = side.end_s if last == len(side) - 1 else float(side.times_s[last]) + half
        return start, end

    def _line_edges(self, path: Path) -> tuple[tuple[float, float], tuple[float, float]]:
        """Edges on both sides that obey one speed and offset."""
        offset_s, speed = _fit_line(self.evidence, path, self.rows, self.columns, self.step_s)

        def to_column(time_s: float) -> float:
            return offset_s + speed * time_s

        def to_row(time_s: float) -> float:
            return (time_s - offset_s) / speed

        on_rows = _strong_run(
            self.evidence,
            (self.rows.times_s * speed + offset_s - self.columns.times_s[0]) / self.step_s,
            path.rows,
        )
        on_columns = _strong_run(
            self.evidence.T,
            ((self.columns.times_s - offset_s) / speed - self.rows.times_s[0]) / self.step_s,
            path.columns,
        )
        row_edges = list(self._edges(self.rows, *on_rows))
        column_edges = list(self._edges(self.columns, *on_columns))
        row_at_end = (on_rows[0] == 0, on_rows[1] == len(self.rows) - 1)
        column_at_end = (on_columns[0] == 0, on_columns[1] == len(self.columns) - 1)
        for k in range(2):
            # The border of a file is known exactly; an edge inside both is known
            # to half a step on each, so their mean is better than either.
            if column_at_end[k] and not row_at_end[k]:
                row_edges[k] = to_row(column_edges[k])
            elif not row_at_end[k]:
                row_edges[k] = (row_edges[k] + to_row(column_edges[k])) / 2
            column_edges[k] = to_column(row_edges[k])
        for k in range(2):
            # The line may leave a file a little: then both sides end at its border.
            column = min(max(column_edges[k], self.columns.start_s), self.columns.end_s)
            if column != column_edges[k]:
                row_edges[k], column_edges[k] = to_row(column), column
            row = min(max(row_edges[k], self.rows.start_s), self.rows.end_s)
            if row != row_edges[k]:
                row_edges[k] = row
                column = min(max(to_column(row), self.columns.start_s), self.columns.end_s)
                column_edges[k] = column
        return (row_edges[0], row_edges[1]), (column_edges[0], column_edges[1])


def _fit_line(
    evidence: NDArray[np.float32], path: Path, rows: Timeline, columns: Timeline, step_s: float
) -> tuple[float, float]:
    """Offset and speed of ``column time = offset + speed * row time``.

    Each cell under the line votes for the peak of the parabola through it and its two
    neighbors, with the sharpness of that peak as weight, along the row and along the
    column; the line through the votes is the next line.
    """
    offset_s, speed = _best_line(evidence, path, rows, columns, step_s)
    for _ in range(8):
        on_row = np.arange(path.rows[0], path.rows[-1] + 1)
        at_s = offset_s + speed * rows.times_s[on_row]
        on_column = np.rint((at_s - columns.times_s[0]) / step_s).astype(np.int64)
        inside = (on_column >= 0) & (on_column < len(columns))
        if inside.sum() < 2:
            break
        before = offset_s, speed
        on_row, on_column = on_row[inside], on_column[inside]
        offset_s, speed = _fit_votes(evidence, on_row, on_column, rows, columns, step_s)
        if abs(speed - before[1]) < 1e-3 and abs(offset_s - before[0]) < 1e-2 * step_s:
            break
    return offset_s, speed


def _best_line(
    evidence: NDArray[np.float32], path: Path, rows: Timeline, columns: Timeline, step_s: float
) -> tuple[float, float]:
    """Of all lines near the path, the one with the most evidence; original speed if in doubt.

    The path itself cannot tell: it likes even steps, and wanders where little changes.
    """
    on_row = np.unique(np.linspace(path.rows[0], path.rows[-1], 64).astype(int))
    middle_s = (rows.times_s[on_row[0]] + rows.times_s[on_row[-1]]) / 2
    around_s = float(columns.times_s[path.columns[[0, -1]]].mean())
    speeds = np.array([1.0]) if len(on_row) < 3 else 2.0 ** np.linspace(-1, 1, 41)
    at_middle = around_s + np.linspace(-1.5, 1.5, 25)
    at_s = at_middle[:, None, None] + speeds[:, None] * (rows.times_s[on_row] - middle_s)
    place = (at_s - columns.times_s[0]) / step_s
    found = _read_between(evidence, on_row, place)
    level = found.mean(axis=2)
    speed = int(level.max(axis=0).argmax())
    original = len(speeds) // 2
    if level[:, speed].max() < level[:, original].max() + SPEED_GAIN:
        speed = original
    best = int(level[:, speed].argmax())
    return float(at_middle[best] - speeds[speed] * middle_s), float(speeds[speed])


def _read_between(
    evidence: NDArray[np.float32], on_row: NDArray[np.int64], place: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Evidence at fractional columns, linear between cells; 0 outside."""
    last = evidence.shape[1] - 1
    left = np.clip(np.floor(place).astype(np.int64), 0, max(0, last - 1))
    share = np.clip(place - left, 0, 1).astype(np.float32)
    right = np.minimum(left + 1, last)
    found = evidence[on_row, left] * (1 - share) + evidence[on_row, right] * share
    return np.asarray(np.where((place < -0.5) | (place > last + 0.5), 0, found), np.float32)


def _strong_run(
    evidence: NDArray[np.float32], place: NDArray[np.float64], of_path: NDArray[np.int64]
) -> tuple[int, int]:
    """First and last row of a range by the evidence under its line, as `paths` cuts weak ends.

    The path may end a little before the line does, or beside it where little changes.
    """
    first, last = int(of_path[0]), int(of_path[-1])
    level = _read_between(evidence, np.arange(len(evidence)), place)
    inside = level[first : last + 1]
    if not (inside > 0).any():
        return first, last
    strong = level >= EDGE_SHARE * np.median(inside[inside > 0])
    within = first + np.flatnonzero(strong[first : last + 1])
    before = np.flatnonzero(~strong[: within[0]])
    after = np.flatnonzero(~strong[within[-1] + 1 :])
    return (
        int(before[-1]) + 1 if len(before) else 0,
        int(within[-1] + after[0]) if len(after) else len(strong) - 1,
    )


def _fit_votes(
    evidence: NDArray[np.float32],
    on_row: NDArray[np.int64],
    on_column: NDArray[np.int64],
    rows: Timeline,
    columns: Timeline,
    step_s: float,
) -> tuple[float, float]:
    """The line through the peaks next to some cells.

    Original speed is kept unless another one fits clearly better: over a few samples any
    speed does.
    """
    along_row = _peaks(evidence, on_row, on_column)
    along_column = _peaks(evidence.T, on_column, on_row)
    x = np.concatenate([rows.times_s[on_row], rows.times_s[on_row] + along_column[0] * step_s])
    y = np.concatenate(
        [columns.times_s[on_column] + along_row[0] * step_s, columns.times_s[on_column]]
    )
    weight = np.concatenate([along_row[1], along_column[1]])
    weight = weight / weight.mean() if weight.sum() > 1e-6 else np.ones_like(x)

    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float((weight * (x - mean_x) ** 2).sum())
    if spread < 1e-9:
        return float(mean_y - mean_x), 1.0
    speed = float((weight * (x - mean_x) * (y - mean_y)).sum() / spread)
    speed = min(max(speed, 0.45), 2.2)
    error = float((weight * (y - mean_y - speed * (x - mean_x)) ** 2).mean())
    error_at_one = float((weight * (y - mean_y - (x - mean_x)) ** 2).mean())
    noise = max(error, (0.1 * step_s) ** 2)
    if (error_at_one - error) * len(x) < 9 * noise:
        speed = 1.0
    return float(mean_y - speed * mean_x), speed


def _peaks(
    evidence: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the peak lies from each cell (at most half a column), and how sharp it is."""
    inside = (columns > 0) & (columns < evidence.shape[1] - 1)
    before = evidence[rows, np.maximum(columns - 1, 0)].astype(np.float64)
    here = evidence[rows, columns].astype(np.float64)
    after = evidence[rows, np.minimum(columns + 1, evidence.shape[1] - 1)].astype(np.float64)
    sharpness = 2 * here - before - after
    usable = inside & (sharpness > 1e-4)
    shift = np.zeros(len(rows))
    shift[usable] = 0.5 * (after - before)[usable] / sharpness[usable]
    # Where a neighbor is as good as the cell, the path only passes by: no peak here. And a
    # cut between two shots, or the end of the range, is no flank of a peak.
    usable &= (np.abs(shift) <= 0.75) & (np.minimum(before, after) > 0.5 * here)
    return np.clip(shift, -0.5, 0.5), np.where(usable, sharpness, 0.0)


def _span(start_s: float, end_s: float, side: Timeline) -> TimeSpan | None:
    """The range as a span; None on a side that lasts no time at all."""
    if side.end_s <= side.start_s:
        return None
    start_s = max(0.0, start_s)
    return TimeSpan(start_s, max(end_s, start_s + 1e-3))
