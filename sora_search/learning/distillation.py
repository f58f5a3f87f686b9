"""Learning from a teacher network: stage by stage, then end to end.

The teacher is a (2+1)D network of the MoViNet-A0 family in a folder that holds a
`movinet.py` with `load()`; it is used for training only. What it must have: `stem`,
`blocks` (a list of stages, each a list of blocks called with maps and the number of
frames), `head`, `hid` and `cls`.

Fitting each block on the teacher's own input of that block first, with frozen batch
statistics, brings a randomly initialised network near the teacher within minutes; learning
end to end then mends the errors that add up along the chain (FitNets, Romero et al.,
ICLR 2015, in the block-wise form of Li et al., CVPR 2020; measured for this network:
rank 1 of action 54 with batch statistics, 72 without, 83 after the end-to-end part).

A second teacher knows what things look like: EfficientNet-Lite2 (ImageNet, Apache-2.0),
from the packages of the extra `train`. Its features of a frame are what the appearance
pathway should still make of that frame after it was edited.
"""

import importlib.util
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sora_search.errors import ConfigError
from sora_search.sora.network import ConvUnit, InvertedBottleneck, Pathway

_LOG = logging.getLogger(__name__)

STEM_FRAMES = 96
"""Frames it is fitted on."""

LARGE_MAP = 256
"""Places of a map from which on a quarter of the clips of a step is enough to learn it."""


class Teacher(nn.Module):
    """A frozen network to learn from, with the stages of the motion pathway.

    Args:
        network: What `load()` of the teacher's module gives.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.stem = network.get_submodule("stem")
        self.stages = cast(Iterable[nn.ModuleList], network.get_submodule("blocks"))
        self.last = network.get_submodule("head")
        self.fully_connected = cast(nn.Linear, network.get_submodule("hid"))
        self.classes = cast(nn.Linear, network.get_submodule("cls"))
        self.hidden_dim = self.fully_connected.out_features
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def maps(self, frames: Tensor, clip_frames: int) -> list[list[Tensor]]:
        """What comes out of each of its parts for frames ``(B * T, 3, S, S)`` in [0, 1].

        Returns:
            ``[[stem], stage, ..., [last]]``, a stage being the outputs of its blocks.
        """
        x: Tensor = self.stem(frames)
        maps = [[x]]
        for stage in self.stages:
            outputs = []
            for block in stage:
                x = block(x, clip_frames)
                outputs.append(x)
            maps.append(outputs)
        maps.append([self.last(x)])
        return maps

    def hidden(self, last: Tensor, clip_frames: int) -> Tensor:
        """Its hidden layer for the mean of each clip's last maps, ``(B, hidden_dim)``."""
        pooled = last.mean((2, 3)).unflatten(0, (-1, clip_frames)).mean(1)
        return functional.relu6(self.fully_connected(pooled))

    def verdict(self, hidden: Tensor) -> Tensor:
        """Logits of its classes."""
        logits: Tensor = self.classes(hidden)
        return logits


def load_teacher(folder: Path | str) -> Teacher:
    """The teacher of a folder, frozen, in eval mode.

    Raises:
        ConfigError: If the folder holds no `movinet.py` whose `load()` gives such a network.
    """
    path = Path(folder) / "movinet.py"
    spec = importlib.util.spec_from_file_location("sora_search_teacher", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"no teacher at {str(folder)!r}: need a movinet.py with load()")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return Teacher(module.load())
    except AttributeError as error:
        raise ConfigError(f"{str(path)!r} gives no teacher: {error}") from error


@torch.no_grad()
def calibrate(
    pathway: Pathway,
    frames: Tensor,
    maps: list[list[Tensor]],
    clip_frames: int,
    *,
    stem_starts: int,
) -> None:
    """Set the statistics of a new pathway once, from the teacher's maps; then they stay.

    The targets of distillation have absolute levels, which the statistics of each batch would
    remove; without any, the weights would have to travel far from where they start (the
    targets are ten times as large). So every layer is normalised by what goes into it in the
    teacher, and every output is scaled to the spread of its target.

    The stem is then fitted whole by L-BFGS. Pictures vary a thousand times more in brightness
    than in fine edges, and steps of equal size for all weights do not find its edge filters
    (share of variance missed after 1,000 steps of AdamW .85, of L-BFGS .001).
    """
    for module in pathway.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean of what it is shown here
    pathway.train()
    _fit_stem(pathway.stem, frames, maps[0][0], stem_starts)
    x = maps[0][0]
    for stage, targets in zip(pathway.stages, maps[1:-1], strict=True):
        for module, target in zip(cast(nn.ModuleList, stage), targets, strict=True):
            block = cast(InvertedBottleneck, module)
            block(x, clip_frames)
            if block.shortcut is None:
                _spread_like(block.narrow, target - x)
            else:
                _spread_like(block.narrow, target / 2)
                _spread_like(block.shortcut, target / 2)
            x = target
    pathway.last(x)
    _spread_like(pathway.last, maps[-1][0])
    pathway.eval()


