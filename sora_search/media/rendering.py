"""Pictures for people: rows of frames side by side, with names and times."""

import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sora_search.datatypes import TimeSpan, format_time
from sora_search.media.pictures import Picture

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_PAPER, _INK, _FAINT, _HOLE = "#ffffff", "#1a1a1a", "#5f6368", "#eceef1"
_LABEL_POINTS, _CAPTION_POINTS = 16, 13
_MARK = "#0b8043"
_GAP = 8  # pixels around cells
_MIN_WIDTH = 480  # room for the labels
# fmt: off
SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-zenhei.ttc", "wqy-microhei.ttc",
    "ipag.ttf", "NanumGothic.ttf", "FreeSans.ttf",
    "Arial Unicode.ttf", "Helvetica.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "segoeui.ttf", "arial.ttf", "msyh.ttc", "YuGothR.ttc", "malgun.ttf", "seguisym.ttf",
)
# fmt: on
"""Tried for what the font that comes with Pillow, plain ASCII, has no glyphs of."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureRow:
    """One row of an answer picture: a line of text, and pictures beneath it.

    Attributes:
        label: What the row shows ("query clip.mp4", "1. copy 0.97 film.mp4"); any text,
            names with bytes that are not UTF-8 too. What no font can show is escaped, and it
            is cut off where it is too long.
        cells: For each column a caption ("0:03.2") and an RGB uint8 picture ``(H, W, 3)``
            of any size, or None for an empty place. Cells of one column belong together:
            the query's frame at the top, the frame that matches it in each row beneath.
    """

    label: str
    cells: Sequence[tuple[str, Picture | None]]


def write_side_by_side(
    path: Path | str, rows: Sequence[PictureRow], *, cell_side: int = 240
) -> Path:
    """Write rows of pictures one beneath the other into one JPEG or PNG.

    Every picture is scaled to fit a cell of at most `cell_side` pixels a side, its
    proportions kept. The file appears whole or not at all.

    Args:
        path: Where to; its suffix says which format (.jpg, .jpeg, .png).
        rows: From top to bottom; rows may differ in length.
        cell_side: Longest side of a picture in pixels.

    Returns:
        The path written.

    Raises:
        ValueError: If `rows` is empty, or the suffix is another.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    picture_format = _FORMATS.get(path.suffix.lower())
    if picture_format is None:
        raise ValueError(f"need a name that ends in .jpg, .jpeg or .png, got {path.name!r}")
    if not rows:
        raise ValueError("need at least one row of pictures")
    if cell_side < 1:
        raise ValueError(f"need cell_side >= 1, got {cell_side=}")
    sheet = _draw([_Row(row, cell_side) for row in rows], cell_side)
    _write_whole(sheet, path, picture_format)
    return path


def draw_alignment(
    ranges: Sequence[tuple[TimeSpan, TimeSpan, bool | None]],
    whole: tuple[float, float],
    *,
    side: int = 240,
) -> Picture:
    """Which seconds of two videos belong together: a line for each range, on two axes of time.

    Args:
        ranges: What may be the same footage in the first video (to the right) and in the second
            (upwards), and whether frames confirm it (a thick line), refute it (a gray one), or
            do not tell (None: a thin one).
        whole: How many seconds both last.
        side: Of the square picture, in pixels.

    Returns:
        RGB uint8, shape ``(side, side, 3)``.
    """
    sheet, pen, font = _square(side)
    left = math.ceil(font.getlength(format_time(whole[1]))) + _GAP
    bottom = side - 2 * _CAPTION_POINTS
    right, top = side - _GAP, _GAP
    pen.rectangle((left, top, right, bottom), fill=_HOLE)

    def place(first_s: float, second_s: float) -> tuple[float, float]:
        across = left + (right - left) * min(1.0, first_s / whole[0])
        return across, bottom - (bottom - top) * min(1.0, second_s / whole[1])

    for first, second, verified in sorted(
        ranges, key=lambda one: (one[2] is not False, bool(one[2]))
    ):
        line = place(first.start_s, second.start_s), place(first.end_s, second.end_s)
        pen.line(line, fill=_FAINT if verified is False else _MARK, width=4 if verified else 1)
    for anchor, spot, time_s in (
        ("lt", (left, bottom + 4), 0.0),
        ("rt", (right, bottom + 4), whole[0]),
        ("rb", (left - 4, bottom), 0.0),
        ("rt", (left - 4, top), whole[1]),
    ):
        pen.text(spot, format_time(time_s), fill=_FAINT, font=font, anchor=anchor)
    return np.asarray(sheet)


