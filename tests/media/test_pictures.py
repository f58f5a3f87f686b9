from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import moving_frames

from sora_search.media.pictures import (
    FrameConverter,
    Orientation,
    orientation_from_matrix,
    upright_size,
)

ONE = 1 << 16
MATRICES = {
    "upright": ([[1, 0], [0, 1]], Orientation(0, False)),
    "clockwise": ([[0, 1], [-1, 0]], Orientation(3, False)),
    "upside down": ([[-1, 0], [0, -1]], Orientation(2, False)),
    "counterclockwise": ([[0, -1], [1, 0]], Orientation(1, False)),
    "mirrored": ([[-1, 0], [0, 1]], Orientation(0, True)),
    "flipped": ([[1, 0], [0, -1]], Orientation(2, True)),
    "transposed": ([[0, 1], [1, 0]], Orientation(1, True)),
}


def display_matrix(turn):
    matrix = np.zeros((3, 3), dtype=np.int32)
    matrix[:2, :2] = np.array(turn) * ONE
    matrix[2, 2] = 1 << 30
    return matrix


@pytest.mark.parametrize("name", MATRICES)
def test_orientation_of_a_display_matrix(name):
    turn, orientation = MATRICES[name]
    assert orientation_from_matrix(display_matrix(turn)) == orientation


@pytest.mark.parametrize("name", MATRICES)
def test_a_point_goes_where_the_matrix_sends_it(name):
    (a, b), (c, d) = MATRICES[name][0]
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    shown = MATRICES[name][1].apply(stored)
    for y, x in np.ndindex(3, 4):
        # Around the middle of the picture, in half pixels, y downwards.
        from_middle = np.array([2 * x - 3, 2 * y - 2])
        to_x, to_y = from_middle @ [[a, b], [c, d]]
        height, width = shown.shape[:2]
        assert shown[(to_y + height - 1) // 2, (to_x + width - 1) // 2] == stored[y, x]


def test_upright_size_turns_and_stretches():
    upright, turned = Orientation(), Orientation(1)
    assert upright_size(176, 144, Fraction(128, 117), upright) == (144, 193)
    assert upright_size(1440, 1080, Fraction(4, 3), upright) == (1080, 1920)
    assert upright_size(720, 576, Fraction(1, 2), upright) == (1152, 720)
    assert upright_size(640, 480, None, turned) == (640, 480)
    assert upright_size(176, 144, Fraction(255, 1), upright) == (144, 176)  # broken header


def yuv_frame(luma, *, pix_fmt="yuv420p", **attributes):
    is_deep = "10" in pix_fmt
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], pix_fmt)
    for i, plane in enumerate(frame.planes):
        content = np.full((plane.height, plane.line_size // (1 + is_deep)), 512 if is_deep else 128)
        if i == 0:
            content[:, : luma.shape[1]] = luma
        plane.update(content.astype("<u2" if is_deep else "u1").tobytes())
    for name, value in attributes.items():
        setattr(frame, name, value)
    return frame


def gray_ramp(low, high):
    return np.tile(np.linspace(low, high, 64).round(), (32, 1))


@pytest.mark.parametrize(
    ("pix_fmt", "low", "high", "color_range"),
    [
        ("yuv420p", 16, 235, 1),
        ("yuv420p", 0, 255, 2),
        ("yuv420p10le", 64, 940, 1),
        ("yuv420p10le", 0, 1023, 2),
    ],
)
def test_full_and_limited_range_both_reach_black_and_white(pix_fmt, low, high, color_range):
    frame = yuv_frame(gray_ramp(low, high), pix_fmt=pix_fmt, color_range=color_range)
    expected = np.linspace(0, 255, 64)
    for is_gray in (False, True):
        picture = FrameConverter((32, 64), is_gray=is_gray).convert(frame)
        assert picture.shape == (32, 64, 1 if is_gray else 3)
        assert np.abs(picture.mean(axis=(0, 2)) - expected).max() <= 3


@pytest.mark.parametrize("transfer", [16, 18])  # PQ, HLG
def test_hdr_gets_the_tones_of_an_ordinary_picture(transfer):
    frame = yuv_frame(
        gray_ramp(64, 940),
        pix_fmt="yuv420p10le",
        color_range=1,
        colorspace=9,
        color_primaries=9,
        color_trc=transfer,
    )
    picture = FrameConverter((32, 64)).convert(frame)
    alone = FrameConverter((32, 64), is_gray=True).convert(frame)
    assert np.abs(alone - picture.astype(float)).max() <= 5  # a code is up to four levels
    gray = picture.mean(axis=0)
    assert np.ptp(gray, axis=1).max() <= 3  # gray stays gray
    brightness = gray.mean(axis=1)
    assert (np.diff(brightness) >= 0).all()
    assert brightness[0] <= 2
    assert brightness[-1] >= 250
    reference_white = round(63 * (0.58 if transfer == 16 else 0.75))  # ITU-R BT.2408
    assert 150 <= brightness[reference_white] <= 215


@pytest.mark.parametrize("pix_fmt", ["rgb24", "yuv420p", "yuvj420p", "yuv444p10le", "gray16le"])
def test_gray_is_the_brightness_of_the_colors(pix_fmt):
    pixels = moving_frames(1, height=48, width=64)[0]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    picture, alone = (
        FrameConverter((24, 32), is_gray=is_gray).convert(frame) for is_gray in (False, True)
    )
    expected = picture @ np.array([0.299, 0.587, 0.114])
    assert np.abs(alone[..., 0] - expected).mean() <= 2


def test_downscaling_averages_areas():
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * 255
    frame = av.VideoFrame.from_ndarray(
        np.repeat(checkers[..., None], 3, axis=2).astype(np.uint8), format="rgb24"
    )
    picture = FrameConverter((8, 8)).convert(frame)
    assert np.abs(picture.astype(int) - 127).max() <= 2


def test_full_size_keeps_every_pixel():
    pixels = moving_frames(1, height=37, width=53)[0]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    assert np.array_equal(FrameConverter((37, 53)).convert(frame), pixels)
