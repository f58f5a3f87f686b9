"""Insets that cross the picture are found with their speed; what stands or pans is not one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_footage import HEIGHT, NUM, WIDTH, footage
from numpy.typing import NDArray

from sora_search.media.clips import Pictures
from sora_search.media.writing import through_h264
from sora_search.retrieval.drifting import MAX_DRIFTING, find_drifting
from sora_search.retrieval.windows import Rectangle

TIMES_S = (np.arange(NUM) + 0.5) / 2


def crossing(
    canvas: Pictures, inset: Pictures, first: tuple[int, int], last: tuple[int, int]
) -> Pictures:
    """An inset over a canvas, its corner going from one place (x, y) to another one."""
    frames = canvas.copy()
    height, width = inset.shape[1:3]
    places = np.rint(np.linspace(first, last, len(frames))).astype(int)
    for frame, picture, (left, top) in zip(frames, inset, places, strict=True):
        frame[top : top + height, left : left + width] = picture
    return frames


def missed(found: Rectangle, first: tuple[int, int], last: tuple[int, int]) -> float:
    """By how many pixels the corner misses its place at the first or at the last frame."""
    missed = []
    for time_s, place in ((TIMES_S[0], first), (TIMES_S[-1], last)):
        at = found.at(time_s)
        missed += [abs(at.left * WIDTH - place[0]), abs(at.top * HEIGHT - place[1])]
    return max(missed)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    side=st.floats(0.25, 0.5),
    tops=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    is_to_left=st.booleans(),
)
def test_an_inset_that_crosses_the_picture_is_found_with_its_speed(
    seed: int, side: float, tops: tuple[float, float], is_to_left: bool
) -> None:
    height, width = round(side * HEIGHT), round(side * WIDTH)
    lefts = (WIDTH - width, 0) if is_to_left else (0, WIDTH - width)
    first, last = (
        (left, round(top * (HEIGHT - height))) for left, top in zip(lefts, tops, strict=True)
    )
    frames = crossing(footage(seed), footage(seed + 1, (height, width)), first, last)
    found = find_drifting(frames, TIMES_S)
    assert found
    assert missed(found[0], first, last) <= 4
    assert abs(found[0].width * WIDTH - width) <= 3
    assert abs(found[0].height * HEIGHT - height) <= 3


def test_it_survives_compression_and_a_still_picture_behind() -> None:
    still = footage(1)[:1].repeat(NUM, axis=0)
    frames = crossing(still, footage(2, (50, 80)), (0, 100), (160, 20))
    coded = through_h264(frames, frames_per_s=2.0, crf=32)
    assert missed(find_drifting(coded, TIMES_S)[0], (0, 100), (160, 20)) <= 4


def test_an_inset_that_rises_straight_is_found() -> None:
    frames = crossing(footage(3), footage(4, (50, 80)), (90, 110), (90, 0))
    assert missed(find_drifting(frames, TIMES_S)[0], (90, 110), (90, 0)) <= 4


@pytest.mark.parametrize("seed", range(8))
def test_what_stands_still_is_not_told(seed: int) -> None:
    frames = crossing(footage(seed), footage(seed + 1, (50, 80)), (90, 60), (90, 60))
    assert not find_drifting(frames, TIMES_S)


def test_of_plain_footage_little_is_told() -> None:
    num = sum(len(find_drifting(footage(seed), TIMES_S)) for seed in range(30))
    assert num <= 3


def test_time_does_not_matter_but_for_the_speed() -> None:
    frames = crossing(footage(5), footage(6, (50, 80)), (0, 10), (160, 100))
    slow, fast = (find_drifting(frames, TIMES_S * factor + 3)[0] for factor in (1.0, 0.5))
    assert np.allclose(np.array(fast.drift), 2 * np.array(slow.drift))
    assert fast.iou(slow) == pytest.approx(1)


@pytest.mark.parametrize(
    "shape", [(4, 90, 160, 3), (16, 8, 160, 3), (16, 90, 8, 3), (16, 1, 50, 3), (16, 40, 400, 3)]
)
def test_too_little_to_see_anything_in_gives_nothing(shape: tuple[int, ...]) -> None:
    frames: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert find_drifting(frames, np.arange(shape[0]) / 2) == []


def test_frames_of_one_color_give_nothing() -> None:
    assert find_drifting(np.zeros((16, 90, 160, 3), np.uint8), TIMES_S) == []


def test_never_more_than_a_few() -> None:
    frames = footage(7)
    for number in range(4):
        inset = footage(10 + number, (36, 50))
        frames = crossing(frames, inset, (0, 40 * number), (190, 40 * number))
    assert len(find_drifting(frames, TIMES_S)) <= MAX_DRIFTING


def test_one_frame_all_along_holds_nothing_that_moves() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (1, 120, 160, 3), np.uint8)
    assert find_drifting(frame.repeat(16, axis=0), np.full(16, 0.5)) == []
