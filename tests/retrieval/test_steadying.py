"""The shaking of a hand is taken out where it cannot make different takes agree."""

import numpy as np
import pytest
from acted_scene import RATE, SIZE, scene, texture
from made_footage import seen_frames

from sora_search.media.clips import Clip, unedited, warped
from sora_search.retrieval.footage import Footage
from sora_search.retrieval.overlay import lay
from sora_search.retrieval.placement import Placement
from sora_search.retrieval.steadying import steadied
from sora_search.retrieval.synchrony import Clock

AS_IT_IS = Placement(np.eye(3)[None], np.zeros(1), 100)
AT_ONCE = Clock(0.0, 0.0, 1.0)


def seen(clip: Clip) -> Footage:
    times_s = np.arange(0.05, clip.duration_s, 0.1)
    return seen_frames(clip.frames_at(times_s), times_s)


def swaying(clip: Clip, pixels: float, seed: int = 0) -> Clip:
    """The same as a hand films it: two slow waves each way."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(len(clip)) / clip.frames_per_s
    hertz, phase = rng.uniform(0.5, 1.5, (2, 2, 1)), rng.uniform(0, 2 * np.pi, (2, 2, 1))
    sway = np.sin(2 * np.pi * hertz * times_s + phase).mean(axis=1) * pixels
    shake = np.repeat(np.eye(3)[None], len(clip), axis=0)
    shake[:, 0, 2], shake[:, 1, 2] = sway
    return Clip(warped(unedited(clip), shake).frames, clip.frames_per_s)


def motion(query: Clip, video: Clip, placement: Placement) -> float | None:
    sides, span = (seen(query), seen(video)), unedited(query).matches[0].query_span
    assert span is not None
    return lay(*sides, AT_ONCE, placement, span, reach_s=(0.3, 0.3)).motion


def test_sway_is_found_frame_by_frame_and_what_moves_comes_out() -> None:
    still = scene(1, 1)
    filmed = swaying(still, 3.0)
    times_s = seen(filmed).times_s
    placement = steadied(seen(filmed), seen(still), AT_ONCE, AS_IT_IS, times_s)
    assert placement is not None
    assert 2.0 < np.abs(placement.matrices[:, :2, 2]).max() < 3.5
    before, after = motion(filmed, still, AS_IT_IS), motion(filmed, still, placement)
    assert before is not None
    assert after is not None
    assert after > max(0.8, before + 0.1)


def test_another_take_of_the_place_does_not_become_the_same() -> None:
    filmed, other = swaying(scene(1, 1), 3.0), scene(1, 2)
    placement = steadied(seen(filmed), seen(other), AT_ONCE, AS_IT_IS, seen(filmed).times_s)
    assert placement is not None
    agreeing = motion(filmed, other, placement)
    assert agreeing is not None
    assert agreeing < 0.4


def test_where_the_camera_of_the_video_sways_nothing_is_taken_out() -> None:
    still = Clip(np.repeat(texture(1, SIZE)[None], 120, axis=0), RATE)
    takes = swaying(still, 4.0, seed=1), swaying(still, 4.0, seed=2)
    query, video = map(seen, takes)
    assert steadied(query, video, AT_ONCE, AS_IT_IS, query.times_s) is None


def drifting(clip: Clip, pixels: float) -> Clip:
    """The same as an inset whose path is known but for so many pixels from end to end."""
    shake = np.repeat(np.eye(3)[None], len(clip), axis=0)
    shake[:, 0, 2] = np.rint(np.linspace(-pixels / 2, pixels / 2, len(clip)))
    return Clip(warped(unedited(clip), shake).frames, clip.frames_per_s)


def test_a_steady_drift_is_taken_out_even_where_the_camera_sways() -> None:
    video = swaying(scene(1, 1), 4.0)
    query = drifting(video, 10.0)
    times_s = seen(query).times_s
    assert steadied(seen(query), seen(video), AT_ONCE, AS_IT_IS, times_s) is None
    placement = steadied(seen(query), seen(video), AT_ONCE, AS_IT_IS, times_s, is_drifting=True)
    assert placement is not None
    assert np.ptp(placement.at(times_s)[:, 0, 2]) == pytest.approx(10.0, abs=1.5)
    beyond_s = np.array([times_s[0] - 1, times_s[-1] + 1])
    assert np.ptp(placement.at(beyond_s)[:, 0, 2]) > 11.0  # it goes on as it went
    before, after = motion(query, video, AS_IT_IS), motion(query, video, placement)
    assert before is not None
    assert after is not None
    assert after > before


def test_a_drift_does_not_make_other_takes_agree() -> None:
    still = Clip(np.repeat(texture(1, SIZE)[None], 120, axis=0), RATE)
    query, video = drifting(swaying(still, 2.5, seed=1), 10.0), swaying(still, 2.5, seed=2)
    placement = steadied(
        seen(query), seen(video), AT_ONCE, AS_IT_IS, seen(query).times_s, is_drifting=True
    )
    assert placement is not None
    steps = np.diff(placement.at(seen(query).times_s)[:, :2, 2], axis=0)
    assert np.ptp(steps, axis=0) == pytest.approx(0, abs=1e-6)  # only the drift is taken out
    agreeing = motion(query, video, placement)
    assert agreeing is not None
    assert agreeing < 0.5


@pytest.mark.parametrize("shift", [12.0, 40.0])
def test_what_lies_elsewhere_is_no_sway(shift: float) -> None:
    still = scene(1, 1)
    away = np.repeat(np.array([[1, 0, shift], [0, 1, 0], [0, 0, 1.0]])[None], len(still), axis=0)
    query = seen(Clip(warped(unedited(still), away).frames, RATE))
    found = steadied(query, seen(still), AT_ONCE, AS_IT_IS, query.times_s)
    assert found is None or np.abs(found.matrices[:, 0, 2]).max() < 0.02 * SIZE[1]


def test_a_picture_without_texture_says_nothing() -> None:
    plain = seen(Clip(np.full((60, *SIZE, 3), 90, np.uint8), RATE))
    assert steadied(plain, plain, AT_ONCE, AS_IT_IS, plain.times_s) is None
