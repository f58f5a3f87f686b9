"""What borders leave of the query picture: bars of one color, and blurred ones of equal width.

    bars    what is left without borders of one color, captions in them or not
    blur    what is left without blurred borders of the same width

Pure numpy, on a `Film`; constants as in `rectangles`.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sora_search.retrieval.film import MAX_AREA, MIN_SIDE, SKIP, UNIT, Box, Film, Map

MIN_FRAMED_CHANGE = 4.0
"""The same inside of bars or blur, which leave less doubt: 8 loses a caption video of a room."""

EVEN_BARS_SCORE, BLUR_SCORE, BARS_SCORE = 1.3, 1.25, 1.22
"""What leaves less doubt comes first: few insets reach 1.2. Bars of different widths may be the
white sky in one of two blurred borders."""

BAR_LEVELS = 6.0
"""Gray levels that a bar of one color may vary by; 4 finds as many at CRF 32."""

MAX_PLAIN_CONTENT = 0.7
"""Share of the row behind a bar that may have its color: a face before a white wall has more."""

MIN_LONE_BAR = 0.12
"""A bar without one opposite is so wide at least: a white table in a picture was .08."""

BLUR_CONTRAST = 1.8
"""Gradient on the lines of a blurred border, in that of the columns around, geometric mean of
both lines: 2.5 loses 7 % of them, 1.5 adds .03 windows to edits without any."""

MIN_BLUR_CONTRAST = 1.2
"""The same of the weaker line; the least measured is 1.29, where black meets black."""

MIN_BLUR_LEVELS = 0.02
"""Least gradient along one of the borders, in gray levels a pixel: else it is a bar."""

BLUR_SHARPNESS = 0.6
"""Most gradient along both, as a share of that between them: the most measured is .57."""


def inside_bars(film: Film) -> Iterator[tuple[float, Box]]:
    """What borders of one color leave; all four of them, where there are four."""
    height, width = film.size
    low, high = film.levels.min(axis=0), film.levels.max(axis=0)
    top, bottom = _bars(low, high)
    left, right = _bars(low.T, high.T)
    box = Box(left, top, width - right, height - bottom)
    if _is_framed(film, box):
        is_even = _is_even(left, right, width) and _is_even(top, bottom, height)
        yield (EVEN_BARS_SCORE if is_even else BARS_SCORE), box


def _bars(low: NDArray[np.int16], high: NDArray[np.int16]) -> tuple[int, int]:
    """Rows of the bars at the top and at the bottom, by the least and most level of each pixel."""
    first, is_first_straight = _bar(low, high)
    last, is_last_straight = _bar(low[::-1], high[::-1])
    if _is_even(first, last, len(low)):
        return first, last
    first, last = first * is_first_straight, last * is_last_straight
    is_thin = max(first, last) < MIN_LONE_BAR * len(low)
    return (0, 0) if is_thin and min(first, last) == 0 else (first, last)


def _is_even(first: int, last: int, num: int) -> bool:
    return abs(first - last) <= 0.03 * num


def _bar(low: NDArray[np.int16], high: NDArray[np.int16]) -> tuple[int, bool]:
    """Rows of one color from the first one on, and whether they end at a straight line.

    Rows between that hold writing count along: it stands still.
    """
    color = int(np.median(low[0]) + np.median(high[0])) // 2
    tolerance = round(BAR_LEVELS * UNIT)
    plain = ((high <= color + tolerance) & (low >= color - tolerance)).mean(axis=1)
    still = (high - low <= 4 * tolerance).mean(axis=1)
    is_plain = plain >= 0.97
    if not is_plain[0]:
        return 0, False
    goes_on = is_plain | ((still >= 0.9) & (plain >= 0.2))
    end = int(goes_on.argmin()) if not goes_on.all() else len(goes_on)
    end = int(np.flatnonzero(is_plain[:end])[-1]) + 1
    return end, bool(plain[min(end + SKIP, len(plain) - 1)] <= MAX_PLAIN_CONTENT)


def between_blur(film: Film) -> Iterator[tuple[float, Box]]:
    """What blurred borders of equal width leave; the best pair of lines each way."""
    height, width = film.size
    for direction in (film.upright, film.lying):
        pair = _blur_lines(direction.across, direction.along)
        if pair is None:
            continue
        start, end = pair
        is_upright = direction is film.upright
        box = Box(start, 0, end, height) if is_upright else Box(0, start, width, end)
        if _is_framed(film, box):
            yield BLUR_SCORE, box


def _blur_lines(across: Map, along: Map) -> tuple[int, int] | None:
    """Two lines as far from both borders, with blur beyond them; None without any."""
    num = len(along)
    widest = min(round((1 - MIN_SIDE) / 2 * num), num // 2 - 4)
    starts = np.arange(max(2, round(0.03 * num)), widest)
    if not len(starts):
        return None
    window = 2 * SKIP
    padded = np.pad(across, window, mode="edge")
    beside = np.lib.stride_tricks.sliding_window_view(padded, window - SKIP + 1).mean(axis=1)
    # Beside column i: those from i - 6 to i - 3, and from i + 3 to i + 6.
    around = np.maximum(beside[: num - 1], beside[window + SKIP : window + SKIP + num - 1])
    contrast = across / (around + 0.1 * UNIT)  # a tenth of a level is what coding leaves
    sums = np.concatenate([[0], np.cumsum(along, dtype=np.float64)])
    best, best_pair = BLUR_CONTRAST, None
    for nudge in (0, -1, 1):
        ends = num - starts + nudge
        inside = (sums[ends - 2] - sums[starts + 2]) / (ends - starts - 4)
        before = sums[starts - 1] / (starts - 1)
        after = (sums[-1] - sums[ends + 1]) / np.maximum(num - ends - 1, 1)
        beyond = np.maximum(before, after)
        is_blurred = (beyond <= BLUR_SHARPNESS * inside) & (beyond >= MIN_BLUR_LEVELS * UNIT)
        one, other = contrast[starts - 1], contrast[ends - 1]
        is_pair = is_blurred & (np.minimum(one, other) >= MIN_BLUR_CONTRAST)
        both = np.sqrt(one * other) * is_pair
        if both.max() > best:
            best, at = float(both.max()), int(both.argmax())
            best_pair = int(starts[at]), int(ends[at])
    return best_pair


def _is_framed(film: Film, box: Box) -> bool:
    """Whether a rectangle inside bars or blur is worth a search."""
    height, width = film.size
    is_large = (
        box.right - box.left >= MIN_SIDE * width and box.bottom - box.top >= MIN_SIDE * height
    )
    is_part = box.area <= MAX_AREA * width * height
    return is_large and is_part and film.change_in(box) >= MIN_FRAMED_CHANGE
