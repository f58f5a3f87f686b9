"""Frames of a video to its vectors: the shipped model at work.

`OnnxEncoder` is what `index` and `query` use; it loads no torch. `TorchEncoder` runs
the network itself, for learning and for a GPU. Both look at a video clip by clip (the
frames the motion pathway sees at once), so that memory does not grow with the video.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import (
    FrameBatch,
    TimeSpan,
    VideoEmbedding,
    VideoEncoder,
    VideoInfo,
)
from sora_search.errors import ConfigError, ModelNotFoundError
from sora_search.media.decoding import VideoReader
from sora_search.media.sampling import SamplingConfig
from sora_search.sora.checkpoint import (
    DEFAULT_MODEL,
    ModelCard,
    load_card,
    load_network,
    model_paths,
    resolve_model,
)
from sora_search.sora.inference import open_session

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """How to build an encoder: what travels to another process, where it cannot itself."""

    model: str = DEFAULT_MODEL
    device: Device = "auto"
    threads: int = 1

    def load(self) -> "SoraEncoder":
        """The encoder it describes."""
        return load_encoder(self.model, device=self.device, threads=self.threads)


class EncoderRecipe(Protocol):
    """A picklable description of an encoder; it travels to other processes, the encoder never."""

    @property
    def threads(self) -> int:
        """Threads for the encoder, and for the decoder that feeds it."""
        ...

    def load(self) -> "FileEncoder":
        """Build the encoder."""
        ...


class FileEncoder(VideoEncoder, Protocol):
    """A `VideoEncoder` that says which frames it wants and how to build it again."""

    @property
    def spec(self) -> EncoderRecipe:
        """What another process builds its own encoder from."""
        ...

    @property
    def sampling(self) -> SamplingConfig:
        """How densely it wants videos looked at."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) it wants whole frames scaled to."""
        ...

    @property
    def identity_dim(self) -> int:
        """Columns before this one say which footage it is; `dim` where there are no halves."""
        ...


class SoraEncoder:
    """What both encoders share: cutting a stream of frames into clips, and clips into vectors.

    Attributes:
        spec: How to build it again elsewhere.
        model_id: Name and digest of weights and preprocessing.
        dim: D, the length of a vector.
        identity_dim: The first columns say which footage it is, the others what happens.
        sampling: How densely it wants videos looked at.
        frame_size: (H, W) it wants whole frames scaled to.
    """

    def __init__(
        self, card: ModelCard, spec: EncoderSpec, run: Callable[[NDArray[np.uint8]], NDArray[Any]]
    ) -> None:
        self.spec = spec
        self.model_id = card.model_id
        self.dim = card.dim
        self.identity_dim = card.identity_dim
        self.sampling: SamplingConfig = card.sampling
        self.frame_size = card.frame_size
        self._clip_frames = card.clip_frames
        self._run = run

    def encode(
        self, batches: Iterable[FrameBatch], *, end_s: float | None = None
    ) -> VideoEmbedding:
        """Embed one video from a stream of its frames; see `VideoEncoder.encode`."""
        times: list[NDArray[np.float64]] = []
        parts = list(self._clips(batches, times))
        if not parts:
            raise ValueError("need at least one frame, got none")
        vectors = np.concatenate(parts)
        spans = spans_around(
            np.concatenate(times), end_s=end_s, step_s=1 / self.sampling.frames_per_s
        )
        return VideoEmbedding(spans, vectors, self.model_id)

    def _clips(
        self, batches: Iterable[FrameBatch], times: list[NDArray[np.float64]]
    ) -> Iterator[NDArray[np.float32]]:
        """Vectors of each clip in turn; `times` collects when each frame was looked at."""
        num = self._clip_frames
        height, width = self.frame_size
        clip = np.empty((num, height, width, 3), np.uint8)
        filled, num_clips = 0, 0
        for batch in batches:
            if batch.frames.shape[1:3] != self.frame_size:
                raise ValueError(f"need frames of {self.frame_size}, got {batch.frames.shape=}")
            times.append(batch.pts_s)
            rest = batch.frames
            while len(rest):
                if filled == num:
                    yield self._vectors(clip)
                    filled, num_clips = 0, num_clips + 1
                    previous = clip.copy()
                taken = rest[: num - filled]
                clip[filled : filled + len(taken)] = taken
                filled += len(taken)
                rest = rest[len(taken) :]
        if not filled:
            return
        if filled == num:
            yield self._vectors(clip)
        elif num_clips:
            # The last clip reaches back into the one before, so that it is whole too.
            whole = np.concatenate([previous[filled:], clip[:filled]])
            yield self._vectors(whole)[num - filled :]
        else:
            # Fewer frames than a clip: each is shown longer, and its vectors are averaged.
            shown = np.arange(num) * filled // num
            vectors = self._vectors(clip[shown])
            sums = np.zeros((filled, self.dim), np.float32)
            np.add.at(sums, shown, vectors)
            yield normalize_halves(sums, self.identity_dim)

    def _vectors(self, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._run(clip[None])[0], np.float32)


