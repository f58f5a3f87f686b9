"""From a matrix of evidence to the paths through it that are ranges of their own. Pure numpy.

A local dynamic programme (Smith-Waterman) with the steps (1, 1), (1, 2) and (2, 1),
which are the speeds 1, 2 and 0.5. It runs row by row on whole numpy rows, over many
matrices side by side, and keeps one byte a cell. Of the paths it finds, those count
that do not merely echo a better one:

    inside      half of it, on both sides, lies in the rectangle of a better one
    repetition  the same seconds of one side at another place of the other; real
                when nearly as alike, with a valley of evidence in between
    block       a path that stands out from nothing (a still shot) is widened to
                the rectangle in which all is as alike

Everything here is in cells; `alignment` turns cells into seconds.

Sources: Smith and Waterman 1981; the slopes and the gap rule as measured in the
prototype this project started from: without the gap rule it found 6 of 72 excerpts
that came in pairs, with it 58.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPEAT_SHARE = 0.7
"""A second place for the same seconds needs this share of the better one's evidence."""

VALLEY_SHARE = 0.8
"""Between a range and its repetition the evidence must fall below this share of the lesser."""

STATIC_CONTRAST = 0.01
"""A path that exceeds its rectangle's mean similarity by less than this is no diagonal."""

EDGE_SHARE = 0.4
"""Moments at the ends of a path with less than this share of its median evidence are cut off."""

MAX_SPANS = 32
"""Most ranges given for one pair of videos."""

_MAX_ENDS_A_ROW = 512
_SEPARATOR = np.float32(-1e9)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Cells of one path in order, and the rectangle it stands for (last ones included)."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    rectangle: tuple[int, int, int, int]
    is_static: bool
    level: float


def find_paths(
    matrices: Sequence[NDArray[np.float32]],
    *,
    max_gap: float,
    least: Sequence[float],
) -> list[list[Path]]:
    """The ranges of several matrices of evidence that have the same rows.

    Args:
        matrices: Evidence, shape ``(Lq, Lv)`` each with its own Lv; positive where a cell
            speaks for shared footage.
        max_gap: Cells (on the longer side) without evidence that a path may pass.
        least: For each matrix, the least sum of evidence of a path.

    Returns:
        For each matrix its paths, the one with the largest sum first.
    """
    offsets = np.cumsum([0] + [matrix.shape[1] + 2 for matrix in matrices])
    joined = np.full((len(matrices[0]), int(offsets[-1])), _SEPARATOR, np.float32)
    for matrix, offset in zip(matrices, offsets, strict=False):
        joined[:, offset : offset + matrix.shape[1]] = matrix
    ends, steps = _find_ends(joined, max_gap, min(least))
    matrix_of_end = np.searchsorted(offsets, ends.column, side="right") - 1
    found = []
    for i, matrix in enumerate(matrices):
        mine = np.flatnonzero((matrix_of_end == i) & (ends.total >= least[i]))
        order = mine[np.lexsort((ends.column[mine], ends.row[mine], -ends.total[mine]))]
        found.append(_choose_paths(matrix, ends, order, steps, int(offsets[i])))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """Where paths end (in cells of the joined matrix): start, end and sum of evidence."""

    start: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    total: NDArray[np.float32]


