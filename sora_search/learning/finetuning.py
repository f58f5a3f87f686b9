"""Fine-tuning: a model fitted to somebody's own videos by few parameters, in a minute or two.

The network stays as it is. Some views of each clip go through it once; then one square matrix
behind the meaning half (`sora.adapter`) learns from their vectors, which takes seconds. The
identity half is left alone: copies are found by it, and no video says what a copy is better
than the edits it has already learned from.

    labels   clips of one label find each other across groups (recordings), as far as the
             vectors stay near to what they were
    edits    without labels: an edited view of a clip finds that clip among the others

Whether it helps is measured on clips that were not learned from: each fifth of the groups is
held out once, and what the other four teach is tried on it. With few clips that says more than
one small part held out, and nothing is chosen by it, so the figure is fair.

Chosen on labels of train and val (sky, fight, signs): half the rate, staying nearer to what the
vectors were, a sharper temperature and a matrix of low rank all gained less mAP than the
defaults.

Inside the head, at the same time and rate (two tests, one seed), low-rank changes of its last
layer or of its hidden one gained less mAP, and all of the last layer no more, while they cost
the graph its weights. More steps (400) forget more and gain nothing. Clips without a label
among labeled ones are left out: learning edits from them at the same time undid most of what 5
or 10 labels each had taught. `tests/benchmarks/bench_finetuning.py` measures what is gained
and forgotten; the model card says what came out.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sora_search.datatypes import OnProgress, Progress
from sora_search.errors import ConfigError, MediaError, TrainingError
from sora_search.learning import metrics
from sora_search.learning.datasets import Clip, ClipDataset
from sora_search.learning.losses import label_contrast
from sora_search.learning.viewing import Lesson, ViewRows, look
from sora_search.media.probing import probe
from sora_search.sora.adapter import Adapter, adapted
from sora_search.sora.checkpoint import load_card, model_paths, resolve_model
from sora_search.sora.encoder import EncoderSpec

MIN_CLIPS = 8
"""Of fewer there is nothing to tell apart, and nothing left to try it on."""


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How to learn; the defaults were chosen on val clips (see the module's text)."""

    seed: int = 0
    """Fixes every random choice."""
    views: int = 3
    """Views of each clip beside the plain one."""
    steps: int = 150
    """Steps."""
    rate: float = 2e-3
    """Highest learning rate."""
    clips_per_step: int = 128
    """Clips in a step, each in two views."""
    temperature: float = 0.1
    """Temperature of the contrast."""
    keep_weight: float = 2.0
    """Weight of staying near to what the vectors were."""
    folds: int = 5
    """Parts of the groups, each held out once to measure."""

    def __post_init__(self) -> None:
        for name, least in (("views", 1), ("steps", 1), ("clips_per_step", 2), ("folds", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, it is {getattr(self, name)}")
        if self.rate <= 0 or self.temperature <= 0 or self.keep_weight < 0:
            raise ValueError(
                "rate and temperature must be above 0, and keep_weight not below: "
                f"{self.rate=} {self.temperature=} {self.keep_weight=}"
            )


@dataclass(frozen=True, slots=True)
class HeldOutFigures:
    """What the clips that were held out say.

    With labels: the nearest clip of another group by the meaning half, right if it has the
    label. Without: the nearest clip to an edited view by both halves, right if it is its own.

    Attributes:
        num_queries: Those with a right answer.
        num_groups: The groups they come from.
        rank_1_before: Share with a right answer first, by the model as it is.
        rank_1_after: The same, adapted.
        rank_1_error: Standard error of their difference, groups drawn again.
        mean_ap_before: Mean average precision by the model as it is.
        mean_ap_after: The same, adapted.
        mean_ap_error: Standard error of their difference.
        chance: What rank 1 would be by chance.
    """

    num_queries: int
    num_groups: int
    rank_1_before: float
    rank_1_after: float
    rank_1_error: float
    mean_ap_before: float
    mean_ap_after: float
    mean_ap_error: float
    chance: float

    @property
    def verdict(self) -> Literal["better", "worse", "no clear gain"]:
        """What both figures say, each beside its standard error; a loss in one counts more.

        Few queries change their first answer, so rank 1 alone often cannot tell.
        """
        if any(gain < -error for _, gain, error in self._gains()):
            return "worse"
        return "better" if self.risen else "no clear gain"

    @property
    def risen(self) -> tuple[str, ...]:
        """Which of both figures rose by more than their standard error, by name."""
        return tuple(name for name, gain, error in self._gains() if gain > error)

    def _gains(self) -> tuple[tuple[str, float, float], ...]:
        return (
            ("rank 1", self.rank_1_after - self.rank_1_before, self.rank_1_error),
            ("mAP", self.mean_ap_after - self.mean_ap_before, self.mean_ap_error),
        )


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """What `finetune` did.

    Attributes:
        model_id: Of the adapted model.
        base_model_id: Of the model it belongs to.
        lesson: What was learned from: `labels` or `edits`.
        num_videos: Videos that were learned from.
        num_unlabeled: Videos left out because others have labels.
        num_labels: Different labels that the videos have, learned from or not.
        num_groups: Groups of the videos.
        held_out: Before and after on what was held out; None if nothing could be asked.
        failures: Videos that could not be read, a line each.
        duration_s: How long it took.
    """

    model_id: str
    base_model_id: str
    lesson: Lesson
    num_videos: int
    num_unlabeled: int
    num_labels: int
    num_groups: int
    held_out: HeldOutFigures | None
    failures: tuple[str, ...]
    duration_s: float

    def lines(self) -> Iterator[str]:
        """What happened, as text for people."""
        kinds = f"{self.num_labels} labels" if self.lesson == "labels" else "edits, not labels"
        yield f"learned from {self.num_videos} videos in {self.num_groups} groups: {kinds}"
        if self.lesson == "edits" and self.num_labels:
            yield f"none of {self.num_labels} labels has clips in two groups: they teach nothing"
        if self.num_unlabeled:
            yield f"{self.num_unlabeled} videos without a label were left out"
        held_out = self.held_out
        if held_out is None:
            yield "nothing could be held out to see whether it helps"
            return
        asked = {"labels": "same label in another group", "edits": "clip of an edited view"}
        rank_1 = _change(held_out.rank_1_before, held_out.rank_1_after, held_out.rank_1_error)
        mean_ap = _change(held_out.mean_ap_before, held_out.mean_ap_after, held_out.mean_ap_error)
        yield f"held out, {asked[self.lesson]}: rank 1 {rank_1}, mAP {mean_ap};"
        yield (
            f"  {held_out.num_queries} queries of {held_out.num_groups} groups, "
            f"chance {100 * held_out.chance:.1f}"
        )
        if held_out.verdict == "better":
            yield f"it helps: {_risen(held_out.risen)}"
        elif held_out.verdict == "worse":
            yield f"it does not help: stay with {self.base_model_id}"
        else:
            yield f"no clear gain: {self.base_model_id} may serve as well"


def _risen(names: Sequence[str]) -> str:
    if len(names) > 1:
        return f"{' and '.join(names)} rise"
    other = "mAP" if names[0] == "rank 1" else "rank 1"
    return f"{names[0]} rises, {other} shows no clear change"


def _change(before: float, after: float, error: float) -> str:
    difference = f"{100 * (after - before):+.1f} ± {100 * error:.1f}"
    return f"{100 * before:.1f} -> {100 * after:.1f} ({difference})"


@dataclass(frozen=True, slots=True, eq=False)
class Finetuned:
    """The adapter that was learned, and how it went."""

    adapter: Adapter
    report: FinetuneReport


def finetune(
    dataset: ClipDataset,
    *,
    model: str | Path,
    config: FinetuneConfig | None = None,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> Finetuned:
    """Fit a model to the videos of a data set.

    Args:
        dataset: The videos, with labels where they are known.
        model: The model, a name or path.
        config: How to learn.
        jobs: Processes that look at videos; 1 does it here.
        on_progress: Told after each video and each step.

    Raises:
        ConfigError: If the videos cannot teach anything, or the model is an adapted one.
        ModelNotFoundError: If there is no such model.
        TrainingError: If the loss is no longer a number.
    """
    began_s = time.monotonic()
    config = config or FinetuneConfig()
    if resolve_model(model)[1] is not None:
        raise ConfigError(f"{str(model)!r} is adapted already: name the model it belongs to")
    card = load_card(model)
    lesson, clips = _lesson(dataset)
    spec = EncoderSpec(str(model), "cpu")
    seen = look(
        clips, spec, lesson, config.views, seed=config.seed, jobs=jobs, on_progress=on_progress
    )
    read, views, failures = seen.clips, seen.views, seen.failures
    if len(read) < MIN_CLIPS:
        raise ConfigError(_too_few(len(read), f"can be read ({failures[0]})"))
    if failures and _lesson(ClipDataset(read))[0] != lesson:
        raise ConfigError(f"what can be read has no label in two groups ({failures[0]})")

    measured = held_out(views, lesson, config, on_progress=on_progress)
    change = learn(views, config, on_step=_told(on_progress, "learning", 0, config.steps))
    notes = {
        "lesson": lesson,
        "num_videos": len(read),
        "labels": sorted({clip.label for clip in read}) if lesson == "labels" else [],
        "settings": {name: getattr(config, name) for name in config.__dataclass_fields__},
    }
    path = model_paths(model)[0]
    shipped = str(model) == path.stem and not Path(model).exists()
    named = path.stem if shipped else str(path.absolute())
    adapter = Adapter(named, card.model_id, change, notes)
    report = FinetuneReport(
        model_id=adapter.model_id,
        base_model_id=card.model_id,
        lesson=lesson,
        num_videos=len(read),
        num_unlabeled=len(dataset) - len(clips),
        num_labels=len({clip.label for clip in read if clip.label}),
        num_groups=len({clip.group for clip in read}),
        held_out=measured,
        failures=failures,
        duration_s=time.monotonic() - began_s,
    )
    return Finetuned(adapter, report)


def _lesson(dataset: ClipDataset) -> tuple[Lesson, list[Clip]]:
    """What can be learned, and from which clips.

    Raises:
        ConfigError: If there are too few clips, or one label only.
    """
    labeled = [clip for clip in dataset if clip.label]
    clips = labeled or list(dataset)
    if len(clips) < MIN_CLIPS:
        unreadable = [repr(clip.path.name) for clip in clips if not _is_readable(clip.path)]
        what = "with a label" if labeled else "to learn from"
        if unreadable:
            what += f" ({len(unreadable)} more cannot be read: {', '.join(unreadable)})"
        raise ConfigError(_too_few(len(clips) - len(unreadable), what))
    if not labeled:
        return "edits", clips
    groups: dict[str, set[str]] = {}
    for clip in labeled:
        groups.setdefault(clip.label, set()).add(clip.group)
    if len(groups) == 1:
        raise ConfigError(
            f"all {len(labeled)} clips have the label {labeled[0].label!r}: "
            "add clips of another one, or leave the labels out"
        )
    # A label of one recording alone cannot be told from that recording.
    if max(map(len, groups.values())) > 1:
        return "labels", clips
    return "edits", list(dataset)


def _is_readable(path: Path) -> bool:
    try:
        probe(path)
    except (MediaError, OSError):
        return False
    return True


def _too_few(num: int, what: str) -> str:
    return f"{num} clips {what}: at least {MIN_CLIPS} are needed, and a hundred do better"


# Learning


def learn(
    views: ViewRows, config: FinetuneConfig, *, on_step: Callable[[int], None] = lambda step: None
) -> NDArray[np.float16]:
    """The change of the meaning half, ``(K, K)``, that these views teach.

    Raises:
        TrainingError: If the loss is no longer a number.
    """
    torch.set_num_threads(1)  # sums of another order are other numbers
    rows = torch.from_numpy(views.meaning)
    num, num_views, width = rows.shape
    labels, groups = _numbered(views.labels), _numbered(views.groups)
    change = nn.Parameter(torch.zeros(width, width))
    optimizer = torch.optim.Adam([change], lr=config.rate)
    rng = np.random.default_rng(config.seed)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            rise = min(1.0, (step + 1) / 10)
            group["lr"] = config.rate * rise * (0.5 + 0.5 * np.cos(np.pi * step / config.steps))
        clips = rng.choice(num, min(config.clips_per_step, num), replace=False)
        first = rng.integers(0, num_views, len(clips))
        second = (first + rng.integers(1, num_views, len(clips))) % num_views
        chosen = torch.from_numpy(np.concatenate([clips, clips]))
        before = rows[chosen, torch.from_numpy(np.concatenate([first, second]))]
        after = functional.normalize(before + before @ change.T, dim=1)
        contrast = label_contrast(
            after, labels[chosen], groups[chosen], chosen, temperature=config.temperature
        )
        moved = 1 - (before * after).sum(1).mean()
        loss = contrast + config.keep_weight * moved
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss of step {step} is {loss.item()}: lower `rate` in table [finetune] of "
                "the settings; nothing was written"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        on_step(step + 1)
    learned: NDArray[np.float16] = change.detach().half().numpy()
    if not np.isfinite(learned).all():
        raise TrainingError("what was learned is too large to keep: lower `rate` in [finetune]")
    return learned


def _numbered(names: Sequence[str]) -> Tensor:
    places: Mapping[str, int] = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([places[name] for name in names])


# Measuring


def held_out(
    views: ViewRows,
    lesson: Lesson,
    config: FinetuneConfig,
    *,
    on_progress: OnProgress | None = None,
) -> HeldOutFigures | None:
    """Before and after on clips whose groups were not learned from, each group once.

    Returns:
        The figures; None if no clip has a right answer.
    """
    folds = _folds(views, config)
    num_folds = max(folds) + 1
    if num_folds < 2:
        return None
    before, after = (_Ranks(views, lesson) for _ in range(2))
    for fold in range(num_folds):
        asked = folds == fold
        told = _told(on_progress, "measuring", fold * config.steps, num_folds * config.steps)
        change = learn(views[~asked], config, on_step=told)
        before.ask(asked, None)
        after.ask(asked, change)
    counted = before.ranks > 0
    if not counted.any():
        return None
    groups = np.array(views.groups)[before.clips][counted].tolist()
    now, then = after.ranks[counted] == 1, before.ranks[counted] == 1
    found, missed = after.precisions[counted], before.precisions[counted]
    return HeldOutFigures(
        num_queries=int(counted.sum()),
        num_groups=len(set(groups)),
        rank_1_before=float(then.mean()),
        rank_1_after=float(now.mean()),
        rank_1_error=metrics.paired_difference(now, then, groups).standard_error,
        mean_ap_before=float(missed.mean()),
        mean_ap_after=float(found.mean()),
        mean_ap_error=metrics.paired_difference(found, missed, groups).standard_error,
        chance=before.chance,
    )


def _folds(views: ViewRows, config: FinetuneConfig) -> NDArray[np.int64]:
    """The fold of each clip: groups stay whole, those of one label go to different folds."""
    rng = np.random.default_rng([config.seed, 1])
    of_label: dict[str, list[str]] = {}
    for group, label in dict(zip(views.groups, views.labels, strict=True)).items():
        of_label.setdefault(label, []).append(group)
    dealt = [group for groups in of_label.values() for group in rng.permutation(groups).tolist()]
    fold = {group: i % config.folds for i, group in enumerate(dealt)}
    return np.array([fold[name] for name in views.groups])


class _Ranks:
    """Answers to all queries of one model, fold by fold."""

    def __init__(self, views: ViewRows, lesson: Lesson) -> None:
        self._views = views
        self._lesson = lesson
        self.ranks = np.empty(0, np.int64)
        self.precisions = np.empty(0)
        self.clips = np.empty(0, np.int64)
        self._chances: list[tuple[float, int]] = []

    def ask(self, asked: NDArray[np.bool_], change: NDArray[np.float16] | None) -> None:
        """Rank all plain views for the clips asked for."""
        views = self._views
        if change is not None:
            views = replace(views, rows=adapted(views.rows, change))
        places = np.flatnonzero(asked)
        excluded = None
        if self._lesson == "labels":
            meaning = views.meaning
            queries, gallery = meaning[places, 0], meaning[:, 0]
            right = _same(views.labels, places)
            excluded = _same(views.groups, places)
        else:
            # Copies are looked for by both halves; every edited view asks.
            rows = views.rows
            queries, gallery = rows[places, 1:].reshape(-1, rows.shape[-1]), rows[:, 0]
            places = places.repeat(rows.shape[1] - 1)
            right = places[:, None] == np.arange(len(views))[None]
        similarity = queries @ gallery.T
        ranks = metrics.right_ranks(similarity, right, excluded)
        precisions = metrics.average_precisions(similarity, right, excluded)
        self._chances.append((metrics.chance_of_rank_1(right, excluded), int((ranks > 0).sum())))
        self.ranks = np.concatenate([self.ranks, ranks])
        self.precisions = np.concatenate([self.precisions, precisions])
        self.clips = np.concatenate([self.clips, places])

    @property
    def chance(self) -> float:
        """What rank 1 would be by chance."""
        counted = [(chance, num) for chance, num in self._chances if num]
        return sum(chance * num for chance, num in counted) / sum(num for _, num in counted)


def _same(names: Sequence[str], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    every = np.array(names)
    return np.asarray(every[places][:, None] == every[None])


def _told(
    on_progress: OnProgress | None, phase: str, done: int, total: int
) -> Callable[[int], None]:
    def tell(step: int) -> None:
        if on_progress is not None:
            on_progress(Progress(phase, done + step, total))

    return tell
