"""Footage in a round frame: circles that stay where they are while the query moves.

A circle is where nearly all frames have an edge nearly all the way round, and fewer beside it.
Voting proposes some, by the places at which most frames have an edge.

Source: circles by gradient voting, as OpenCV's `HOUGH_GRADIENT_ALT` does it.
"""

from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.media.clips import Pictures
from sora_search.retrieval.film import MIN_SIDE, SQUARE, Map, frame_edges, levels_of
from sora_search.retrieval.windows import Rectangle

# Chosen on 16 insets in a circle of the suite `choose`, and 32 clips of it without a circle.

MIN_FRAMES, MAX_FRAMES = 4, 16
"""With fewer, what stays in place and what moves cannot be told apart; more tell no more."""

RADII = 0.09, 0.36
"""Least and most, as shares of the short side: smaller footage is not recognized."""

STEEPNESS, ROUNDNESS = 60, 0.5
"""Edges that vote, in 255ths of all frames, and how round what they find must be. With the mean of
all frames and their changes beside it no more of the 16 are found, and more that are none."""

MAX_PROPOSED = 6
"""Circles that are looked at."""

MIN_EDGE, MIN_CLEAR = 0.86, 0.3
"""Share of frames with an edge, all around, and share of the circle where it stands out: insets
that are found have as much, and so has one of the clips without."""

CLEAR_EDGE = 0.1
"""By so much must the share of frames with an edge be higher than beside it."""

MIN_INNER_CHANGE = 0.5
"""Mean square change inside, in gray levels: a logo has less, and so has one inset of 16."""

CLOSE, BESIDE = (-1, 0, 1), (-5, -4, 4, 5)
"""Pixels around a circle that count as on it, and as beside it."""

STEPS = (2.0, 1.0)
"""Pixels by which what voting proposes is moved, and made larger or smaller, while that is better:
votes are counted in cells of 1.5."""

NUM_ANGLES = 120
"""Places of a circle that are looked at."""

_Circle = tuple[float, float, float]
"""Its middle (x, y) and its radius, in pixels."""


def find_circles(frames: Pictures) -> list[Rectangle]:
    """Find the round frame in a query, if it has one.

    Args:
        frames: uint8 RGB, shape ``(T, H, W, 3)``, as for `rectangles.find_rectangles`.

    Returns:
        The square around the best circle; empty if there is none.
    """
    if len(frames) < MIN_FRAMES or min(frames.shape[1:3]) < 2 / MIN_SIDE:
        return []
    some = np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).astype(np.int64)
    levels = levels_of(frames[some])
    height, width = levels.shape[1:]
    edges = np.zeros((height, width), np.float32)
    edges[:, :-1] = frame_edges(levels).mean(axis=0)
    lying = frame_edges(levels.swapaxes(1, 2)).mean(axis=0).T
    edges[:-1] = np.maximum(edges[:-1], lying)
    proposed = sorted(_proposed(edges), key=lambda circle: -_edge(edges, circle))
    best = max(
        (_moved(edges, circle) for circle in proposed[:MAX_PROPOSED]),
        key=lambda circle: _edge(edges, circle),
        default=None,
    )
    if best is None or _edge(edges, best) < MIN_EDGE or _clearness(edges, best) < MIN_CLEAR:
        return []
    x, y, radius = best
    if _change_inside(levels, best) < MIN_INNER_CHANGE:
        return []
    left, top = max(0.0, (x - radius) / width), max(0.0, (y - radius) / height)
    right, bottom = min(1.0, (x + radius) / width), min(1.0, (y + radius) / height)
    return [Rectangle(left, top, right - left, bottom - top)]


def _proposed(edges: Map) -> Iterator[_Circle]:
    least, most = _radii(edges)
    circles = cv2.HoughCircles(
        (edges * 255).astype(np.uint8),
        cv2.HOUGH_GRADIENT_ALT,
        1.5,
        8,
        param1=STEEPNESS,
        param2=ROUNDNESS,
        minRadius=int(least),
        maxRadius=int(most),
    )
    if circles is not None:
        yield from map(tuple, circles[0][:, :3].tolist())


def _radii(edges: Map) -> tuple[float, float]:
    least, most = (share * min(edges.shape) for share in RADII)
    return least, most


def _moved(edges: Map, circle: _Circle) -> _Circle:
    """The best circle close to one."""
    least, most = _radii(edges)
    for step in STEPS:
        while True:
            steps = product((-step, 0.0, step), repeat=3)
            near = [
                (circle[0] + x, circle[1] + y, circle[2] + r)
                for x, y, r in steps
                if least <= circle[2] + r <= most
            ]
            better = max(near, key=lambda other: _edge(edges, other), default=circle)
            if _edge(edges, better) <= _edge(edges, circle):
                break
            circle = better
    return circle


def _edge(edges: Map, circle: _Circle) -> float:
    """Share of frames with an edge on a circle, in the mean all the way round."""
    return float(_around(edges, circle, CLOSE).mean())


def _clearness(edges: Map, circle: _Circle) -> float:
    """Share of a circle that has clearly more edge than what is beside it."""
    beside = _around(edges, circle, BESIDE)
    return float((_around(edges, circle, CLOSE) > beside + CLEAR_EDGE).mean())


def _change_inside(levels: NDArray[np.int16], circle: _Circle) -> float:
    """Mean square change from frame to frame, in gray levels, in the middle of a circle."""
    x, y, half = circle[0], circle[1], circle[2] / 2
    inner = levels[:, round(y - half) : round(y + half), round(x - half) : round(x + half)]
    return float((np.diff(inner, axis=0).astype(np.float32) ** 2).mean()) / SQUARE


def _around(edges: Map, circle: _Circle, away: tuple[int, ...]) -> Map:
    """The most edge at some pixels from a circle, for each direction; none beyond the border."""
    x, y, radius = circle
    angles = np.linspace(0, 2 * np.pi, NUM_ANGLES, endpoint=False)
    radii = radius + np.array(away, np.float64)[:, None]
    columns = np.floor(x + radii * np.cos(angles)).astype(np.int64)
    rows = np.floor(y + radii * np.sin(angles)).astype(np.int64)
    height, width = edges.shape
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    read = edges[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    most: Map = np.where(is_inside, read, 0).max(axis=0)
    return most
