"""Footage in a round frame is found in its place; where there is none hardly anything is told."""

import cv2
import numpy as np
import pytest
from made_footage import HEIGHT, NUM, WIDTH, footage

from sora_search.media.clips import Pictures
from sora_search.media.writing import through_h264
from sora_search.retrieval.circles import find_circles
from sora_search.retrieval.windows import Rectangle


def with_circle(canvas: Pictures, inner: Pictures, x: int, y: int, radius: int) -> Pictures:
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(inside, (x, y), radius, 1, cv2.FILLED)
    return np.where(inside[None, ..., None].astype(bool), inner, canvas)


def square(x: int, y: int, radius: int) -> Rectangle:
    return Rectangle(
        (x - radius) / WIDTH, (y - radius) / HEIGHT, 2 * radius / WIDTH, 2 * radius / HEIGHT
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_circle_is_found_in_its_place(seed: int) -> None:
    place = 60 + 20 * seed, 70 + 5 * seed, 25 + 5 * seed
    found = find_circles(with_circle(footage(seed), footage(seed + 1), *place))
    assert [one.iou(square(*place)) > 0.85 for one in found] == [True]


def test_it_survives_compression_and_pictures_that_stand_still() -> None:
    still = footage(1)[:1].repeat(NUM, axis=0)
    frames = with_circle(still, footage(2), 100, 80, 40)
    coded = through_h264(frames, frames_per_s=2.0, crf=32)
    assert find_circles(coded)[0].iou(square(100, 80, 40)) > 0.85


def test_of_plain_footage_little_is_told() -> None:
    assert sum(len(find_circles(footage(seed))) for seed in range(30)) <= 3


def test_a_circle_that_the_border_cuts_stays_inside_the_picture() -> None:
    frames = with_circle(footage(3), footage(4), 34, 80, 35)
    [found] = find_circles(frames)
    assert found.left >= 0
    assert found.iou(Rectangle(0, 45 / HEIGHT, 69 / WIDTH, 70 / HEIGHT)) > 0.7


@pytest.mark.parametrize("num", [1, 3])
def test_few_frames_tell_nothing(num: int) -> None:
    assert find_circles(with_circle(footage(5), footage(6), 100, 80, 40)[:num]) == []


def test_frames_of_one_color_give_nothing() -> None:
    assert find_circles(np.full((16, 90, 160, 3), 128, np.uint8)) == []


def test_a_circle_in_which_nothing_moves_is_a_logo() -> None:
    still = footage(2)[:1].repeat(NUM, axis=0)
    assert find_circles(with_circle(footage(1), still, 100, 80, 40)) == []
    assert find_circles(with_circle(still, still[:, ::-1], 100, 80, 40)) == []


@pytest.mark.parametrize("shape", [(9, 1, 50, 3), (9, 50, 1, 3), (9, 2, 2, 3), (9, 13, 40, 3)])
def test_pictures_too_small_for_a_circle_give_nothing(shape: tuple[int, ...]) -> None:
    assert find_circles(np.zeros(shape, np.uint8)) == []
