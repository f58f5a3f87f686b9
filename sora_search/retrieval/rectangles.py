"""Which parts of the query picture to search on their own: footage may stand inside a frame.

Picture in picture, bars, blurred borders and collages have straight sides that stay
where they are while the picture moves. And what moves on one side of them does not go
on across the other: that tells a side from the edge of a door, which a passer-by
crosses. Pure numpy, from frames to rectangles.

    film         brightness in time, its gradients and its changes, as pictures
    lines        where a gradient stays and stands out from the texture around it
    insets       rectangles between lines, or between lines and the picture's border
    grids        the cells between lines that run through the whole picture
    bars         what is left without borders of one color, captions in them or not
    blur         what is left without blurred borders of the same width

What moves or has no straight sides is not found here: see `windows.pyramid`. Constants
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
from sora_search.retrieval.windows import Rectangle

MAX_RECTANGLES = 4
"""Most rectangles of a query: each costs an encoding, and a collage of 2 x 2 has four."""

MIN_SIDE = 0.15
"""Least side of a rectangle, as a share of the picture's: smaller footage is not recognized."""

MAX_AREA = 0.94
"""A rectangle that covers more of the picture would tell nothing new."""

MIN_FRAMES = 4
"""With fewer, what stays in place and what moves cannot be told apart."""

MAX_FRAMES = 64
"""Of a longer query so many frames are looked at, evenly spread: it bounds time and memory."""

WORKING_SIDE = 192
"""Pictures are shrunk by whole factors while the short side stays at least so long. Insets found
at IoU .9: .69 to .78 at 144 and 160 px, .84 to .88 at 192 and 224, .81 at 288."""

MAX_LINES = 18
"""Most lines each way: 14 find 2 % less of the rounded insets at IoU .9, 24 find no more."""

EDGE_LEVELS = 2.0
"""Gray levels that an edge stands out by: at 1 spurious lines cost 2 % of the rounded insets."""

EDGE_SHARE = 0.5
"""And this share of the texture beside it: at .7 11 % of the rounded insets are lost, at .35
unedited clips get twice the windows."""

LINE_SUPPORT = 0.65
"""Share of a line's best piece, `MIN_SIDE` long, that is edge: .75 loses 2 to 7 % of insets."""

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

MIN_FRAMED_CHANGE = 4.0
"""The same inside of bars or blur, which leave less doubt: 8 loses a caption video of a room."""

EVEN_BARS_SCORE, BLUR_SCORE, BARS_SCORE, GRID_SCORE = 1.3, 1.25, 1.22, 1.2
"""What leaves less doubt comes first: few insets reach 1.2. Bars of different widths may be the
white sky in one of two blurred borders."""

MAX_LAG = 0.3
"""What scores so much less than the best is left out: else letterboxed clips get 1.9 windows,
not 1.4, and no edit is found more often."""

MAX_OVERLAP = 0.55
"""Of two rectangles with a higher IoU the worse goes: .4 loses 2 % of the rounded insets,
.7 adds .3 windows to all."""

BAR_LEVELS = 6.0
"""Gray levels that a bar of one color may vary by; 4 finds as many at CRF 32."""

MAX_PLAIN_CONTENT = 0.7
"""Share of the row behind a bar that may have its color: a face before a white wall has more."""

MIN_LONE_BAR = 0.12
"""A bar without one opposite is so wide at least: a white table in a picture was .08."""

BLUR_CONTRAST = 1.8
"""Gradient on the lines of a blurred border, in that of the columns around, geometric mean of
both lines: 2.5 loses 7 % of them, 1.5 adds .03 windows to edits without any."""

MIN_BLUR_CONTRAST = 1.2
"""The same of the weaker line; the least measured is 1.29, where black meets black."""

MIN_BLUR_LEVELS = 0.02
"""Least gradient along one of the borders, in gray levels a pixel: else it is a bar."""

BLUR_SHARPNESS = 0.6
"""Most gradient along both, as a share of that between them: the most measured is .57."""

