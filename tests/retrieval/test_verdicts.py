"""Searches heed what people decided about the query."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_library import Library, wandering_clip, written
from PIL import Image
from pixel_encoder import PixelEncoder

from sora_search.datatypes import SearchResult, TimeSpan
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.media.clips import Clip
from sora_search.retrieval import looking
from sora_search.retrieval.deciding import Verification
from sora_search.retrieval.judging import MIN_LOOKS
from sora_search.retrieval.picturing import write_answer

NUM_CROWD = MIN_LOOKS + 1


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Videos that are nearly the same, two others, a query of the crowd and a piece of `lone`."""
    folder = tmp_path_factory.mktemp("crowded")
    clips = {"lone": wandering_clip(981, 12), "other": wandering_clip(982, 12)}
    crowd = wandering_clip(980, 6)
    for i in range(NUM_CROWD):
        noise = np.random.default_rng(i).integers(-6, 7, (*crowd.size, 3))
        frames = np.clip(crowd.frames.astype(int) + noise, 0, 255).astype(np.uint8)
        clips[f"crowd-{i}"] = Clip(frames, 10)
    (folder / "videos").mkdir()
    for name, clip in clips.items():
        written(folder / "videos" / f"{name}.mkv", clip)
    frames = np.concatenate([crowd.frames, clips["lone"].frames[50:80]])
    written(folder / "query.mkv", Clip(frames, 10))
    encoder = PixelEncoder()
    with VideoIndex.open_or_create(folder / "index", encoder=encoder) as index:
        index_videos(index, [folder / "videos"], encoder=encoder)
    return Library(folder, clips, index, encoder)


@pytest.fixture
def library(crowded: Library, tmp_path: Path) -> Iterator[Library]:
    """The same videos, with a copy of the index that a test may change."""
    shutil.copytree(crowded.folder / "index", tmp_path / "index")
    with VideoIndex.open(tmp_path / "index", read_only=False) as index:
        yield Library(crowded.folder, crowded.clips, index, crowded.encoder)


def decide(library: Library, decision: str, *names: str) -> None:
    for name in names:
        path = library.folder / "videos" / f"{name}.mkv"
        library.index.add_verdict(library.folder / "query.mkv", path, decision, by="ann")  # type: ignore[arg-type]


def asked(library: Library, **options: object) -> dict[str, SearchResult]:
    """The results of the query, or of another one, by the names of their videos."""
    query = options.pop("query", library.folder / "query.mkv")
    answer = library.ask(query, **{"k": 20, **options})  # type: ignore[arg-type]
    return {Path(result.uri).stem: result for result in answer.results}


def test_a_copy_that_is_none_is_left_out_and_gives_its_place_to_another(library):
    before = asked(library)
    assert before["lone"].kind == "copy"
    decide(library, "no-match", "lone")
    after = asked(library)
    assert set(after) == set(before) - {"lone"}
    # So many are looked at frame by frame.
    num_before, num_after = (
        sum(result.verified is True for name, result in answer.items() if name != "lone")
        for answer in (before, after)
    )
    assert num_before == MIN_LOOKS - 1
    assert num_after == MIN_LOOKS


def test_a_copy_that_is_none_may_still_be_similar(library):
    decide(library, "no-match", "crowd-0")
    result = asked(library)["crowd-0"]
    assert (result.kind, result.verdict, result.matches) == ("similar", "no-match", ())
    assert (result.coverage, result.verified) == (0.0, None)
    assert 0 < result.score < 0.5
    assert asked(library)["crowd-1"].kind == "copy"
    assert "crowd-0" not in asked(library, weights="copies")


def test_a_match_comes_first_found_or_not_and_keeps_the_ranges_that_were_found(library, tmp_path):
    before = asked(library)
    assert "other" not in before or before["other"].kind == "similar"
    decide(library, "match", "other", "lone")
    answer = library.ask(library.folder / "query.mkv", k=20)
    assert [Path(result.uri).stem for result in answer.results[:2]] == ["lone", "other"]
    for result in answer.results[:2]:
        assert (result.score, result.kind, result.verdict) == (1.0, "copy", "match")
    lone, other = answer.results[:2]
    assert lone.matches == before["lone"].matches
    assert (other.matches, other.coverage, other.verified) == ((), 0.0, None)
    assert write_answer(answer, tmp_path / "answer.png").stat().st_size > 1000


def test_seconds_that_frames_refute_are_not_those_of_a_match(library, monkeypatch):
    monkeypatch.setattr(looking, "verify_match", lambda *sides, **options: Verification(False))
    refuted = asked(library)["lone"]
    assert [match.verified for match in refuted.matches] == [False]
    assert refuted.coverage == 0.0
    decide(library, "match", "lone")
    assert asked(library)["lone"].matches == ()


def test_a_match_passes_any_bound_but_that_of_the_number(library):
    decide(library, "match", "other")
    assert list(asked(library, min_score=1.0)) == ["other"]
    assert list(asked(library, k=1, weights="copies")) == ["other"]


def test_a_verdict_holds_for_a_part_of_the_query(library):
    decide(library, "match", "other")
    decide(library, "no-match", "lone")
    found = asked(library, span=TimeSpan(6, 9))
    assert found["other"].score == 1.0
    assert "lone" not in found or found["lone"].kind == "similar"


def test_a_verdict_holds_for_the_content_alone(library, tmp_path):
    decide(library, "match", "other")
    copy = shutil.copy(library.folder / "query.mkv", tmp_path / "another name.mkv")
    assert asked(library, query=copy)["other"].verdict == "match"
    again = written(tmp_path / "again.mkv", wandering_clip(983, 6))
    assert all(result.verdict is None for result in asked(library, query=again).values())
    own = library.folder / "videos" / "other.mkv"
    assert asked(library, query=own)["other"].verdict is None


def test_a_match_with_itself_can_be_left_out(library):
    own = library.folder / "videos" / "other.mkv"
    library.index.add_verdict(own, own, "match", by="ann")
    assert asked(library, query=own)["other"].score == 1.0
    assert "other" not in asked(library, query=own, exclude_self=True)


def test_a_still_picture_has_verdicts_too(library, tmp_path):
    Image.fromarray(library.clips["lone"].frames[60]).save(tmp_path / "frame.png")
    library.index.add_verdict(tmp_path / "frame.png", "1", "match", by="ann")
    first = library.ask(tmp_path / "frame.png").results[0]
    assert (first.video_id, first.score, first.verdict) == (1, 1.0, "match")