def _find_ends(
    evidence: NDArray[np.float32], max_gap: float, least: float
) -> tuple[_Ends, NDArray[np.uint8]]:
    """Run the programme over all rows.

    Returns:
        The ends of paths whose evidence sums up to `least` cells or more, and the step
        that led to each cell: 0 none, 1 (1, 1), 2 (1, 2), 3 (2, 1).
    """
    num_rows, num_columns = evidence.shape
    steps = np.zeros(evidence.shape, np.uint8)
    own = np.arange(num_columns, dtype=np.int64)

    # Totals, gaps and starts of this row and the two before, padded by two columns on
    # the left (predecessors of the first ones) and on the right (successors of the last).
    width = num_columns + 4
    total = [np.zeros(width, np.float32) for _ in range(3)]
    gap = [np.zeros(width, np.float32) for _ in range(3)]
    start = [np.zeros(width, np.int64) for _ in range(3)]
    here, left, left2 = slice(2, -2), slice(1, -3), slice(0, -4)
    found: list[tuple[NDArray[np.int64], int, NDArray[np.int64], NDArray[np.float32]]] = []

    for i in range(num_rows + 2):
        if i < num_rows:
            cells = evidence[i]
            best = total[1][left].copy()
            best_gap = gap[1][left] + np.float32(1)
            best_start = start[1][left].copy()
            step = np.ones(num_columns, np.uint8)
            for code, source, shift in ((2, 1, left2), (3, 2, left)):
                better = total[source][shift] > best
                np.copyto(best, total[source][shift], where=better)
                np.copyto(best_gap, gap[source][shift] + np.float32(2), where=better)
                np.copyto(best_start, start[source][shift], where=better)
                step[better] = code
            best_gap[cells > 0] = 0
            fresh = (best <= 0) | (best_gap > np.float32(max_gap + 1e-3))
            best[fresh] = 0
            best += cells
            alive = best > 0
            np.copyto(best_start, own + i * num_columns, where=fresh)
            step[fresh | ~alive] = 0
            best[~alive] = 0
            best_gap[fresh] = 0
            steps[i] = step
            total[0][here], gap[0][here], start[0][here] = best, best_gap, best_start
        else:
            total[0][:] = 0
        if i >= 2:
            # Row i - 2 now has all its successors: an end is what none of them improves.
            after = np.maximum(total[1][3:-1], total[1][4:])
            np.maximum(after, total[0][3:-1], out=after)
            sums = total[2][here]
            at = np.flatnonzero((sums >= least) & (sums >= after))
            if len(at) > _MAX_ENDS_A_ROW:
                at = at[np.argsort(-sums[at], kind="stable")[:_MAX_ENDS_A_ROW]]
            if len(at):
                found.append((start[2][here][at], i - 2, at, sums[at]))
        total = [total[2], total[0], total[1]]
        gap = [gap[2], gap[0], gap[1]]
        start = [start[2], start[0], start[1]]

    if not found:
        none = np.zeros(0, np.int64)
        return _Ends(none, none, none, np.zeros(0, np.float32)), steps
    ends = _Ends(
        np.concatenate([e[0] for e in found]),
        np.concatenate([np.full(len(e[2]), e[1], np.int64) for e in found]),
        np.concatenate([e[2] for e in found]),
        np.concatenate([e[3] for e in found]),
    )
    # Of all ends that one start leads to, only the best is a range.
    order = np.lexsort((ends.column, ends.row, -ends.total, ends.start))
    _, first = np.unique(ends.start[order], return_index=True)
    best_of_start = order[first]
    return _Ends(
        ends.start[best_of_start],
        ends.row[best_of_start],
        ends.column[best_of_start],
        ends.total[best_of_start],
    ), steps


def _choose_paths(
    evidence: NDArray[np.float32],
    ends: _Ends,
    order: NDArray[np.int64],
    steps: NDArray[np.uint8],
    offset: int,
) -> list[Path]:
    """Best first, those paths that do not merely echo a better one."""
    chosen: list[Path] = []
    for end in order[:2000]:
        if len(chosen) == MAX_SPANS:
            break
        row, column = int(ends.row[end]), int(ends.column[end]) - offset
        start_row, start_column = divmod(int(ends.start[end]), steps.shape[1])
        rectangle = (start_row, row, start_column - offset, column)
        if any(_is_inside(rectangle, other.rectangle) for other in chosen):
            continue
        path = _trace_back(evidence, steps, row, column, offset)
        if not any(_is_echo(evidence, path, other) for other in chosen):
            chosen.append(path)
    return chosen


def _trace_back(
    evidence: NDArray[np.float32], steps: NDArray[np.uint8], row: int, column: int, offset: int
) -> Path:
    cells = []
    while True:
        cells.append((row, column))
        step = steps[row, column + offset]
        if step == 0:
            break
        row -= 2 if step == 3 else 1
        column -= 2 if step == 2 else 1
    rows, columns = np.array(cells[::-1], np.int64).T
    rows, columns = _cut_weak_ends(evidence, rows, columns)
    return _widen_if_static(evidence, rows, columns)


