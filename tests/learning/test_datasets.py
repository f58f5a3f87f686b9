"""Data sets: manifests, folders, weights, and frames decoded once."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from video_files import moving_frames, write_video

from sora_search.errors import ConfigError
from sora_search.learning.datasets import (
    STORED_FRAMES,
    STORED_SIZE,
    Clip,
    ClipDataset,
    FrameStore,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        write_video(tmp_path / f"{i}.mkv", moving_frames(30, seed=i), fps=15)
    return tmp_path


def test_a_folder_of_videos_is_a_data_set(folder: Path) -> None:
    (folder / "notes.txt").write_text("not a video")
    dataset = ClipDataset.open(folder)
    assert [clip.path.name for clip in dataset] == ["0.mkv", "1.mkv", "2.mkv"]
    assert len({clip.cluster for clip in dataset}) == 3


def test_a_manifest_chooses_rows_by_split(folder: Path) -> None:
    (folder / "manifest.csv").write_text(
        "path,label,group,cluster,source,split\n"
        "0.mkv,run,a,A,x,train\n1.mkv,,b,B,x,val\n2.mkv,jump,c,C,y,train\n"
    )
    dataset = ClipDataset.open(folder, splits=["train"])
    assert [clip.label for clip in dataset] == ["run", "jump"]
    assert dataset.clips[1] == Clip(folder / "2.mkv", "jump", "c", "C", "y", "train")
    assert len(ClipDataset.open(folder / "manifest.csv")) == 3
    with pytest.raises(ConfigError, match="in split test"):
        ClipDataset.open(folder, splits=["test"])


@pytest.mark.parametrize(
    ("text", "num"),
    [
        ("path\n0.mkv\n1.mkv\n", 2),
        ("path,split\n0.mkv,\n1.mkv,\n", 2),
        ("path,split\n0.mkv,train\n1.mkv,\n", 1),
    ],
)
def test_rows_that_say_no_split_are_to_learn_from_where_none_does(
    folder: Path, text: str, num: int
) -> None:
    (folder / "manifest.csv").write_text(text)
    assert len(ClipDataset.open_apart(folder, splits=["train"])) == num
    with pytest.raises(ConfigError, match="in split val"):
        ClipDataset.open(folder, splits=["val"])


def test_a_file_in_two_splits_is_refused_by_its_content(folder: Path) -> None:
    shutil.copy(folder / "0.mkv", folder / "renamed.mkv")
    rows = ["path,split", "0.mkv,train", "1.mkv,val", "gone.mkv,val"]
    (folder / "manifest.csv").write_text("\n".join([*rows, "renamed.mkv,train"]))
    assert len(ClipDataset.open_apart(folder, splits=["train"])) == 2
    (folder / "manifest.csv").write_text("\n".join([*rows, "renamed.mkv,eval"]))
    with pytest.raises(ConfigError, match=r"0\.mkv.*renamed\.mkv' of split 'eval'"):
        ClipDataset.open_apart(folder, splits=["train"])
    (folder / "manifest.csv").unlink()
    assert len(ClipDataset.open_apart(folder, splits=["train"])) == 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("a.csv", "file\nx\n", "no column 'path'"), ("b.csv", "", "no column 'path' or no rows")],
)
def test_a_manifest_that_is_none_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        ClipDataset.open(tmp_path / name)


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no videos below"):
        ClipDataset.open(tmp_path)
    with pytest.raises(ConfigError, match="no data at"):
        ClipDataset.open(tmp_path / "missing")


def test_large_sources_and_clusters_are_drawn_less_often() -> None:
    clips = [Clip(Path(f"{i}"), cluster=f"{i}", source="big") for i in range(9)]
    clips += [Clip(Path("x"), cluster="pair", source="small")] * 2
    weights = ClipDataset(tuple(clips)).weights()
    assert weights.sum() == pytest.approx(1)
    assert weights[0] / weights[-1] == pytest.approx((1 / 3) / (1 / 2))


def test_frames_are_decoded_once_and_spread_over_the_clip(folder: Path) -> None:
    dataset = ClipDataset.open(folder)
    store = FrameStore.build(dataset, folder / "cache")
    assert store.frames.shape == (3, STORED_FRAMES, STORED_SIZE, STORED_SIZE, 3)
    assert store.failures == ()
    # The square of `moving_frames` goes down: later frames differ ever more from the first.
    change = np.abs(store.frames[0].astype(int) - store.frames[0, 0]).mean((1, 2, 3))
    assert change[0] == 0
    assert (change[5:] > 1).all()
    (array,) = (folder / "cache").glob("frames-*.npy")
    written = array.stat().st_mtime_ns
    again = FrameStore.build(dataset, folder / "cache")
    assert array.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.frames, store.frames)


def test_clips_that_cannot_be_decoded_are_left_out_and_named(folder: Path) -> None:
    (folder / "1.mkv").write_bytes(b"not a video at all" * 10)
    store = FrameStore.build(ClipDataset.open(folder), folder / "cache")
    assert [clip.path.name for clip in store.dataset] == ["0.mkv", "2.mkv"]
    assert len(store.frames) == 2
    assert len(store.failures) == 1
    assert "1.mkv" in store.failures[0]
    again = FrameStore.build(ClipDataset.open(folder), folder / "cache")
    assert again.failures == store.failures


def test_a_data_set_of_bad_files_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match="none of 1 clips"):
        FrameStore.build(ClipDataset.open(tmp_path), tmp_path / "cache")
