import os

import numpy as np
import pytest
from PIL import Image, ImageFont
from video_files import moving_frames

from sora_search.datatypes import TimeSpan
from sora_search.media import rendering
from sora_search.media.rendering import (
    PictureRow,
    draw_alignment,
    draw_bars,
    draw_curve,
    write_side_by_side,
)


def solid(color, height=60, width=80):
    return np.full((height, width, 3), color, dtype=np.uint8)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def columns_of(pixels, color):
    """First and last column in which a color is seen."""
    found = np.flatnonzero((pixels == color).all(axis=-1).any(axis=0))
    return int(found[0]), int(found[-1])


def rows_of(pixels, color):
    return columns_of(pixels.transpose(1, 0, 2), color)


def test_matching_frames_stand_beneath_each_other(tmp_path):
    rows = [
        PictureRow("query", [("0:01.0", solid(RED)), ("0:02.0", solid(BLUE))]),
        PictureRow("1. film.mp4", [("7:01.0", None), ("7:02.0", solid(GREEN))]),
    ]
    pixels = pixels_of(write_side_by_side(tmp_path / "a.png", rows, cell_side=100))
    assert columns_of(pixels, BLUE) == columns_of(pixels, GREEN)
    assert columns_of(pixels, RED)[1] < columns_of(pixels, BLUE)[0]
    assert rows_of(pixels, RED) == rows_of(pixels, BLUE)
    assert rows_of(pixels, BLUE)[1] < rows_of(pixels, GREEN)[0]


def test_pictures_keep_their_proportions(tmp_path):
    rows = [PictureRow("a", [("", solid(RED, 30, 60)), ("", solid(BLUE, 300, 100))])]
    pixels = pixels_of(write_side_by_side(tmp_path / "a.png", rows, cell_side=120))
    for color, height, width in ((RED, 60, 120), (BLUE, 120, 40)):
        top, bottom = rows_of(pixels, color)
        left, right = columns_of(pixels, color)
        assert (bottom - top + 1, right - left + 1) == (height, width)


def test_labels_and_captions_are_written(tmp_path):
    def ink(label, caption):
        rows = [PictureRow(label, [(caption, solid((255, 255, 255)))])]
        return int((pixels_of(write_side_by_side(tmp_path / "a.png", rows)) < 128).sum())

    nothing = ink("", "")
    assert nothing == 0
    assert ink("film.mp4", "") > 0
    assert ink("", "0:03.0") > 0


@pytest.mark.parametrize(
    "name",
    [
        "emoji \N{CLAPPER BOARD}.mp4",
        "日本語.mp4",
        "new\nline\ttab.mp4",
        os.fsdecode(b"latin-\xe9\xff.mp4"),
        "very long " * 200,
        "\udc80" * 50,
        "",
    ],
    ids=ascii,
)
def test_any_name_can_be_a_label(tmp_path, name):
    path = write_side_by_side(tmp_path / "a.jpg", [PictureRow(name, [(name, solid(RED))])])
    assert pixels_of(path).shape[1] <= 600


def label_of(tmp_path, label):
    """The pixels of a picture with a label."""
    return pixels_of(write_side_by_side(tmp_path / "a.png", [PictureRow(label, [])]))


@pytest.mark.parametrize(
    ("name", "other"),
    [("日本語.mp4", "本日語.mp4"), ("é.mp4", "è.mp4"), ("\N{OWL}.mp4", "\N{CLAPPER BOARD}.mp4")],
    ids=ascii,
)
@pytest.mark.parametrize("has_fonts", [True, False])
def test_names_can_be_told_apart_in_any_script(tmp_path, monkeypatch, has_fonts, name, other):
    if not has_fonts:
        monkeypatch.setattr(rendering, "SYSTEM_FONTS", ())
    assert not np.array_equal(label_of(tmp_path, name), label_of(tmp_path, other))


def test_what_no_font_can_show_is_escaped(tmp_path, monkeypatch):
    monkeypatch.setattr(rendering, "SYSTEM_FONTS", ("nowhere.ttf",))
    shown, written = "日é.mp4", r"\u65e5\xe9.mp4"
    assert np.array_equal(label_of(tmp_path, shown), label_of(tmp_path, written))
    not_utf8 = os.fsdecode(b"\xe9.mp4")
    assert np.array_equal(label_of(tmp_path, not_utf8), label_of(tmp_path, r"\xe9.mp4"))


