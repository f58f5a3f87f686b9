"""Training: one function, one visible loop, phases (`phases`) that stop and resume exactly."""

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sora_search.datatypes import OnProgress, Progress
from sora_search.errors import ConfigError, TrainingError
from sora_search.learning.datasets import FrameStore
from sora_search.learning.distillation import load_teacher
from sora_search.learning.journal import EVERY_STEPS, Journal
from sora_search.learning.phases import PHASE_MAKERS, PHASES, Phase, PhaseInputs, TrainConfig
from sora_search.learning.storing import read_state, write_state
from sora_search.sora.checkpoint import load_tensors, new_network
from sora_search.sora.network import HalvedNetwork, ModelConfig, NetworkConfig, to_channels_last

MIN_CLIPS = 2
"""To tell one from another is all that is learned without labels."""


def train(
    config: TrainConfig,
    store: FrameStore,
    *,
    out_dir: Path | str,
    model: NetworkConfig = ModelConfig(),  # noqa: B008 - it is frozen
    init: Sequence[Path | str] = (),
    teacher_dir: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> HalvedNetwork:
    """Learn a network from clips; call again with the same folder to go on.

    Args:
        config: What to do.
        store: The frames to learn from.
        out_dir: The run: `config.json`, `checkpoint_last/`, and what `journal` writes.
        model: The network to learn.
        init: What to start from, a later one over an earlier one: models (name or path), and
            finished runs, of which what their phases learned is taken.
        teacher_dir: A folder with a teacher (see `distillation`); None learns without one.
        on_progress: Called after every step.

    Raises:
        ConfigError: If a phase is unknown, or needs a teacher and there is none, or there is
            one clip only, or what `init` names has tensors of another shape that no phase
            learns, or the folder holds a run with other settings or of another network.
        ModelNotFoundError: If there is no model to start from under a name of `init`.
        TrainingError: If the loss is no longer a number, or a checkpoint cannot be written or
            read; the last good one is kept.
    """
    unknown = [name for name in config.phases if name not in PHASES]
    if unknown:
        raise ConfigError(f"unknown phase {unknown[0]!r}: one of {', '.join(PHASES)}")
    if len(store.dataset) < MIN_CLIPS:
        raise ConfigError(f"{len(store.dataset)} clip to learn from: give {MIN_CLIPS} or more")
    torch.set_num_threads(config.threads)
    network = new_network(model, seed=config.seed).to(config.device)
    to_channels_last(network)
    for start in init:
        network.load_state_dict(_learned(start, network, config.phases), strict=False)
    teacher = None if teacher_dir is None else load_teacher(teacher_dir)
    inputs = PhaseInputs(config, network, store, teacher, on_progress)
    run = _Run.open(Path(out_dir), config, network)
    for index, name in enumerate(config.phases):
        if index < run.phase_index:
            continue
        phase = PHASE_MAKERS[name](inputs)
        if run.step == 0:
            phase.start()
        parameters = run.start_phase(index, name, phase)
        for step in range(run.step, phase.steps):
            for group in run.optimizer.param_groups:
                group["lr"] = phase.rate * _schedule(step, phase.steps)
            terms = phase.losses(step)
            loss = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss of step {step} of phase {name!r} is {loss.item()}: "
                    f"lower the learning rate; the last good checkpoint is in {str(out_dir)!r}"
                )
            run.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            run.optimizer.step()
            run.after_step(step, terms)
            if on_progress is not None:
                on_progress(Progress(name, step + 1, phase.steps))
        run.end_phase()
    return network.eval()


