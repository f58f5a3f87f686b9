"""The phases of a training: what each looks at, what it minimises, for how long.

    blocks   each block of the motion pathway on its own, from the teacher   (needs a teacher)
    chain    the motion pathway end to end, from the teacher                 (needs a teacher)
    late     its late stages once more, on whole clips                       (needs a teacher)
    copies   the appearance pathway and the identity half, by contrast of edited copies
    meaning  the meaning half, from what the teacher makes of whole clips    (with a teacher)
             or by contrast of moments of one video, and from labels,
             of as many clips as have one                                    (without)
    identity the identity half alone, by contrast among many more at a time

Every random choice of a step is drawn from the seed, the phase and the number of the
step, so that a step is the same whenever and however often it is made.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sora_search.datatypes import OnProgress
from sora_search.errors import ConfigError
from sora_search.learning import augmentation, distillation
from sora_search.learning import losses as losses_of
from sora_search.learning.augmentation import as_pixels
from sora_search.learning.datasets import ClipDataset, FrameStore
from sora_search.learning.distillation import Teacher
from sora_search.learning.precomputing import (
    appearance_of_frames,
    even_moments,
    looks_of_views,
    moments_of_views,
    spread_moments,
)
from sora_search.sora.network import HalvedNetwork, SoraNetwork, to_channels_last

PHASES = {
    "blocks": ("motion.",),
    "chain": ("motion.stages.", "motion.last."),
    "late": ("motion.stages.2.", "motion.stages.3.", "motion.stages.4.", "motion.last."),
    "copies": ("appearance.", "identity_"),
    "meaning": ("meaning_",),
    "identity": ("identity_hidden.", "identity_out."),
}
"""Each phase with the prefixes of the parameters that it learns, in the order in which they run.