def draw_reliability(bins: Sequence[tuple[float, float, int]], *, side: int = 360) -> Picture:
    """How often answers of a score are right: a dot for each bin, best on the diagonal.

    Dots are not joined: where one bin has five answers and the next a hundred, a line
    between them would say more than is known.

    Args:
        bins: Mean score, share of right answers, and number of answers, which stands beside
            the dot; a larger dot stands for more of them.
        side: Of the square picture, in pixels.

    Returns:
        RGB uint8, shape ``(side, side, 3)``.
    """
    sheet, pen, font = _square(side)
    left, bottom = 5 * _GAP, side - 5 * _GAP
    right, top = side - 2 * _GAP, 3 * _GAP
    pen.rectangle((left, top, right, bottom), fill=_HOLE)
    pen.line((left, bottom, right, top), fill=_FAINT)

    def place(score: float, share: float) -> tuple[float, float]:
        return left + (right - left) * score, bottom - (bottom - top) * share

    for score, share, num in bins:
        x, y = place(score, share)
        radius = 3 + 2 * math.log10(num)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_MARK)
        # Beside the dot, on the side that has room.
        is_right = score > 0.5
        spot = (x - radius - 4, y) if is_right else (x + radius + 4, y)
        pen.text(spot, str(num), fill=_INK, font=font, anchor="rm" if is_right else "lm")
    for value in (0.0, 0.5, 1.0):
        x, y = place(value, value)
        pen.text((x, bottom + 4), f"{value:g}", fill=_FAINT, font=font, anchor="mt")
        pen.text((left - 4, y), f"{value:g}", fill=_FAINT, font=font, anchor="rm")
    middle = (left + right) / 2
    pen.text((middle, side - 2), "score", fill=_INK, font=font, anchor="mb")
    pen.text((left, 0), "share right", fill=_INK, font=font, anchor="lt")
    return np.asarray(sheet)


def draw_curve(points: Sequence[tuple[float, float]], *, side: int = 240) -> Picture:
    """How a number went: a line through points (x, y), least and most y written beside it.

    Args:
        points: In the order of their x; at least one, values that are no numbers are left out.
        side: Of the square picture, in pixels.

    Returns:
        RGB uint8, shape ``(side, side, 3)``.
    """
    sheet, pen, font = _square(side)
    points = [(x, y) for x, y in points if math.isfinite(y)]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    lowest, highest = f"{min(ys):.3g}", f"{max(ys):.3g}"
    left = math.ceil(max(font.getlength(lowest), font.getlength(highest))) + _GAP
    right, top, bottom = side - _GAP, _GAP, side - 2 * _CAPTION_POINTS
    pen.rectangle((left, top, right, bottom), fill=_HOLE)
    width, height = max(1e-12, max(xs) - min(xs)), max(1e-12, max(ys) - min(ys))
    line = [
        (
            left + (right - left) * (x - min(xs)) / width,
            bottom - (bottom - top) * (y - min(ys)) / height,
        )
        for x, y in points
    ]
    pen.line(line, fill=_MARK, width=2)
    pen.text((left - 4, bottom), lowest, fill=_FAINT, font=font, anchor="rb")
    pen.text((left - 4, top), highest, fill=_FAINT, font=font, anchor="rt")
    pen.text((left, bottom + 4), f"{min(xs):g}", fill=_FAINT, font=font, anchor="lt")
    pen.text((right, bottom + 4), f"{max(xs):g}", fill=_FAINT, font=font, anchor="rt")
    return np.asarray(sheet)


