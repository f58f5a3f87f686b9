"""A folder of videos is indexed by halves, and pieces of it are edited and asked for."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from made_library import wandering_clip, written
from pixel_encoder import PixelEncoder

from sora_search.applications import benchmarking
from sora_search.applications.benchmarking import (
    NEGATIVE,
    Suite,
    edits_named,
    halved,
    index_corpus,
    judged,
    run_queries,
)
from sora_search.applications.tallies import Outcome, tally
from sora_search.datatypes import Progress, SearchAnswer, SearchResult, TimeSpan, VideoInfo
from sora_search.errors import ConfigError, MediaError
from sora_search.index.video_index import VideoIndex
from sora_search.media.clips import Clip, EditedClip
from sora_search.media.editing import edit_clip
from sora_search.retrieval.scoring import kind_of
from sora_search.retrieval.searching import search


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
    with pytest.raises(ConfigError, match=rf"{tmp_path.name}.* holds 1 video: .* 4 or more"):
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


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """The videos, to be damaged."""
    return shutil.copytree(folder, tmp_path / "videos")


def test_a_video_that_cannot_be_read_is_told_once_and_the_next_takes_its_place(copied, tmp_path):
    suite = halved(copied)
    # One more can be read, which is a carrier and a negative too.
    damaged = suite.negatives[0]
    damaged.write_text("no video")
    failed: list[tuple[Path, Exception]] = []
    outcomes = outcomes_of(
        copied,
        tmp_path / "index",
        edits=["reencode", "pip"],
        num_queries=2,
        on_failure=lambda path, error: failed.append((path, error)),
    )
    assert [path for path, _ in failed] == [damaged]
    assert isinstance(failed[0][1], MediaError)
    # No query that is only put into another video is lost with that, nor the negative.
    assert [outcome.edit for outcome in outcomes] == ["reencode", "pip"] * 2 + [NEGATIVE]
    with pytest.raises(MediaError, match=damaged.name):
        outcomes_of(copied, tmp_path / "index", num_queries=0)


def test_what_could_not_be_indexed_is_not_asked_for(copied, tmp_path):
    damaged = halved(copied).asked[0]
    damaged.write_text("no video")
    failed: list[Path] = []
    (outcome,) = outcomes_of(
        copied,
        tmp_path / "index",
        edits=["reencode"],
        num_queries=1,
        num_negatives=0,
        on_failure=lambda path, error: failed.append(path),
    )
    assert failed == []
    assert outcome.name == halved(copied).asked[1].name


def test_no_more_of_the_carriers_is_held_than_is_used(folder, monkeypatch):
    read: list[float] = []
    monkeypatch.setattr(benchmarking, "_piece", lambda path, start_s: wandering_clip(1, 15))
    pieces = benchmarking._carrier_pieces(
        [Path("x.mkv")] * 12, benchmarking._Failures(lambda path, error: read.append(0.0))
    )
    assert len(pieces) == 2  # 20 seconds are used


def test_a_folder_behind_a_link_is_measured_as_the_folder_itself(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    (outcome,) = outcomes_of(
        link, tmp_path / "index", edits=["reencode"], num_queries=1, num_negatives=0
    )
    assert (outcome.rank, outcome.is_copy) == (1, True)
    assert outcome.video_iou is not None
    assert outcome.video_iou > 0.9


def test_the_same_footage_under_another_name_is_right(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(3):
        clip = wandering_clip(700 + i, 3)
        for name in "ab":
            # Lighter, so that it is another content.
            frames = np.clip(clip.frames + 3.0 * (name == "b"), 0, 255).astype(np.uint8)
            written(videos / f"{i}{name}.mkv", Clip(frames, clip.frames_per_s))
    outcomes = outcomes_of(
        videos, tmp_path / "index", edits=["reencode"], num_queries=3, num_negatives=3
    )
    assert len(outcomes) == 6
    assert not any(outcome.is_wrong_copy for outcome in outcomes)
    right = [answer.name[0] for one in outcomes for answer in one.answers if answer.is_right]
    asked = [one.name[0] for one in outcomes for answer in one.answers if answer.is_right]
    assert right == asked
    # The draw of seed 0 has a pair in the index, and a negative whose other copy is there.
    assert any(sum(answer.is_right for answer in one.answers) == 2 for one in outcomes[:3])
    assert any(answer.is_right for one in outcomes[3:] for answer in one.answers)


def test_the_right_video_that_comes_first_counts_whatever_its_name():
    asked, other, wrong = (Path(f"/videos/{name}.mkv") for name in ("asked", "other", "wrong"))
    scores = [(other, 0.9), (wrong, 0.4), (asked, 0.3)]
    info = VideoInfo("file:///query.mp4", 4.0, 64, 48, "h264", None)
    answer = SearchAnswer(info, tuple(result_of(path, score) for path, score in scores))
    edited = edit_clip("reencode", wandering_clip(1, 4), seed=1)
    outcome = judged(answer, "reencode", asked, {asked, other}, edited)
    assert (outcome.rank, outcome.score, outcome.is_copy) == (1, 0.9, True)
    report = tally([outcome], num_videos=3, negative=NEGATIVE)
    assert report.total is not None
    assert report.total.copy == 1.0
    assert report.recall_at_zero_false == 1.0


def result_of(path: Path, score: float) -> SearchResult:
    return SearchResult(1, path.as_uri(), (), False, score, kind_of(score), 1.0, None, ())


def test_what_a_query_was_put_into_is_neither_right_nor_wrong(folder, tmp_path):
    suite = halved(folder)
    asked, indexed = suite.asked[0], suite.asked[1]
    # Another copy of the only carrier is indexed: it is in the query as well.
    carrier = tmp_path / "carrier.mkv"
    shutil.copyfile(indexed, carrier)
    with carrier.open("ab") as file:
        file.write(b"more")
    suite = Suite(suite.corpus, [asked], [carrier], [])
    encoder = PixelEncoder()
    index_corpus(suite, encoder, tmp_path / "index")
    with VideoIndex.open(tmp_path / "index", read_only=True) as index:
        (outcome,) = run_queries(
            index, encoder, suite, edits=["excerpt"], num_queries=1, num_negatives=0
        )
        answer = search(index, carrier, encoder=encoder)
    assert Path(answer.results[0].uri).name == indexed.name  # or the test would test nothing
    assert indexed.name not in [one.name for one in outcome.answers]
    assert not outcome.is_wrong_copy


def test_measuring_needs_no_pytorch():
    code = "import sora_search.applications.benchmarking, sys; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_edited_pieces_can_be_kept_and_nothing_else_is(folder, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    outcomes_of(
        folder, tmp_path / "index", edits=["trim"], num_negatives=0, keep_dir=tmp_path / "kept"
    )
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == [
        f"{i:03}-{path.stem}-trim.mp4" for i, path in enumerate(halved(folder).asked[:2], 1)
    ]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_moves_is_compared_where_it_is_in_the_middle_of_the_range():
    clip, carrier = wandering_clip(1, 4), wandering_clip(2, 4)
    edited = edit_clip("pip-moving", clip, seed=3, carrier=carrier)
    row = benchmarking._middle_row(edited, TimeSpan(1.0, 3.0))
    assert row == len(edited) // 2
    assert edited.rectangle(row)[0] != pytest.approx(edited.rectangle()[0], abs=0.05)
    assert benchmarking._middle_row(edited, None) is None
    excerpt = edit_clip("excerpt", clip, seed=3, carrier=carrier)
    outside = next(s for s in np.arange(0.5, 19) if not _shows(excerpt, float(s)))
    assert benchmarking._middle_row(excerpt, TimeSpan(outside - 0.5, outside + 0.5)) is None


def _shows(edited: EditedClip, time_s: float) -> bool:
    spans = [match.query_span for match in edited.matches]
    return any(span is not None and span.start_s <= time_s < span.end_s for span in spans)
