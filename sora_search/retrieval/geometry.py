"""How one picture lies in another: fitted to matched points, and told in words. Pure numpy.

A geometry is a 3x3 matrix that takes places of the indexed picture to places of the
query picture. Each match of two features says by itself how the picture was scaled,
turned and moved, so each is a hypothesis, and the one that most others agree with is
refined: that needs no chance and still works where one match in twenty is right.

Source: single-match hypotheses of Philbin et al., CVPR 2007.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FoundEdit

Floats = NDArray[np.float64]

CELL_SIDE = 8.0
"""Pixels of a cell at 256 on the short side: several features of one corner count once."""

TOLERANCE = 0.015
"""Share of the query picture's longer side that a match may miss its place by."""

MAX_HYPOTHESES = 200
"""Matches that are tried as hypotheses, the clearest first."""

MAX_STRETCH = 3.0
"""Most that one direction may be stretched against the other: beyond, a fit has collapsed."""

SCALES = (0.08, 12.0)
"""Least and most enlargement: a tenth of the width is the smallest inset with features."""

MIN_HOMOGRAPHY_CELLS = 20
"""Cells that eight parameters need before they can be trusted over six."""

HOMOGRAPHY_GAIN = 0.75
"""A homography replaces an affine map where it leaves at most this share of the error."""


