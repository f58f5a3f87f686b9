"""Ranges end where frames stop to agree."""

from pathlib import Path

import numpy as np
import pytest
from made_library import wandering_clip, written

from sora_search.datatypes import Match, TimeSpan
from sora_search.media.clips import Clip
from sora_search.retrieval.edges import find_edges
from sora_search.retrieval.footage import FootageReader, Sides
from sora_search.retrieval.placement import Placement

RATE = 10
AS_IT_IS = Placement(np.eye(3)[None], np.zeros(1), cells=100)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A query that shows seconds 8 to 18 of a video at its own seconds 5 to 15."""
    folder = tmp_path_factory.mktemp("edges")
    video, other = wandering_clip(301, 24), wandering_clip(302, 10)
    shown = video.frames[8 * RATE : 18 * RATE]
    frames = np.concatenate([other.frames[: 5 * RATE], shown, other.frames[5 * RATE :]])
    return written(folder / "query.mkv", Clip(frames, RATE)), written(folder / "video.mkv", video)


def edges(
    files: tuple[Path, Path], first_s: float, last_s: float, *, bounds: TimeSpan | None = None
) -> Match:
    supposed = Match(TimeSpan(first_s, last_s), TimeSpan(first_s + 3, last_s + 3), 0.7)
    sides = Sides(FootageReader(), *files, bounds=bounds)
    return find_edges(sides, supposed, AS_IT_IS, appearance=0.9)


@pytest.mark.parametrize(
    ("first_s", "last_s"),
    [(7, 13), (4.4, 15.7), (9, 10), (5, 15)],
    ids=["too short", "too long", "a second of it", "right"],
)
def test_range_grows_and_shrinks_to_what_agrees(files, first_s, last_s):
    found = edges(files, first_s, last_s)
    assert found.score == 0.7
    assert found.query_span is not None
    assert found.video_span is not None
    for span, start_s in ((found.query_span, 5), (found.video_span, 8)):
        assert span.start_s == pytest.approx(start_s, abs=0.06)
        assert span.end_s == pytest.approx(start_s + 10, abs=0.06)


def test_range_does_not_leave_the_part_that_is_searched(files):
    found = edges(files, 7, 9, bounds=TimeSpan(6, 12))
    assert str(found.query_span) == "0:06.0-0:12.0"
    assert str(found.video_span) == "0:09.0-0:15.0"


def test_range_ends_with_the_shorter_file(tmp_path):
    video = wandering_clip(303, 12)
    files = (
        written(tmp_path / "whole.mkv", video),
        written(tmp_path / "piece.mkv", Clip(video.frames[3 * RATE : 8 * RATE], RATE)),
    )
    supposed = Match(TimeSpan(4.5, 7), TimeSpan(1.5, 4), 0.7)
    found = find_edges(Sides(FootageReader(), *files), supposed, AS_IT_IS, appearance=0.9)
    assert str(found.query_span) == "0:03.0-0:08.0"
    assert str(found.video_span) == "0:00.0-0:05.0"
