"""A whole evaluation with the pixel encoder, on a small manifest of generated clips."""

import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
from pixel_encoder import PixelEncoder

from sora_search.errors import ConfigError
from sora_search.learning.evaluation import COPY_SUITES, SUITES, evaluate
from sora_search.media.writing import write_video

COLUMNS = ("path", "label", "group", "cluster", "source", "split")


def pattern(label, seed, num_frames=24):
    """A picture that its label decides and its seed varies a little; it drifts."""
    base = np.random.default_rng(label).integers(20, 235, (6, 9, 3))
    varied = base + np.random.default_rng(seed).integers(-25, 25, base.shape)
    picture = np.clip(varied, 0, 255).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([np.roll(picture, i // 4, axis=1) for i in range(num_frames)])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Three labels with two groups each, some in train, and a pair of the same footage."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for i in range(12):
        label, group = i % 3, i % 6
        split = ("val", "eval", "train")[group // 2]
        write_video(folder / f"{i}.mkv", pattern(label, i), frames_per_s=12, codec="ffv1")
        rows.append((f"{i}.mkv", f"ucf:{label}", f"g{group}", f"c{group}", "made", split))
    frames = pattern(0, 0)
    write_video(folder / "twin.mkv", frames, frames_per_s=12, codec="ffv1")
    rows.append(("twin.mkv", "", "g0", "c0", "made", "val"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder


def test_evaluation_measures_every_suite(data_dir):
    done = []
    report = evaluate(PixelEncoder(), data_dir, suites=SUITES, on_progress=done.append)
    (both, identity, meaning) = report.probes["actions"]
    assert (both.view, identity.view, meaning.view) == ("both", "identity", "meaning")
    assert both.num_queries == 8
    assert both.num_gallery == 12
    assert both.rank_1 > 0.9 > both.chance
    labels = report.probes["labels"][0]
    assert labels.num_gallery == 8  # val and train
    assert labels.num_queries == 2  # the other group of label 0 is in eval
    copies = report.copies["copies"]
    assert [row.view for row in copies] == ["both", "identity", "meaning"]
    assert copies[0].num_queries == 9 * 20
    assert copies[0].num_gallery == 13
    rank_1 = {row.edit: row.rank_1 for row in copies[0].by_edit}
    assert rank_1["reencode"] == 1.0
    assert rank_1["mirror"] < 1.0  # pixels that stay where they are know no mirror
    hard = report.copies["hard"][0]
    assert hard.num_gallery == 9  # what lends the carriers is not there to be found
    assert {row.edit for row in hard.by_edit} == set(COPY_SUITES["hard"]) - {
        "two-excerpts"
    }  # the clips have two seconds
    under = [name for name in report.probes if name.startswith("actions under ")]
    assert len(under) == 25
    assert report.probes["actions under noise-1"][0].rank_1 > 0.9
    assert report.failures == ()
    assert done[-1].num_done == done[-1].num_total


def test_the_same_footage_is_listed_and_counts_as_right(data_dir):
    report = evaluate(PixelEncoder(), data_dir, suites=["copies"])
    names = [{path.rsplit("/")[-1] for path in pair} for pair in report.same_footage]
    assert {"0.mkv", "twin.mkv"} in names
    rank_1 = {row.edit: row.rank_1 for row in report.copies["copies"][0].by_edit}
    assert rank_1["12-fps"] == 1.0  # the twins tie, and either is right


def test_evaluation_is_the_same_each_time_and_in_parallel(data_dir, tmp_path):
    options = {"suites": ("copies",), "limit": 4, "seed": 5}
    first = evaluate(PixelEncoder(), data_dir, **options)
    again = evaluate(PixelEncoder(), data_dir, **options, jobs=2, cache_dir=tmp_path)
    assert first.copies == again.copies
    assert first.copies["copies"][0].num_queries == 80
    assert first.copies["copies"][0].num_gallery == 13


def test_copies_are_made_of_the_splits_that_are_asked_about(data_dir, tmp_path):
    write_video(tmp_path / "more.mkv", pattern(7, 70), frames_per_s=12, codec="ffv1")
    (tmp_path / "manifest.csv").write_text("path,use\nmore.mkv,report\n")
    options = {"suites": ["copies"], "asked": ("eval", "report")}
    copies = evaluate(PixelEncoder(), [data_dir, tmp_path], **options).copies["copies"][0]
    assert copies.num_queries == (4 + 1) * 20
    assert copies.num_gallery == 14


def test_weights_of_the_halves_for_copies(data_dir):
    options = {"suites": ["copies"], "limit": 2}
    odd = evaluate(PixelEncoder(), data_dir, **options, copy_weights=(1.5, 0.5))
    assert [row.view for row in odd.copies["copies"]] == ["weighted", "both", "identity", "meaning"]
    with pytest.raises(ValueError, match="add up to 2"):
        evaluate(PixelEncoder(), data_dir, copy_weights=(1.0, 0.5))


def test_a_plain_folder_is_measured_as_a_whole(data_dir, tmp_path):
    for i in range(3):
        write_video(tmp_path / f"{i}.mkv", pattern(i, i), frames_per_s=12, codec="ffv1")
    (tmp_path / "bad.mp4").write_text("text")
    report = evaluate(PixelEncoder(), tmp_path)
    assert report.probes == {}
    assert report.copies["copies"][0].num_gallery == 3
    assert len(report.failures) == 1
    with pytest.raises(ConfigError):
        evaluate(PixelEncoder(), tmp_path / "none")
    with pytest.raises(ValueError, match="no suite nonsense"):
        evaluate(PixelEncoder(), tmp_path, suites=["nonsense"])


def test_labels_that_a_suite_does_not_know_are_refused_and_those_of_a_user_measured(
    data_dir, tmp_path
):
    for i in range(4):
        (tmp_path / f"{i}.mkv").symlink_to(data_dir / f"{i}.mkv")
    rows = [f"{i}.mkv,{'ab'[i % 2]},g{i}" for i in range(4)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label,group", *rows]))
    with pytest.raises(ConfigError, match=r"4 clips .* \(labels: a, b\): use --suite labels"):
        evaluate(PixelEncoder(), tmp_path, suites=["actions", "copies"])
    (both, *_) = evaluate(PixelEncoder(), tmp_path, suites=["labels"]).probes["labels"]
    assert (both.num_queries, both.num_gallery) == (4, 4)
    (tmp_path / "manifest.csv").unlink()
    for suite in ("actions", "labels"):
        with pytest.raises(ConfigError, match=r"4 clips .* \(labels: none\)"):
            evaluate(PixelEncoder(), tmp_path, suites=[suite])


def test_report_is_easy_to_print_and_to_write(data_dir):
    report = evaluate(PixelEncoder(), data_dir, suites=["actions", "copies"], limit=2)
    tables = list(report.tables())
    assert [title.split(",")[0] for title, *_ in tables] == ["actions", "copies", "copies"]
    for _, columns, rows in tables:
        assert rows
        assert all(len(row) == len(columns) for row in rows)
    assert json.loads(json.dumps(asdict(report)))["model_id"] == "pixels@8x8"