class OnnxEncoder(SoraEncoder):
    """The model in ONNX Runtime, on the CPU, without torch."""

    def __init__(self, spec: EncoderSpec) -> None:
        base, adapter = resolve_model(spec.model)
        path = model_paths(base)[2]
        try:
            session = open_session(path, threads=spec.threads)
        except Exception as error:  # its errors share no base class
            raise ModelNotFoundError(f"cannot load the model {str(path)!r}: {error}") from error

        def run(clips: NDArray[np.uint8]) -> NDArray[Any]:
            vectors: NDArray[Any] = session.run(None, {"frames": clips})[0]
            return vectors if adapter is None else adapter.apply(vectors)

        super().__init__(load_card(spec.model), spec, run)


class TorchEncoder(SoraEncoder):
    """The network in torch, on the CPU or a GPU."""

    def __init__(self, spec: EncoderSpec) -> None:
        import torch

        device = _torch_device(spec.device, torch.cuda.is_available())
        network = load_network(spec.model).to(device)

        @torch.inference_mode()
        def run(clips: NDArray[np.uint8]) -> NDArray[Any]:
            frames = torch.from_numpy(clips).to(device).permute(0, 1, 4, 2, 3).float() / 255
            return np.asarray(network(frames).float().cpu())

        super().__init__(load_card(spec.model), spec, run)


def load_encoder(
    model: str | Path = DEFAULT_MODEL, *, device: Device = "auto", threads: int = 1
) -> SoraEncoder:
    """A model ready to embed videos: in ONNX Runtime on the CPU, in torch on a GPU.

    Args:
        model: The name of a shipped model, the path of one of its files or its folder, or that
            of an adapter.
        device: `auto` and `cpu` run on the CPU and load no torch; `cuda` needs a GPU.
        threads: Threads of one operation.

    Raises:
        ModelNotFoundError: If there is no such model or it cannot be loaded.
        ConfigError: If `device` is `cuda` and there is none.
    """
    spec = EncoderSpec(str(model), device, threads)
    return TorchEncoder(spec) if device == "cuda" else OnnxEncoder(spec)


def embed_video(
    path: Path | str,
    encoder: FileEncoder,
    *,
    span: TimeSpan | None = None,
    on_position: Callable[[float, float | None], None] | None = None,
) -> tuple[VideoInfo, VideoEmbedding, str | None]:
    """Embed a file, or a part of it.

    Args:
        path: A video or a still picture.
        encoder: The model.
        span: The part; spans of the vectors count from the start of the file all the same.
        on_position: Called now and then with the second reached and the duration.

    Returns:
        What the file is, its vectors, and what of it could not be decoded (one line, or None).

    Raises:
        MediaError: If nothing of the file can be decoded, or it changes meanwhile.
        ValueError: If `span` starts after the end.
    """
    times: list[NDArray[np.float64]] = []
    with VideoReader.open(path, threads=encoder.spec.threads) as reader:

        def watched() -> Iterator[FrameBatch]:
            for batch in reader.read(encoder.sampling, frame_size=encoder.frame_size, span=span):
                times.append(batch.pts_s)
                yield batch
                if on_position is not None:
                    on_position(float(batch.pts_s[-1]), reader.info.duration_s)

        embedding = encoder.encode(watched())
        # Only now it is known where the last frame leaves the screen.
        spans = spans_around(
            np.concatenate(times),
            start_s=span.start_s if span else 0.0,
            end_s=reader.end_s,
            step_s=1 / encoder.sampling.frames_per_s,
        )
        return reader.info, replace(embedding, spans=spans), reader.damage


def spans_around(
    pts_s: NDArray[np.float64],
    *,
    step_s: float,
    start_s: float | None = None,
    end_s: float | None = None,
) -> tuple[TimeSpan | None, ...]:
    """One span a sample, borders half way between; a lone frame without an end has none.

    Args:
        pts_s: Times of the samples, in the middles of their steps, shape ``(T,)``.
        step_s: Distance of samples, where there is one alone.
        start_s: Where the first span starts; None: half a step before its sample.
        end_s: Where the last frame leaves the screen; None: half a step after its sample.
    """
    if len(pts_s) == 1 and end_s is None:
        return (None,)
    half_s = (float(pts_s[1] - pts_s[0]) if len(pts_s) > 1 else step_s) / 2
    first_s, last_s = float(pts_s[0]), float(pts_s[-1])
    start_s = max(0.0, first_s - half_s) if start_s is None else start_s
    end_s = last_s + half_s if end_s is None else max(end_s, last_s + 1e-6)
    edges = [start_s, *((pts_s[1:] + pts_s[:-1]) / 2).tolist(), end_s]
    return tuple(TimeSpan(a, b) for a, b in pairwise(edges))


def normalize_halves(vectors: NDArray[np.float32], identity_dim: int) -> NDArray[np.float32]:
    """Rows ``(N, D)`` with each half scaled to norm 1/sqrt(2), e.g. after averaging."""
    normalized = np.empty_like(vectors)
    for half in (slice(0, identity_dim), slice(identity_dim, None)):
        norms = np.linalg.norm(vectors[:, half], axis=1, keepdims=True)
        normalized[:, half] = vectors[:, half] / np.maximum(norms, 1e-12) / 2**0.5
    return normalized


def _torch_device(device: Device, has_cuda: bool) -> str:
    if device == "cuda" and not has_cuda:
        raise ConfigError("no GPU that torch can use: leave --device at auto, or use cpu")
    return "cuda" if device != "cpu" and has_cuda else "cpu"
