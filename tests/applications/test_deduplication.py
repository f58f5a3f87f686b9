"""Groups of videos that show the same footage, on made footage with a real index."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_library import RATE, wandering_clip, written
from pixel_encoder import PixelEncoder

from sora_search.applications.deduplication import DuplicateGroup, find_duplicates
from sora_search.datatypes import Decision, Progress
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.media.clips import Clip
from sora_search.media.probing import path_of

CROWD = 9


def noisy(clip: Clip, seed: int) -> Clip:
    noise = np.random.default_rng(seed).integers(-6, 7, (*clip.size, 3))
    return Clip(np.clip(clip.frames.astype(int) + noise, 0, 255).astype(np.uint8), RATE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos: one with a noisy copy, an equal file and a piece of itself, one that
    has a quarter of itself in common with another, and two alone; with their index."""
    folder = tmp_path_factory.mktemp("made")
    videos = folder / "videos"
    videos.mkdir()
    whole, other = wandering_clip(1, 14), wandering_clip(2, 8)
    shared = Clip(np.concatenate([other.frames[:30], wandering_clip(3, 9).frames]), RATE)
    written(videos / "whole.mkv", whole)
    written(videos / "noisy.mkv", noisy(Clip(whole.frames[:120], RATE), 0))
    written(videos / "piece.mkv", Clip(whole.frames[50:90], RATE))
    written(videos / "other.mkv", other)
    written(videos / "shared.mkv", shared)
    written(videos / "alone.mkv", wandering_clip(4, 6))
    shutil.copyfile(videos / "piece.mkv", videos / "piece-again.mkv")
    encoder = PixelEncoder()
    with VideoIndex.open_or_create(folder / "index", encoder=encoder) as index:
        index_videos(index, [videos], encoder=encoder)
    return folder


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Iterator[VideoIndex]:
    """A copy of it that a test may change."""
    shutil.copytree(made / "index", tmp_path / "index")
    with VideoIndex.open(tmp_path / "index", read_only=False) as index:
        yield index


def stem(uri: str) -> str:
    return path_of(uri).stem


def names(groups: list[DuplicateGroup]) -> list[list[str]]:
    return [[stem(group.kept.uri), *sorted(map(stem, group.uris[1:]))] for group in groups]


def decide(index: VideoIndex, made: Path, query: str, video: str, decision: Decision) -> None:
    videos = made / "videos"
    index.add_verdict(videos / f"{query}.mkv", videos / f"{video}.mkv", decision, by="ann")


def test_what_a_longer_video_shows_is_grouped_beneath_it_with_its_seconds(index):
    (group,) = find_duplicates(index)
    assert names([group]) == [["whole", "noisy", "piece", "piece-again"]]
    by_name = {stem(one.video.uri).split("-")[0]: one for one in group.duplicates}
    assert list(by_name) == [stem(one.video.uri).split("-")[0] for one in group.duplicates]
    piece = by_name["piece"]
    assert (piece.shown_by, piece.verified) == (group.kept.video_id, True)
    assert piece.coverage > 0.95
    span = piece.matches[0].video_span
    assert span is not None
    assert (span.start_s, span.end_s) == pytest.approx((5.0, 9.0), abs=0.15)
    sizes = {uri: path_of(uri).stat().st_size for uri in group.uris}
    assert group.num_spare == 3
    assert group.spare_bytes == sum(sizes.values()) - sizes[group.kept.uri]


def test_what_covers_less_is_none_unless_less_is_asked_for(index):
    assert ["shared", "other"] not in names(find_duplicates(index))
    found = find_duplicates(index, min_coverage=0.3)
    assert ["shared", "other"] in names(found)
    (other,) = next(group for group in found if stem(group.kept.uri) == "shared").duplicates
    assert other.coverage == pytest.approx(3 / 8, abs=0.04)
    group = next(group for group in found if stem(group.kept.uri) == "shared")
    assert (group.num_spare, group.spare_bytes) == (0, 0)  # most of it is nowhere else


def test_no_match_parts_two_videos_whichever_was_the_query(index, made):
    decide(index, made, "whole", "noisy", "no-match")
    found = names(find_duplicates(index))
    assert found == [["whole", "piece", "piece-again"]]
    decide(index, made, "noisy", "whole", "match")  # the newest stands
    assert "noisy" in names(find_duplicates(index))[0]


def test_match_makes_a_duplicate_of_what_is_not_found(index, made):
    decide(index, made, "alone", "other", "match")
    group = next(one for one in find_duplicates(index) if stem(one.kept.uri) == "other")
    (alone,) = group.duplicates
    assert (stem(alone.video.uri), alone.score, alone.verdict) == ("alone", 1.0, "match")
    assert (alone.matches, alone.coverage, alone.verified) == ((), 0.0, None)


def test_videos_whose_files_are_gone_are_left_out(made, tmp_path):
    shutil.copytree(made / "videos", tmp_path / "videos")
    encoder = PixelEncoder()
    with VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index:
        index_videos(index, [tmp_path / "videos"], encoder=encoder)
        (tmp_path / "videos" / "whole.mkv").unlink()
        (tmp_path / "videos" / "piece.mkv").unlink()
        assert names(find_duplicates(index)) == [["noisy", "piece-again"]]


def test_of_many_alike_one_is_kept_and_few_are_looked_at(tmp_path):
    crowd = wandering_clip(980, 6)
    (tmp_path / "videos").mkdir()
    for i in range(CROWD):
        written(tmp_path / "videos" / f"{i}.mkv", noisy(crowd, i))
    encoder = PixelEncoder()
    steps: list[Progress] = []
    with VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index:
        index_videos(index, [tmp_path / "videos"], encoder=encoder)
        (group,) = find_duplicates(index, on_progress=steps.append)
    assert len(group.duplicates) == CROWD - 1
    assert all(one.verified for one in group.duplicates)
    assert [step.num_done for step in steps] == list(range(1, CROWD + 1))
    assert {step.num_total for step in steps} == {CROWD}


@pytest.mark.parametrize("name", ["min_score", "min_coverage"])
def test_shares_out_of_range_are_refused(index, name):
    with pytest.raises(ValueError, match=f"{name}=1.5"):
        find_duplicates(index, **{name: 1.5})