@torch.enable_grad()
def _fit_stem(stem: ConvUnit, frames: Tensor, target: Tensor, num_starts: int) -> None:
    """Fit each channel from several random starts and keep the best.

    A channel is a problem of its own, and of a single start one in eight ends in a poor minimum
    (share of variance missed by such a channel 1.0, and .16 by the stem as a whole).
    """
    frames, target = frames[:STEM_FRAMES], target[:STEM_FRAMES]
    best = torch.full((target.shape[1],), torch.inf, device=target.device)
    for _ in range(num_starts):
        started = ConvUnit(3, target.shape[1], 3, stride=2).to(target.device)
        started.norm.momentum = None
        with torch.no_grad():
            started(frames)
            _spread_like(started, target)
        _fit_by_lbfgs(started.eval(), frames, target)
        with torch.no_grad():
            missed = _variance_missed(started(frames), target).mean((0, 2, 3))
            better = missed < best
            best = torch.where(better, missed, best)
            for key, x in stem.state_dict().items():
                if x.ndim:
                    x[better] = started.state_dict()[key][better]
        if best.max() < 0.002:
            break
    _LOG.info("stem: share of variance missed %.4f at worst", best.max().item())


def _fit_by_lbfgs(unit: ConvUnit, frames: Tensor, target: Tensor) -> None:
    optimizer = torch.optim.LBFGS(
        unit.parameters(),
        max_iter=250,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def missed() -> float:
        optimizer.zero_grad()
        loss = _share_missed(unit(frames), target)
        loss.backward()
        return loss.item()

    optimizer.step(missed)


def _spread_like(unit: ConvUnit, target: Tensor) -> None:
    unit.norm.weight.copy_(target.std((0, 2, 3)).clamp(min=0.1))
    unit.norm.bias.copy_(target.mean((0, 2, 3)))


def block_loss(pathway: Pathway, maps: list[list[Tensor]], clip_frames: int) -> Tensor:
    """Each block on the teacher's input of that block: the mean share of variance missed.

    Blocks that give out large maps see a quarter of the clips: their maps have so many places
    that more clips teach nothing, and they would take two thirds of the time of a step.
    """
    losses = []
    x = maps[0][0]
    few = max(1, len(x) // clip_frames // 4) * clip_frames
    for stage, targets in zip(pathway.stages, maps[1:-1], strict=True):
        for block, target in zip(cast(nn.ModuleList, stage), targets, strict=True):
            num = few if target[0, 0].numel() >= LARGE_MAP else len(x)
            losses.append(_share_missed(block(x[:num], clip_frames), target[:num]))
            x = target
    losses.append(_share_missed(pathway.last(x), maps[-1][0]))
    return torch.stack(losses).mean()


def chain_loss(
    teacher: Teacher,
    pathway: Pathway,
    frames: Tensor,
    maps: list[list[Tensor]],
    clip_frames: int,
    *,
    centre: Tensor | None = None,
) -> dict[str, Tensor]:
    """The whole pathway on the teacher's stages, last map, hidden layer and verdict.

    The teacher's own last layers, frozen, read the student's features: what they make of
    them is what counts, not the features as such (SimKD, Chen et al., CVPR 2022). With a
    `centre`, the mean of its hidden layer over clips ``(E,)``, hidden layers are compared by
    how they differ from it.
    """
    student = pathway(frames, clip_frames)
    stages = [targets[-1] for targets in maps[1:]]
    missed = torch.stack([_share_missed(s, t) for s, t in zip(student, stages, strict=True)])
    seen = teacher.hidden(student[-1], clip_frames)
    wanted = teacher.hidden(stages[-1], clip_frames)
    middle = 0.0 if centre is None else centre
    cosine = functional.cosine_similarity(seen - middle, wanted - middle, dim=1)
    verdict = functional.kl_div(
        functional.log_softmax(teacher.verdict(seen), 1),
        functional.softmax(teacher.verdict(wanted), 1),
        reduction="batchmean",
    )
    return {
        "stages": missed[:-1].mean(),
        "last": 0.5 * missed[-1],
        "hidden": 2 * (1 - cosine).mean(),
        # Ten times larger than the others, and about classes that most clips are none of.
        "verdict": 0.1 * verdict,
    }


def _share_missed(student: Tensor, target: Tensor) -> Tensor:
    """Squared error over the variance of each channel: 0 is perfect, 1 knows only the mean.

    Channels that hardly ever vary count by their share of the usual variance, not as much as all.
    """
    return _variance_missed(student, target).mean()


def _variance_missed(student: Tensor, target: Tensor) -> Tensor:
    variance = target.var((0, 2, 3), keepdim=True)
    variance = variance.clamp(min=0.1 * variance.mean().item())
    return (student - target).square() / variance
