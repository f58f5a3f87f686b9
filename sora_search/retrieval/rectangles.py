"""Which parts of the query picture to search on their own: footage may stand inside a frame.

Picture in picture, bars, blurred borders and collages have straight sides that stay
where they are while the picture moves. And what moves on one side of them does not go
on across the other: that tells a side from the edge of a door, which a passer-by
crosses. Pure numpy, from frames to rectangles.

    film         brightness in time, its gradients and its changes, and lines    film
    insets       rectangles between lines, or between lines and the border       here
    grids        the cells between lines that run through the whole picture      here
    bars, blur   what is left without borders                                    borders

What moves is found by `drifting`, and what is round by `circles`. Constants
were chosen on edits of 32 clips and looked at again on 24 others (48 of the suite's
`choose` rows, 8 of the trials), through H.264 at CRF 23 to 32, 192 px on the short side;
what they say are shares of all 56 clips at IoU .8, with square or rounded insets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sora_search.media.clips import Pictures
from sora_search.retrieval.borders import between_blur, inside_bars
from sora_search.retrieval.film import (
    MAX_AREA,
    MIN_SIDE,
    SQUARE,
    Box,
    Film,
    Indices,
    Lines,
    Map,
    levels_of,
)
from sora_search.retrieval.windows import Rectangle

MAX_RECTANGLES = 4
"""Most rectangles of a query: each costs an encoding, and a collage of 2 x 2 has four."""

MIN_FRAMES = 4
"""With fewer, what stays in place and what moves cannot be told apart."""

CORNER = 0.1
"""Ends of each side that do not count, as a share of the shorter side; at .2 unedited
clips get .27 windows, not .22."""

ROUND_CORNER = 0.25
"""The same for round corners: without it .79 of such insets are found, with it .95."""

SUPPORT = (1.0, 0.9, 0.85, 0.75, 0.7)
"""Mean share of edge on the sides of a rectangle with 0 to 4 sides that are lines, others being
the picture's border. The fewer, the more often a straight edge of the scene passes for one:
at .1 less unedited clips get .43 windows, not .22."""

ROUND_SUPPORT = (np.inf, np.inf, np.inf, 0.75, 0.75)
"""The same where corners are round, which leaves little of the sides to be right by chance: with
`SUPPORT` unedited clips get .31 windows."""

SIDE_SUPPORT = 0.6
"""Least share of edge on a side that is a line, and on lines through the whole picture."""

WORST_SIDE_SUPPORT = 0.25
"""Least on the worst of three or four sides, where dark may meet dark: .6 loses 4 to 6 %."""

MAX_CONTINUITY = 0.15
"""Correlation of changes across all sides, and in `MAX_SIDE_CONTINUITY` across one. Without both
three times the windows on unedited clips and 4 % fewer insets; .1 loses 2 % of the rounded ones."""

MAX_SIDE_CONTINUITY = 0.6
"""One side holds fewer changes, so it may differ more: without it .29 windows, not .22."""

MIN_SIDE_CHANGE = 20.0
"""Mean square change beside the sides, in gray levels: with less the correlation means little.
All of 52 insets have 25 or more."""

MIN_INNER_CHANGE = 10.0
"""Mean square change inside of an inset: logos have less; from 5 to 20 the figures hardly move."""

GRID_SCORE = 1.2
"""Less than bars and blur have."""

MAX_LAG = 0.3
"""What scores so much less than the best is left out: else letterboxed clips get 1.9 windows,
not 1.4, and no edit is found more often."""

MAX_OVERLAP = 0.55
"""Of two rectangles with a higher IoU the worse goes: .4 loses 2 % of the rounded insets,
.7 adds .3 windows to all."""


def find_rectangles(frames: Pictures) -> list[Rectangle]:
    """Find the parts of a query that look like pictures inside the picture and do not move.

    What moves across the picture or has no straight sides is not found. Pictures that
    stand still as a whole give nothing, nor do fewer than `MIN_FRAMES` frames. An inset that
    is on screen for a part of the time alone is found when `frames` are about that part: give
    a long query piece by piece.

    Args:
        frames: uint8 RGB, shape ``(T, H, W, 3)``, two a second or denser and at least
            16 of a short query, best 192 to 224 px on the short side (less is less exact,
            more costs time alone).

    Returns:
        At most `MAX_RECTANGLES`, best first, none of them the whole picture; empty if
        there is nothing of the kind.

    Raises:
        ValueError: If `frames` has another shape or type.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"need uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
    if len(frames) < MIN_FRAMES or min(frames.shape[1:3]) < 2 / MIN_SIDE:
        return []
    film = Film.of(levels_of(frames))
    height, width = film.size
    return [
        Rectangle(
            box.left / width,
            box.top / height,
            (box.right - box.left) / width,
            (box.bottom - box.top) / height,
        )
        for box in _best_boxes(film)
    ]


