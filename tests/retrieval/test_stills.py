"""A still picture against footage: at which moment it is shown, however it was changed."""

import cv2
import numpy as np
import pytest
from acted_scene import scene
from numpy.typing import NDArray

from sora_search.datatypes import FrameBatch
from sora_search.media.clips import Clip, resize_frames
from sora_search.retrieval.footage import Footage
from sora_search.retrieval.stills import Moment, find_moments, moment_of
from sora_search.retrieval.verification import SURE_STILL

AT_S = 1.05
DURATION_S = 2.0


def take(action: int) -> Clip:
    """One body moves through a part of the picture; another action is another take."""
    return scene(1, action, duration_s=DURATION_S, num_bodies=1)


def footage_of(frames: NDArray[np.uint8], times_s: NDArray[np.float64]) -> Footage:
    height, width = frames.shape[1:3]
    scale = 256 / min(height, width)
    size = (round(height * scale), round(width * scale))
    return Footage.of(FrameBatch(resize_frames(frames, size), times_s))


@pytest.fixture(scope="module")
def video() -> Footage:
    return taken(take(1))


def taken(clip: Clip) -> Footage:
    times_s = np.arange(0.05, clip.duration_s, 0.1)
    return footage_of(clip.frames_at(times_s), times_s)


def best(still: NDArray[np.uint8], video: Footage) -> Moment:
    query = footage_of(still[None], np.zeros(1))
    found = [moment_of(query, video, moment) for moment in find_moments(query, video)]
    return max(found, key=lambda moment: moment.likeness)


def cropped(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    part = picture[height // 10 : height * 9 // 10, width // 8 : width * 15 // 16]
    return np.asarray(cv2.resize(part, (width, height)), np.uint8)


def relit(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.clip((picture / 255) ** 0.7 * 265, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("changes", [(), (relit,), (cropped,), (cropped, relit)])
def test_a_changed_picture_tells_its_moment(video: Footage, changes: tuple) -> None:
    still = take(1).frames_at(np.array([AT_S]))[0]
    for change in changes:
        still = change(still)
    found = best(still, video)
    assert found.span.start_s - 0.15 <= AT_S <= found.span.end_s + 0.15
    assert found.motion is not None
    assert found.motion >= SURE_STILL


def test_a_picture_of_another_take_is_not_a_moment_of_this_one(video: Footage) -> None:
    found = best(take(2).frames_at(np.array([AT_S]))[0], video)
    assert found.appearance > 0.8
    assert found.motion is not None
    assert found.motion < SURE_STILL
