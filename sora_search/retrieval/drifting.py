"""Insets that drift: footage in a rectangle that crosses the query picture at a steady speed.

What the sides of such an inset show changes from frame to frame; that they are straight and where
they are going does not.

    profiles    of each frame, the columns with a long upright edge (rows: a lying one)
    speeds      lines through the columns of all frames: pairs of edges with one speed  (Hough)
    rectangles  with both speeds taken out the edges of all frames add up where the inset is

The same as `rectangles` does for what stands still, but that a border of the picture is no side
here. Pure numpy.

Source: lines by voting of Duda and Hart, CACM 1972, in space and time.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from sora_search.media.clips import Pictures
from sora_search.retrieval.film import MIN_SIDE, Map, frame_edges, levels_of, some_of, sums_along
from sora_search.retrieval.windows import Rectangle

# Chosen on the moving insets of 16 videos of the suite `choose`, and their other edits.

MIN_FRAMES = 8
"""With fewer, chance makes lines."""

MAX_SHAPE = 4
"""Of strips that are longer the time would grow with the square of their length."""

MAX_SIDE = 0.85
"""Longest side, as a share of the picture's: what is larger has no room to move in."""

MIN_TRAVEL, MAX_TRAVEL = 0.12, 0.85
"""Shares of a side of the picture that an inset crosses from the first frame to the last."""

EDGE_RANGE = 0.4, 0.8
"""A column's best piece counts from the first share of edge on, and in full from the second."""

NUM_SPEEDS, SPEED_STEP = 3, 6
"""Speeds tried each way, besides none, apart by so many pixels of travel."""

NUM_LINES = 10
"""Columns, and rows, that may be sides."""

MIN_SUPPORT, MIN_SIDE_SUPPORT = 0.75, 0.5
"""Share of edge, over all frames, on all sides in the mean and on the worst of them: 15 insets had
.81 and .75 or more, clips without any .69 and .60 or less."""

MAX_DRIFTING = 2
"""Most that are told: each costs an encoding."""

MAX_LAG = 0.15
"""What has so much less support than the best is left out."""

MAX_SIZE_LAG = 0.06
"""What is larger may have so much less."""

MAX_OVERLAP = 0.5
"""Of two with a higher IoU the worse goes."""

Edges = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def find_drifting(frames: Pictures, times_s: Floats) -> list[Rectangle]:
    """Find the parts of a query that look like pictures which cross the picture.

    Args:
        frames: uint8 RGB, shape ``(T, H, W, 3)``, as for `rectangles.find_rectangles`.
        times_s: The moments that they show, shape ``(T,)``.

    Returns:
        At most `MAX_DRIFTING`, best first, each with its drift.
    """
    short, long = sorted(frames.shape[1:3])
    if len(frames) < MIN_FRAMES or short < 2 / MIN_SIDE or long > MAX_SHAPE * short:
        return []
    levels, times_s = levels_of(frames), some_of(times_s)
    height, width = levels.shape[1:]
    duration_s = float(times_s[-1] - times_s[0])
    if duration_s <= 0:  # one frame all along
        return []
    # From -1/2 at the first frame to 1/2 at the last one.
    share = (times_s - times_s[0]) / duration_s - 0.5
    upright, lying = frame_edges(levels), frame_edges(levels.swapaxes(1, 2))
    across, down = _travels(upright, share), _travels(lying, share)
    found: list[tuple[float, Rectangle]] = []
    for x, y in product(across, down):
        if max(abs(x) / width, abs(y) / height) < MIN_TRAVEL:
            continue
        columns = _summed(upright, np.rint(x * share), np.rint(y * share))
        rows = _summed(lying, np.rint(y * share), np.rint(x * share))
        for support, left, top, right, bottom in _rectangles(columns, rows, abs(x), abs(y)):
            middle = Rectangle(
                left / width,
                top / height,
                (right - left) / width,
                (bottom - top) / height,
                drift=(x / width / duration_s, y / height / duration_s),
                at_s=float(times_s[0] + times_s[-1]) / 2,
            )
            found.append((support, middle))
    found.sort(key=lambda scored: -scored[0])
    chosen: list[Rectangle] = []
    for support, rectangle in found:
        if support < found[0][0] - MAX_LAG or len(chosen) == MAX_DRIFTING:
            break
        if all(rectangle.iou(other) <= MAX_OVERLAP for other in chosen):
            chosen.append(rectangle)
    return chosen