@dataclass(frozen=True, slots=True, eq=False)
class PointMatches:
    """Features of the indexed picture that look like features of the query picture.

    Attributes:
        video_points: float64 places in the indexed picture, shape ``(N, 2)``.
        query_points: float64 places in the query picture, shape ``(N, 2)``.
        scales: How much larger each feature is in the query picture, shape ``(N,)``.
        turns: By how many radians it is turned there, shape ``(N,)``.
        clearness: Ratio to the next best match, lower is clearer, shape ``(N,)``.
        pairs: Which pair of frames each comes from, shape ``(N,)``.
    """

    video_points: Floats
    query_points: Floats
    scales: Floats
    turns: Floats
    clearness: Floats
    pairs: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.video_points)

    def __repr__(self) -> str:
        return f"PointMatches({len(self)})"

    @classmethod
    def joined(cls, parts: Sequence["PointMatches"]) -> "PointMatches":
        """Those of several pairs of frames; empty without any."""
        none = np.empty(0)
        parts = [
            cls(np.empty((0, 2)), np.empty((0, 2)), none, none, none, none.astype(int)),
            *parts,
        ]
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "PointMatches":
        """Some of them."""
        return PointMatches(
            self.video_points[rows],
            self.query_points[rows],
            self.scales[rows],
            self.turns[rows],
            self.clearness[rows],
            self.pairs[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class MovingFit:
    """One shape that lies elsewhere in each pair of frames.

    Attributes:
        matrices: float64, one for each pair in which it is found, shape ``(P, 3, 3)``.
        pairs: The numbers of these pairs, shape ``(P,)``.
        cells: Unique cells among the inliers of all.
    """

    matrices: Floats
    pairs: NDArray[np.int64]
    cells: int


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A geometry with what speaks for it.

    Attributes:
        matrix: float64, shape ``(3, 3)``.
        inliers: Which of the matches obey it, shape ``(N,)``.
        cells: Unique cells among them, on the side that has fewer.
        error: Root of the mean squared error of the inliers, in pixels.
    """

    matrix: Floats
    inliers: NDArray[np.bool_]
    cells: int
    error: float


def fit_affine(matches: PointMatches, *, tolerance: float, is_upright: bool = False) -> Fit | None:
    """The affine map that most matches obey to within `tolerance` pixels; None if there is none.

    An upright one scales and moves, and does not turn: four numbers, which few matches tell.
    """
    if len(matches) < 3:
        return None
    tried = matches.take(np.argsort(matches.clearness, kind="stable")[:MAX_HYPOTHESES])
    linear = tried.scales[:, None, None] * _rotations(
        0 * tried.turns if is_upright else tried.turns
    )
    shift = tried.query_points - np.einsum("hij,hj->hi", linear, tried.video_points)
    missed_x, missed_y = (
        linear[:, i] @ matches.video_points.T + (shift[:, i, None] - matches.query_points[:, i])
        for i in range(2)
    )
    # A single feature knows its own scale and turn only roughly.
    votes = (missed_x**2 + missed_y**2 < (3 * tolerance) ** 2).sum(axis=1)
    best: Fit | None = None
    known: set[tuple[int, bytes]] = set()
    for row in np.argsort(-votes, kind="stable")[:8]:
        start = np.eye(3)
        start[:2, :2], start[:2, 2] = linear[row], shift[row]
        fit = _refined(start, matches, tolerance, known, is_upright=is_upright)
        if fit is not None and (best is None or _rank(fit) > _rank(best)):
            best = fit
    return best


def fit_homography(start: Fit, matches: PointMatches, *, tolerance: float) -> Fit | None:
    """A homography near an affine map, where it fits clearly better; else None."""
    if start.cells < MIN_HOMOGRAPHY_CELLS:
        return None
    matrix = start.matrix
    near = _errors(matrix, matches) < 2.5 * tolerance
    for _ in range(5):
        found = _least_squares_homography(matches.video_points[near], matches.query_points[near])
        if found is None or not is_plausible(found, matches.video_points[near]):
            return None
        matrix = found
        near = _errors(matrix, matches) < tolerance
        if near.sum() < MIN_HOMOGRAPHY_CELLS:
            return None
    fit = _judged(matrix, matches, near)
    error_before = _rms(_errors(start.matrix, matches)[near])
    gains = fit.error < HOMOGRAPHY_GAIN * error_before and fit.cells >= start.cells
    return fit if gains or fit.cells > 1.3 * start.cells else None


def fit_moving(matches: PointMatches, *, num_pairs: int, tolerance: float) -> MovingFit | None:
    """The shape that best fits one pair of frames, found again elsewhere in the others.

    An inset that moves does so; None if fewer than two pairs have it.
    """
    fits = [
        fit_affine(matches.take(matches.pairs == pair), tolerance=tolerance)
        for pair in range(num_pairs)
    ]
    best = max((fit for fit in fits if fit), key=lambda fit: fit.cells, default=None)
    if best is None:
        return None
    shifts = matches.query_points - matches.video_points @ best.matrix[:2, :2].T
    matrices, pairs, kept = [], [], []
    for pair in range(num_pairs):
        of_pair = np.flatnonzero(matches.pairs == pair)
        if len(of_pair) == 0:
            continue
        away = np.linalg.norm(shifts[of_pair, None] - shifts[None, of_pair], axis=2) < tolerance
        center = int(away.sum(axis=1).argmax())
        agreeing = of_pair[away[center]]
        if _num_cells(matches.take(agreeing)) < 4:
            continue
        matrix = best.matrix.copy()
        matrix[:2, 2] = shifts[agreeing].mean(axis=0)
        matrices.append(matrix)
        pairs.append(pair)
        kept.append(agreeing)
    if len(pairs) < 2:
        return None
    cells = _num_cells(matches.take(np.concatenate(kept)))
    return MovingFit(np.stack(matrices), np.array(pairs), cells)


def is_plausible(matrix: Floats, points: Floats) -> bool:
    """Whether a geometry neither folds nor collapses the part of the picture around `points`."""
    slope = matrix[:2, :2] / matrix[2, 2]
    if matrix[2, :2].any():
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        depth = corners @ matrix[2, :2] + matrix[2, 2]
        if depth.min() <= 0 or depth.max() > 2.5 * depth.min():
            return False
        slope = _slope(matrix, corners.mean(axis=0))
    most, least = _stretches(*slope.ravel().tolist())
    return most <= MAX_STRETCH * least and least >= SCALES[0] and most <= SCALES[1]


def _stretches(a: float, b: float, c: float, d: float) -> tuple[float, float]:
    """Singular values of ((a, b), (c, d)): called so often that a call of numpy would count."""
    turned, mirrored = math.hypot(a + d, c - b) / 2, math.hypot(a - d, c + b) / 2
    return turned + mirrored, abs(turned - mirrored)


def moved(matrix: Floats, points: Floats) -> Floats:
    """Where a geometry takes places, shape ``(N, 2)``."""
    if not matrix[2, :2].any():
        return np.asarray((points @ matrix[:2, :2].T + matrix[:2, 2]) / matrix[2, 2])
    taken = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(taken[:, :2] / taken[:, 2:])


def _refined(
    matrix: Floats,
    matches: PointMatches,
    tolerance: float,
    known: set[tuple[int, bytes]],
    *,
    is_upright: bool,
) -> Fit | None:
    """Fitted to what obeys it, again and again; None also where others came by the same way.

    `known` holds which matches were near at each step: from there on all goes alike.
    """
    solve = _least_squares_upright if is_upright else _least_squares_affine
    for step, factor in enumerate((3.0, 2.0, 1.0, 1.0, 1.0)):
        near = _errors(matrix, matches) < factor * tolerance
        at = step, near.tobytes()
        if at in known:
            return None
        known.add(at)
        found = solve(matches.video_points[near], matches.query_points[near])
        if found is None or not is_plausible(found, matches.video_points[near]):
            return None
        matrix = found
    near = _errors(matrix, matches) < tolerance
    return _judged(matrix, matches, near) if near.sum() >= 3 else None


def _judged(matrix: Floats, matches: PointMatches, near: NDArray[np.bool_]) -> Fit:
    error = _rms(_errors(matrix, matches)[near])
    return Fit(matrix, near, _num_cells(matches.take(near)), error)


def _rank(fit: Fit) -> tuple[int, float]:
    return fit.cells, -fit.error


def _rms(errors: Floats) -> float:
    return float(np.sqrt((errors**2).mean())) if len(errors) else 0.0


def _rotations(turns: Floats) -> Floats:
    cos, sin = np.cos(turns), np.sin(turns)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def _errors(matrix: Floats, matches: PointMatches) -> Floats:
    missed = moved(matrix, matches.video_points) - matches.query_points
    return np.asarray(np.hypot(missed[:, 0], missed[:, 1]))


def _num_cells(matches: PointMatches) -> int:
    """Cells with a feature, on the side that has fewer: a collapsed fit has many on one alone."""
    sides = (matches.video_points, matches.query_points)
    return min(len(set(map(tuple, (side // CELL_SIDE).tolist()))) for side in sides)


def _least_squares_affine(source: Floats, target: Floats) -> Floats | None:
    if len(source) < 3:
        return None
    centers = source.mean(axis=0), target.mean(axis=0)
    ours = source - centers[0]
    spread = ours.T @ ours
    (a, b), (_, c) = spread.tolist()
    # Points on a line leave the direction across it open.
    middle, half = (a + c) / 2, math.hypot((a - c) / 2, b)
    if middle - half < max(1.0, 0.02**2 * (middle + half)):
        return None
    inverse = np.array([[c, -b], [-b, a]]) / (a * c - b * b)
    matrix = np.eye(3)
    matrix[:2, :2] = (target - centers[1]).T @ ours @ inverse
    matrix[:2, 2] = centers[1] - matrix[:2, :2] @ centers[0]
    return matrix


def _least_squares_upright(source: Floats, target: Floats) -> Floats | None:
    if len(source) < 2:
        return None
    centers = source.mean(axis=0), target.mean(axis=0)
    (ours, theirs) = source - centers[0], target - centers[1]
    spread = (ours**2).sum(axis=0)
    if spread.min() < len(source):  # they lie on a line
        return None
    scale = (ours * theirs).sum(axis=0) / spread
    matrix = np.diag([*scale, 1.0])
    matrix[:2, 2] = centers[1] - scale * centers[0]
    return matrix


def _least_squares_homography(source: Floats, target: Floats) -> Floats | None:
    """Direct linear transformation with both sides normalized (Hartley and Zisserman, 4.4)."""
    if len(source) < 8:
        return None
    to_source, to_target = _normalizing(source), _normalizing(target)
    (x, y), (u, v) = moved(to_source, source).T, moved(to_target, target).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate(
        [
            np.column_stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u]),
            np.column_stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v]),
        ]
    )
    _, values, basis = np.linalg.svd(rows, full_matrices=False)
    if values[7] < 1e-4 * values[0]:
        return None
    matrix = np.linalg.inv(to_target) @ basis[8].reshape(3, 3) @ to_source
    if abs(matrix[2, 2]) < 1e-9:
        return None
    return np.asarray(matrix / matrix[2, 2])


def _normalizing(points: Floats) -> Floats:
    center = points.mean(axis=0)
    scale = math.sqrt(2) / max(1e-6, float(np.linalg.norm(points - center, axis=1).mean()))
    return np.array([[scale, 0, -scale * center[0]], [0, scale, -scale * center[1]], [0, 0, 1.0]])


def _slope(matrix: Floats, point: Floats) -> Floats:
    """The linear map that a geometry is near a place, shape ``(2, 2)``."""
    x, y, depth = matrix @ np.append(point, 1.0)
    across = np.outer([x / depth, y / depth], matrix[2, :2])
    return np.asarray((matrix[:2, :2] - across) / depth)


# --- what was done to the picture ---------------------------------------------------------------


def find_edit(
    matrix: Floats,
    video_size: tuple[int, int],
    query_size: tuple[int, int],
    *,
    speed: float = 1.0,
    is_moving: bool = False,
) -> FoundEdit:
    """What a geometry between pictures of these sizes (height, width), in pixels, says."""
    to_shares = np.diag([1 / query_size[1], 1 / query_size[0], 1.0])
    shares = to_shares @ matrix @ np.diag([video_size[1], video_size[0], 1.0])
    seen = visible_outline(shares)
    shown = np.clip(moved(shares, seen), 0, 1)
    corner, extent, crop = shown.min(axis=0), np.ptp(shown, axis=0), np.ptp(seen, axis=0)
    slope = _slope(matrix, seen.mean(axis=0) * [video_size[1], video_size[0]])
    mirrored = bool(np.linalg.det(slope) < 0)
    upright = slope @ np.diag([-1.0, 1.0]) if mirrored else slope
    degrees = -math.degrees(
        math.atan2(upright[1, 0] - upright[0, 1], upright[0, 0] + upright[1, 1])
    )
    lengths = np.linalg.norm(slope, axis=0)
    depth = seen @ shares[2, :2] + shares[2, 2]
    return FoundEdit(
        matrix=shares,
        mirrored=mirrored,
        speed=speed,
        rectangle=(float(corner[0]), float(corner[1]), float(extent[0]), float(extent[1])),
        crop=(float(crop[0]), float(crop[1])),
        rotation_degrees=180.0 if degrees <= -179.995 else degrees,
        stretch=float(lengths[0] / lengths[1]),
        is_moving=is_moving,
        is_tilted=bool(depth.max() > 1.03 * depth.min()),
    )


def in_pixels(edit: FoundEdit, video_size: tuple[int, int], query_size: tuple[int, int]) -> Floats:
    """The geometry of an edit between pictures of these sizes (height, width), in pixels."""
    to_shares = np.diag([1 / video_size[1], 1 / video_size[0], 1.0])
    return np.asarray(np.diag([query_size[1], query_size[0], 1.0]) @ edit.matrix @ to_shares)


def visible_outline(shares: Floats) -> Floats:
    """Corners of what the query shows of the indexed picture, in its shares, shape ``(N, 2)``.

    The unit square is cut along the four borders of the query picture (Sutherland and
    Hodgman); the whole square where nothing of it is visible.
    """
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    outline = square
    x, y, depth = shares
    for border in (x, depth - x, y, depth - y):
        height = outline @ border[:2] + border[2]
        kept = []
        for here, (point, level) in enumerate(zip(outline, height, strict=True)):
            if (level >= 0) != (height[here - 1] >= 0):
                share = height[here - 1] / (height[here - 1] - level)
                kept.append(outline[here - 1] + share * (point - outline[here - 1]))
            if level >= 0:
                kept.append(point)
        if not kept:
            return square
        outline = np.array(kept)
    return outline
