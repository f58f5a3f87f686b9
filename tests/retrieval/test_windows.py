"""Windows: shares of a picture, nine all over it, and their pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_search.media.clips import Pictures
from sora_search.retrieval.windows import Rectangle, around, cut_window, pyramid


def noise(num_frames: int) -> Pictures:
    return np.random.default_rng(0).integers(0, 256, (num_frames, 160, 240, 3), np.uint8)


@given(a=st.tuples(*[st.floats(0.01, 0.49)] * 4), b=st.tuples(*[st.floats(0.01, 0.49)] * 4))
def test_iou_is_symmetric_and_1_only_with_itself(
    a: tuple[float, ...], b: tuple[float, ...]
) -> None:
    first, second = Rectangle(*a), Rectangle(*b)
    assert first.iou(second) == pytest.approx(second.iou(first))
    assert 0 <= first.iou(second) <= 1 + 1e-9
    assert first.iou(first) == pytest.approx(1)


def test_iou_of_a_case_on_paper() -> None:
    assert Rectangle(0, 0, 0.5, 0.5).iou(Rectangle(0.25, 0, 0.5, 0.5)) == pytest.approx(1 / 3)
    assert Rectangle(0, 0, 0.5, 0.5).iou(Rectangle(0.5, 0, 0.5, 1)) == 0


@pytest.mark.parametrize(
    "values", [(-0.1, 0, 0.5, 0.5), (0, 0, 0, 0.5), (0.6, 0, 0.5, 0.5), (0, 0.6, 0.5, 0.5)]
)
def test_rectangle_outside_of_the_picture_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="part of a picture"):
        Rectangle(*values)


@given(
    left=st.floats(0, 1),
    top=st.floats(0, 1),
    width=st.floats(0.01, 1),
    height=st.floats(0.01, 1),
)
def test_what_is_smaller_than_half_a_window_lies_in_one_whole(
    left: float, top: float, width: float, height: float
) -> None:
    width, height = width / 4, height / 4
    left, top = left * (1 - width), top * (1 - height)
    assert any(
        window.left <= left + 1e-9
        and window.top <= top + 1e-9
        and left + width <= window.left + window.width + 1e-9
        and top + height <= window.top + window.height + 1e-9
        for window in pyramid()
    )


def test_cut_of_the_whole_picture_is_the_picture() -> None:
    frames = noise(3)
    cut = cut_window(frames, np.arange(3.0), Rectangle(0, 0, 1, 1), (160, 240))
    np.testing.assert_array_equal(cut, frames)


def test_cut_averages_by_area() -> None:
    frames = noise(2)
    part = Rectangle(60 / 240, 40 / 160, 80 / 240, 60 / 160)
    cut = cut_window(frames, np.arange(2.0), part, (15, 20))
    blocks = frames[:, 40:100, 60:140].reshape(2, 15, 4, 20, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(cut, blocks, atol=0.51)


@given(
    left=st.floats(0, 0.999), top=st.floats(0, 0.999), width=st.floats(0, 1), height=st.floats(0, 1)
)
def test_cut_has_the_size_asked_for(left: float, top: float, width: float, height: float) -> None:
    part = Rectangle(left, top, max(1e-4, width * (1 - left)), max(1e-4, height * (1 - top)))
    frames = np.full((2, 9, 13, 3), 7, np.uint8)
    cut = cut_window(frames, np.arange(2.0), part, (6, 5))
    assert cut.shape == (2, 6, 5, 3)
    assert (cut == 7).all()


def test_cut_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        cut_window(noise(1), np.zeros(1), Rectangle(0, 0, 1, 1), (0, 5))


def test_a_part_that_drifts_is_cut_where_it_is_at_each_time() -> None:
    frames = noise(4)
    part = Rectangle(0.25, 0.5, 0.5, 0.25, drift=(0.125, -0.125), at_s=10.0)
    cut = cut_window(frames, np.array([9.0, 10.0, 11.0, 12.0]), part, (40, 120))
    for number, (left, top) in enumerate([(30, 100), (60, 80), (90, 60), (120, 40)]):
        np.testing.assert_array_equal(
            cut[number], frames[number, top : top + 40, left : left + 120]
        )


def test_a_part_that_drifts_never_leaves_the_picture() -> None:
    part = Rectangle(0.25, 0.5, 0.5, 0.25, drift=(0.125, -0.125), at_s=10.0)
    assert part.at(0.0) == Rectangle(0, 0.75, 0.5, 0.25)
    assert part.at(100.0) == Rectangle(0.5, 0, 0.5, 0.25)
    assert part.is_moving
    assert not part.at(10.0).is_moving


def test_a_part_that_drifts_keeps_its_size_and_is_cut_between_pixels() -> None:
    ramp = np.arange(240, dtype=np.uint8)
    frames = np.broadcast_to(ramp[:, None], (40, 90, 240, 3))
    times_s = np.arange(40) / 30
    part = Rectangle(0.1, 0.2, 0.4054, 0.5, drift=(0.06, 0.05))
    cut = cut_window(frames, times_s, part, (45, 97))
    assert (np.diff(cut[:, 0, :, 0].astype(int)) == 1).all()  # else it would have been scaled
    lefts = np.array([part.at(time_s).left for time_s in times_s.tolist()]) * 240
    np.testing.assert_allclose(cut[:, 0, 0, 0], lefts, atol=0.51)


def test_a_part_between_two_pixels_is_mixed_of_both() -> None:
    frames = np.zeros((1, 20, 20, 3), np.uint8)
    frames[:, :, 10:] = 200
    part = Rectangle(0.225, 0.0, 0.5, 0.5, drift=(0.01, 0.0))
    cut = cut_window(frames, np.zeros(1), part, (10, 10))
    assert cut[0, 0, :, 0].tolist() == [0] * 5 + [100] + [200] * 4


def test_around_a_rectangle_are_strips_as_long_as_the_picture_largest_first() -> None:
    right_half = Rectangle(0.5, 0.0, 0.5, 1.0)
    assert around(right_half, min_side=0.3) == [Rectangle(0.0, 0.0, 0.5, 1.0)]
    inset = Rectangle(0.1, 0.5, 0.25, 0.25)
    assert around(inset, min_side=0.3) == [
        Rectangle(0.35, 0.0, 0.65, 1.0),
        Rectangle(0.0, 0.0, 1.0, 0.5),
    ]
    assert around(Rectangle(0.0, 0.0, 1.0, 1.0), min_side=0.3) == []
