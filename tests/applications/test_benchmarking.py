"""A folder of videos is indexed by halves, and pieces of it are edited and asked for."""

from pathlib import Path

import pytest
from made_library import wandering_clip, written
from pixel_encoder import PixelEncoder

from sora_search.applications import benchmarking
from sora_search.applications.benchmarking import (
    NEGATIVE,
    edits_named,
    halved,
    index_corpus,
    run_queries,
)
from sora_search.applications.tallies import Outcome
from sora_search.datatypes import Progress
from sora_search.errors import ConfigError, MediaError
from sora_search.index.video_index import VideoIndex


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    for i in range(5):
        written(folder / f"{i}.mkv", wandering_clip(700 + i, 6))
    return folder


def outcomes_of(folder: Path, place: Path, **options: object) -> list[Outcome]:
    encoder = PixelEncoder()
    suite = halved(folder)
    index_corpus(suite, encoder, place)
    chosen = {"edits": ["reencode", "trim"], "num_queries": 2, "num_negatives": 1, **options}
    with VideoIndex.open(place, read_only=True) as index:
        return list(run_queries(index, encoder, suite, **chosen))  # type: ignore[arg-type]


def test_half_of_a_folder_is_indexed_and_the_draw_is_the_same_again(folder):
    suite = halved(folder, seed=3)
    assert (len(suite.corpus), len(suite.negatives)) == (3, 2)
    assert set(suite.corpus) | set(suite.negatives) == set(folder.iterdir())
    assert halved(folder, seed=3) == suite
    assert any(halved(folder, seed=seed).corpus != suite.corpus for seed in range(5))


def test_a_folder_with_few_videos_is_refused_with_its_name(tmp_path):
    written(tmp_path / "alone.mkv", wandering_clip(1, 1))
    with pytest.raises(ConfigError, match=rf"{tmp_path.name}.* holds 1 videos.* 4 or more"):
        halved(tmp_path)


def test_edits_are_named_by_group_or_one_by_one():
    assert len(edits_named("usual")) == 20
    assert len(edits_named("all")) == 36
    assert edits_named("mirror,pip") == ["mirror", "pip"]
    with pytest.raises(ConfigError, match="no edit 'mirorr'; there are reencode"):
        edits_named("mirorr")


def test_edited_pieces_are_found_with_their_seconds_and_negatives_are_not(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(benchmarking, "PIECE_S", 4.0)  # pieces begin inside of the videos
    steps: list[Progress] = []
    outcomes = outcomes_of(folder, tmp_path / "index", on_progress=steps.append)
    assert [outcome.edit for outcome in outcomes] == ["reencode", "trim"] * 2 + [NEGATIVE]
    for outcome in outcomes[:4]:
        assert outcome.rank == 1
        assert outcome.is_copy
        assert outcome.query_iou is not None
        assert outcome.query_iou > 0.9
        assert outcome.video_iou is not None
        assert outcome.video_iou > 0.9
        assert outcome.start_error_s is not None
        assert outcome.start_error_s < 0.2
    assert not outcomes[4].is_wrong_copy
    assert not any(answer.is_right for answer in outcomes[4].answers)
    assert steps[-1].num_done == steps[-1].num_total == 5


def test_an_index_that_is_kept_holds_what_this_draw_has(folder, tmp_path):
    encoder = PixelEncoder()
    for seed in (0, 1):
        suite = halved(folder, seed=seed)
        index_corpus(suite, encoder, tmp_path / "index")
        with VideoIndex.open(tmp_path / "index", read_only=True) as index:
            held = {Path(uri).name for video in index.videos() for uri in video.uris}
        assert held == {path.name for path in suite.corpus}


def test_a_video_that_cannot_be_read_is_told_and_left_out(folder, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for path in folder.iterdir():
        (videos / path.name).write_bytes(path.read_bytes())
    suite = halved(videos)
    damaged = suite.negatives[0]
    damaged.write_text("no video")
    failed: list[tuple[Path, Exception]] = []
    outcomes = outcomes_of(
        videos,
        tmp_path / "index",
        edits=["reencode"],
        num_queries=1,
        on_failure=lambda path, error: failed.append((path, error)),
    )
    assert [path for path, _ in failed] == [damaged]
    assert isinstance(failed[0][1], MediaError)
    assert [outcome.edit for outcome in outcomes] == ["reencode"]
    with pytest.raises(MediaError, match=damaged.name):
        outcomes_of(videos, tmp_path / "index", num_queries=0)
