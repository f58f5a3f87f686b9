"""What stays and what changes in the pictures of a query, and the lines between them.

    Film         brightness in time, its changes, and both directions of the picture
    Direction    of the columns (or rows): their lines, and the gradients across and along
    Lines        where a gradient stays and stands out from the texture around it

`rectangles` and `borders` are found in it; the first says on what the constants of all three
were chosen. `drifting` and `circles` look at its levels and edges frame by frame. Pure numpy.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sora_search.media.clips import Pictures

MAX_FRAMES = 64
"""Of a longer query so many frames are looked at, evenly spread: it bounds time and memory."""

WORKING_SIDE = 192
"""Pictures are shrunk by whole factors while the short side stays at least so long. Insets found
at IoU .9: .69 to .78 at 144 and 160 px, .84 to .88 at 192 and 224, .81 at 288."""

MIN_SIDE = 0.15
"""Least side of a rectangle, as a share of the picture's: smaller footage is not recognized."""

MAX_LINES = 18
"""Most lines each way: 14 find 2 % less of the rounded insets at IoU .9, 24 find no more."""

EDGE_LEVELS = 2.0
"""Gray levels that an edge stands out by: at 1 spurious lines cost 2 % of the rounded insets."""

EDGE_SHARE = 0.5
"""And this share of the texture beside it: at .7 11 % of the rounded insets are lost, at .35
unedited clips get twice the windows."""

LINE_SUPPORT = 0.65
"""Share of a line's best piece, `MIN_SIDE` long, that is edge: .75 loses 2 to 7 % of insets."""

MAX_AREA = 0.94
"""A rectangle that covers more of the picture would tell nothing new."""

Map = NDArray[np.float32]
_Item = TypeVar("_Item", np.uint8, np.float64)
Indices = NDArray[np.int64]
UNIT = 4  # gray levels are kept as red + 2 green + blue
SQUARE = UNIT * UNIT
_MOST_NOISE = 4.0 * SQUARE  # where all of the picture moves, the quietest part is no noise
_STEEP = 24 * UNIT  # one hard edge in a few frames must not pass for one in all of them
SKIP = 3  # lines are at least so far apart, and texture is measured beyond their blur


def levels_of(frames: Pictures) -> NDArray[np.int16]:
    """Brightness in `UNIT` steps a gray level, shape ``(T, H, W)``, of some frames, shrunk."""
    frames = some_of(frames)
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