def _travels(edges: Edges, share: Floats) -> list[int]:
    """Over how many columns, from the first frame to the last, a pair of edges may move; and 0.

    Args:
        edges: Of each frame, shape ``(T, H, W)``.
        share: Of the time, from -1/2 to 1/2, shape ``(T,)``.
    """
    num, height, width = edges.shape
    length = max(4, round(MIN_SIDE * height))
    sums = np.zeros((num, height + 1, width), np.float32)
    np.cumsum(edges, axis=1, out=sums[:, 1:])
    best = (sums[:, length:] - sums[:, :-length]).max(axis=1) / length
    low, high = EDGE_RANGE
    profiles = np.pad(((best - low) / (high - low)).clip(0, 1), ((0, 0), (width, width)))
    farthest = round(MAX_TRAVEL * width)
    travels = np.arange(-farthest, farthest + 1)
    gap = max(4, round(MIN_SIDE * width))
    frames, columns = np.arange(num)[:, None], np.arange(width) + width
    votes = np.empty(len(travels))
    for place, travel in enumerate(travels):
        at = columns + np.rint(travel * share).astype(np.int64)[:, None]
        line = profiles[frames, at].mean(axis=0)
        # The best line to the right of each, far enough away.
        other = np.maximum.accumulate(line[::-1])[::-1]
        votes[place] = (line[:-gap] + other[gap:]).max()
    chosen = [0]
    for place in np.argsort(-votes, kind="stable"):
        if len(chosen) > NUM_SPEEDS:
            break
        if all(abs(travels[place] - other) >= SPEED_STEP for other in chosen):
            chosen.append(int(travels[place]))
    return chosen


def _summed(edges: Edges, across: Floats, along: Floats) -> Map:
    """Share of frames with an edge at each place, once each is shifted back by whole pixels.

    What is shifted out on one side comes in on the other: an inset is inside all the time.
    """
    shifts = zip(edges, -along.astype(int), -across.astype(int), strict=True)
    total = np.zeros(edges.shape[1:], np.float32)
    for frame, down, right in shifts:
        total += np.roll(frame, (down, right), axis=(0, 1))
    total /= len(edges)
    return total


def _rectangles(
    upright: Map, lying: Map, across: int, down: int
) -> list[tuple[float, int, int, int, int]]:
    """The rectangle whose sides are edges of nearly all frames, with its support.

    What is in an inset that hardly moves has edges that go along with it: of rectangles with about
    as much support the largest is taken.

    Args:
        upright: Share of frames with an upright edge, shape ``(H, W - 1)``.
        lying: The same of lying ones, with its axes swapped, shape ``(W, H - 1)``.
        across: How far it moves in x, in pixels.
        down: How far in y.
    """
    height, width = upright.shape[0], lying.shape[0]
    upright_sums, lying_sums = sums_along(upright.T), sums_along(lying.T)
    columns, rows = _lines(upright_sums), _lines(lying_sums)
    x, y = _gaps(columns, width, across), _gaps(rows, height, down)
    if not len(x) or not len(y):
        return []
    (left, right), (top, bottom) = np.repeat(x, len(y), axis=0).T, np.tile(y, (len(x), 1)).T
    sides = np.stack(
        [
            _mean_along(upright_sums, left, top, bottom),
            _mean_along(upright_sums, right, top, bottom),
            _mean_along(lying_sums, top, left, right),
            _mean_along(lying_sums, bottom, left, right),
        ]
    )
    support = np.where(sides.min(axis=0) >= MIN_SIDE_SUPPORT, sides.mean(axis=0), 0.0)
    if support.max() < MIN_SUPPORT:
        return []
    is_good = support >= max(MIN_SUPPORT, support.max() - MAX_SIZE_LAG)
    best = int(np.where(is_good, (right - left) * (bottom - top), 0).argmax())
    # An edge between two columns is where the second one begins.
    first_x, first_y, last_x, last_y = (int(side[best]) + 1 for side in (left, top, right, bottom))
    return [(float(support[best]), first_x, first_y, last_x, last_y)]


def _lines(sums: Map) -> Integers:
    """The columns with the best long piece of edge, from left to right.

    `sums` are those of each column down to each row, shape ``(W, H + 1)``.
    """
    length = max(4, round(MIN_SIDE * (sums.shape[1] - 1)))
    best = (sums[:, length:] - sums[:, :-length]).max(axis=1) / length
    chosen: list[int] = []
    for column in np.argsort(-best, kind="stable").tolist():
        if len(chosen) == NUM_LINES or best[column] < MIN_SIDE_SUPPORT:
            break
        if all(abs(column - other) > 2 for other in chosen):
            chosen.append(column)
    return np.array(sorted(chosen), np.int64)


def _gaps(lines: Integers, num: int, travel: int) -> Integers:
    """All pairs of lines that are as far apart as an inset is wide, and always in the picture."""
    first, last = np.triu_indices(len(lines), 1)
    start, end = lines[first], lines[last]
    is_wide = (end - start >= MIN_SIDE * num) & (end - start <= MAX_SIDE * num)
    is_inside = (start - travel / 2 >= -3) & (end + travel / 2 <= num + 2)
    return np.stack([start, end], 1)[is_wide & is_inside]


def _mean_along(sums: Map, columns: Integers, starts: Integers, ends: Integers) -> Map:
    """Mean of pieces of columns, from one row to another, by the sums of each column."""
    means: Map = (sums[columns, ends] - sums[columns, starts]) / (ends - starts)
    return means
