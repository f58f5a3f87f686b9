"""Where one picture lies in another: from features of pairs of frames to one placement.

Pure numpy: the features themselves are found by `footage`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sora_search.retrieval.geometry import (
    TOLERANCE,
    PointMatches,
    fit_affine,
    fit_homography,
    fit_moving,
)

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

MAX_RATIO = 0.8
"""How much more alike than the next best a match must be."""

MIN_CELLS = 8
"""Cells of a geometry; 50 pairs of other videos had at most 6."""

MIN_AGREEING = 0.3
"""Matches of the middle pair of frames that obey one geometry, as a share of the best pair's:
below, as for each of 10 insets that crossed the picture, it may be moving."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where the indexed picture lies in the query picture.

    `matrices`, shape ``(P, 3, 3)``, hold at `times_s` of the query; one alone holds always, of
    several the last element is 1.
    """

    matrices: Floats
    times_s: Floats
    cells: int

    @property
    def is_moving(self) -> bool:
        """Whether the place changes with time."""
        return len(self.matrices) > 1

    @property
    def is_mirrored(self) -> bool:
        """Whether left and right are exchanged."""
        return bool(np.linalg.det(self.matrices[0, :2, :2]) < 0)

    def at(self, times_s: Floats) -> Floats:
        """One matrix a time, shape ``(T, 3, 3)``."""
        if not self.is_moving:
            return np.repeat(self.matrices, len(times_s), axis=0)
        # Linear between known times, and on beyond the outer ones.
        left = np.clip(np.searchsorted(self.times_s, times_s) - 1, 0, len(self.times_s) - 2)
        share = (times_s - self.times_s[left]) / np.diff(self.times_s)[left]
        first, second = self.matrices[left], self.matrices[left + 1]
        return np.asarray(first + share[:, None, None] * (second - first))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """RootSIFT of one picture (Arandjelovic and Zisserman, CVPR 2012)."""

    points: Floats
    sizes: Floats
    angles: Floats
    descriptors: Floats32

    def mirrored(self, width: int) -> "Features":
        """Those of the mirrored picture, which need not be looked at."""
        return Features(
            self.points * [-1, 1] + [width, 0],
            self.sizes,
            np.pi - self.angles,
            self.descriptors[:, _MIRRORED_ORDER],
        )


# A mirrored descriptor has its rows of cells reversed, and direction k becomes -k.
_MIRRORED_ORDER = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()


def whole_picture(
    video_size: tuple[int, int],
    query_size: tuple[int, int],
    *,
    tolerance: float = TOLERANCE,
    is_mirrored: bool = False,
) -> Floats | None:
    """The geometry of the whole picture as it is, between sizes (H, W); None if shapes differ."""
    scale = np.divide(query_size[::-1], video_size[::-1])
    if abs(scale[0] / scale[1] - 1) > tolerance:
        return None
    matrix = np.diag([*scale, 1.0])
    return np.asarray(matrix @ _flip(video_size[1])) if is_mirrored else matrix


def _flip(width: int) -> Floats:
    return np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]])


def place_features(
    video: Sequence[Features],
    query: Sequence[Features],
    *,
    width: int,
    times_s: Floats,
    tolerance: float,
    is_upright: bool = False,
) -> Placement | None:
    """The placement that pairs of frames agree on, plain or mirrored.

    Args:
        video: Features of the frames of the indexed video.
        query: Those of the frames of the query that may show the same, one each.
        width: Of the indexed picture, in pixels.
        times_s: When the frames of the query are shown, increasing.
        tolerance: How many pixels of the query a feature may miss its place by.
        is_upright: Whether the picture was scaled and moved at most.

    Returns:
        The placement with more cells of the two; None if there is none.
    """
    plain, swapped = (
        _place(_matched(side, query), times_s, tolerance, is_upright)
        for side in (video, [features.mirrored(width) for features in video])
    )
    if swapped is None or (plain is not None and plain.cells >= swapped.cells):
        return plain
    return replace(swapped, matrices=swapped.matrices @ _flip(width))


def _matched(video: Sequence[Features], query: Sequence[Features]) -> PointMatches:
    pairs = enumerate(zip(video, query, strict=True))
    return PointMatches.joined([_match(theirs, ours, pair) for pair, (theirs, ours) in pairs])


def _match(video: Features, query: Features, pair: int) -> PointMatches:
    """Features of the indexed picture with the one of the query that is clearly most alike."""
    likeness = video.descriptors @ query.descriptors.T
    if likeness.shape[0] < 1 or likeness.shape[1] < 2:
        return PointMatches.joined([])
    rows, nearest = np.arange(len(likeness)), likeness.argmax(axis=1)
    highest = likeness[rows, nearest]
    likeness[rows, nearest] = -np.inf
    away, next_away = (
        np.sqrt(np.maximum(0.0, 2 - 2 * side)) for side in (highest, likeness.max(axis=1))
    )
    ratio = away.astype(np.float64) / np.maximum(next_away, 1e-6)
    kept = np.flatnonzero(ratio < MAX_RATIO)
    best = nearest[kept]
    return PointMatches(
        video.points[kept],
        query.points[best],
        query.sizes[best] / video.sizes[kept],
        query.angles[best] - video.angles[kept],
        ratio[kept],
        np.full(len(kept), pair),
    )


def _place(
    matches: PointMatches, times_s: Floats, tolerance: float, is_upright: bool
) -> Placement | None:
    fit = fit_affine(matches, tolerance=tolerance, is_upright=is_upright)
    if is_upright:
        return Placement(fit.matrix[None], times_s[:1], fit.cells) if fit else None
    if fit is not None:
        fit = fit_homography(fit, matches, tolerance=tolerance) or fit
    cells = fit.cells if fit else 0
    num_inliers = np.bincount(matches.pairs, fit.inliers if fit else None, len(times_s))
    if fit is None or np.median(num_inliers) < MIN_AGREEING * num_inliers.max():
        moving = fit_moving(matches, num_pairs=len(times_s), tolerance=tolerance)
        if moving is not None and moving.cells > 1.5 * cells:
            at_s = times_s[moving.pairs]
            if (np.diff(at_s) > 0).all():
                return Placement(moving.matrices, at_s, moving.cells)
    return Placement(fit.matrix[None], times_s[:1], cells) if fit else None
