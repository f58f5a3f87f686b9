"""`model finetune` from end to end: a figure that rises, a file that is a model, clear refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import printed_json, sora_search
from typer.testing import Result

from sora_search.media.writing import write_video
from sora_search.sora.adapter import Adapter, write_adapter

# One view beside the plain one halves the time.
SETTINGS = "[finetune]\nviews = 1\n"


def write_tinted(path: Path, seed: int, channel: int) -> None:
    """A picture that drifts, with a little more of one color: that is its label.

    Pairs of both labels share a picture but for some noise, so that looks mislead.
    """
    shared, own = np.random.default_rng(seed // 2), np.random.default_rng(100 + seed)
    picture = shared.integers(60, 196, (6, 8, 3)) + own.integers(-20, 21, (6, 8, 3))
    picture[..., channel] += 18
    picture = picture.astype(np.uint8).repeat(12, axis=0).repeat(12, axis=1)
    frames = np.stack([np.roll(picture, 2 * i, axis=1) for i in range(16)])
    write_video(path, frames, frames_per_s=8, codec="ffv1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen labeled videos, one that is none, and an adapter that was learned from them."""
    folder = tmp_path_factory.mktemp("tinted")
    rows = [(f"{i}.mkv", ("red", "blue")[i % 2]) for i in range(16)]
    for i, (name, _) in enumerate(rows):
        write_tinted(folder / name, i, (0, 2)[i % 2])
    (folder / "bad.mp4").write_text("text")
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows, ("bad.mp4", "red")])
    (folder / "sora-search.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def tuned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    path = tmp_path_factory.mktemp("models") / "mine.safetensors"
    settings = folder / "sora-search.toml"
    options = ("--data", folder, "--output", path, "-j1", "--json", "--config", settings)
    return path, sora_search("model", "finetune", *options)


def test_what_was_held_out_is_found_better_and_what_cannot_be_read_is_named(
    tuned: tuple[Path, Result],
) -> None:
    path, result = tuned
    assert result.exit_code == 3
    assert result.stderr.count("left out: ") == 1
    assert "bad.mp4" in result.stderr
    report = json.loads(result.stdout)
    assert (report["num_videos"], report["num_labels"], report["lesson"]) == (16, 2, "labels")
    assert report["held_out"]["num_queries"] == 16
    assert report["held_out"]["rank_1_after"] > report["held_out"]["rank_1_before"]
    assert report["held_out"]["mean_ap_after"] > report["held_out"]["mean_ap_before"] + 0.1
    assert report["file"] == str(path)
    assert path.stat().st_size < 40_000


def test_the_file_is_a_model_for_every_command(
    tuned: tuple[Path, Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, result = tuned
    model_id = json.loads(result.stdout)["model_id"]
    monkeypatch.setenv("SORA_SEARCH_INDEX", str(tmp_path / "index"))
    (tmp_path / "videos").mkdir()
    for i in range(2):
        write_tinted(tmp_path / f"videos/{i}.mkv", 20 + i, i)
    assert sora_search("index", tmp_path / "videos", "--model", path, "-j2").exit_code == 0
    assert printed_json("info", "--json")["model_id"] == model_id
    query = ("query", tmp_path / "videos/0.mkv", "--json")
    answer = printed_json(*query, "--model", path)
    assert answer["results"][0]["uri"].endswith("/0.mkv")
    refused = sora_search(*query)
    assert refused.exit_code == 4
    assert model_id in refused.stderr

    (tmp_path / "videos/manifest.csv").write_text("path,label\n0.mkv,red\n1.mkv,red\n")
    evaluate = ("model", "evaluate", "--data", tmp_path / "videos", "--json", "--model", path)
    measured = printed_json(*evaluate, "--suite", "labels", "-j1")
    assert measured["model_id"] == model_id
    assert [row["num_queries"] for row in measured["probes"]["labels"]] == [2, 2, 2]
    unknown = sora_search(*evaluate, "--suite", "actions")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "(labels: red): use --suite labels" in unknown.stderr

    listed = printed_json("model", "list", path.parent, "--json")["models"]
    assert listed[-1] == {"name": str(path), "model_id": model_id}
    shown = printed_json("model", "show", path, "--json")
    assert shown["model_id"] == model_id
    assert shown["training"]["labels"] == ["blue", "red"]
    assert [Path(file).name for file in shown["files"]][:2] == [path.name, "sora-small.json"]
    assert "sora-small-" in sora_search("model", "show", path).stdout


def test_without_labels_edits_are_learned_and_the_result_is_told(
    folder: Path, tmp_path: Path
) -> None:
    manifest = folder / "plain.csv"
    manifest.write_text("path\n" + "".join(f"{i}.mkv\n" for i in range(8)))
    path = tmp_path / "new" / "mine.safetensors"
    options = ("--data", manifest, "-o", path, "-j1", "--config", folder / "sora-search.toml")
    result = sora_search("model", "finetune", *options)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "learned from 8 videos in 8 groups: edits, not labels"
    assert lines[1].startswith("held out, clip of an edited view: rank 1 ")
    assert lines[-1].startswith(f"{path}: sora-small-adapted-")
    assert f"--model {path}" in result.stderr


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("path,label\n" + "".join(f"{i}.mkv,red\n" for i in range(9)), "have the label 'red'"),
        ("path,label\n0.mkv,red\n1.mkv,blue\n", "2 clips with a label: at least 8"),
        (
            "path\n0.mkv\nbad.mp4\nnone.mkv\n",
            "1 clips to learn from (2 more cannot be read: 'bad.mp4', 'none.mkv'): at least 8",
        ),
        ("file\n0.mkv\n", "no column 'path'"),
        ("path\n" + "none.mkv\n" * 9, "0 clips can be read"),
    ],
)
def test_2_when_there_is_nothing_to_learn(
    folder: Path, tmp_path: Path, manifest: str, said: str
) -> None:
    (folder / "data.csv").write_text(manifest)
    path = tmp_path / "mine.safetensors"
    result = sora_search("model", "finetune", "--data", folder / "data.csv", "-o", path, "-j1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not path.exists()


def test_2_when_the_output_is_there_or_has_another_name(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_text("mine")
    for output, said in ((path, "exists"), (tmp_path / "mine.onnx", "must end in .safetensors")):
        result = sora_search("model", "finetune", "--data", folder, "-o", output)
        assert result.exit_code == 2
        assert said in result.stderr
    assert path.read_text() == "mine"


def test_1_when_the_loss_is_no_number(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[finetune]\nviews = 1\nrate = 1e38\n")
    path = tmp_path / "mine.safetensors"
    options = ("--data", folder, "-o", path, "-j1", "--config", tmp_path / "a.toml")
    result = sora_search("model", "finetune", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "lower `rate`" in result.stderr
    assert not path.exists()


def test_refusals_of_an_adapter_that_does_not_fit(
    tuned: tuple[Path, Result], folder: Path, tmp_path: Path
) -> None:
    again = ("--data", folder, "-o", tmp_path / "b.safetensors", "--model", tuned[0])
    twice = sora_search("model", "finetune", *again)
    assert twice.exit_code == 2
    assert "is adapted already" in twice.stderr
    strange = write_adapter(
        Adapter("sora-small", "sora-small-000000000000", np.zeros((128, 128), np.float16)),
        tmp_path / "strange.safetensors",
    )
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tuned[0].read_bytes()[:20_000])
    for path, said in ((strange, "belongs to sora-small-000000000000"), (cut, "neither")):
        result = sora_search("model", "show", path)
        assert (result.exit_code, result.stdout) == (4, "")
        assert said in result.stderr
    exported = sora_search("model", "export", tuned[0])
    assert exported.exit_code == 4
    assert "needs no export" in exported.stderr
