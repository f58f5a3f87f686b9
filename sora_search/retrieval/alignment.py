"""From a similarity matrix to the ranges that two videos share. Pure numpy.

One side of the matrix is the query, the other an indexed video; a cell says how
alike two moments are. Shared footage shows as a diagonal whose slope is the speed.

    grid       both sides are brought to one step of time (`timeline`)
    evidence   similarity minus the zero point, not below `FLOOR`
    paths      diagonals found by dynamic programming (`paths`), ended after
               `MAX_GAP_S` without evidence: two excerpts stay two ranges
    seconds    a straight line through the peaks along the path, finer than a
               sample, gives the edges on both sides (`lines`)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan
from sora_search.retrieval.lines import fit_line, strong_run
from sora_search.retrieval.paths import Path, find_paths
from sora_search.retrieval.timeline import Timeline, grid_step, on_grid, resample

FLOOR = -0.3
"""Least evidence of a cell: one bad moment must not end a path."""

MAX_GAP_S = 1.5
"""Longest time without evidence inside one range, on either side."""

MIN_EVIDENCE_S = 0.15
"""Least sum of evidence times seconds of a range; scaled down for sides under `WINDOW_S`."""

WINDOW_S = 2.0
"""A range is judged by its best window of this length (shorter where a side is)."""

LINES_APART_S = 0.5
"""Whole lines are at least so far apart."""

MAX_CELLS = 4_000_000
"""Most cells that a caller should have aligned together, for the sake of memory: two films of an
hour and a half, or a hundred clips."""


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
        diagonals: In such a rectangle, the spans of equal length that are most alike, of all of it
            and then of either half: frames may see movement where vectors see none. Empty where
            the ranges are a line by themselves.
        outstanding: Where all of both ranges is alike, other pairs of spans that are so by more
            than that.
    """

    row_span: TimeSpan | None
    column_span: TimeSpan | None
    evidence: float
    window_evidence: float
    is_static: bool = False
    diagonals: tuple[tuple[TimeSpan, TimeSpan], ...] = ()
    outstanding: tuple[tuple[TimeSpan, TimeSpan], ...] = ()


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


@dataclass(frozen=True, slots=True)
class WholeLine:
    """A line of equal speed through all of two videos.

    Attributes:
        span: The ranges under it; its evidence is the mean similarity along the line.
        standing: By how much that stands out, times the root of its seconds.
    """

    span: AlignedSpan
    standing: float


