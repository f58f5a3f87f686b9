"""The straight line of time under a path: one speed, one offset, finer than a sample. Pure numpy.

The path of the dynamic programme likes even steps and wanders where little changes. Of all
lines near it the one with the most evidence is taken, and then moved onto the peaks beside it.
"""

import numpy as np
from numpy.typing import NDArray

from sora_search.retrieval.paths import EDGE_SHARE, Path
from sora_search.retrieval.timeline import Timeline

SPEED_GAIN = 0.01
"""A speed other than the original's must raise the mean similarity along the line by so much."""


def fit_line(
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


def strong_run(
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