# Insets


def _insets(film: Film) -> Iterator[tuple[float, Box]]:
    """Rectangles whose sides are lines or borders of the picture, with a score of 0 to 1.3."""
    height, width = film.size
    across = _Gaps.of(film.upright.lines, width)
    down = _Gaps.of(film.lying.lines, height)
    columns = np.repeat(np.arange(len(across.starts)), len(down.starts))
    rows = np.tile(np.arange(len(down.starts)), len(across.starts))
    left, right = across.starts[columns], across.ends[columns]
    top, bottom = down.starts[rows], down.ends[rows]
    area = (right - left) * (bottom - top) / (width * height)
    for corner, least in ((CORNER, SUPPORT), (ROUND_CORNER, ROUND_SUPPORT)):
        cut = np.rint(corner * np.minimum(right - left, bottom - top)).astype(np.int64)
        sides = [
            _side(film.upright.lines, across.first_lines[columns], top + cut, bottom - cut),
            _side(film.upright.lines, across.last_lines[columns], top + cut, bottom - cut),
            _side(film.lying.lines, down.first_lines[rows], left + cut, right - cut),
            _side(film.lying.lines, down.last_lines[rows], left + cut, right - cut),
        ]
        is_inset, score = _judge(np.array(sides), area, np.array(least))
        for i in np.flatnonzero(is_inset).tolist():
            yield float(score[i]), Box(int(left[i]), int(top[i]), int(right[i]), int(bottom[i]))


