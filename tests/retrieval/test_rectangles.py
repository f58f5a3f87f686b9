"""Insets, bars, blur and collages that were planted are found in their place; nothing else is."""

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_footage import HEIGHT, NUM, WIDTH, footage

from sora_search.media.clips import Pictures, resize_frames
from sora_search.media.writing import through_h264
from sora_search.retrieval.film import MIN_SIDE
from sora_search.retrieval.rectangles import MAX_RECTANGLES, find_rectangles
from sora_search.retrieval.windows import Rectangle


def pasted(canvas: Pictures, inset: Pictures, left: int, top: int) -> Pictures:
    frames = canvas.copy()
    frames[:, top : top + inset.shape[1], left : left + inset.shape[2]] = inset
    return frames


def share(
    left: int, top: int, width: int, height: int, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Rectangle:
    return Rectangle(left / size[1], top / size[0], width / size[1], height / size[0])


def best_iou(found: list[Rectangle], truth: Rectangle) -> float:
    return max((rectangle.iou(truth) for rectangle in found), default=0.0)


# What is planted is found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.floats(0.22, 0.6), st.floats(0.22, 0.6)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_inset_is_found_first_and_in_its_place(
    seed: int, size: tuple[float, float], place: tuple[float, float]
) -> None:
    height, width = round(size[0] * HEIGHT), round(size[1] * WIDTH)
    top, left = round(place[0] * (HEIGHT - height)), round(place[1] * (WIDTH - width))
    frames = pasted(footage(seed), footage(seed + 1, (height, width)), left, top)
    found = find_rectangles(frames)
    truth = share(left, top, width, height)
    # Up to two pixels beside the picture's border are no border of their own.
    assert best_iou(found[:2], truth) > 0.85, (found, truth)


@pytest.mark.parametrize("crf", [23, 32])
def test_inset_survives_compression_and_noise(crf: int) -> None:
    frames = pasted(footage(3), footage(4, (60, 90)), 100, 50)
    noisy = frames + np.random.default_rng(0).normal(0, 4, frames.shape)
    coded = through_h264(noisy.clip(0, 255).astype(np.uint8), frames_per_s=2.0, crf=crf)
    assert find_rectangles(coded)[0].iou(share(100, 50, 90, 60)) > 0.9


def test_inset_in_pictures_of_288_and_of_96_pixels() -> None:
    for scale, num in ((3, 16), (1, 16), (1, 300)):
        size = (96 * scale, 160 * scale)
        inset = footage(6, (36 * scale, 60 * scale), num)
        frames = pasted(footage(5, size, num), inset, 30 * scale, 40 * scale)
        truth = share(30, 40, 60, 36, (96, 160))
        assert find_rectangles(frames)[0].iou(truth) > 0.9, (scale, num)


@pytest.mark.parametrize("seed", range(5))
def test_inset_with_round_corners_is_found(seed: int) -> None:
    height, width, left, top = 70, 110, 30 + 20 * seed, 20 + 10 * seed
    y = np.abs(np.arange(height) + 0.5 - height / 2) - (height / 4)
    x = np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - height / 4)
    inside = np.hypot(y.clip(0)[:, None], x.clip(0)) < height / 4
    frames = footage(seed)
    window = frames[:, top : top + height, left : left + width]
    window[:, inside] = footage(seed + 50, (height, width))[:, inside]
    assert best_iou(find_rectangles(frames)[:2], share(left, top, width, height)) > 0.9


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    bars=st.tuples(*[st.integers(8, 40)] * 2, *[st.sampled_from([0, 12, 40])] * 2),
    color=st.sampled_from([0, 255, 90]),
)
def test_bars_are_cut_off(seed: int, bars: tuple[int, int, int, int], color: int) -> None:
    top, bottom, left, right = bars
    frames = np.full((NUM, HEIGHT, WIDTH, 3), color, np.uint8)
    size = HEIGHT - top - bottom, WIDTH - left - right
    frames = pasted(frames, footage(seed, size), left, top)
    assert best_iou(find_rectangles(frames), share(left, top, size[1], size[0])) > 0.95


def test_bars_beside_a_picture_that_hardly_moves_at_its_border() -> None:
    still = footage(7, num_frames=1).repeat(NUM, axis=0)
    frames = pasted(still, footage(8, (60, 80)), 80, 50)
    frames[:, :20] = frames[:, -20:] = 0
    found = find_rectangles(frames)
    assert found[0].iou(share(0, 20, WIDTH, HEIGHT - 40)) > 0.95


def test_caption_in_a_bar_belongs_to_the_bar() -> None:
    frames = np.zeros((NUM, 240, 136, 3), np.uint8)
    frames[:, 36:204] = footage(9, (168, 136))
    for frame in frames:
        cv2.putText(frame, "look at this", (10, 226), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 3)
    frames = through_h264(frames, frames_per_s=2.0, crf=28)
    assert find_rectangles(frames)[0].iou(share(0, 36, 136, 168, (240, 136))) > 0.95


@pytest.mark.parametrize("is_tall", [False, True])
def test_picture_between_its_own_blur_is_found(is_tall: bool) -> None:
    middle = footage(10, (160, 160))
    wide = resize_frames(middle[:, 20:140], (160, 284))
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in wide]).astype(np.uint8)
    frames = pasted(frames, middle, 62, 0)
    truth = share(62, 0, 160, 160, (160, 284))
    if is_tall:
        frames = np.ascontiguousarray(frames.swapaxes(1, 2))
        truth = Rectangle(truth.top, truth.left, truth.height, truth.width)
    found = find_rectangles(frames)
    assert found[0].iou(truth) > 0.95
    assert len(found) == 1


