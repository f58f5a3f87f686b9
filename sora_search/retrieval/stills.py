"""One picture against a stretch of video: the moment at which the video shows it.

A still picture has no motion of its own, but the video has: what is different at each of
its moments from the mean of all (the hand here, the car there) must be there in the picture too.
That tells the moment, and where some of the picture changes it tells the footage from another take.

The other way round, an indexed video of a single frame is looked for in the query.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan
from sora_search.retrieval.footage import Footage
from sora_search.retrieval.geometry import TOLERANCE, is_plausible
from sora_search.retrieval.overlay import (
    FROM_MIDDLES,
    GRID_POINTS,
    SAME_BLOCK,
    TO_MIDDLES,
    Window,
    correlate_blocks,
)
from sora_search.retrieval.placement import (
    MIN_CELLS,
    Placement,
    place_features,
    whole_picture,
)
from sora_search.retrieval.synchrony import MIN_CHANGE

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Integers = NDArray[np.int64]

NUM_TRIED = 7
"""Moments at which a geometry is looked for before the best of them is followed."""

EXACT_LIKENESS = 0.97
"""Mean correlation of the blocks from which on no other geometry is looked for, nor this one fitted
to the pixels."""

SAME_SCENE = 0.5
"""Frames belong to the scene whose mean counts if they look like the picture by this share."""

MIN_BLOCKS = 8
"""Textured blocks, of about 80, below which a picture holds too little to be recognized by."""

MAX_LIVE = 0.6
"""Where more of the picture changes the camera moves: another take looks alike from somewhere, but
not by `EXACT_LIKENESS`."""

MIN_LIVE = 4
"""Blocks that change, of about 80, below which what changes may agree by chance."""

TONE_DEGREE = 3
"""Of the curve from the gray levels of one side to those of the other: a gamma bends it."""

MAX_ALIGNING_STEPS, ALIGNING_BLUR = 40, 5
"""Of fitting a geometry to the pixels, and the side in pixels of the blur before."""

SLACK = 0.03
"""The moment lasts as long as the video agrees with the picture as well, less this."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """Where and when the moving side shows the still one.

    Attributes:
        placement: Where the indexed picture lies in the query picture.
        span: When, on the moving side.
        appearance: Share of the textured blocks that look the same, in [0, 1].
        motion: Correlation of what is different at this moment from the mean of all, in
            [-1, 1]; None where hardly anything changes.
        likeness: Mean correlation of the textured blocks.
        num_blocks: How many these are.
    """

    placement: Placement
    span: TimeSpan
    appearance: float
    motion: float | None
    likeness: float
    num_blocks: int


def find_moments(query: Footage, video: Footage) -> list[Moment]:
    """Where the side with more frames may show the one frame of the other.

    Returns:
        The best moment of the whole picture as it is and, unless that is certain, of the geometry
        that features tell; empty if they tell none.
    """
    pair = _Pair(query, video)
    whole = pair.whole()
    moments = [pair.best_moment(whole)] if whole else []
    if moments and moments[0].likeness >= EXACT_LIKENESS:
        return moments
    placement = pair.search()
    if placement is None or placement.cells < MIN_CELLS:
        return []
    moment = pair.best_moment(placement)
    moments.append(moment)
    again = pair.place(pair.nearest(moment.span.middle_s))
    if again is not None and again.cells >= MIN_CELLS:
        moments.append(pair.best_moment(again))
    return moments


def moment_of(query: Footage, video: Footage, moment: Moment) -> Moment:
    """A moment again, where more frames around it are known, in a geometry fitted to its pixels.

    What is different at a moment is small, and edges that are off by a pixel hide it.
    """
    pair = _Pair(query, video)
    again = pair.best_moment(moment.placement)
    if again.likeness >= EXACT_LIKENESS:
        return again
    aligned = pair.aligned(again)
    # Shrunk to a few blocks, two pictures are alike as well.
    if aligned is None or aligned.num_blocks < again.num_blocks / 2:
        return again
    return max(again, aligned, key=lambda found: found.likeness)


class _Pair:
    """Both sides; one of them is a single frame."""

    def __init__(self, query: Footage, video: Footage) -> None:
        self._query, self._video = query, video
        self._is_query_still = len(query) == 1
        self._moving = video if self._is_query_still else query

    def whole(self) -> Placement | None:
        """The whole picture as it is; None where both have another shape."""
        matrix = whole_picture(self._video.size, self._query.size)
        return None if matrix is None else Placement(matrix[None], self._query.times_s[:1], 0)

    def place(self, row: int) -> Placement | None:
        """The geometry that features tell at a frame of the moving side."""
        rows = (0, row) if self._is_query_still else (row, 0)
        return place_features(
            [self._video.frames[rows[1]].features],
            [self._query.frames[rows[0]].features],
            width=self._video.size[1],
            times_s=self._query.times_s[[rows[0]]],
            tolerance=TOLERANCE * max(self._query.size),
        )

    def search(self) -> Placement | None:
        """The geometry with most cells: of some frames, then of ever closer ones to the best."""
        num = len(self._moving)
        rows = np.unique(np.linspace(0, num - 1, min(num, NUM_TRIED)).round().astype(int))
        found = {int(row): self.place(int(row)) for row in rows}

        def cells(row: int) -> int:
            placement = found[row]
            return placement.cells if placement else 0

        best = max(found, key=cells)
        step = (num - 1) / max(1, len(rows) - 1)
        while cells(best) and (step := step / 2) >= 1:
            for row in (best - round(step), best + round(step)):
                if 0 <= row < num and row not in found:
                    found[row] = self.place(row)
            best = max(found, key=cells)
        return found[best]

    def nearest(self, time_s: float) -> int:
        """The frame of the moving side at some time."""
        return int(self._moving.nearest(np.array([time_s]))[0])

    def aligned(self, moment: Moment) -> Moment | None:
        """The moment in a geometry fitted to its pixels; None where they lead nowhere.

        Source: Evangelidis and Psarakis, TPAMI 2008 (ECC, which brightness does not matter to).
        """
        row = self.nearest(moment.span.middle_s)
        query_row, video_row = (0, row) if self._is_query_still else (row, 0)
        matrix = moment.placement.at(self._query.times_s[[query_row]])[0]
        ours, theirs = self._query.frames[query_row].gray, self._video.frames[video_row].gray
        matrix = FROM_MIDDLES @ matrix @ TO_MIDDLES
        try:
            _, fitted = cv2.findTransformECC(
                theirs,
                ours,
                (matrix / matrix[2, 2]).astype(np.float32),  # it takes that for 1
                cv2.MOTION_HOMOGRAPHY,
                (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, MAX_ALIGNING_STEPS, 1e-4),
                np.ones_like(ours),
                ALIGNING_BLUR,
            )
        except cv2.error:  # it did not converge, or the pictures do not overlap
            return None
        matrix = TO_MIDDLES @ np.asarray(fitted, np.float64) @ FROM_MIDDLES
        corners = np.array([[0, 0], self._video.size[::-1]], np.float64)
        if not is_plausible(matrix, corners):
            return None
        return self.best_moment(replace(moment.placement, matrices=matrix[None]))

    def best_moment(self, placement: Placement) -> Moment:
        """The moment at which both sides agree best in a geometry."""
        laid, original, blocks = self._read(placement)
        still, moving = (laid[0], original) if self._is_query_still else (original[0], laid)
        correlations = [correlate_blocks(still, frame, blocks) for frame in moving]
        likeness = np.array(
            [float(of[textured].mean()) if textured.any() else 0.0 for of, textured in correlations]
        )
        motion = _motion(still, moving, blocks, likeness)
        agreement = likeness + (motion if motion is not None else 0.0)
        best = int(np.argmax(agreement))
        alike = agreement >= agreement[best] - SLACK
        first, last = best, best
        while first > 0 and alike[first - 1]:
            first -= 1
        while last < len(alike) - 1 and alike[last + 1]:
            last += 1
        of, textured = correlations[best]
        return Moment(
            placement,
            _shown(self._moving.times_s, first, last),
            float((of[textured] > SAME_BLOCK).mean()) if textured.any() else 0.0,
            float(motion[best]) if motion is not None else None,
            float(likeness[best]),
            int(textured.sum()),
        )

    def _read(self, placement: Placement) -> tuple[Floats32, Floats32, Integers]:
        """Frames of the query laid into the indexed picture, its own, and the blocks of points."""
        matrices = placement.at(self._query.times_s)
        window = Window.over(matrices[len(matrices) // 2], self._video, self._query, GRID_POINTS)
        return (
            window.read(self._query.frames, matrices),
            window.read(self._video.frames),
            window.blocks,
        )


def _shown(times_s: Floats, first: int, last: int) -> TimeSpan:
    """From when the first frame is shown to when the next one after the last is."""
    if last + 1 < len(times_s):
        end_s = float(times_s[last + 1])
    else:
        end_s = float(times_s[last]) + (float(np.median(np.diff(times_s))) if last else 0.1)
    return TimeSpan(max(0.0, float(times_s[first])), end_s)


def _motion(still: Floats32, moving: Floats32, blocks: Integers, likeness: Floats) -> Floats | None:
    """How what is different at each moment from the mean of all is there in the picture too.

    Args:
        still: The picture, shape ``(P,)``.
        moving: Frames of the other side at the same points, shape ``(T, P)``.
        blocks: The number of the block of each point, shape ``(P,)``.
        likeness: How much each frame looks like the picture, shape ``(T,)``.

    Returns:
        Correlations, shape ``(T,)``; None where hardly anything changes, or nearly everything
        and no frame is exactly the picture.
    """
    of_scene = likeness >= SAME_SCENE * likeness.max()
    if of_scene.sum() < 3:
        return None
    mean = moving[of_scene].mean(axis=0)
    different = moving - mean
    energy = (different[of_scene] ** 2).mean(axis=0)
    is_live = np.bincount(blocks, energy) / np.bincount(blocks) >= MIN_CHANGE**2
    if is_live.sum() < MIN_LIVE:
        return None
    if is_live.mean() > MAX_LIVE and likeness.max() < EXACT_LIKENESS:
        return None
    points = is_live[blocks]
    tones = np.vander(still.astype(np.float64) / 255, TONE_DEGREE + 1)
    curve = np.linalg.lstsq(tones, moving[int(np.argmax(likeness))], rcond=None)[0]
    ours, theirs = (tones @ curve - mean)[points], different[:, points]
    scale = np.sqrt((ours**2).sum() * (theirs**2).sum(axis=1) + 1e-6)
    return np.asarray(theirs @ ours / scale, np.float64)
