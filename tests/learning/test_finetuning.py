"""Fine-tuning on vectors that are made: what is learned, what is measured, what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sora_search.datatypes import Progress
from sora_search.errors import ConfigError, TrainingError
from sora_search.learning.datasets import Clip, ClipDataset
from sora_search.learning.finetuning import (
    FinetuneConfig,
    FinetuneReport,
    HeldOutFigures,
    _folds,
    _lesson,
    finetune,
    held_out,
    learn,
)
from sora_search.learning.viewing import ViewRows
from sora_search.sora.encoder import normalize_halves

CONFIG = FinetuneConfig(steps=60, rate=5e-3)
SIZE = 24  # columns of each half


def made_views(num: int = 48, *, num_labels: int = 3, weight: float = 0.5) -> ViewRows:
    """Clips in which the group is plain to see and the label hardly."""
    rng = np.random.default_rng(0)
    of_label = weight * rng.standard_normal((num_labels, SIZE))
    of_group = rng.standard_normal((num // 2, SIZE))
    of_clip = rng.standard_normal((num, SIZE))
    pairs = np.arange(num) // 2  # two clips a group, which has one label
    noise = 0.3 * rng.standard_normal((2, num, 3, SIZE))
    identity = of_clip[:, None] + 4 * noise[0]
    meaning = (of_label[pairs % num_labels] + of_group[pairs] + 0.3 * of_clip)[:, None] + noise[1]
    rows = np.concatenate([identity, meaning], 2).astype(np.float32)
    rows = normalize_halves(rows.reshape(-1, 2 * SIZE), SIZE).reshape(rows.shape)
    labels, groups = (pairs % num_labels).astype(str).tolist(), pairs.astype(str).tolist()
    return ViewRows(rows, labels, groups, SIZE)


def clips(*labels: str, group: str | None = None) -> ClipDataset:
    return ClipDataset(
        tuple(Clip(Path(f"{i}.mp4"), x, group or f"{i}") for i, x in enumerate(labels))
    )


def test_labels_are_learned_and_it_shows_on_groups_that_were_not() -> None:
    views = made_views()
    figures = held_out(views, "labels", CONFIG)
    assert figures is not None
    assert figures.num_queries == 48
    assert figures.mean_ap_after > figures.mean_ap_before + 3 * figures.mean_ap_error
    assert figures.rank_1_after > figures.rank_1_before
    assert figures.verdict == "better"
    assert figures.chance < 0.5


def test_labels_that_mean_nothing_do_not_seem_to_help() -> None:
    figures = held_out(made_views(weight=0.0), "labels", CONFIG)
    assert figures is not None
    assert figures.verdict != "better"


def test_edited_views_find_their_clip() -> None:
    views = made_views()
    own = ViewRows(views.rows, views.groups, views.groups, SIZE)
    figures = held_out(own, "edits", CONFIG)
    assert figures is not None
    assert figures.num_queries == 2 * 48  # each view but the plain one
    assert figures.chance == pytest.approx(1 / 48)
    assert figures.rank_1_before > 10 * figures.chance
    assert figures.rank_1_after > 10 * figures.chance


def test_the_same_seed_gives_the_same_numbers() -> None:
    views = made_views()
    first, again = learn(views, CONFIG), learn(views, CONFIG)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, learn(views, replace(CONFIG, seed=1)))
    assert first.dtype == np.float16
    assert held_out(views, "labels", CONFIG) == held_out(views, "labels", CONFIG)


def test_staying_near_changes_less() -> None:
    views = made_views()
    free, kept = (learn(views, replace(CONFIG, keep_weight=weight)) for weight in (0.0, 50.0))
    assert np.abs(kept).sum() < 0.7 * np.abs(free).sum()


def test_a_loss_that_is_no_number_stops() -> None:
    with pytest.raises(TrainingError, match="lower `rate`"):
        learn(made_views(), replace(CONFIG, rate=1e38))


def test_groups_are_whole_and_those_of_a_label_in_different_folds() -> None:
    views = made_views()
    folds = _folds(views, CONFIG)
    of_group = dict(zip(views.groups, folds.tolist(), strict=True))
    assert [of_group[group] for group in views.groups] == folds.tolist()
    for label in set(views.labels):
        groups = {g for g, x in zip(views.groups, views.labels, strict=True) if x == label}
        assert len({of_group[group] for group in groups}) == min(CONFIG.folds, len(groups))


def test_what_cannot_be_held_out_is_not_measured() -> None:
    views = made_views(8)
    one_group = ViewRows(views.rows, ["a", "b"] * 4, ["x"] * 8, SIZE)
    assert held_out(one_group, "labels", CONFIG) is None
    no_answer = ViewRows(views.rows, list("abcdefgh"), list("abcdefgh"), SIZE)
    assert held_out(no_answer, "labels", replace(CONFIG, steps=1)) is None


def test_progress_is_told_in_phases() -> None:
    seen: list[Progress] = []
    held_out(made_views(8), "edits", replace(CONFIG, steps=2), on_progress=seen.append)
    assert {progress.phase for progress in seen} == {"measuring"}
    assert [progress.num_done for progress in seen] == list(range(1, seen[0].num_total + 1))


@pytest.mark.parametrize(
    ("rank_1", "mean_ap", "verdict"),
    [
        ((0.5, 0.6), (0.5, 0.5), "better"),
        ((0.5, 0.51), (0.5, 0.6), "better"),
        ((0.5, 0.51), (0.5, 0.5), "no clear gain"),
        ((0.5, 0.4), (0.5, 0.6), "worse"),
    ],
)
def test_a_verdict_heeds_the_standard_errors(
    rank_1: tuple[float, float], mean_ap: tuple[float, float], verdict: str
) -> None:
    assert HeldOutFigures(9, 3, *rank_1, 0.05, *mean_ap, 0.05, 0.1).verdict == verdict


def test_labels_count_where_they_reach_over_groups() -> None:
    assert _lesson(clips(*["a", "b"] * 4))[0] == "labels"
    assert _lesson(clips(*[""] * 8))[0] == "edits"
    lesson, used = _lesson(clips(*["a", "b"] * 4, "", ""))
    assert (lesson, len(used)) == ("labels", 8)  # those without one are left out
    lesson, used = _lesson(clips(*"abcdefgh", ""))
    assert (lesson, len(used)) == ("edits", 9)  # one clip a label: nothing in common
    assert _lesson(clips(*["a", "b"] * 4, group="one"))[0] == "edits"


def test_what_cannot_teach_is_refused() -> None:
    with pytest.raises(ConfigError, match="all 9 clips have the label 'a'"):
        finetune(clips(*["a"] * 9), model="sora-small")
    said = r"0 clips with a label \(2 more cannot be read: '0\.mp4', '1\.mp4'\): at least 8"
    with pytest.raises(ConfigError, match=said):
        finetune(clips("a", "b", *[""] * 9), model="sora-small")
    with pytest.raises(ConfigError, match=r"0 clips can be read \(0\.mp4: "):
        finetune(clips(*["a", "b"] * 4), model="sora-small")


@pytest.mark.parametrize("wrong", [{"views": 0}, {"folds": 1}, {"rate": 0.0}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FinetuneConfig(**wrong)


def test_a_report_says_why_labels_were_not_used_and_that_nothing_could_be_measured() -> None:
    report = FinetuneReport("a-1", "b-1", "edits", 9, 0, 8, 9, None, (), 1.0)
    learned, why, not_measured = report.lines()
    assert learned == "learned from 9 videos in 9 groups: edits, not labels"
    assert why == "none of 8 labels has clips in two groups: they teach nothing"
    assert "nothing could be held out" in not_measured


def test_a_report_says_when_it_does_not_help() -> None:
    held_out = HeldOutFigures(40, 9, 0.5, 0.4, 0.05, 0.5, 0.5, 0.05, 0.1)
    report = FinetuneReport("a-1", "b-1", "labels", 40, 3, 4, 9, held_out, (), 1.0)
    lines = list(report.lines())
    assert lines[1] == "3 videos without a label were left out"
    assert "rank 1 50.0 -> 40.0 (-10.0 ± 5.0), mAP 50.0 -> 50.0 (+0.0 ± 5.0);" in lines[2]
    assert lines[-1] == "it does not help: stay with b-1"


@pytest.mark.parametrize(
    ("rank_1", "mean_ap", "said"),
    [
        ((0.8, 0.8), (0.5, 0.6), "it helps: mAP rises, rank 1 shows no clear change"),
        ((0.8, 0.9), (0.5, 0.5), "it helps: rank 1 rises, mAP shows no clear change"),
        ((0.8, 0.9), (0.5, 0.6), "it helps: rank 1 and mAP rise"),
        ((0.8, 0.8), (0.5, 0.5), "no clear gain: b-1 may serve as well"),
    ],
)
def test_a_report_says_which_figure_it_helps(
    rank_1: tuple[float, float], mean_ap: tuple[float, float], said: str
) -> None:
    held_out = HeldOutFigures(40, 9, *rank_1, 0.05, *mean_ap, 0.05, 0.1)
    report = FinetuneReport("a-1", "b-1", "labels", 40, 0, 4, 9, held_out, (), 1.0)
    assert list(report.lines())[-1] == said
