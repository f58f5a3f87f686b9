"""A hand that shakes, taken out: where a steady picture lies in a query that was filmed by hand.

A screen that is filmed by hand sways by a few pixels, and an inset that crosses the picture lies
roughly where a few frames say. Over a picture whose camera stood still that looks like movement,
and hides what does move. Frame by frame it is what is left to shift, once the geometry is known.
Where the camera of the indexed video sways itself nothing is taken out: there the shifts would
make any two takes of a scene agree. Of an inset that crosses the picture a steady drift is left
even then, as its path is known to a pixel or two.

Source: gradient-based registration (Lucas and Kanade, IJCAI 1981), with brightness and contrast
fitted along.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sora_search.retrieval.footage import Footage, Frame
from sora_search.retrieval.overlay import GRID_POINTS, Window, pairs_at
from sora_search.retrieval.placement import Placement
from sora_search.retrieval.synchrony import Clock

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

MAX_SWAY, MAX_SWAY_PX = 0.02, 2.0
"""Share of the indexed picture's longer side that a frame may be off by, or pixels of the query: a
small inset is moved by whole ones, each of which is several of the indexed picture."""

MAX_CAMERA_STEP = 0.1
"""Pixels of the indexed video, in the median from one frame to the next, by which a camera that
stands still may seem to move."""

MIN_TRAVEL = 4.0
"""How many times farther than the sway a camera that moves must travel: the shifts cannot have
made that agree."""

REACH_S = 10.0
"""How far beyond the frames that are compared a placement is told."""

NEAR_SHIFT = 0.1
"""Points of the grid by which nothing is off any more."""

MIN_POINTS = 64
"""Points of the grid that tell a shift."""

NUM_ROUNDS, NUM_FITS = 4, 3
"""A shift of more than a point of the grid is found in some steps; and in each of them points are
left out that the fit before missed by more than most."""


def steadied(
    query: Footage,
    video: Footage,
    clock: Clock,
    placement: Placement,
    times_s: Floats,
    *,
    is_drifting: bool = False,
) -> Placement | None:
    """The placement at each of some times, with the sway of the query in it.

    An inset that drifts jumps by whole pixels, so it is told for all frames between these times.

    Args:
        query: Frames of the query.
        video: Frames of the indexed video.
        clock: Which moments of the two belong together.
        placement: Where the indexed picture lies in the query.
        times_s: Times of the query, increasing.
        is_drifting: Whether the query is an inset that crosses the picture.

    Returns:
        None where the camera of the indexed video moves and the query does not drift, or the
        shifts are too large or too few.
    """
    rows, video_rows = pairs_at(query, video, clock, times_s)
    if is_drifting and len(rows):
        rows = np.arange(rows.min(), rows.max() + 1)
        video_rows = video.nearest(clock(query.times_s[rows]))
    rows, first = np.unique(rows, return_index=True)
    video_rows = video_rows[first]
    if len(rows) < 3:
        return None
    at_s = query.times_s[rows]
    matrices = placement.at(at_s)
    window = Window.over(matrices[len(rows) // 2], video, query, GRID_POINTS)
    original = window.read([video.frames[row] for row in video_rows])
    pitch = float(window.matrix[0, 0])
    shown = original[np.unique(video_rows, return_index=True)[1]]
    camera = [_Slopes.of(one, window.covered).shift_of(then) for one, then in pairwise(shown)]
    known = [step for step in camera if step is not None]
    if not known:
        return None
    steps = pitch * np.stack(known)
    shifts = _shifts_of([query.frames[row] for row in rows], original, window, matrices)
    # Before and after these frames nothing sways.
    all_s = np.concatenate([[at_s[0] - REACH_S], at_s, [at_s[-1] + REACH_S]])
    drift = _steady_part(at_s, shifts, all_s) if is_drifting else np.zeros((len(all_s), 2))
    sways = shifts - drift[1:-1]
    scale = math.sqrt(abs(float(np.linalg.det(matrices[0, :2, :2]))))
    if np.abs(sways).max() > max(MAX_SWAY * max(video.size), MAX_SWAY_PX / scale):
        return None
    is_still = np.median(np.linalg.norm(steps, axis=1)) <= MAX_CAMERA_STEP
    travel, sway = (np.ptp(path, axis=0).max() for path in (np.cumsum(steps, axis=0), sways))
    if not is_still and travel < MIN_TRAVEL * sway:
        if not is_drifting:
            return None
    else:
        drift[1:-1] = shifts
    return Placement(_moved_back(placement.at(all_s), drift), all_s, placement.cells)


def _shifts_of(
    frames: Sequence[Frame], original: Floats32, window: Window, matrices: Floats
) -> Floats:
    """By how much (x, y) of the indexed picture each frame is off its placement, ``(T, 2)``."""
    pitch = float(window.matrix[0, 0])
    shifts = np.zeros((len(frames), 2))
    slopes = [_Slopes.of(picture, window.covered) for picture in original]
    for _ in range(NUM_ROUNDS):
        laid, farthest = window.read(frames, _moved_back(matrices, shifts)), 0.0
        for place, (ours, theirs) in enumerate(zip(laid, slopes, strict=True)):
            shift = theirs.shift_of(ours)
            if shift is not None:
                shifts[place] += shift * pitch
                farthest = max(farthest, float(np.abs(shift).max()))
        if farthest < NEAR_SHIFT:
            break
    return shifts


def _moved_back(matrices: Floats, shifts: Floats) -> Floats:
    """Placements ``(T, 3, 3)`` of an indexed picture that is found shifted by ``(T, 2)``."""
    back = np.tile(np.eye(3), (len(shifts), 1, 1))
    back[:, :2, 2] = -shifts
    moved = matrices @ back
    return np.asarray(moved / moved[:, 2:, 2:])


def _steady_part(times_s: Floats, shifts: Floats, wanted_s: Floats) -> Floats:
    """At some times, straight lines through ``(T, 2)`` shifts that do not bend to single ones."""
    weights = np.ones(len(times_s))
    terms, wanted = (
        np.stack([at_s - times_s.mean(), np.ones(len(at_s))], 1) for at_s in (times_s, wanted_s)
    )
    lines = np.zeros((len(wanted_s), 2))
    for _ in range(NUM_FITS):
        solved = np.linalg.lstsq(terms * weights[:, None], shifts * weights[:, None], rcond=None)[0]
        missed = np.linalg.norm(shifts - terms @ solved, axis=1)
        weights = (missed <= 2 * np.median(missed)).astype(np.float64)
        lines[:] = wanted @ solved
    return lines


@dataclass(frozen=True, slots=True, eq=False)
class _Slopes:
    """A picture on a grid, and how it changes along x and y: all that a small shift can do to it.

    `terms`, shape ``(N, 4)``, are the levels, both slopes and 1 at the points that are `inside`,
    shape ``(P,)``.
    """

    terms: Floats
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, picture: Floats32, covered: NDArray[np.bool_]) -> "_Slopes":
        whole = np.full(covered.shape, np.nan, np.float32)
        whole[covered] = picture
        down, across = np.gradient(whole)
        there = np.isfinite(down) & np.isfinite(across) & covered
        columns = [whole[there], across[there], down[there], np.ones(int(there.sum()), np.float32)]
        return cls(np.stack(columns, 1).astype(np.float64), there[covered])

    def shift_of(self, moved: Floats32) -> Floats | None:
        """By how many points (x, y) another picture is shifted; None without texture.

        That is at a place what this one is at the place plus the shift.
        """
        if len(self.terms) < MIN_POINTS:
            return None
        wanted = moved[self.inside].astype(np.float64)
        terms, levels = self.terms, wanted
        for _ in range(NUM_FITS):
            solved, _, rank, _ = np.linalg.lstsq(terms.T @ terms, terms.T @ levels, rcond=1e-9)
            if rank < len(solved) or solved[0] <= 0.1:
                return None
            # What moves on its own says nothing about the hand.
            missed = np.abs(self.terms @ solved - wanted)
            kept = np.flatnonzero(missed <= 2 * np.median(missed))
            terms, levels = self.terms[kept], wanted[kept]
        return np.asarray(solved[1:3] / solved[0])