The place of a phase is a part of the seed of its steps: new ones come last."""

CENTRE_CLIPS = 64
"""Clips of which the mean of the teacher's hidden layer is taken."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How long and how fast to learn."""

    seed: int = 0
    """Fixes every random choice."""
    phases: tuple[str, ...] = tuple(PHASES)
    """Which parts of the training run, in this order."""
    stem_starts: int = 8
    """Random starts of the first convolution, of which each of its channels takes the best."""
    blocks_steps: int = 5000
    """Steps of fitting single blocks."""
    blocks_rate: float = 1e-2
    """Highest learning rate there."""
    chain_steps: int = 4800
    """Steps of distilling end to end."""
    chain_rate: float = 6e-4
    """Highest learning rate there; 2e-3 undid what the blocks had learned."""
    late_steps: int = 3000
    """Steps of distilling the late stages, which cost a third of all."""
    late_rate: float = 6e-4
    """Highest learning rate there."""
    blocks_frames: int = 8
    """Frames of a clip there; the blocks look at a few at a time only."""
    chain_frames: int = 8
    """Frames of a clip there."""
    clips_per_step: int = 8
    """Clips in a step of distillation."""
    copies_steps: int = 6800
    """Steps of learning to recognise copies."""
    copies_rate: float = 2e-3
    """Highest learning rate there."""
    frames_per_step: int = 80
    """Frames in a step of it, each in two views; to many comes another clip of their cluster."""
    copies_temperature: float = 0.06
    """Temperature of the contrast."""
    contrast_weight: float = 1.0
    """Weight of two views of a frame finding each other."""
    spread_weight: float = 0.1
    """Weight of spreading the vectors."""
    appearance_weight: float = 3.0
    """Weight of seeing in an edited frame what the second teacher sees in the plain one."""
    identity_steps: int = 1000
    """Steps of learning the identity half alone."""
    identity_rate: float = 2e-3
    """Highest learning rate there."""
    identity_frames: int = 1024
    """Frames in a step of it, each of another clip, in two views."""
    identity_views: int = 5
    """Edited views of each frame it learns from, 2 or more."""
    meaning_steps: int = 2000
    """Steps of learning what happens."""
    meaning_rate: float = 2e-3
    """Highest learning rate there."""
    meaning_clips: int = 128
    """Clips in a step of it."""
    meaning_views: int = 4
    """Views of each clip it learns from."""
    label_weight: float = 0.3
    """Weight of clips of one label finding each other; nothing without labels or with a teacher."""
    save_every_s: float = 60.0
    """Seconds between checkpoints."""
    device: str = "cpu"
    """Where to compute: `cpu` or `cuda`."""
    threads: int = 1
    """Threads of one operation on the CPU."""

    def __post_init__(self) -> None:
        if self.identity_views < 2:
            raise ValueError(f"need 2 views or more, got identity_views={self.identity_views}")


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a training: what it changes, for how long, and what it minimises."""

    steps: int
    rate: float
    losses: Callable[[int], dict[str, Tensor]]
    """The named terms of one step; their sum is minimised."""
    scaffold: nn.Module = field(default_factory=nn.Identity)
    """Layers that learn along and are thrown away."""
    start: Callable[[], None] = lambda: None
    """Done once, before the first step."""


@dataclass(frozen=True, slots=True)
class PhaseInputs:
    """What a phase is made from."""

    config: TrainConfig
    network: HalvedNetwork
    store: FrameStore
    teacher: Teacher | None = None
    on_progress: OnProgress | None = None


PhaseMaker = Callable[[PhaseInputs], Phase]


def batch_rng(config: TrainConfig, phase: str, step: int) -> np.random.Generator:
    """The source of every random choice of one step."""
    return np.random.default_rng([config.seed, list(PHASES).index(phase), step])


def _distillation_phase(inputs: PhaseInputs, *, name: str) -> Phase:
    config, network, store = inputs.config, inputs.network, inputs.store
    teacher = inputs.teacher
    if teacher is None:
        raise ConfigError(f"phase {name!r} needs a teacher: give --teacher, or leave the phase out")
    if not isinstance(network, SoraNetwork):
        raise ConfigError(f"phase {name!r} is of the motion pathway, which this network has not")
    to_channels_last(teacher.to(config.device))
    weights = store.dataset.weights()
    model = network.config
    num_frames, steps, rate = {
        "blocks": (config.blocks_frames, config.blocks_steps, config.blocks_rate),
        "chain": (config.chain_frames, config.chain_steps, config.chain_rate),
        "late": (model.clip_frames, config.late_steps, config.late_rate),
    }[name]

    def batch(step: int, num_clips: int) -> tuple[Tensor, list[list[Tensor]]]:
        rng = batch_rng(config, name, step)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        chosen = rng.choice(len(weights), num_clips, p=weights)
        moments = spread_moments(rng, len(chosen), num_frames, store.frames.shape[1])
        clips = as_pixels(store.load(chosen, moments)).to(config.device)
        frames = augmentation.teaching_view(clips, model.frame_size, generator).flatten(0, 1)
        frames = frames.contiguous(memory_format=torch.channels_last)
        return network.prepared(frames), teacher.maps(frames, num_frames)

    def start() -> None:
        if name == "blocks":
            frames, maps = batch(0, 4 * config.clips_per_step)
            distillation.calibrate(
                network.motion, frames, maps, num_frames, stem_starts=config.stem_starts
            )

    def losses(step: int) -> dict[str, Tensor]:
        frames, maps = batch(step, config.clips_per_step)
        if name == "blocks":
            return {"blocks": distillation.block_loss(network.motion, maps, num_frames)}
        return distillation.chain_loss(
            teacher, network.motion, frames, maps, num_frames, centre=centre
        )

    centre: Tensor | None = None
    if name == "late":
        # All clips share most of their hidden layers; what tells them apart is the rest.
        _, maps = batch(steps, CENTRE_CLIPS)
        centre = teacher.hidden(maps[-1][0], num_frames).mean(0)
    return Phase(steps, rate, losses, start=start)


def _copies_phase(inputs: PhaseInputs) -> Phase:
    config, network, store = inputs.config, inputs.network, inputs.store
    sampler = _FrameSampler(store)
    size = network.config.frame_size
    num, stored = config.frames_per_step, store.frames.shape[1]
    moments = even_moments(stored)
    wanted = appearance_of_frames(store, device=config.device, on_progress=inputs.on_progress)
    scaffold: nn.Module = nn.Identity()
    if wanted is not None:
        scaffold = nn.Linear(network.appearance_width, wanted.shape[2]).to(config.device)

    def losses(step: int) -> dict[str, Tensor]:
        rng = batch_rng(config, "copies", step)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        chosen = sampler.choose(rng, num)
        which = rng.integers(0, len(moments), num)
        # The other side of a pair is seldom sampled at the very same frame.
        nearby = (moments[which] + rng.integers(-1, 2, num)).clip(0, stored - 1)
        shown = np.stack([moments[which], nearby], 1)
        pairs = as_pixels(store.load(chosen, shown)).to(config.device)
        frames, other = pairs[:, 0], pairs[:, 0].roll(1, 0)
        # Half of the pairs are what a search meets, edited against plain; half are harder.
        plain = augmentation.plain_view(frames, size, generator)
        edited = augmentation.edited_view(frames[::2], other[1::2], size, generator)
        plain[::2] = edited
        edited = augmentation.edited_view(pairs[:, 1], other, size, generator)
        views = torch.cat([plain, edited]).contiguous(memory_format=torch.channels_last)
        maps = network.appearance(network.prepared(views), 1)
        vectors = network.identity(network.looks(maps))
        terms = _contrast_of_copies(config, vectors)
        if wanted is not None:
            seen = scaffold(maps[-1].mean((2, 3)))
            target = wanted[chosen, which].to(config.device).float().repeat(2, 1)
            missed = 1 - functional.cosine_similarity(seen, target, dim=1).mean()
            terms["appearance"] = config.appearance_weight * missed
        return terms

    return Phase(config.copies_steps, config.copies_rate, losses, scaffold)


def _identity_phase(inputs: PhaseInputs) -> Phase:
    config, network = inputs.config, inputs.network
    looks = looks_of_views(
        network,
        inputs.store,
        num_views=config.identity_views,
        seed=config.seed,
        device=config.device,
        on_progress=inputs.on_progress,
    )
    num_clips, num_moments, num_views, _ = looks.shape
    num = min(config.identity_frames, num_clips)

    def losses(step: int) -> dict[str, Tensor]:
        rng = batch_rng(config, "identity", step)
        # All alike, without weights: the more of one place, the harder are they to tell apart.
        clips = rng.choice(num_clips, num, replace=False)
        moments = rng.integers(0, num_moments, num)
        # As in `copies`, half of the pairs are an edited view and a plain one, half two edited.
        first = rng.integers(1, num_views, num)
        second = 1 + (first - 1 + rng.integers(1, num_views - 1, num)) % (num_views - 1)
        second[::2] = 0
        chosen = (torch.from_numpy(rows) for rows in np.tile((clips, moments), 2))
        pair = looks[(*chosen, torch.from_numpy(np.concatenate([first, second])))]
        vectors = network.identity(pair.to(config.device).float())
        return _contrast_of_copies(config, vectors)

    return Phase(config.identity_steps, config.identity_rate, losses)


def _contrast_of_copies(config: TrainConfig, vectors: Tensor) -> dict[str, Tensor]:
    """The terms of two views of N frames, one after the other ``(2N, D)``."""
    num = len(vectors) // 2
    contrast = losses_of.copy_contrast(
        vectors[:num], vectors[num:], temperature=config.copies_temperature
    )
    frames = torch.arange(num, device=vectors.device).repeat(2)
    return {
        "contrast": config.contrast_weight * contrast,
        "spread": config.spread_weight * losses_of.spread(vectors, frames),
    }


def _meaning_phase(inputs: PhaseInputs) -> Phase:
    config, network, store = inputs.config, inputs.network, inputs.store
    weights = store.dataset.weights()
    num = min(config.meaning_clips, len(weights))
    moments, wanted = moments_of_views(
        network,
        store,
        inputs.teacher,
        num_views=config.meaning_views,
        seed=config.seed,
        device=config.device,
        on_progress=inputs.on_progress,
    )
    labels, groups = label_numbers(store.dataset)
    scaffold: nn.Module = nn.Identity()
    if wanted is not None:
        scaffold = nn.Linear(network.config.meaning_dim, wanted.shape[2]).to(config.device)

    def embed(clips: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """One vector a clip: what a search compares when it asks what happens."""
        chosen = moments[torch.from_numpy(clips), torch.from_numpy(views)]
        vectors = network.meaning(chosen.to(config.device).float())
        return functional.normalize(vectors.mean(1), dim=1)

    def losses(step: int) -> dict[str, Tensor]:
        rng = batch_rng(config, "meaning", step)
        clips = rng.choice(len(weights), num, replace=False, p=weights)
        views = rng.integers(0, config.meaning_views, num)
        vectors = embed(clips, views)
        if wanted is not None:
            target = wanted[torch.from_numpy(clips), torch.from_numpy(views)].to(config.device)
            # Labels beside it make much less of what has none: of actions, rank 1 66 for 82.
            return {"hidden": 1 - functional.cosine_similarity(scaffold(vectors), target).mean()}
        # Two views of what happens in one clip, against all other clips.
        other_views = (views + 1) % config.meaning_views
        again = embed(clips, other_views)
        terms = {"contrast": losses_of.copy_contrast(vectors, again, temperature=0.1)}
        known = np.flatnonzero(labels[clips] >= 0)
        if config.label_weight > 0 and len(known):
            again = embed(clips[known], other_views[known])
            numbers = (
                torch.from_numpy(np.tile(of[clips[known]], 2)).to(config.device)
                for of in (labels, groups, np.arange(len(labels)))
            )
            terms["labels"] = config.label_weight * losses_of.label_contrast(
                torch.cat([vectors[known], again]), *numbers, temperature=0.1
            )
        return terms

    return Phase(config.meaning_steps, config.meaning_rate, losses, scaffold)


def label_numbers(dataset: ClipDataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each clip the number of its label and of its group, ``(N,)`` each.

    A label that a single group has teaches nothing but that group: it counts as unknown, -1.
    """
    groups_of: dict[str, set[str]] = {}
    for clip in dataset:
        groups_of.setdefault(clip.label, set()).add(clip.group)
    shared = (label for label, groups in groups_of.items() if label and len(groups) > 1)
    label_of = {label: number for number, label in enumerate(shared)}
    group_of = {name: i for i, name in enumerate(dict.fromkeys(c.group for c in dataset))}
    labels = np.array([label_of.get(clip.label, -1) for clip in dataset], np.int64)
    return labels, np.array([group_of[clip.group] for clip in dataset], np.int64)


