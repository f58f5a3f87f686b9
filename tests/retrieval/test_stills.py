"""A still picture is found at the moment of the video that shows it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from acted_scene import RATE, SIZE, scene
from PIL import Image

from sora_search.datatypes import Match, TimeSpan
from sora_search.media.clips import Clip
from sora_search.media.editing import edit_clip
from sora_search.media.writing import write_video
from sora_search.retrieval.deciding import Verification
from sora_search.retrieval.footage import FootageReader, Sides
from sora_search.retrieval.verification import verify_match

SHOWN_S = 3.0
AROUND = TimeSpan(1.0, 2.0)
"""What vectors suggest: other seconds of the same scene."""


@pytest.fixture(scope="module")
def footage() -> Clip:
    return scene(1, 1, num_bodies=1)


@pytest.fixture(scope="module")
def video(footage: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stills") / "video.mp4"
    return write_video(path, footage.frames, frames_per_s=RATE, crf=18)


def look(picture: np.ndarray, video: Path, folder: Path) -> Verification:
    path = folder / "picture.png"
    Image.fromarray(picture).save(path)
    return verify_match(Sides(FootageReader(), path, video), Match(None, AROUND, 0.5))


def frame_at(clip: Clip, time_s: float) -> np.ndarray:
    return clip.frames[round(time_s * RATE)]


def relit(picture: np.ndarray) -> np.ndarray:
    """Brighter by a gamma, which no straight line of gray levels follows."""
    return np.clip((picture / 255) ** 0.7 * 265, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("is_relit", [False, True])
@pytest.mark.parametrize("name", ["", "mirror", "crop-60", "light"])
def test_the_moment_is_found_however_far_it_is(name, is_relit, footage, video, tmp_path):
    shown = edit_clip(name, footage).frames if name else footage.frames
    picture = frame_at(Clip(shown, RATE), SHOWN_S)
    found = look(relit(picture) if is_relit else picture, video, tmp_path)
    # A gesture that is made again may agree as well as a picture that was changed so much.
    assert found.is_same is True or is_relit or name == "crop-60"
    assert found.is_same is not False
    assert found.motion is not None
    assert found.motion > 0.9
    assert found.match is not None
    assert found.match.query_span is None
    span = found.match.video_span
    assert span is not None
    assert span.start_s - 0.02 <= SHOWN_S <= span.end_s + 0.02
    assert span.duration_s < 0.3
    assert found.edit is not None
    assert found.edit.mirrored == (name == "mirror")


def test_another_take_of_the_place_is_not_the_moment(video, tmp_path):
    found = look(frame_at(scene(1, 2, num_bodies=1), SHOWN_S), video, tmp_path)
    assert found.is_same is not True
    assert found.motion is not None
    assert found.motion < 0.6
    assert found.appearance > 0.5


def test_where_nothing_changes_a_picture_stays_uncertain(footage, tmp_path):
    still = np.repeat(footage.frames[:1], len(footage), axis=0)
    video = write_video(tmp_path / "still.mp4", still, frames_per_s=RATE)
    found = look(footage.frames[0], video, tmp_path)
    assert found.is_same is None
    assert found.motion is None
    assert found.appearance == 1.0
    assert found.match is not None
    assert found.match.video_span is not None
    assert found.match.video_span.duration_s > 5.5  # it is shown all the time
    assert found.reason().startswith("same scene, but what changes in the video is too little")


def test_a_camera_that_moves_tells_its_moments_only_exactly(tmp_path):
    wide = scene(5, 1).frames[0]
    half = SIZE[1] // 2
    frames = np.stack([wide[:, left : left + half] for left in range(half)])
    video = write_video(tmp_path / "pan.mp4", frames, frames_per_s=RATE)
    exact = look(frames[60], video, tmp_path)
    assert exact.is_same is True
    assert exact.match is not None
    assert exact.match.video_span is not None
    assert exact.match.video_span.start_s == pytest.approx(3.0, abs=0.1)
    blurred = look(cv2.GaussianBlur(frames[60][20:160, 10:110], (0, 0), 1.5), video, tmp_path)
    assert blurred.is_same is None
    assert blurred.appearance > 0.9


def test_picture_of_something_else_is_refuted(video, tmp_path):
    assert look(frame_at(scene(6, 6), SHOWN_S), video, tmp_path).is_same is False


def test_empty_picture_says_nothing(tmp_path):
    plain = np.full((60, *SIZE, 3), 90, np.uint8)
    video = write_video(tmp_path / "plain.mp4", plain, frames_per_s=RATE)
    found = look(plain[0], video, tmp_path)
    assert found.is_same is None
    assert found.edit is None


def test_an_indexed_video_of_one_frame_is_found_in_the_query(footage, video, tmp_path):
    frame = frame_at(footage, SHOWN_S)
    one = write_video(tmp_path / "one.mp4", frame[None], frames_per_s=RATE)
    found = verify_match(Sides(FootageReader(), video, one), Match(AROUND, None, 0.5))
    assert found.is_same is True
    assert found.match is not None
    assert found.match.video_span is None
    span = found.match.query_span
    assert span is not None
    assert span.start_s - 0.05 <= SHOWN_S <= span.end_s + 0.05