@pytest.mark.parametrize("seed", range(3))
def test_collage_is_its_four_pictures(seed: int) -> None:
    cells = [footage(seed + 10 * i, (80, 120)) for i in range(4)]
    rows = [np.concatenate(cells[i : i + 2], axis=2) for i in (0, 2)]
    found = find_rectangles(np.concatenate(rows, axis=1))
    assert len(found) == 4
    for left in (0, 120):
        for top in (0, 80):
            assert best_iou(found, share(left, top, 120, 80)) > 0.95


def test_inset_inside_bars_is_found_beside_the_picture() -> None:
    frames = np.zeros((NUM, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, 20:140] = pasted(footage(11, (120, WIDTH)), footage(12, (50, 80)), 30, 40)
    found = find_rectangles(frames)
    assert best_iou(found, share(0, 20, WIDTH, 120)) > 0.95
    assert best_iou(found, share(30, 60, 80, 50)) > 0.9


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_mirrored_and_turned_pictures_give_mirrored_and_turned_rectangles(seed: int) -> None:
    frames = pasted(footage(seed), footage(seed + 1, (64, 100)), 90, 30)
    found = find_rectangles(frames)
    assert found
    for one in find_rectangles(np.ascontiguousarray(frames[:, :, ::-1])):
        mirrored = Rectangle(1 - one.left - one.width, one.top, one.width, one.height)
        assert best_iou(found, mirrored) > 0.9
    for one in find_rectangles(np.ascontiguousarray(frames.swapaxes(1, 2))):
        assert best_iou(found, Rectangle(one.top, one.left, one.height, one.width)) > 0.9


# Nothing else is


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), num_frames=st.integers(4, 20))
def test_footage_alone_gives_nothing(seed: int, num_frames: int) -> None:
    assert find_rectangles(footage(seed, num_frames=num_frames)) == []


def test_pictures_that_stand_still_give_nothing() -> None:
    drawn = pasted(footage(13, num_frames=1), footage(14, (60, 90), 1), 30, 30)
    drawn[:, :16] = drawn[:, -16:] = 0
    assert find_rectangles(drawn.repeat(NUM, axis=0)) == []
    grainy = drawn.repeat(NUM, axis=0) + np.random.default_rng(0).normal(
        0, 2, (NUM, *drawn.shape[1:])
    )
    assert find_rectangles(grainy.clip(0, 255).astype(np.uint8)) == []


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_color_gives_nothing(level: int) -> None:
    assert find_rectangles(np.full((NUM, HEIGHT, WIDTH, 3), level, np.uint8)) == []


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_few_frames_give_nothing(num_frames: int) -> None:
    frames = pasted(footage(15, num_frames=num_frames), footage(16, (60, 90), num_frames), 30, 30)
    assert find_rectangles(frames) == []


@pytest.mark.parametrize("size", [(1, 1), (4, 300), (13, 13), (14, 16), (40, 20)])
def test_tiny_pictures_are_no_error(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (NUM, *size, 3)).astype(np.uint8)
    assert len(find_rectangles(frames)) <= MAX_RECTANGLES


def test_logo_that_stands_still_gives_nothing() -> None:
    logo = footage(17, (50, 70), 1).repeat(NUM, axis=0)
    assert find_rectangles(pasted(footage(18), logo, 20, 20)) == []


def test_frame_of_a_door_that_someone_walks_by_gives_nothing() -> None:
    room = footage(19, num_frames=1).repeat(NUM, axis=0)
    room[:, 30:, 80:150] //= 2  # the door
    walker = footage(20, (120, 90), 1)[0]
    y, x = np.mgrid[-1:1:120j, -1:1:90j]
    is_walker = x**2 + y**2 < 1
    for i, frame in enumerate(room):
        left = 10 + 9 * i
        part = frame[35:155, left : left + 90]
        part[is_walker[:, : part.shape[1]]] = walker[:, : part.shape[1]][
            is_walker[:, : part.shape[1]]
        ]
    assert find_rectangles(room) == []


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        find_rectangles(np.zeros((NUM, HEIGHT, WIDTH, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="uint8"):
        find_rectangles(np.zeros((NUM, HEIGHT, WIDTH), np.uint8))


# Bounds


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), num_insets=st.integers(1, 12))
def test_rectangles_are_few_large_and_none_is_the_whole(seed: int, num_insets: int) -> None:
    rng = np.random.default_rng(seed)
    frames = footage(seed)
    for i in range(num_insets):
        height, width = int(rng.integers(20, 100)), int(rng.integers(30, 150))
        inset = footage(seed + 1 + i, (height, width))
        place = int(rng.integers(WIDTH - width)), int(rng.integers(HEIGHT - height))
        frames = pasted(frames, inset, *place)
    found = find_rectangles(frames)
    assert len(found) <= MAX_RECTANGLES
    for one in found:
        assert min(one.width, one.height) >= MIN_SIDE - 1e-9
        assert one.width * one.height < 0.95


def test_an_hour_costs_as_much_as_half_a_minute() -> None:
    frames = np.tile(footage(21, (48, 64)), (7200 // NUM, 1, 1, 1))
    started = time.process_time()
    find_rectangles(frames)
    assert time.process_time() - started < 2
