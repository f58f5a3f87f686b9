"""From the time stamps of a file to times that only go forward (pure).

Decoders give frames in the order of presentation, but their time stamps may be
missing (raw H.264), step back by a frame or two (B-frames in AVI), repeat (a clock
too coarse), or start anew (recordings put one after the other).
"""

from dataclasses import dataclass

FALLBACK_INTERVAL_S = 0.04
"""Distance of frames where neither header nor time stamps tell: 25 a second."""

_RESTART_S = 1.0  # a larger step back is a new recording, not a reordered frame
_MOST_LEAD_S = 0.25  # repeated time stamps never push the clock further ahead than this
_TINY_S = 1e-4
_PLAUSIBLE_GAP_S = 3600.0


@dataclass(slots=True)
class PresentationClock:
    """Give each frame, in order of presentation, its time from the first one.

    Attributes:
        zero_s: The time stamp that is 0.0; None takes that of the first frame.
        interval_s: Average distance of frames, for those without a usable time stamp.
        longest_gap_s: A jump ahead beyond it is an error of the clock; None: an hour.
        last_s: Time of the last frame; None before the first.
        first_time_s: Time of the first frame; None before it.
        num_frames: How many had their time told.
    """

    zero_s: float | None = None
    interval_s: float = FALLBACK_INTERVAL_S
    longest_gap_s: float | None = None
    last_s: float | None = None
    first_time_s: float | None = None
    num_frames: int = 0

    def time_of(self, stamp_s: float | None) -> float:
        """The time of the next frame: later than the one before, whatever its stamp says."""
        time_s = self._plausible(stamp_s)
        if self.first_time_s is None:
            self.first_time_s = time_s
        self.last_s = time_s
        self.num_frames += 1
        return time_s

    @property
    def average_interval_s(self) -> float:
        """Average distance of the frames so far; of fewer than two: what was given."""
        if self.last_s is None or self.first_time_s is None or self.num_frames < 2:
            return self.interval_s
        return (self.last_s - self.first_time_s) / (self.num_frames - 1)

    def _plausible(self, stamp_s: float | None) -> float:
        if self.zero_s is None:
            self.zero_s = stamp_s if stamp_s is not None else 0.0
        if self.last_s is None:
            return stamp_s - self.zero_s if stamp_s is not None else 0.0
        expected_s = self.last_s + self.interval_s
        if stamp_s is None:
            return expected_s
        time_s = stamp_s - self.zero_s
        gap_s = time_s - self.last_s
        longest_s = _PLAUSIBLE_GAP_S if self.longest_gap_s is None else self.longest_gap_s
        if gap_s < -_RESTART_S or gap_s > longest_s:
            self.zero_s = stamp_s - expected_s
            return expected_s
        if gap_s > 0:
            return time_s
        return expected_s if expected_s - time_s <= _MOST_LEAD_S else self.last_s + _TINY_S


def end_of_last_frame(
    clock: PresentationClock, *, stated_duration_s: float | None, stated_end_s: float | None
) -> float:
    """When the last frame leaves the screen.

    It lasts one average interval of the frames. The header's end of the stream goes
    before that where it is plausible: where it comes sooner (pictures seconds apart),
    or later and the frame's own stated duration agrees (the last of a slide show).

    Raises:
        ValueError: If the clock has seen no frame.
    """
    if clock.last_s is None:
        raise ValueError("no frame, so no end")
    interval_s = clock.average_interval_s
    if stated_end_s is None:
        return clock.last_s + interval_s
    shortest_s = min(interval_s, clock.interval_s) / 2
    stated_s = stated_end_s - clock.last_s
    if shortest_s <= stated_s < interval_s:
        return clock.last_s + stated_s
    if stated_duration_s is not None and interval_s < stated_duration_s <= stated_s + interval_s:
        return clock.last_s + stated_duration_s
    return clock.last_s + interval_s