def _cut_weak_ends(
    evidence: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Drop moments at either end that are closer to chance than to the path."""
    cells = evidence[rows, columns]
    strong = np.flatnonzero(cells >= EDGE_SHARE * np.median(cells[cells > 0]))
    return rows[strong[0] : strong[-1] + 1], columns[strong[0] : strong[-1] + 1]


def _widen_if_static(
    evidence: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Path:
    """Where the whole rectangle is as alike as the path, take the rectangle, grown to its edges."""
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    level = float(evidence[rows, columns].mean())
    thinned = evidence[
        top : bottom + 1 : max(1, (bottom - top) // 64),
        left : right + 1 : max(1, (right - left) // 64),
    ]
    is_static = level - float(thinned.mean()) < STATIC_CONTRAST
    if is_static:
        least = level - 2 * STATIC_CONTRAST
        left, right = _grow(evidence[top : bottom + 1].mean(axis=0) >= least, left, right)
        top, bottom = _grow(evidence[:, left : right + 1].mean(axis=1) >= least, top, bottom)
    grown = right - left >= 2 * (bottom - top) + 2 or bottom - top >= 2 * (right - left) + 2
    few = min(bottom - top, right - left) < 2
    return Path(rows, columns, (top, bottom, left, right), is_static and (grown or not few), level)


def _grow(is_like: NDArray[np.bool_], first: int, last: int) -> tuple[int, int]:
    """The run of True around ``first..last`` (which count as True), ends included."""
    before = np.flatnonzero(~is_like[:first])
    after = np.flatnonzero(~is_like[last + 1 :])
    return (
        int(before[-1]) + 1 if len(before) else 0,
        last + int(after[0]) if len(after) else len(is_like) - 1,
    )


def _is_inside(rectangle: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether at least half of it lies in the other, on both sides."""
    return _shared(rectangle[:2], other[:2]) >= 0.5 and _shared(rectangle[2:], other[2:]) >= 0.5


def _shared(span: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Share of `span` that `other` covers; last ones included."""
    overlap = min(span[1], other[1]) - max(span[0], other[0]) + 1
    return max(0, overlap) / (span[1] - span[0] + 1)


def _is_echo(evidence: NDArray[np.float32], path: Path, better: Path) -> bool:
    """Whether `path` claims seconds of a better one without being a repetition of it.

    A repetition is nearly as alike, and between the two places the likeness goes away.
    """
    if _is_inside(path.rectangle, better.rectangle):
        return True
    shares_rows = _shared(path.rectangle[:2], better.rectangle[:2]) >= 0.5
    shares_columns = _shared(path.rectangle[2:], better.rectangle[2:]) >= 0.5
    if not (shares_rows or shares_columns):
        return False
    if path.level < REPEAT_SHARE * better.level:
        return True
    if shares_rows:
        return not _has_valley(evidence, path.rows, path.columns, better.rows, better.columns)
    return not _has_valley(evidence.T, path.columns, path.rows, better.columns, better.rows)


def _has_valley(
    evidence: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    other_rows: NDArray[np.int64],
    other_columns: NDArray[np.int64],
) -> bool:
    """Whether evidence along the path, moved towards the other one, falls on the way."""
    distance = round(float(np.interp(rows, other_rows, other_columns).mean() - columns.mean()))
    if abs(distance) < 2:
        return False
    num_shifts = min(abs(distance) - 1, 256)
    shifts = np.unique(np.linspace(np.sign(distance), distance, num_shifts + 1).astype(int))
    some = np.linspace(0, len(rows) - 1, min(len(rows), 32)).astype(int)
    moved = np.clip(columns[some][:, None] + shifts[None, :], 0, evidence.shape[1] - 1)
    profile = evidence[rows[some][:, None], moved].mean(axis=0)
    here = float(evidence[rows[some], columns[some]].mean())
    return bool(profile.min() < VALLEY_SHARE * here)