def draw_bars(bars: Sequence[tuple[str, float, float]], *, width: int = 560) -> Picture:
    """Shares side by side: a bar each, from 0 to 1, with what it is uncertain by.

    Args:
        bars: Name, share, and standard error, which a thin line shows to both sides.
        width: Of the picture, in pixels; its height follows from the number of bars.

    Returns:
        RGB uint8, shape ``(H, width, 3)``.
    """
    font = ImageFont.load_default(_CAPTION_POINTS)
    step = _CAPTION_POINTS + _GAP
    sheet = Image.new("RGB", (width, step * len(bars) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    left = 2 * _GAP + math.ceil(max(font.getlength(name) for name, *_ in bars))
    right = width - _GAP - math.ceil(font.getlength("100.0")) - _GAP
    for place, (name, share, error) in enumerate(bars):
        top = _GAP + place * step
        bottom, middle = top + _CAPTION_POINTS, top + _CAPTION_POINTS / 2
        pen.text((left - _GAP, middle), name, fill=_INK, font=font, anchor="rm")
        pen.rectangle((left, top, right, bottom), fill=_HOLE)
        low, end, high = (
            left + (right - left) * min(1.0, max(0.0, x))
            for x in (share - error, share, share + error)
        )
        if end > left:
            pen.rectangle((left, top, end, bottom), fill=_MARK)
        pen.line((low, middle, high, middle), fill=_INK, width=2)
        pen.text((width - _GAP, middle), f"{100 * share:.1f}", fill=_INK, font=font, anchor="rm")
    return np.asarray(sheet)


def _square(side: int) -> tuple[Image.Image, ImageDraw.ImageDraw, "_Font"]:
    """Empty paper, what draws on it, and what its axes are lettered with."""
    sheet = Image.new("RGB", (side, side), _PAPER)
    return sheet, ImageDraw.Draw(sheet), ImageFont.load_default(_CAPTION_POINTS)


class _Row:
    """One row, its pictures scaled."""

    def __init__(self, row: PictureRow, cell_side: int) -> None:
        self.label = _printable(row.label)
        self.captions = [_printable(caption) for caption, _ in row.cells]
        self.pictures = [_thumbnail(picture, cell_side) for _, picture in row.cells]
        heights = [picture.height for picture in self.pictures if picture is not None]
        self.picture_height = max(heights, default=cell_side // 2 if row.cells else 0)


def _draw(rows: Sequence[_Row], cell_side: int) -> Image.Image:
    label_height, caption_height = _LABEL_POINTS + _GAP, _CAPTION_POINTS + _GAP
    columns = max(len(row.pictures) for row in rows)
    width = max(_MIN_WIDTH, columns * (cell_side + _GAP) + _GAP)
    heights = [label_height + row.picture_height + caption_height + _GAP for row in rows]
    sheet = Image.new("RGB", (width, sum(heights) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        _write(pen, (_GAP, top), row.label, _LABEL_POINTS, width - 2 * _GAP, fill=_INK)
        for i, (caption, picture) in enumerate(zip(row.captions, row.pictures, strict=True)):
            left, upper = _GAP + i * (cell_side + _GAP), top + label_height
            if picture is None:
                hole = (left, upper, left + cell_side - 1, upper + row.picture_height - 1)
                pen.rectangle(hole, fill=_HOLE)
            else:
                sheet.paste(picture, (left, upper))
            place = (left, upper + row.picture_height + 2)
            _write(pen, place, caption, _CAPTION_POINTS, cell_side, fill=_FAINT)
        top += height
    return sheet


def _thumbnail(picture: Picture | None, cell_side: int) -> Image.Image | None:
    if picture is None:
        return None
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"need uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = cell_side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _printable(text: str) -> str:
    r"""On one line; bytes that are not UTF-8 are shown as the shell would write them: `\xe9`."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else " " for sign in text)


_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    points: int,
    width: int,
    *,
    fill: str,
) -> None:
    """Write a line with a font that can show it, cut off at some width."""
    text, font = _shown_with(text, points)
    pen.text(place, _cut_off(text, font, width), fill=fill, font=font)


def _shown_with(text: str, points: int) -> tuple[str, _Font]:
    r"""A line and its font; signs that no font has a glyph of are escaped: `\u65e5`."""
    plain = ImageFont.load_default(points)
    if text.isascii():
        return text, plain
    fonts = [plain, *(font for name in SYSTEM_FONTS if (font := _system_font(name, points)))]
    font = min(fonts, key=lambda font: len(_without_glyph(text, font)))
    unknown = _without_glyph(text, font)
    signs = [
        sign.encode("unicode_escape").decode("ascii") if sign in unknown else sign for sign in text
    ]
    return "".join(signs), font


@cache
def _system_font(name: str, points: int) -> _Font | None:
    """A font of this computer by its file name; None where it is not installed."""
    try:
        return ImageFont.truetype(name, points)
    except OSError:
        return None


def _without_glyph(text: str, font: _Font) -> set[str]:
    """The signs of a text for which a font draws what it draws for no character at all."""
    box = _drawn("\uffff", font)
    return {sign for sign in text if not sign.isascii() and _drawn(sign, font) == box}


def _drawn(sign: str, font: _Font) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(sign)
    return mask.size, bytes(mask)


def _cut_off(text: str, font: _Font, width: int) -> str:
    """The text, its middle left out until it fits: a file name tells most at both ends."""
    if font.getlength(text) <= width:
        return text
    kept = min(len(text) - 1, width)
    while kept > 0:
        short = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= width:
            return short
        kept -= 1
    return ""


def _write_whole(image: Image.Image, path: Path, picture_format: str) -> None:
    """Write beside the place and move there, so that nobody ever sees a half-written file."""
    unfinished = path.with_name(f".picture-{secrets.token_hex(8)}")
    try:
        with open(unfinished, "xb") as file:
            image.save(file, format=picture_format, quality=90)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
