"""Videos that are named are compared with what was asked for, by their frames."""

import numpy as np
import pytest
from made_library import wandering_clip, written

from sora_search.applications.reviewing import Footage, read_thumbnails
from sora_search.datatypes import Match, SearchResult, TimeSpan
from sora_search.learning.copies import thumbnails_of
from sora_search.media.clips import Clip
from sora_search.media.probing import uri_of


def named(path, start_s, end_s, score=0.9) -> SearchResult:
    match = Match(TimeSpan(0.0, end_s - start_s), TimeSpan(start_s, end_s), score)
    return SearchResult(1, uri_of(path), (), False, score, "copy", 1.0, True, (match,))


@pytest.fixture(scope="module")
def recording() -> Clip:
    return wandering_clip(5, 8)


@pytest.fixture
def footage(recording) -> Footage:
    return Footage(thumbnails_of(Clip(recording.frames[20:60], recording.frames_per_s)))


def test_another_file_of_the_same_recording_shows_it(recording, footage, tmp_path):
    other = written(tmp_path / "other.mkv", recording)
    assert footage.is_shown_by(named(other, 2.0, 6.0))
    assert footage.is_shown_by(named(other, 0.5, 1.0))  # the seconds named are a little off


def test_brightness_may_differ(recording, footage, tmp_path):
    brighter = np.clip(recording.frames * 0.7 + 40, 0, 255).astype(np.uint8)
    other = written(tmp_path / "other.mkv", Clip(brighter, recording.frames_per_s))
    assert footage.is_shown_by(named(other, 2.0, 6.0))


def test_other_footage_does_not_and_likenesses_are_not_compared(recording, footage, tmp_path):
    other = written(tmp_path / "other.mkv", wandering_clip(6, 8))
    assert not footage.is_shown_by(named(other, 2.0, 6.0))
    same = written(tmp_path / "same.mkv", recording)
    assert not footage.is_shown_by(named(same, 2.0, 6.0, score=0.05))
    assert not Footage().is_shown_by(named(same, 2.0, 6.0))


def test_the_seconds_around_those_named_are_looked_at_and_no_others(footage, tmp_path, recording):
    filler = wandering_clip(8, 50)
    frames = np.concatenate([filler.frames, recording.frames])
    late = written(tmp_path / "late.mkv", Clip(frames, recording.frames_per_s))
    assert footage.is_shown_by(named(late, 52.0, 56.0))
    assert footage.is_shown_by(named(late, 35.0, 40.0))
    assert not footage.is_shown_by(named(late, 0.0, 4.0))


def test_what_is_gone_counts_as_other_footage_and_is_said(footage, tmp_path, caplog):
    assert not footage.is_shown_by(named(tmp_path / "gone.mkv", 0.0, 4.0))
    assert "gone.mkv" in caplog.text


def test_thumbnails_of_a_file_are_small(recording, tmp_path):
    path = written(tmp_path / "one.mkv", recording)
    assert read_thumbnails(path, TimeSpan(1.0, 3.0)).shape == (30, 18, 32)
