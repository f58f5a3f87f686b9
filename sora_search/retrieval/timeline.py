"""When samples were taken, and both sides of an alignment brought to one step of time. Pure numpy.

A short clip that is looked at densely aligns with an hour looked at twice a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan

FINEST_STEP_S = 0.125
"""Steps of the common grid are this times a power of two, so that few grids occur."""


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When the samples of one side were taken.

    Attributes:
        times_s: float64 seconds, shape ``(L,)``, increasing.
        start_s: Where the first sample's span starts.
        end_s: Where the last sample's span ends.
    """

    times_s: NDArray[np.float64]
    start_s: float
    end_s: float

    @classmethod
    def from_spans(cls, spans: Sequence[TimeSpan | None]) -> "Timeline":
        """Of the spans of a `VideoEmbedding`; a still picture lasts from 0 to 0."""
        if len(spans) == 1 and spans[0] is None:
            return cls(np.zeros(1), 0.0, 0.0)
        edges = np.array([(s.start_s, s.end_s) for s in spans if s is not None], np.float64)
        times = np.asarray((edges[:, 0] + edges[:, 1]) / 2, np.float64)
        if len(times) > 2:
            # The outer spans reach to the borders of the file: their samples are not in the middle.
            half = float(np.median(np.diff(times))) / 2
            times[0] = max(edges[0, 0], edges[0, 1] - half)
            times[-1] = min(edges[-1, 1], edges[-1, 0] + half)
        return cls(times, float(edges[0, 0]), float(edges[-1, 1]))

    @classmethod
    def regular(cls, num_samples: int, step_s: float = 0.5, start_s: float = 0.0) -> "Timeline":
        """Samples in the middle of equal steps."""
        times = start_s + (np.arange(num_samples, dtype=np.float64) + 0.5) * step_s
        return cls(times, start_s, start_s + num_samples * step_s)

    def __len__(self) -> int:
        return len(self.times_s)

    def __repr__(self) -> str:
        return f"Timeline({len(self)} samples, {self.start_s:.3f}-{self.end_s:.3f} s)"

    @property
    def step_s(self) -> float:
        """Usual time between samples; infinite for a single one."""
        return float(np.median(np.diff(self.times_s))) if len(self) > 1 else float("inf")


def grid_step(rows: Timeline, columns: Timeline) -> float:
    """The largest grid step that loses no sample of the denser side (within 2 %)."""
    finest = min(rows.step_s, columns.step_s)
    if not np.isfinite(finest):
        return 4 * FINEST_STEP_S
    octave = np.floor(np.log2(max(1.0, finest * 1.02 / FINEST_STEP_S)))
    return float(FINEST_STEP_S * 2.0**octave)


def on_grid(side: Timeline, step_s: float) -> Timeline:
    """The same stretch of time in steps of `step_s`, from the first sample to the last."""
    first, last = side.times_s[0], side.times_s[-1]
    num = int(np.floor((last - first) / step_s + 1e-6)) + 1
    return Timeline(first + np.arange(num) * step_s, side.start_s, side.end_s)


def resample(
    similarity: NDArray[np.float32],
    rows: Timeline,
    row_grid: Timeline,
    columns: Timeline,
    column_grid: Timeline,
) -> NDArray[np.float32]:
    """Similarities at the times of the grid, linear between the samples."""
    similarity = _interpolate(similarity, rows.times_s, row_grid.times_s)
    return _interpolate(similarity.T, columns.times_s, column_grid.times_s).T


def _interpolate(
    values: NDArray[np.float32], times_s: NDArray[np.float64], at_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    if len(times_s) == len(at_s) and np.abs(times_s - at_s).max() < FINEST_STEP_S / 10:
        return values
    right = np.clip(np.searchsorted(times_s, at_s), 1, len(times_s) - 1)
    left = right - 1
    share = np.clip((at_s - times_s[left]) / (times_s[right] - times_s[left]), 0, 1)
    weight = share.astype(np.float32)[:, None]
    return np.asarray(values[left] * (1 - weight) + values[right] * weight, np.float32)
