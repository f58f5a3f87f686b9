"""Footage that is read once and kept."""

import cv2
import numpy as np
import pytest

from sora_search.datatypes import TimeSpan
from sora_search.errors import MediaError
from sora_search.media.writing import write_video
from sora_search.retrieval import footage
from sora_search.retrieval.footage import FootageReader, Sides
from sora_search.retrieval.windows import Rectangle


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Five seconds that grow brighter from left to right and with time."""
    ramp = np.linspace(0, 100, 96)[None, None, :, None]
    frames = ramp + np.arange(100)[:, None, None, None] + np.zeros((1, 64, 1, 3))
    folder = tmp_path_factory.mktemp("footage")
    return write_video(folder / "ramp.mp4", frames.astype(np.uint8), frames_per_s=20, crf=10)


def test_times_do_not_depend_on_the_range_asked_for(path):
    reader = FootageReader()
    first, second = reader.read(path, TimeSpan(0.3, 2.7)), reader.read(path, TimeSpan(1.0, 4.2))
    assert first.times_s == pytest.approx(np.arange(0.35, 2.7, 0.1))
    assert second.times_s == pytest.approx(np.arange(1.05, 4.2, 0.1))


def test_what_was_read_is_kept(path):
    reader = FootageReader()
    first, second = reader.read(path, TimeSpan(0.0, 3.0)), reader.read(path, TimeSpan(1.0, 5.0))
    shared = [frame for frame in second.frames if frame.time_s < 3.0]
    assert len(shared) == 20
    assert all(any(frame is known for known in first.frames) for frame in shared)
    assert shared[0].features is shared[0].features


def test_what_was_read_longest_ago_is_forgotten(path, monkeypatch):
    monkeypatch.setattr(footage, "MAX_KEPT", 2 * footage.PIECE_S * footage.FRAMES_PER_S)
    reader = FootageReader()
    first = reader.read(path, TimeSpan(0.0, 1.0)).frames[0]
    reader.read(path, TimeSpan(2.0, 3.0))
    assert reader.read(path, TimeSpan(0.0, 1.0)).frames[0] is first
    reader.read(path, TimeSpan(4.0, 5.0))
    reader.read(path, TimeSpan(2.0, 3.0))
    assert reader.read(path, TimeSpan(0.0, 1.0)).frames[0] is not first


def test_a_window_is_footage_of_its_own(path):
    reader = FootageReader()
    whole = reader.read(path, TimeSpan(0.0, 1.0))
    right = reader.read(path, TimeSpan(0.0, 1.0), Rectangle(0.5, 0.0, 0.5, 1.0))
    assert right.frames[0].gray.mean() > whole.frames[0].gray.mean() + 15


def test_what_can_be_read_does_not_depend_on_what_was_read_before(tmp_path):
    """A file that was cut off: its header promises more than there is."""
    frames = np.random.default_rng(0).integers(0, 255, (400, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "cut.mkv", frames, frames_per_s=10)
    path.write_bytes(path.read_bytes()[: int(0.52 * path.stat().st_size)])
    fresh, used = FootageReader(), FootageReader()
    assert 20 < used.read(path, TimeSpan(20.0, 22.0)).times_s[-1] < 22
    wanted = TimeSpan(20.5, 23.0)
    assert used.read(path, wanted).times_s == pytest.approx(fresh.read(path, wanted).times_s)


def test_a_file_is_opened_once(path, monkeypatch):
    opened = []
    open_file = footage.VideoReader.open
    monkeypatch.setattr(
        footage.VideoReader, "open", lambda file: opened.append(file) or open_file(file)
    )
    reader = FootageReader()
    for start_s in (0.0, 2.0, 4.0):
        reader.read(path, TimeSpan(start_s, start_s + 0.9))
    assert opened == [path]


def test_a_still_picture_is_read_once(tmp_path):
    path = tmp_path / "still.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    reader = FootageReader()
    [frame] = reader.read(path, None).frames
    assert reader.read(path, None).frames[0] is frame


def test_a_range_beyond_the_end_gives_what_there_is(path):
    assert FootageReader().read(path, TimeSpan(4.5, 9.0)).times_s[-1] < 5.0
    with pytest.raises(MediaError, match=r"ramp\.mp4.*index it again"):
        FootageReader().read(path, TimeSpan(7.0, 9.0))


def test_indexed_frames_have_more_features_than_those_of_a_query(tmp_path):
    """All features of a crop lie in a part of the indexed picture."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 240, 320, 3), np.uint8)
    path = write_video(tmp_path / "noise.mkv", noise, frames_per_s=10, codec="ffv1")
    sides, span = Sides(FootageReader(), path, path), TimeSpan(0.0, 0.2)
    of_query, of_video = (
        len(side(span).frames[0].features.points) for side in (sides.query, sides.video)
    )
    assert of_query >= footage.QUERY_FEATURES
    assert of_video > 1.8 * of_query