def _schedule(step: int, steps: int) -> float:
    """Share of the highest learning rate: a short rise, then a cosine down to a hundredth."""
    rise = min(1.0, (step + 1) / max(1, min(200, steps // 10)))
    return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _learned(start: Path | str, network: HalvedNetwork, phases: Sequence[str]) -> dict[str, Tensor]:
    """What a finished run has learned in its phases; of a model, all tensors.

    Those of another shape are left out: a phase must learn them anew.
    """
    folder = Path(start)
    if (folder / "checkpoint_last").is_dir():
        learned = json.loads((folder / "config.json").read_text())["phases"]
        state = _read_state(folder / "checkpoint_last" / "state.pt")
        prefixes = _prefixes(learned)
        tensors = {key: x for key, x in state["network"].items() if key.startswith(prefixes)}
    else:
        tensors = load_tensors(start)
    shapes = {key: x.shape for key, x in network.state_dict().items()}
    unfit = [key for key, x in tensors.items() if shapes.get(key) != x.shape]
    for key in unfit:
        if key in shapes and not key.startswith(_prefixes(phases)):
            raise ConfigError(
                f"{key} of {str(start)!r} has the shape {tuple(tensors[key].shape)}, "
                f"here {tuple(shapes[key])}: add a phase that learns it, or start from another"
            )
    return {key: x for key, x in tensors.items() if key not in unfit}


def _prefixes(phases: Iterable[str]) -> tuple[str, ...]:
    """How the names of the parameters begin that phases learn."""
    return tuple(prefix for name in phases for prefix in PHASES[name])


def _read_state(path: Path, device: str = "cpu") -> dict[str, Any]:
    """A checkpoint: tensors and plain values; whatever else a pickle may hold is never run."""
    state = read_state(path, device=device)
    missing = {"network", "phase_index", "step", "optimizer", "average", "scaffold"} - set(state)
    if missing:
        raise TrainingError(
            f"the checkpoint {str(path)!r} is of another version (no {min(missing)!r}): "
            "delete it to begin this run anew"
        )
    return state


class _Run:
    """The folder of a run and where in it the training stands."""

    journal: Journal

    def __init__(self, folder: Path, config: TrainConfig, network: HalvedNetwork) -> None:
        self.folder = folder
        self.config = config
        self.network = network
        self.phase_index = 0
        self.step = 0
        self._resumed: dict[str, Any] | None = None
        self._saved_at = time.monotonic()

    @classmethod
    def open(cls, folder: Path, config: TrainConfig, network: HalvedNetwork) -> "_Run":
        """A new run, or the one that was stopped in this folder."""
        run = cls(folder, config, network)
        (folder / "checkpoint_last").mkdir(parents=True, exist_ok=True)
        settings = json.dumps({**asdict(config), "model": asdict(network.config)}, indent=1)
        settings_path = folder / "config.json"
        if settings_path.exists() and settings_path.read_text() != settings:
            raise ConfigError(
                f"{str(folder)!r} holds a run with other settings: choose another --output"
            )
        settings_path.write_text(settings)
        if run._state_path.exists():
            state = _read_state(run._state_path, config.device)
            network.load_state_dict(state["network"])
            run.phase_index, run.step = state["phase_index"], state["step"]
            run._resumed = state
        run.journal = Journal(folder, config.phases, run.phase_index, run.step)
        return run

    @property
    def _state_path(self) -> Path:
        return self.folder / "checkpoint_last" / "state.pt"

    def start_phase(self, index: int, name: str, phase: Phase) -> list[nn.Parameter]:
        """Switch learning on for the parameters of a phase, and off for all others."""
        self.phase_index, self.name = index, name
        for key, parameter in self.network.named_parameters():
            parameter.requires_grad_(key.startswith(PHASES[name]))
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.scaffold = phase.scaffold
        learned = [*self.parameters, *self.scaffold.parameters()]
        self.optimizer = torch.optim.AdamW(learned, lr=phase.rate, weight_decay=0.02)
        self.average = [p.detach().clone() for p in self.parameters]
        # Statistics of a batch are used by contrast alone; distillation froze those of motion.
        self.network.eval()
        self.network.appearance.train(name == "copies")
        if self._resumed is None:
            self.step = 0
        elif self._resumed["optimizer"] is not None:
            self.optimizer.load_state_dict(self._resumed["optimizer"])
            for kept, saved in zip(self.average, self._resumed["average"], strict=True):
                kept.copy_(saved)
            self.scaffold.load_state_dict(self._resumed["scaffold"])
        self._resumed = None
        self.journal.start_phase(name, self.step)
        return learned

    def after_step(self, step: int, terms: dict[str, Tensor]) -> None:
        """Keep the running average of the weights, the metrics, and now and then a checkpoint."""
        for kept, current in zip(self.average, self.parameters, strict=True):
            kept.lerp_(current.detach(), 1 - min(0.998, step / (step + 10)))
        self.step = step + 1
        if step % EVERY_STEPS == 0:
            self.journal.add(step, {key: value.item() for key, value in terms.items()})
        if time.monotonic() - self._saved_at > self.config.save_every_s:
            self._save(self.optimizer.state_dict())

    def end_phase(self) -> None:
        """Take the averaged weights (Polyak & Juditsky, 1992) and go to the next phase."""
        for kept, current in zip(self.average, self.parameters, strict=True):
            current.data.copy_(kept)
        self.phase_index += 1
        self.step = 0
        self._save(None)
        self.journal.close()

    def _save(self, optimizer: dict[str, Any] | None) -> None:
        state = {
            "network": self.network.state_dict(),
            "phase_index": self.phase_index,
            "step": self.step,
            "optimizer": optimizer,
            "average": self.average,
            "scaffold": self.scaffold.state_dict(),
        }
        write_state(self._state_path, state)
        self.journal.draw()
        self._saved_at = time.monotonic()