_Map = NDArray[np.float32]
_Indices = NDArray[np.int64]
_UNIT = 4  # gray levels are kept as red + 2 green + blue
_SQUARE = _UNIT * _UNIT
_MOST_NOISE = 4.0 * _SQUARE  # where all of the picture moves, the quietest part is no noise
_STEEP = 24 * _UNIT  # one hard edge in a few frames must not pass for one in all of them
_SKIP = 3  # lines are at least so far apart, and texture is measured beyond their blur


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
    film = _Film.of(_levels(frames))
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


# Film: what all ways of looking share


def _levels(frames: Pictures) -> NDArray[np.int16]:
    """Brightness in `_UNIT` steps a gray level, shape ``(T, H, W)``, of some frames, shrunk."""
    if len(frames) > MAX_FRAMES:
        frames = frames[np.linspace(0, len(frames) - 1, MAX_FRAMES).astype(np.int64)]
    levels = frames[..., 1].astype(np.int16)
    levels *= 2
    levels += frames[..., 0]
    levels += frames[..., 2]
    factor = max(1, min(levels.shape[1:]) // WORKING_SIDE)
    if factor == 1:
        return levels
    height, width = (side // factor * factor for side in levels.shape[1:])
    total = np.zeros((len(levels), height // factor, width // factor), np.int32)
    for row in range(factor):
        for column in range(factor):
            total += levels[:, row:height:factor, column:width:factor]
    shrunk: NDArray[np.int16] = (total // factor**2).astype(np.int16)
    return shrunk


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle in pixels of the film."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        return (self.right - self.left) * (self.bottom - self.top)

    def shared(self, other: "_Box") -> int:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0, width) * max(0, height)

    def iou(self, other: "_Box") -> float:
        shared = self.shared(other)
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, slots=True, eq=False)
class _Film:
    """Pictures about all frames at once.

    Attributes:
        levels: int16, shape ``(T, H, W)``.
        noise: Mean square change where next to nothing moves.
        change: Summed mean square change, shape ``(H + 1, W + 1)``.
        upright: Of columns: what stands out there.
        lying: Of rows, likewise: the same with the axes swapped.
    """

    levels: NDArray[np.int16]
    noise: float
    change: NDArray[np.float64]
    upright: "_Direction"
    lying: "_Direction"

    @classmethod
    def of(cls, levels: NDArray[np.int16]) -> "_Film":
        steps = np.diff(levels, axis=0).astype(np.float32)
        energy = np.einsum("thw,thw->hw", steps, steps) / len(steps)
        noise = min(float(np.percentile(energy, 5)), _MOST_NOISE)
        across = _mean_gradient(levels)
        down = _mean_gradient(levels.swapaxes(1, 2))
        upright = _Lines.of(across, steps, energy, noise)
        lying = _Lines.of(down, steps.swapaxes(1, 2), energy.T, noise)
        return cls(
            levels,
            noise,
            _summed(energy),
            _Direction(upright, across.mean(axis=0), down.mean(axis=1)),
            _Direction(lying, down.mean(axis=0), across.mean(axis=1)),
        )

    @property
    def size(self) -> tuple[int, int]:
        return self.levels.shape[1], self.levels.shape[2]

    def change_in(self, box: _Box) -> float:
        """Mean square change inside, in gray levels, without the noise."""
        return (_mean_inside(self.change, box) - self.noise) / _SQUARE


@dataclass(frozen=True, slots=True, eq=False)
class _Direction:
    """What is known of the columns (or rows) of the picture.

    Attributes:
        lines: Those on which something stays.
        across: Mean gradient between one column and the next, shape ``(W - 1,)``.
        along: Mean gradient along each column, shape ``(W,)``.
    """

    lines: "_Lines"
    across: _Map
    along: _Map


def _mean_gradient(levels: NDArray[np.int16]) -> _Map:
    """Mean over time of the steps from column to column, shape ``(H, W - 1)``."""
    steps = np.abs(levels[:, :, 1:] - levels[:, :, :-1])
    np.minimum(steps, _STEEP, out=steps)
    mean: _Map = steps.mean(axis=0, dtype=np.float32)
    return mean


def _summed(values: _Map) -> NDArray[np.float64]:
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    return sums


def _mean_inside(sums: NDArray[np.float64], box: _Box) -> float:
    total = (
        sums[box.bottom, box.right]
        - sums[box.top, box.right]
        - sums[box.bottom, box.left]
        + sums[box.top, box.left]
    )
    return float(total) / max(1, box.area)


# Lines


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Upright lines on which a gradient stays for long pieces, from left to right.

    All but `places` are sums from the top of the picture down to each row: the
    difference of two columns is the sum over a piece of the line.

    Attributes:
        places: The first column right of each, shape ``(L,)``.
        edges: Rows where it is an edge, float32, shape ``(L, H + 1)``.
        joint: Product of the changes on both sides of it.
        single: Mean of their squares, without noise.
    """

    places: _Indices
    edges: _Map
    joint: _Map
    single: _Map

    @classmethod
    def of(cls, gradient: _Map, steps: _Map, energy: _Map, noise: float) -> "_Lines":
        """From the gradient between columns, and the changes ``(T - 1, H, W)`` in time."""
        stands_out, is_edge = _edges(gradient)
        # A side may fall between two columns, and be on one here, on the other there.
        either = is_edge.copy()
        either[:, 1:] |= is_edge[:, :-1]
        either[:, :-1] |= is_edge[:, 1:]
        edges = _sums(either.T)
        at = _line_places(edges, _sums(np.where(is_edge, stands_out, 0).T))
        # The two columns next to a side are mixed of both: compare those beyond.
        before, after = np.maximum(at - 1, 0), np.minimum(at + 2, energy.shape[1] - 1)
        joint = np.einsum("thw,thw->wh", steps[:, :, before], steps[:, :, after]) / len(steps)
        single = np.maximum((energy[:, before] + energy[:, after]) / 2 - noise, 0)
        return cls(at + 1, edges[at], _sums(joint), _sums(single.T))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def length(self) -> int:
        """Of the picture, in the direction of the lines."""
        return int(self.edges.shape[1]) - 1


def _edges(gradient: _Map) -> tuple[_Map, NDArray[np.bool_]]:
    """By how much each place stands out from both sides, and whether that makes it an edge."""
    num = gradient.shape[1]
    padded = np.pad(gradient, ((0, 0), (_SKIP, _SKIP)), mode="edge")
    left = padded[:, :num] + padded[:, 1 : num + 1]
    right = padded[:, 2 * _SKIP - 1 : num + 2 * _SKIP - 1] + padded[:, 2 * _SKIP :]
    texture = np.maximum(left, right) / 2
    stands_out = gradient - texture
    return stands_out, (stands_out > EDGE_LEVELS * _UNIT) & (stands_out > EDGE_SHARE * texture)


def _line_places(edges: _Map, weights: _Map) -> _Indices:
    """The best lines, not next to one another, by contrast and length."""
    length = max(4, round(MIN_SIDE * (edges.shape[1] - 1)))
    is_long = edges[:, length:] - edges[:, :-length] >= LINE_SUPPORT * length
    contrast = np.where(is_long, weights[:, length:] - weights[:, :-length], 0).max(axis=1)
    rank = contrast * np.sqrt(is_long.sum(axis=1) + length)
    places: list[int] = []
    for place in np.argsort(-rank, kind="stable").tolist():
        if rank[place] <= 0 or len(places) == MAX_LINES:
            break
        if all(abs(place - other) > _SKIP for other in places):
            places.append(place)
    return np.array(sorted(places), np.int64)


def _sums(rows: NDArray[np.generic]) -> _Map:
    sums = np.zeros((rows.shape[0], rows.shape[1] + 1), np.float32)
    np.cumsum(rows, axis=1, out=sums[:, 1:])
    return sums


# Insets


def _insets(film: _Film) -> Iterator[tuple[float, _Box]]:
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
            yield float(score[i]), _Box(int(left[i]), int(top[i]), int(right[i]), int(bottom[i]))


def _judge(
    sides: _Map, area: NDArray[np.float64], least: NDArray[np.float64]
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
    of_side = joint / (single + _SQUARE * length + 1e-6)
    is_inset = (
        (area <= MAX_AREA)
        & (support >= least[num_lines])
        & (worst >= np.where(num_lines >= 3, WORST_SIDE_SUPPORT, SIDE_SUPPORT))
        & (second >= SIDE_SUPPORT)
        & (continuity <= MAX_CONTINUITY)
        & (of_side.max(axis=0) <= MAX_SIDE_CONTINUITY)
        & (single.sum(axis=0) >= MIN_SIDE_CHANGE * _SQUARE * total)
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
        first_lines: Row in `_Lines` of its start; -1 for the border of the picture.
        last_lines: The same of its end.
    """

    starts: _Indices
    ends: _Indices
    first_lines: _Indices
    last_lines: _Indices

    @classmethod
    def of(cls, lines: _Lines, num: int) -> "_Gaps":
        places = np.concatenate([[0], lines.places, [num]])
        rows = np.concatenate([[-1], np.arange(len(lines)), [-1]])
        first, last = np.triu_indices(len(places), 1)
        is_wide = places[last] - places[first] >= MIN_SIDE * num
        first, last = first[is_wide], last[is_wide]
        return cls(places[first], places[last], rows[first], rows[last])


def _side(
    lines: _Lines, rows: _Indices, starts: _Indices, ends: _Indices
) -> tuple[_Map, _Map, _Map, _Map]:
    """Length, edges, joint and single changes of pieces of lines.

    All are 0 where the row is -1: there the border of the picture is the side.
    """
    is_line = rows >= 0
    if not len(lines):
        nothing = np.zeros(len(rows), np.float32)
        return nothing, nothing, nothing, nothing

    def between(sums: _Map) -> _Map:
        return np.where(is_line, sums[rows, ends] - sums[rows, starts], 0).astype(np.float32)

    length = np.where(is_line, ends - starts, 0).astype(np.float32)
    return length, between(lines.edges), between(lines.joint), between(lines.single)


# Grids, bars and blur


def _grid(film: _Film) -> Iterator[_Box]:
    """The cells between lines that run through the whole picture, if some do both ways."""
    height, width = film.size
    columns, rows = _through(film.upright.lines, width), _through(film.lying.lines, height)
    if len(columns) == 2 or len(rows) == 2:
        return
    for left, right in pairwise(columns):
        for top, bottom in pairwise(rows):
            is_large = right - left >= MIN_SIDE * width and bottom - top >= MIN_SIDE * height
            box = _Box(left, top, right, bottom)
            if is_large and film.change_in(box) >= MIN_INNER_CHANGE:
                yield box


def _through(lines: _Lines, num: int) -> list[int]:
    single = lines.single[:, -1] / lines.length
    is_through = (
        (lines.edges[:, -1] >= SIDE_SUPPORT * lines.length)
        & (lines.joint[:, -1] / lines.length <= MAX_CONTINUITY * (single + _SQUARE))
        & (single >= MIN_SIDE_CHANGE * _SQUARE)
    )
    return [0, *lines.places[is_through].tolist(), num]


def _inside_bars(film: _Film) -> Iterator[tuple[float, _Box]]:
    """What borders of one color leave; all four of them, where there are four."""
    height, width = film.size
    low, high = film.levels.min(axis=0), film.levels.max(axis=0)
    top, bottom = _bars(low, high)
    left, right = _bars(low.T, high.T)
    box = _Box(left, top, width - right, height - bottom)
    if _is_framed(film, box):
        is_even = _is_even(left, right, width) and _is_even(top, bottom, height)
        yield (EVEN_BARS_SCORE if is_even else BARS_SCORE), box


def _bars(low: NDArray[np.int16], high: NDArray[np.int16]) -> tuple[int, int]:
    """Rows of the bars at the top and at the bottom, by the least and most level of each pixel."""
    first, is_first_straight = _bar(low, high)
    last, is_last_straight = _bar(low[::-1], high[::-1])
    if _is_even(first, last, len(low)):
        return first, last
    first, last = first * is_first_straight, last * is_last_straight
    is_thin = max(first, last) < MIN_LONE_BAR * len(low)
    return (0, 0) if is_thin and min(first, last) == 0 else (first, last)


def _is_even(first: int, last: int, num: int) -> bool:
    return abs(first - last) <= 0.03 * num


def _bar(low: NDArray[np.int16], high: NDArray[np.int16]) -> tuple[int, bool]:
    """Rows of one color from the first one on, and whether they end at a straight line.

    Rows between that hold writing count along: it stands still.
    """
    color = int(np.median(low[0]) + np.median(high[0])) // 2
    tolerance = round(BAR_LEVELS * _UNIT)
    plain = ((high <= color + tolerance) & (low >= color - tolerance)).mean(axis=1)
    still = (high - low <= 4 * tolerance).mean(axis=1)
    is_plain = plain >= 0.97
    if not is_plain[0]:
        return 0, False
    goes_on = is_plain | ((still >= 0.9) & (plain >= 0.2))
    end = int(goes_on.argmin()) if not goes_on.all() else len(goes_on)
    end = int(np.flatnonzero(is_plain[:end])[-1]) + 1
    return end, bool(plain[min(end + _SKIP, len(plain) - 1)] <= MAX_PLAIN_CONTENT)


def _between_blur(film: _Film) -> Iterator[tuple[float, _Box]]:
    """What blurred borders of equal width leave; the best pair of lines each way."""
    height, width = film.size
    for direction in (film.upright, film.lying):
        pair = _blur_lines(direction.across, direction.along)
        if pair is None:
            continue
        start, end = pair
        is_upright = direction is film.upright
        box = _Box(start, 0, end, height) if is_upright else _Box(0, start, width, end)
        if _is_framed(film, box):
            yield BLUR_SCORE, box


def _blur_lines(across: _Map, along: _Map) -> tuple[int, int] | None:
    """Two lines as far from both borders, with blur beyond them; None without any."""
    num = len(along)
    widest = min(round((1 - MIN_SIDE) / 2 * num), num // 2 - 4)
    starts = np.arange(max(2, round(0.03 * num)), widest)
    if not len(starts):
        return None
    window = 2 * _SKIP
    padded = np.pad(across, window, mode="edge")
    beside = np.lib.stride_tricks.sliding_window_view(padded, window - _SKIP + 1).mean(axis=1)
    # Beside column i: those from i - 6 to i - 3, and from i + 3 to i + 6.
    around = np.maximum(beside[: num - 1], beside[window + _SKIP : window + _SKIP + num - 1])
    contrast = across / (around + 0.1 * _UNIT)  # a tenth of a level is what coding leaves
    sums = np.concatenate([[0], np.cumsum(along, dtype=np.float64)])
    best, best_pair = BLUR_CONTRAST, None
    for nudge in (0, -1, 1):
        ends = num - starts + nudge
        inside = (sums[ends - 2] - sums[starts + 2]) / (ends - starts - 4)
        before = sums[starts - 1] / (starts - 1)
        after = (sums[-1] - sums[ends + 1]) / np.maximum(num - ends - 1, 1)
        beyond = np.maximum(before, after)
        is_blurred = (beyond <= BLUR_SHARPNESS * inside) & (beyond >= MIN_BLUR_LEVELS * _UNIT)
        one, other = contrast[starts - 1], contrast[ends - 1]
        is_pair = is_blurred & (np.minimum(one, other) >= MIN_BLUR_CONTRAST)
        both = np.sqrt(one * other) * is_pair
        if both.max() > best:
            best, at = float(both.max()), int(both.argmax())
            best_pair = int(starts[at]), int(ends[at])
    return best_pair


def _is_framed(film: _Film, box: _Box) -> bool:
    """Whether a rectangle inside bars or blur is worth a search."""
    height, width = film.size
    is_large = (
        box.right - box.left >= MIN_SIDE * width and box.bottom - box.top >= MIN_SIDE * height
    )
    is_part = box.area <= MAX_AREA * width * height
    return is_large and is_part and film.change_in(box) >= MIN_FRAMED_CHANGE


# The choice


def _best_boxes(film: _Film) -> list[_Box]:
    framed = [*_inside_bars(film), *_between_blur(film)]
    found = [*framed, *((GRID_SCORE, box) for box in _grid(film))]
    for score, box in _insets(film):
        # What lies in a blurred border is the picture once more, and worse.
        is_inside = all(box.shared(frame) >= 0.5 * box.area for _, frame in framed)
        if is_inside:
            found.append((score, box))
    found.sort(key=lambda scored: -scored[0])
    chosen: list[_Box] = []
    passed: list[_Box] = []
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
