"""What many videos share says little, and the answer says so."""

import numpy as np
import pytest
from made_library import RATE, Library, wandering_clip, written
from pixel_encoder import PixelEncoder

from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.media.clips import Clip


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Five episodes with one intro, the first of them in a second encoding."""
    folder = tmp_path_factory.mktemp("series")
    intro = wandering_clip(1, 4).frames
    clips = {
        f"episode-{i}": Clip(np.concatenate([intro, wandering_clip(10 + i, 8).frames]), RATE)
        for i in range(5)
    }
    for name, clip in clips.items():
        written(folder / f"{name}.mkv", clip)
    written(folder / "episode-0-again.mkv", Clip(clips["episode-0"].frames ^ 1, RATE))
    encoder = PixelEncoder()
    place = tmp_path_factory.mktemp("index")
    with VideoIndex.open_or_create(place / "index", encoder=encoder) as index:
        index_videos(index, [folder], encoder=encoder)
    with VideoIndex.open(place / "index") as index:
        yield Library(folder, clips, index, encoder)


def test_an_intro_is_discounted_and_the_number_of_videos_told(series, tmp_path):
    intro = Clip(series.clips["episode-0"].frames[:40], RATE)
    answer = series.ask(written(tmp_path / "intro.mkv", intro))
    result = series.result_for(answer, "episode-3")
    assert result.matches[0].verified is True
    assert result.matches[0].shared_with == 5
    assert result.kind == "similar"


def test_what_an_episode_has_alone_is_not_discounted_by_its_copy(series, tmp_path):
    own = Clip(series.clips["episode-0"].frames[60:110], RATE)
    answer = series.ask(written(tmp_path / "own.mkv", own))
    assert {result.uri for result in answer.results[:2]} == {
        series.uri("episode-0"),
        series.uri("episode-0-again"),
    }
    for result in answer.results[:2]:
        assert result.matches[0].shared_with == 0
        assert result.kind == "copy"


def test_a_whole_episode_comes_before_the_others_that_share_its_intro(series, tmp_path):
    answer = series.ask(written(tmp_path / "whole.mkv", series.clips["episode-2"]))
    first, *others = answer.results
    assert first.uri == series.uri("episode-2")
    assert first.kind == "copy"
    assert all(other.kind == "similar" for other in others)
    assert series.result_for(answer, "episode-3").matches[0].shared_with == 5


def test_the_query_itself_is_no_other_video_that_shares_its_seconds(series):
    """Its content is left out of the answer, and out of the count."""
    path = series.folder / "episode-2.mkv"
    counts = [
        series.result_for(series.ask(path, **options), "episode-3").matches[0].shared_with
        for options in ({}, {"exclude_self": True})
    ]
    assert counts == [5, 4]
