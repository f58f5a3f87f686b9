"""Which times of a video are looked at (pure).

Times lie in the middles of equal steps, never on their borders: the sample of
``[0, 0.5)`` is at 0.25. Two files of the same footage that differ by a frame at the
start then still show the same picture at most sample times, and the last sample
never falls behind the last frame.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How densely a video is looked at.

    Attributes:
        frames_per_s: Frames looked at in each second of a long video.
        min_frames: A shorter video is looked at more densely, until it has so many.
    """

    frames_per_s: float = 2.0
    min_frames: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.frames_per_s < math.inf:
            raise ValueError(f"need a positive, finite frames_per_s, got {self.frames_per_s}")
        if self.min_frames < 1:
            raise ValueError(f"need min_frames >= 1, got {self.min_frames}")

    @property
    def long_enough_s(self) -> float:
        """From this duration on the rate is `frames_per_s`, whatever the exact duration."""
        return self.min_frames / self.frames_per_s


def sampling_rate(duration_s: float | None, config: SamplingConfig) -> float:
    """Samples a second for a video of that duration; of an unknown duration: `frames_per_s`.

    Raises:
        ValueError: If `duration_s` is not positive.
    """
    if duration_s is None:
        return config.frames_per_s
    if not duration_s > 0:
        raise ValueError(f"need a positive duration, got {duration_s=}")
    return max(config.frames_per_s, config.min_frames / duration_s)


def sample_times(span: TimeSpan, rate: float) -> NDArray[np.float64]:
    """The times to look at in a span: the middle of each step of ``1 / rate`` seconds.

    Returns:
        float64, shape ``(T,)``, strictly increasing, inside the span, T >= 1: a span
        shorter than half a step has its own middle.

    Raises:
        ValueError: If `rate` is not positive and finite.
    """
    if not 0 < rate < math.inf:
        raise ValueError(f"need a positive, finite rate, got {rate=}")
    num_most = math.ceil(span.duration_s * rate) + 1
    times = span.start_s + (np.arange(num_most, dtype=np.float64) + 0.5) / rate
    times = times[times < span.end_s]
    return times if len(times) else np.array([span.middle_s])


def endless_sample_times(start_s: float, rate: float) -> Iterator[float]:
    """`sample_times` of a span whose end is not known yet, one after the other."""
    for i in itertools.count():
        yield start_s + (i + 0.5) / rate
