"""Training: it learns, it goes on exactly where it was stopped, and it refuses what cannot work."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sora_search.datatypes import Progress
from sora_search.errors import ConfigError, TrainingError
from sora_search.learning import distillation, training
from sora_search.learning.datasets import STORED_FRAMES, STORED_SIZE, Clip, ClipDataset, FrameStore
from sora_search.learning.phases import TrainConfig, label_numbers
from sora_search.learning.training import train
from sora_search.sora.checkpoint import load_network, save_network
from sora_search.sora.network import ModelConfig, SoraNetwork
from sora_search.sora.seed_network import SeedConfig, SeedNetwork

TEACHER = """
from torch import nn
from sora_search.sora.network import ModelConfig, SoraNetwork

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        motion = SoraNetwork(ModelConfig(), seed=7).motion
        self.stem, self.blocks, self.head = motion.stem, motion.stages, motion.last
        self.hid, self.cls = nn.Linear(480, 64), nn.Linear(64, 10)

def load():
    return Network()
"""

CONFIG = TrainConfig(
    stem_starts=1,
    blocks_steps=2,
    blocks_frames=4,
    chain_steps=2,
    late_steps=2,
    copies_steps=3,
    meaning_steps=3,
    clips_per_step=2,
    frames_per_step=6,
    meaning_clips=3,
    identity_steps=3,
    identity_frames=4,
    identity_views=2,
    appearance_weight=0.0,
)


@pytest.fixture(scope="module")
def store() -> FrameStore:
    rng = np.random.default_rng(0)
    shape = (6, STORED_FRAMES, STORED_SIZE // 16, STORED_SIZE // 16, 3)
    coarse = rng.integers(0, 256, shape, np.uint8)
    frames = coarse.repeat(16, 2).repeat(16, 3)
    clips = [Clip(Path(f"{i}"), cluster=f"{i // 2}", source="s") for i in range(6)]
    return FrameStore(ClipDataset(tuple(clips)), frames)


@pytest.fixture
def teacher_dir(tmp_path: Path) -> Path:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "movinet.py").write_text(TEACHER)
    return tmp_path / "teacher"


def test_a_run_goes_through_all_phases_and_changes_what_each_is_for(
    store: FrameStore, teacher_dir: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    network = train(
        CONFIG,
        store,
        out_dir=tmp_path / "run",
        teacher_dir=teacher_dir,
        on_progress=seen.append,
    )
    finished = [p.phase for p in seen if p.num_done == p.num_total]
    assert [phase for phase in finished if phase in CONFIG.phases] == list(CONFIG.phases)
    assert {"looking at clips", "looking at frames"} <= set(finished)
    start = SoraNetwork(ModelConfig(), seed=CONFIG.seed).state_dict()
    for key in (
        "motion.stem.conv.weight",
        "appearance.stem.conv.weight",
        "identity_out.weight",
        "meaning_out.weight",
    ):
        assert not torch.equal(network.state_dict()[key], start[key])
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in rows} == set(CONFIG.phases)


@pytest.mark.parametrize("stop_at", [("copies", 2), ("identity", 1), ("meaning", 1)])
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(
    store: FrameStore, tmp_path: Path, stop_at: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "EVERY_STEPS", 1)
    config = replace(CONFIG, phases=("copies", "identity", "meaning"), save_every_s=0.0)
    whole = train(config, store, out_dir=tmp_path / "whole")

    def stop(progress: Progress) -> None:
        if (progress.phase, progress.num_done) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, store, out_dir=tmp_path / "stopped", on_progress=stop)
    resumed = train(config, store, out_dir=tmp_path / "stopped")
    for key, x in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], x, rtol=0, atol=0, msg=key)
    journals = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "stopped")]
    assert journals[0] == journals[1]
    num_steps = CONFIG.copies_steps + CONFIG.identity_steps + CONFIG.meaning_steps
    assert journals[0].count("\n") == num_steps


def test_copies_are_learned(store: FrameStore, tmp_path: Path) -> None:
    config = replace(CONFIG, phases=("copies",), copies_steps=25, copies_rate=3e-3)
    train(config, store, out_dir=tmp_path / "run")
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["contrast"] < rows[0]["contrast"] - 0.2


def test_the_identity_half_alone_is_learned(store: FrameStore, tmp_path: Path) -> None:
    config = replace(CONFIG, phases=("identity",), identity_steps=81, identity_rate=3e-3)
    start = SoraNetwork(ModelConfig(), seed=config.seed).state_dict()
    network = train(config, store, out_dir=tmp_path / "run")
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["contrast"] < rows[0]["contrast"] - 0.2
    changed = {key for key, x in network.state_dict().items() if not torch.equal(x, start[key])}
    assert {key.split(".")[0] for key in changed} == {"identity_hidden", "identity_out"}


def test_a_finished_run_lends_what_its_phases_learned(store: FrameStore, tmp_path: Path) -> None:
    first = train(replace(CONFIG, phases=("copies",)), store, out_dir=tmp_path / "copies")
    second = train(
        replace(CONFIG, phases=("meaning",)),
        store,
        out_dir=tmp_path / "meaning",
        init=[tmp_path / "copies"],
    )
    key = "appearance.stages.0.0.widen.conv.weight"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])


def test_a_model_lends_what_fits_and_a_run_named_after_it_counts_more(
    store: FrameStore, tmp_path: Path
) -> None:
    run = train(replace(CONFIG, phases=("copies",)), store, out_dir=tmp_path / "copies")
    save_network(SoraNetwork(ModelConfig(), seed=5), tmp_path / "model")
    model = load_network(tmp_path / "model")
    config = replace(CONFIG, phases=("meaning",), meaning_steps=1)
    init = [tmp_path / "model", tmp_path / "copies"]
    learned = train(config, store, out_dir=tmp_path / "meaning", init=init).state_dict()
    for key, lender in (("motion.stem.conv.weight", model), ("identity_out.weight", run)):
        assert torch.equal(learned[key], lender.state_dict()[key])


def test_a_student_equal_to_its_teacher_misses_nothing(teacher_dir: Path) -> None:
    teacher = distillation.load_teacher(teacher_dir)
    student, other = (SoraNetwork(ModelConfig(), seed=seed).eval().motion for seed in (7, 8))
    frames = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = teacher.maps(frames, 2)
    with torch.no_grad():
        assert distillation.block_loss(student, maps, 2).item() == pytest.approx(0, abs=1e-6)
        terms = distillation.chain_loss(teacher, student, frames, maps, 2)
        assert sum(x.item() for x in terms.values()) == pytest.approx(0, abs=1e-5)
        assert distillation.block_loss(other, maps, 2) > 0.1


def test_every_channel_of_the_stem_is_fitted(teacher_dir: Path) -> None:
    teacher = distillation.load_teacher(teacher_dir)
    student = SoraNetwork(ModelConfig(), seed=1).motion
    frames = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = teacher.maps(frames, 2)
    distillation.calibrate(student, frames, maps, 2, stem_starts=3)
    with torch.no_grad():
        missed = (student.stem(frames) - maps[0][0]).square().mean((0, 2, 3))
    usual = maps[0][0].var((0, 2, 3)).mean()
    assert (missed < 0.05 * usual).all()


def test_what_cannot_work_is_refused(store: FrameStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'blocks' needs a teacher"):
        train(CONFIG, store, out_dir=tmp_path / "a")
    with pytest.raises(ConfigError, match="unknown phase 'dreams'"):
        train(replace(CONFIG, phases=("dreams",)), store, out_dir=tmp_path / "b")
    with pytest.raises(ConfigError, match=r"need a movinet\.py"):
        train(CONFIG, store, out_dir=tmp_path / "c", teacher_dir=tmp_path)
    config = replace(CONFIG, phases=("copies",), copies_steps=1)
    train(config, store, out_dir=tmp_path / "d")
    with pytest.raises(ConfigError, match="other settings"):
        train(replace(config, seed=1), store, out_dir=tmp_path / "d")


def test_what_has_another_shape_must_be_learned_anew(store: FrameStore, tmp_path: Path) -> None:
    wider = ModelConfig(identity_hidden=64)
    save_network(SoraNetwork(wider, seed=5), tmp_path / "wider")
    config = replace(CONFIG, phases=("identity",), identity_steps=1)
    train(config, store, out_dir=tmp_path / "a", init=[tmp_path / "wider"])
    config = replace(CONFIG, phases=("meaning",), meaning_steps=1)
    with pytest.raises(ConfigError, match=r"identity_hidden\.1\.\w+ of .*wider.*: add a phase"):
        train(config, store, out_dir=tmp_path / "b", init=[tmp_path / "wider"])


def test_a_view_has_no_pair_where_there_is_one() -> None:
    with pytest.raises(ValueError, match="2 views or more"):
        replace(CONFIG, identity_views=1)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    store: FrameStore, tmp_path: Path
) -> None:
    config = replace(
        CONFIG, phases=("copies",), copies_steps=40, copies_rate=1e30, save_every_s=0.0
    )
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train(config, store, out_dir=tmp_path / "run")
    state = torch.load(tmp_path / "run" / "checkpoint_last" / "state.pt", weights_only=True)
    assert state["step"] >= 1


def test_a_checkpoint_that_cannot_be_read_is_named_and_left_alone(
    store: FrameStore, tmp_path: Path
) -> None:
    config = replace(CONFIG, phases=("copies",), copies_steps=1)
    train(config, store, out_dir=tmp_path / "run")
    path = tmp_path / "run" / "checkpoint_last" / "state.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"cannot read the checkpoint '.*state\.pt'"):
        train(config, store, out_dir=tmp_path / "run")
    assert len(path.read_bytes()) == len(whole) // 2
    torch.save({"network": {}}, path)
    with pytest.raises(TrainingError, match=r"state\.pt' is of another version"):
        train(config, store, out_dir=tmp_path / "run")


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_in_a_checkpoint_is_never_run(store: FrameStore, tmp_path: Path) -> None:
    config = replace(CONFIG, phases=("copies",), copies_steps=1)
    path = tmp_path / "run" / "checkpoint_last" / "state.pt"
    path.parent.mkdir(parents=True)
    torch.save(_Harm(tmp_path / "harm"), path)
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        train(config, store, out_dir=tmp_path / "run")
    assert not (tmp_path / "harm").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_with_the_name_of_what_could_not_be_written(
    store: FrameStore, tmp_path: Path
) -> None:
    partial = tmp_path / "run" / "checkpoint_last" / "state.partial"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    config = replace(CONFIG, phases=("copies",), copies_steps=1)
    with pytest.raises(TrainingError, match=r"cannot write the checkpoint .*state\.pt.*make room"):
        train(config, store, out_dir=tmp_path / "run")
    assert not partial.is_symlink()


def test_one_clip_teaches_nothing(store: FrameStore, tmp_path: Path) -> None:
    alone = FrameStore(ClipDataset(store.dataset.clips[:1]), store.frames[:1])
    with pytest.raises(ConfigError, match="1 clip to learn from"):
        train(replace(CONFIG, phases=("copies",)), alone, out_dir=tmp_path)


def test_clips_are_looked_at_once_for_pathways_that_stay_the_same(
    store: FrameStore, tmp_path: Path
) -> None:
    kept = replace(store, cache_dir=tmp_path)
    config = replace(CONFIG, phases=("meaning",), meaning_steps=1)

    def looks(run: str, seed: int, model: ModelConfig) -> bool:
        seen: list[Progress] = []
        train(
            replace(config, seed=seed),
            kept,
            out_dir=tmp_path / run,
            model=model,
            on_progress=seen.append,
        )
        return any(progress.phase == "looking at clips" for progress in seen)

    assert looks("first", 0, ModelConfig())
    assert not looks("again", 0, ModelConfig())
    assert not looks("time is pooled afterwards", 0, ModelConfig(time_scales=()))
    assert looks("other pathways", 1, ModelConfig())


def test_labels_draw_clips_of_one_label_together(store: FrameStore, tmp_path: Path) -> None:
    """Three labels of two groups each, which the pictures do not show."""
    clips = tuple(
        replace(clip, label=f"l{i % 3}", group=f"g{i}") for i, clip in enumerate(store.dataset)
    )
    labelled = FrameStore(ClipDataset(clips), store.frames)
    config = replace(
        CONFIG,
        seed=1,  # a trunk that is not learned may tell clips apart or not
        phases=("meaning",),
        meaning_steps=81,
        meaning_rate=3e-3,
        meaning_clips=6,
        meaning_views=2,
        label_weight=5.0,
    )
    train(config, labelled, out_dir=tmp_path / "with")
    config = replace(config, meaning_steps=1, label_weight=0.0)
    train(config, labelled, out_dir=tmp_path / "without")
    with_labels, without = (
        [json.loads(x) for x in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("with", "without")
    )
    assert with_labels[-1]["labels"] < with_labels[0]["labels"] - 1.0
    assert "labels" not in without[0]


def test_a_label_that_one_group_has_counts_as_unknown() -> None:
    clips = [("a", "x"), ("b", "y"), ("a", "z"), ("b", "y"), ("", "x")]
    dataset = ClipDataset(tuple(Clip(Path(), label, group) for label, group in clips))
    labels, groups = label_numbers(dataset)
    assert labels.tolist() == [0, -1, 0, -1, -1]
    assert groups.tolist() == [0, 1, 2, 1, 0]


def test_the_network_of_the_document_learns_in_the_same_way(
    store: FrameStore, teacher_dir: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, phases=("copies", "meaning"))
    model = SeedConfig(widths=(8, 16), hidden=64)
    network = train(config, store, out_dir=tmp_path / "run", model=model, teacher_dir=teacher_dir)
    start = SeedNetwork(model, seed=CONFIG.seed).state_dict()
    for key in ("appearance.conv1.weight", "identity_out.weight", "meaning_out.weight"):
        assert not torch.equal(network.state_dict()[key], start[key])
    with pytest.raises(ConfigError, match="other settings"):
        train(config, store, out_dir=tmp_path / "run")
    chain = replace(config, phases=("chain",))
    with pytest.raises(ConfigError, match="of the motion pathway"):
        train(chain, store, out_dir=tmp_path / "b", model=model, teacher_dir=teacher_dir)