class _FrameSampler:
    """Clips to contrast: drawn by weight, half of them with another clip of their cluster.

    Another moment of the same place is the hardest wrong answer there is, and by chance it
    would hardly ever stand in the same batch.
    """

    def __init__(self, store: FrameStore) -> None:
        self.weights = store.dataset.weights()
        members: dict[str, list[int]] = {}
        for i, clip in enumerate(store.dataset):
            members.setdefault(clip.cluster, []).append(i)
        self.mates = [
            [j for j in members[clip.cluster] if j != i] for i, clip in enumerate(store.dataset)
        ]

    def choose(self, rng: np.random.Generator, num: int) -> NDArray[np.int64]:
        """Numbers of `num` clips, all different where there are so many."""
        few = len(self.weights) < num
        drawn = rng.choice(len(self.weights), num, replace=few, p=self.weights)
        chosen = list(dict.fromkeys(drawn.tolist())) if not few else drawn.tolist()
        for place in range(0, num // 2, 2):
            mates = [mate for mate in self.mates[chosen[place]] if mate not in chosen]
            if mates:
                chosen[place + 1] = int(rng.choice(mates))
        return np.array(chosen)


PHASE_MAKERS: dict[str, PhaseMaker] = {
    "blocks": partial(_distillation_phase, name="blocks"),
    "chain": partial(_distillation_phase, name="chain"),
    "late": partial(_distillation_phase, name="late"),
    "copies": _copies_phase,
    "meaning": _meaning_phase,
    "identity": _identity_phase,
}