def _judge(
    sides: Map, area: NDArray[np.float64], least: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which of R rectangles are insets, and how good they are.

    Args:
        sides: For each side what `_side` gives, shape ``(4, 4, R)``.
        area: Shares of the picture, shape ``(R,)``.
        least: Mean share of edge that is needed with 0 to 4 lines.
    """
    length, edges, joint, single = sides.swapaxes(0, 1)
    is_line = length > 0
    num_lines = is_line.sum(axis=0)
    total = np.maximum(length.sum(axis=0), 1)
    supports = edges / np.maximum(length, 1)
    support = supports.sum(axis=0) / np.maximum(num_lines, 1)
    worst, second = np.sort(np.where(is_line, supports, 1), axis=0)[:2]
    continuity = joint.sum(axis=0) / (single.sum(axis=0) + 1e-6)
    # A side with little change says little: it counts as if some more, unrelated, were there.
    of_side = joint / (single + SQUARE * length + 1e-6)
    is_inset = (
        (area <= MAX_AREA)
        & (support >= least[num_lines])
        & (worst >= np.where(num_lines >= 3, WORST_SIDE_SUPPORT, SIDE_SUPPORT))
        & (second >= SIDE_SUPPORT)
        & (continuity <= MAX_CONTINUITY)
        & (of_side.max(axis=0) <= MAX_SIDE_CONTINUITY)
        & (single.sum(axis=0) >= MIN_SIDE_CHANGE * SQUARE * total)
    )
    # Long sides and many of them are less often chance, and the whole is better than a part.
    score = support * (1 - np.maximum(continuity, 0)) + 0.05 * num_lines + 0.1 * np.sqrt(area)
    return is_inset, score


@dataclass(frozen=True, slots=True, eq=False)
class _Gaps:
    """All pairs of lines (and borders of the picture) that are far enough apart.

    Attributes:
        starts: Where each begins, in pixels, int64, shape ``(G,)``.
        ends: Where it ends.
        first_lines: Row in `Lines` of its start; -1 for the border of the picture.
        last_lines: The same of its end.
    """

    starts: Indices
    ends: Indices
    first_lines: Indices
    last_lines: Indices

    @classmethod
    def of(cls, lines: Lines, num: int) -> "_Gaps":
        places = np.concatenate([[0], lines.places, [num]])
        rows = np.concatenate([[-1], np.arange(len(lines)), [-1]])
        first, last = np.triu_indices(len(places), 1)
        is_wide = places[last] - places[first] >= MIN_SIDE * num
        first, last = first[is_wide], last[is_wide]
        return cls(places[first], places[last], rows[first], rows[last])


def _side(lines: Lines, rows: Indices, starts: Indices, ends: Indices) -> tuple[Map, Map, Map, Map]:
    """Length, edges, joint and single changes of pieces of lines.

    All are 0 where the row is -1: there the border of the picture is the side.
    """
    is_line = rows >= 0
    if not len(lines):
        nothing = np.zeros(len(rows), np.float32)
        return nothing, nothing, nothing, nothing

    def between(sums: Map) -> Map:
        return np.where(is_line, sums[rows, ends] - sums[rows, starts], 0).astype(np.float32)

    length = np.where(is_line, ends - starts, 0).astype(np.float32)
    return length, between(lines.edges), between(lines.joint), between(lines.single)


# Grids


def _grid(film: Film) -> Iterator[Box]:
    """The cells between lines that run through the whole picture, if some do both ways."""
    height, width = film.size
    columns, rows = _through(film.upright.lines, width), _through(film.lying.lines, height)
    if len(columns) == 2 or len(rows) == 2:
        return
    for left, right in pairwise(columns):
        for top, bottom in pairwise(rows):
            is_large = right - left >= MIN_SIDE * width and bottom - top >= MIN_SIDE * height
            box = Box(left, top, right, bottom)
            if is_large and film.change_in(box) >= MIN_INNER_CHANGE:
                yield box


def _through(lines: Lines, num: int) -> list[int]:
    single = lines.single[:, -1] / lines.length
    is_through = (
        (lines.edges[:, -1] >= SIDE_SUPPORT * lines.length)
        & (lines.joint[:, -1] / lines.length <= MAX_CONTINUITY * (single + SQUARE))
        & (single >= MIN_SIDE_CHANGE * SQUARE)
    )
    return [0, *lines.places[is_through].tolist(), num]


# The choice


def _best_boxes(film: Film) -> list[Box]:
    framed = [*inside_bars(film), *between_blur(film)]
    found = [*framed, *((GRID_SCORE, box) for box in _grid(film))]
    for score, box in _insets(film):
        # What lies in a blurred border is the picture once more, and worse.
        is_inside = all(box.shared(frame) >= 0.5 * box.area for _, frame in framed)
        if is_inside:
            found.append((score, box))
    found.sort(key=lambda scored: -scored[0])
    chosen: list[Box] = []
    passed: list[Box] = []
    for score, box in found:
        if score < found[0][0] - MAX_LAG or len(chosen) == MAX_RECTANGLES:
            break
        if any(box.iou(other) > MAX_OVERLAP for other in passed):
            continue
        # A logo is passed over, but what is more or less the logo goes with it.
        passed.append(box)
        if film.change_in(box) >= MIN_INNER_CHANGE or (score, box) in framed:
            chosen.append(box)
    return chosen