def test_a_font_of_the_system_shows_what_it_can(tmp_path):
    try:
        ImageFont.truetype("DejaVuSans.ttf")
    except OSError:
        pytest.skip("DejaVu is not installed")
    assert not np.array_equal(label_of(tmp_path, "Ж"), label_of(tmp_path, r"\u0416"))
    shown, written = "Ж\N{EGYPTIAN HIEROGLYPH A001}", r"Ж\U00013000"
    assert np.array_equal(label_of(tmp_path, shown), label_of(tmp_path, written))


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("JPEG", "JPEG"), ("png", "PNG")])
def test_the_suffix_says_the_format(tmp_path, suffix, kind):
    rows = [PictureRow("a", [("", moving_frames(1)[0])])]
    with Image.open(write_side_by_side(tmp_path / f"a.{suffix}", rows)) as image:
        assert image.format == kind


def test_rows_may_be_empty_or_of_different_length(tmp_path):
    rows = [PictureRow("a", []), PictureRow("b", [("", solid(RED))] * 3), PictureRow("c", [])]
    assert pixels_of(write_side_by_side(tmp_path / "a.png", rows)).shape[1] > 3 * 240


def test_what_cannot_be_written_is_refused(tmp_path):
    rows = [PictureRow("a", [("", solid(RED))])]
    with pytest.raises(ValueError, match="jpg"):
        write_side_by_side(tmp_path / "a.gif", rows)
    with pytest.raises(ValueError, match="at least one row"):
        write_side_by_side(tmp_path / "a.png", [])
    with pytest.raises(ValueError, match="uint8"):
        write_side_by_side(tmp_path / "a.png", [PictureRow("a", [("", np.zeros((4, 4)))])])
    with pytest.raises(OSError, match="nowhere"):
        write_side_by_side(tmp_path / "nowhere" / "a.png", rows)
    assert list(tmp_path.iterdir()) == []


def test_an_older_picture_is_replaced_whole(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    write_side_by_side(path, [PictureRow("a", [("", solid(RED))])])
    assert pixels_of(path).shape[2] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_curve_goes_from_the_first_point_to_the_last():
    picture = draw_curve([(0, 4.0), (50, float("nan")), (100, 1.0)], side=200).astype(int)
    rows, columns = np.nonzero(picture[..., 1] - picture[..., 0] > 80)
    assert rows[columns == columns.min()].mean() < 20
    assert rows[columns == columns.max()].mean() > 160


def test_bars_are_as_long_as_what_they_stand_for():
    picture = draw_bars([("whole", 1.0, 0.0), ("a half", 0.5, 0.0), ("nothing", 0.0, 0.0)])
    is_bar = picture[..., 1].astype(int) - picture[..., 0] > 80
    lengths = [half.any(axis=0).sum() for half in np.array_split(is_bar, 3)]
    assert lengths[1] / lengths[0] == pytest.approx(0.5, abs=0.02)
    assert lengths[2] == 0


def test_alignment_is_a_line_from_the_starts_to_the_ends():
    span = TimeSpan(2.5, 10.0)
    picture = draw_alignment([(span, TimeSpan(0.0, 5.0), True)], (10.0, 10.0), side=200).astype(int)
    is_line = picture[..., 1] - picture[..., 0] > 80
    rows, columns = np.nonzero(is_line)
    left, right = columns.min(), columns.max()
    assert rows[columns == left].mean() > rows[columns == right].mean() + 60
    empty = np.flatnonzero((picture == picture[10, -20]).all(axis=2).any(axis=0))
    assert (left - empty.min()) / (right - left) == pytest.approx(1 / 3, abs=0.06)


def test_a_refuted_range_is_drawn_in_gray():
    span = TimeSpan(2.5, 7.5)
    empty, refuted = (
        draw_alignment(ranges, (10.0, 10.0), side=200).astype(int)
        for ranges in ([], [(span, span, False)])
    )
    drawn = refuted[(refuted != empty).any(axis=2)]
    assert len(drawn) > 50
    assert np.ptp(drawn, axis=1).max() < 15


def test_what_frames_do_not_tell_is_drawn_thinner_than_what_they_confirm():
    span = TimeSpan(2.5, 7.5)
    areas = {}
    for verified in (True, None):
        picture = draw_alignment([(span, span, verified)], (10.0, 10.0), side=200).astype(int)
        areas[verified] = (picture[..., 1] - picture[..., 0] > 80).sum()
    assert 0 < areas[None] < areas[True] / 2
