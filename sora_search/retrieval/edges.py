"""Where a confirmed range starts and ends, frame by frame.

Vectors look at half a second or more, so they tell an edge to a fraction of that, and they
miss the ends of a range that they hardly see (an inset that moves). Once geometry and time
are known, frames are laid over one another outwards from within the range, until they differ.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Match, TimeSpan
from sora_search.errors import MediaError
from sora_search.retrieval.footage import FRAMES_PER_S, Footage, Sides
from sora_search.retrieval.overlay import Overlay
from sora_search.retrieval.placement import Placement
from sora_search.retrieval.synchrony import Clock

Floats = NDArray[np.float64]

INWARD_S = 1.0
"""How far inside a range the walk starts: vectors were wrong by up to .7 s. Where both differ even
there, a part of the range alone agrees, and it starts farther inside."""

STEPS_S = 2.0, 5.0, 6.0
"""Seconds of both files that are read one after the other, from `INWARD_S` inside a range on: most
end within the first, and all of 14 s at once cost a third of what steps of 2 s do. So a range may
grow by 12 s at either end."""

ALIKE_SHARE, LEAST_ALIKE = 0.5, 0.15
"""A frame belongs to the range if the first, of the usual share of its blocks, look the same;
never less than the second, which other frames of a cut have by chance."""

LEAST_ALIKE_CHANGES = 0.25
"""Nor does it if of the blocks where something moves in the video fewer are as they are then:
within nine copies of videos of the suite `choose` nearly all are, else mostly .1 to .2 of them."""

MAX_MISSES = 2
"""Frames in a row that may differ, as at a flash or a dropped frame."""

MIN_CHANGE_S = 0.75 / FRAMES_PER_S
"""An edge that moves by less was right: the borders of files are known better than frames tell."""


def find_edges(sides: Sides, match: Match, placement: Placement, *, appearance: float) -> Match:
    """The same match with its ends where the frames of both sides start and stop to agree.

    Args:
        sides: Both files.
        match: Both spans, whose ends correspond; neither is None.
        placement: Where the indexed picture lies in the query picture.
        appearance: Share of the blocks that look the same within the range.
    """
    query_span, video_span = match.query_span, match.video_span
    assert query_span is not None
    assert video_span is not None
    clock = Clock(
        query_span.start_s,
        video_span.start_s,
        video_span.duration_s / query_span.duration_s,
    )
    walk = _Walk(sides, clock, placement, max(LEAST_ALIKE, ALIKE_SHARE * appearance))
    half_s = query_span.duration_s / 2
    edges_s = [walk.end(query_span.start_s, -1, half_s), walk.end(query_span.end_s, 1, half_s)]
    on_video = np.maximum(clock(np.array(edges_s)), 0.0)
    on_query = np.maximum(clock.back(on_video), walk.bounds_s[0])
    if min(np.ptp(on_query), np.ptp(on_video)) < 1 / FRAMES_PER_S:
        return match
    spans = [TimeSpan(float(side[0]), float(side[1])) for side in (on_query, on_video)]
    return Match(spans[0], spans[1], match.score)


@dataclass(frozen=True, slots=True)
class _Walk:
    """From inside of a range outwards, frame by frame, backward (`sign` -1) or forward (1).

    `least` is the share of the blocks of a frame that must look the same.
    """

    sides: Sides
    clock: Clock
    placement: Placement
    least: float

    @property
    def bounds_s(self) -> tuple[float, float]:
        """Where the query begins and ends."""
        bounds = self.sides.bounds
        return (bounds.start_s, bounds.end_s) if bounds else (0.0, math.inf)

    def end(self, edge_s: float, sign: int, half_s: float) -> float:
        """Where a range really ends whose supposed edge is `half_s` away from its middle."""
        inward_s = min(INWARD_S, half_s)
        while (found_s := self._reached(edge_s - sign * inward_s, edge_s, sign)) is None:
            if inward_s == half_s:
                return edge_s - sign * inward_s
            inward_s = min(2 * inward_s, half_s)
        return found_s if abs(found_s - edge_s) >= MIN_CHANGE_S else edge_s

    def _reached(self, start_s: float, edge_s: float, sign: int) -> float | None:
        """How far both agree from a moment on; None if they do not even there."""
        first_s, last_s = self.bounds_s
        found_s, num_misses, num_compared = None, 0, 0
        for time_s, alike, alike_changes in self._outwards(start_s, sign):
            if not first_s <= time_s <= last_s:
                break
            num_compared += 1
            # Where nothing can be told apart the range goes on, but it does not grow.
            is_alike = alike >= self.least if np.isfinite(alike) else sign * (time_s - edge_s) < 0
            # A scene that stands still looks the same at any time, but for what moves.
            is_alike = is_alike and not alike_changes < LEAST_ALIKE_CHANGES
            num_misses = 0 if is_alike else num_misses + 1
            if num_misses > MAX_MISSES:
                break
            if is_alike:
                found_s = min(max(time_s + sign / (2 * FRAMES_PER_S), first_s), last_s)
        return found_s if num_compared else edge_s

    def _outwards(self, start_s: float, sign: int) -> Iterator[tuple[float, float, float]]:
        """Times of the query from some moment on, before or after it, and how alike both sides are.

        The share of all blocks, NaN where the indexed picture has no texture, and that of those in
        which something moves, NaN where nothing does.
        """
        for near_s, far_s in pairwise(accumulate(STEPS_S, initial=0.0)):
            ends_s = sorted((start_s + sign * near_s, start_s + sign * far_s))
            low_s, high_s = max(0.0, ends_s[0]), ends_s[1]
            if high_s - low_s < 1e-3:
                return
            shown_s = self.clock(np.array([low_s, high_s])) + np.array([-0.1, 0.1])
            if shown_s[1] <= 0:
                return
            shown = TimeSpan(max(0.0, float(shown_s[0])), float(shown_s[1]))
            try:
                query, video = self.sides.query(TimeSpan(low_s, high_s)), self.sides.video(shown)
            except (MediaError, OSError):  # one of them ends before
                return
            times_s = _shown_times(query, video, self.clock)
            if len(times_s) == 0:
                return
            over = Overlay.of(query, video, self.clock, self.placement, times_s)
            shares = over.shares_alike(), over.shares_of_changes_alike()
            found = zip(times_s.tolist(), *(side.tolist() for side in shares), strict=True)
            yield from list(found)[::sign]


def _shown_times(query: Footage, video: Footage, clock: Clock) -> Floats:
    """Times of the query at which it shows the frames of the video."""
    shown_s = clock.back(video.times_s)
    half_s = 0.6 / FRAMES_PER_S
    is_shown = (shown_s >= query.times_s[0] - half_s) & (shown_s <= query.times_s[-1] + half_s)
    return np.asarray(shown_s[is_shown])