def some_of(frames: NDArray[_Item]) -> NDArray[_Item]:
    """At most `MAX_FRAMES` of the frames, or of what there is one of for each; evenly spread."""
    if len(frames) <= MAX_FRAMES:
        return frames
    return frames[np.linspace(0, len(frames) - 1, MAX_FRAMES).astype(np.int64)]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the film."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """In square pixels."""
        return (self.right - self.left) * (self.bottom - self.top)

    def shared(self, other: "Box") -> int:
        """Square pixels that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0, width) * max(0, height)

    def iou(self, other: "Box") -> float:
        """What both cover, as a share of what either does."""
        shared = self.shared(other)
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, slots=True, eq=False)
class Film:
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
    upright: "Direction"
    lying: "Direction"

    @classmethod
    def of(cls, levels: NDArray[np.int16]) -> "Film":
        """From what `levels_of` gives."""
        steps = np.diff(levels, axis=0).astype(np.float32)
        energy = np.einsum("thw,thw->hw", steps, steps) / len(steps)
        noise = min(float(np.percentile(energy, 5)), _MOST_NOISE)
        across = _mean_gradient(levels)
        down = _mean_gradient(levels.swapaxes(1, 2))
        upright = Lines.of(across, steps, energy, noise)
        lying = Lines.of(down, steps.swapaxes(1, 2), energy.T, noise)
        return cls(
            levels,
            noise,
            _summed(energy),
            Direction(upright, across.mean(axis=0), down.mean(axis=1)),
            Direction(lying, down.mean(axis=0), across.mean(axis=1)),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in its pixels."""
        return self.levels.shape[1], self.levels.shape[2]

    def change_in(self, box: Box) -> float:
        """Mean square change inside, in gray levels, without the noise."""
        return (_mean_inside(self.change, box) - self.noise) / SQUARE


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """What is known of the columns (or rows) of the picture.

    Attributes:
        lines: Those on which something stays.
        across: Mean gradient between one column and the next, shape ``(W - 1,)``.
        along: Mean gradient along each column, shape ``(W,)``.
    """

    lines: "Lines"
    across: Map
    along: Map


def _mean_gradient(levels: NDArray[np.int16]) -> Map:
    """Mean over time of the steps from column to column, shape ``(H, W - 1)``."""
    steps = np.abs(levels[:, :, 1:] - levels[:, :, :-1])
    np.minimum(steps, _STEEP, out=steps)
    mean: Map = steps.mean(axis=0, dtype=np.float32)
    return mean


def frame_edges(levels: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Where each frame has an upright edge, give or take a column, shape ``(T, H, W - 1)``."""
    steps = np.abs(np.diff(levels, axis=2)).astype(np.float32)
    is_edge = _edges_of(steps.reshape(-1, steps.shape[2]))[1].reshape(steps.shape)
    return widened(is_edge)


def widened(is_edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Edges and what is next to them, in the last axis.

    A side may fall between two columns, and be on one here, on the other there.
    """
    either = is_edge.copy()
    either[..., 1:] |= is_edge[..., :-1]
    either[..., :-1] |= is_edge[..., 1:]
    return either


def _summed(values: Map) -> NDArray[np.float64]:
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(np.cumsum(values, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    return sums


def _mean_inside(sums: NDArray[np.float64], box: Box) -> float:
    total = (
        sums[box.bottom, box.right]
        - sums[box.top, box.right]
        - sums[box.bottom, box.left]
        + sums[box.top, box.left]
    )
    return float(total) / max(1, box.area)


# Lines


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Upright lines on which a gradient stays for long pieces, from left to right.

    All but `places` are sums from the top of the picture down to each row: the
    difference of two columns is the sum over a piece of the line.

    Attributes:
        places: The first column right of each, shape ``(L,)``.
        edges: Rows where it is an edge, float32, shape ``(L, H + 1)``.
        joint: Product of the changes on both sides of it.
        single: Mean of their squares, without noise.
    """

    places: Indices
    edges: Map
    joint: Map
    single: Map

    @classmethod
    def of(cls, gradient: Map, steps: Map, energy: Map, noise: float) -> "Lines":
        """From the gradient between columns, and the changes ``(T - 1, H, W)`` in time."""
        stands_out, is_edge = _edges_of(gradient)
        edges = sums_along(widened(is_edge).T)
        at = _line_places(edges, sums_along(np.where(is_edge, stands_out, 0).T))
        # The two columns next to a side are mixed of both: compare those beyond.
        before, after = np.maximum(at - 1, 0), np.minimum(at + 2, energy.shape[1] - 1)
        joint = np.einsum("thw,thw->wh", steps[:, :, before], steps[:, :, after]) / len(steps)
        single = np.maximum((energy[:, before] + energy[:, after]) / 2 - noise, 0)
        return cls(at + 1, edges[at], sums_along(joint), sums_along(single.T))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def length(self) -> int:
        """Of the picture, in the direction of the lines."""
        return int(self.edges.shape[1]) - 1


def _edges_of(gradient: Map) -> tuple[Map, NDArray[np.bool_]]:
    """By how much each place stands out from both sides, and whether that makes it an edge.

    The gradient is that from column to column, shape ``(H, W - 1)``; each row is for itself.
    """
    num = gradient.shape[1]
    padded = np.pad(gradient, ((0, 0), (SKIP, SKIP)), mode="edge")
    left = padded[:, :num] + padded[:, 1 : num + 1]
    right = padded[:, 2 * SKIP - 1 : num + 2 * SKIP - 1] + padded[:, 2 * SKIP :]
    texture = np.maximum(left, right) / 2
    stands_out = gradient - texture
    return stands_out, (stands_out > EDGE_LEVELS * UNIT) & (stands_out > EDGE_SHARE * texture)


def _line_places(edges: Map, weights: Map) -> Indices:
    """The best lines, not next to one another, by contrast and length."""
    length = max(4, round(MIN_SIDE * (edges.shape[1] - 1)))
    is_long = edges[:, length:] - edges[:, :-length] >= LINE_SUPPORT * length
    contrast = np.where(is_long, weights[:, length:] - weights[:, :-length], 0).max(axis=1)
    rank = contrast * np.sqrt(is_long.sum(axis=1) + length)
    places: list[int] = []
    for place in np.argsort(-rank, kind="stable").tolist():
        if rank[place] <= 0 or len(places) == MAX_LINES:
            break
        if all(abs(place - other) > SKIP for other in places):
            places.append(place)
    return np.array(sorted(places), np.int64)


def sums_along(rows: NDArray[np.generic]) -> Map:
    """Sums of each row up to each place, shape ``(R, C + 1)``: two of them give any piece's."""
    sums = np.zeros((rows.shape[0], rows.shape[1] + 1), np.float32)
    np.cumsum(rows, axis=1, out=sums[:, 1:])
    return sums