def whole_lines(
    similarity: NDArray[np.float32], *, rows: Timeline, columns: Timeline, num: int
) -> list[WholeLine]:
    """The lines of equal speed along which two videos are most alike as wholes.

    However little alike they are, no cell needs to be evidence by itself: what a moment has in
    common with all moments of the other side is taken off, and the line counts whose sum stands
    out, among those over half of the shorter side.

    Args:
        similarity: Cosine of row moments against column moments, shape ``(Lq, Lv)``.
        rows: Times of the rows.
        columns: Times of the columns.
        num: Most lines.

    Returns:
        One or more, the best first, `LINES_APART_S` or more from one another.
    """
    step_s = grid_step(rows, columns)
    row_grid, column_grid = on_grid(rows, step_s), on_grid(columns, step_s)
    on = resample(similarity, rows, row_grid, columns, column_grid)
    standing = on - on.mean()
    # Of a single moment nothing would be left.
    for axis in (0, 1):
        if on.shape[axis] > 1:
            standing = standing - standing.mean(axis=axis, keepdims=True)
    num_rows, num_columns = on.shape
    least = -(-min(on.shape) // 2)
    offsets = np.arange(least - num_rows, num_columns - least + 1)
    lines = [standing.diagonal(offset) for offset in offsets]
    sums = np.array([line.sum() / np.sqrt(len(line)) for line in lines]) * np.sqrt(step_s)
    chosen: list[int] = []
    found: list[WholeLine] = []
    for place in np.argsort(-sums, kind="stable"):
        offset = int(offsets[place])
        if len(found) == num:
            break
        if any(abs(offset - other) * step_s < LINES_APART_S for other in chosen):
            continue
        chosen.append(offset)
        first, last = max(0, -offset), min(num_rows, num_columns - offset) - 1
        evidence = float(on.diagonal(offset).mean())
        row_span = _span_around(row_grid, first, last, step_s)
        column_span = _span_around(column_grid, first + offset, last + offset, step_s)
        if row_span and column_span:
            late_s = float(column_grid.times_s[0] - row_grid.times_s[0]) + step_s * (
                offset + _vertex(sums, int(place))
            )
            row_span, column_span = _on_line(row_span, column_span, late_s)
        span = AlignedSpan(row_span, column_span, evidence, evidence)
        found.append(WholeLine(span, float(sums[place])))
    return found


def _vertex(values: NDArray[np.float64], place: int) -> float:
    """Where the parabola through a peak and its two neighbors is highest, from -1/2 to 1/2."""
    if not 0 < place < len(values) - 1:
        return 0.0
    before, peak, after = values[place - 1 : place + 2]
    bend = before - 2 * peak + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


def _on_line(rows: TimeSpan, columns: TimeSpan, late_s: float) -> tuple[TimeSpan, TimeSpan]:
    """What of two ranges lies under the line of columns that are later than rows by so much."""
    start_s = max(rows.start_s, columns.start_s - late_s)
    end_s = min(rows.end_s, columns.end_s - late_s)
    if end_s <= start_s:
        return rows, columns
    return TimeSpan(start_s, end_s), TimeSpan(start_s + late_s, end_s + late_s)


def _span_around(side: Timeline, first: int, last: int, step_s: float) -> TimeSpan | None:
    """From half a step before one sample to half a step behind another; None of a moment."""
    start_s = max(side.start_s, float(side.times_s[first]) - step_s / 2)
    end_s = min(side.end_s, float(side.times_s[last]) + step_s / 2)
    return TimeSpan(start_s, end_s) if end_s > start_s else None


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
    steps = [grid_step(rows, timeline) for timeline in columns]
    for step_s in sorted(set(steps)):
        members = [i for i, step in enumerate(steps) if step == step_s]
        row_grid = on_grid(rows, step_s)
        sides = [on_grid(columns[i], step_s) for i in members]
        resampled = [
            resample(similarities[i], rows, row_grid, columns[i], side)
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
        a.diagonals or b.diagonals if a.is_static and b.is_static else (),
        a.outstanding + b.outstanding,
    )


def _hull(a: TimeSpan | None, b: TimeSpan | None) -> TimeSpan | None:
    if a is None or b is None:
        return a or b
    return TimeSpan(min(a.start_s, b.start_s), max(a.end_s, b.end_s))


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
            tuple(self._diagonals(path.rectangle)) if path.is_static else (),
        )

    def _diagonals(
        self, rectangle: tuple[int, int, int, int]
    ) -> Iterator[tuple[TimeSpan, TimeSpan]]:
        """Of a rectangle, and of each half of its shorter side, the diagonal with most evidence."""
        top, bottom, left, right = rectangle
        is_tall = bottom - top > right - left
        evidence = self.evidence.T if is_tall else self.evidence
        if is_tall:
            top, bottom, left, right = left, right, top, bottom
        middle = (top + bottom + 1) // 2
        for first, last in ((top, bottom), (top, middle - 1), (middle, bottom)):
            length = last - first + 1
            if length < 2:
                continue
            inside = evidence[first : last + 1, left : right + 1]
            at = np.arange(length)
            level = [inside[at, at + i].mean() for i in range(inside.shape[1] - length + 1)]
            column = left + int(np.argmax(level))
            places = (column, first) if is_tall else (first, column)
            row_span, column_span = (
                _span(*self._edges(side, place, place + length - 1), side)
                for side, place in zip((self.rows, self.columns), places, strict=True)
            )
            if row_span and column_span:
                yield row_span, column_span

    def _edges(self, side: Timeline, first: int, last: int) -> tuple[float, float]:
        """From half a step before the first sample to half a step after the last."""
        half = self.step_s / 2
        start = side.start_s if first == 0 else float(side.times_s[first]) - half
        end = side.end_s if last == len(side) - 1 else float(side.times_s[last]) + half
        return start, end

    def _line_edges(self, path: Path) -> tuple[tuple[float, float], tuple[float, float]]:
        """Edges on both sides that obey one speed and offset."""
        offset_s, speed = fit_line(self.evidence, path, self.rows, self.columns, self.step_s)

        def to_column(time_s: float) -> float:
            return offset_s + speed * time_s

        def to_row(time_s: float) -> float:
            return (time_s - offset_s) / speed

        on_rows = strong_run(
            self.evidence,
            (self.rows.times_s * speed + offset_s - self.columns.times_s[0]) / self.step_s,
            path.rows,
        )
        on_columns = strong_run(
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


def _span(start_s: float, end_s: float, side: Timeline) -> TimeSpan | None:
    """The range as a span; None on a side that lasts no time at all."""
    if side.end_s <= side.start_s:
        return None
    start_s = max(0.0, start_s)
    return TimeSpan(start_s, max(end_s, start_s + 1e-3))
