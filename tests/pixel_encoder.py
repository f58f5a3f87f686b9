"""A tiny real `VideoEncoder` for the tests: 8x8 gray pixels, no network, no weights.

Two halves of norm 1/sqrt(2) as the shipped model has them: columns [0:64] are the
picture at the moment itself, columns [64:128] the mean picture of the seconds around
it. Both are mean-free, so brightness does not matter and different pictures are far
apart; a picture of one colour becomes one fixed vector, orthogonal to all others.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FrameBatch, VideoEmbedding
from sora_search.media.sampling import SamplingConfig
from sora_search.sora.encoder import spans_around

SIDE = 8
CONTEXT_S = 2.0  # the second half averages this much on either side


@dataclass(frozen=True)
class PixelEncoderSpec:
    """Picklable: what a spawned worker needs to build the same encoder."""

    model: str = "pixels"
    device: str = "cpu"
    threads: int = 1

    def load(self) -> "PixelEncoder":
        """The encoder that this describes."""
        return PixelEncoder(self)


class PixelEncoder:
    """Frames to vectors without any learning; see the module's text."""

    def __init__(self, spec: PixelEncoderSpec | None = None) -> None:
        self.spec = PixelEncoderSpec() if spec is None else spec
        self.model_id = f"{self.spec.model}@8x8"
        self.dim = 2 * SIDE * SIDE
        self.identity_dim = SIDE * SIDE
        self.sampling = SamplingConfig()
        self.frame_size = (32, 32)

    def encode(
        self, batches: Iterable[FrameBatch], *, end_s: float | None = None
    ) -> VideoEmbedding:
        """One vector a frame; see `VideoEncoder.encode`."""
        pixels, times = [], []
        for batch in batches:
            pixels.append(gray_pixels(batch.frames))
            times.append(batch.pts_s)
        if not pixels:
            raise ValueError("need at least one frame, got none")
        rows, pts_s = np.concatenate(pixels), np.concatenate(times)
        spans = spans_around(pts_s, end_s=end_s, step_s=1 / self.sampling.frames_per_s)
        vectors = np.hstack([unit_rows(rows), unit_rows(_smoothed(rows, pts_s))])
        return VideoEmbedding(
            spans=spans,
            vectors=(vectors / np.sqrt(2)).astype(np.float32),
            model_id=self.model_id,
        )


def gray_pixels(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Frames ``(T, H, W, 3)`` to mean-free rows ``(T, 64)``; H and W at least 8."""
    _, height, width, _ = frames.shape
    if height < SIDE or width < SIDE:
        raise ValueError(f"need frames of at least 8x8, got {frames.shape=}")
    gray = frames.astype(np.float64).mean(axis=3)
    bands = np.add.reduceat(gray, np.arange(SIDE) * height // SIDE, axis=1)
    cells = np.add.reduceat(bands, np.arange(SIDE) * width // SIDE, axis=2)
    rows = cells.reshape(len(frames), -1) / (height * width / SIDE**2)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True))


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of norm 1; a flat row (a picture of one colour) becomes the constant vector."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    flat = np.full_like(rows, 1 / np.sqrt(rows.shape[1]))
    return np.where(norms > 1e-3, rows / np.maximum(norms, 1e-3), flat)


def _smoothed(rows: NDArray[np.float64], pts_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the rows within `CONTEXT_S` of each."""
    sums = np.vstack([np.zeros(rows.shape[1]), np.cumsum(rows, axis=0)])
    first = np.searchsorted(pts_s, pts_s - CONTEXT_S, side="left")
    last = np.searchsorted(pts_s, pts_s + CONTEXT_S, side="right")
    return np.asarray((sums[last] - sums[first]) / (last - first)[:, None])
