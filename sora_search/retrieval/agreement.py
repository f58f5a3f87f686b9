"""Where in the picture two frames agree: the heat map of an explanation."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FoundEdit
from sora_search.retrieval.geometry import moved

BLOCK_SIDE = 12
"""Pixels of a block."""

MIN_TEXTURE = 4.0
"""Standard deviation, in levels, of a block that can agree or differ."""

SAME_BLOCK = 0.5
"""Correlation from which on a block looks the same, as in `verification`."""

_SAME_COLOR, _OTHER_COLOR, _TINT = (30, 200, 60), (230, 40, 40), 0.4
_Picture = NDArray[np.uint8]


def draw_agreement(query: _Picture, video: _Picture, edit: FoundEdit) -> _Picture:
    """The query's frame, green where the indexed one looks the same when laid over it.

    Red is what looks different; what is plain in both stays as it is, and what the indexed
    picture does not reach is dark.

    Args:
        query: RGB uint8, shape ``(H, W, 3)``.
        video: The indexed frame of the same moment, of any size.
        edit: Where it lies in the query's.

    Returns:
        RGB uint8, shape ``(H, W, 3)``.
    """
    deviations, alike, reached = _compared(query, video, edit)
    drawn = query.astype(np.float32)
    is_plain = deviations < MIN_TEXTURE
    for chosen, color in (
        (~is_plain & (alike >= SAME_BLOCK), _SAME_COLOR),
        (~is_plain & (alike < SAME_BLOCK), _OTHER_COLOR),
    ):
        mask = chosen & (reached > 0.99)
        drawn[mask] = (1 - _TINT) * drawn[mask] + _TINT * np.array(color, np.float32)
    drawn[reached < 0.5] *= 0.3
    return np.asarray(drawn.round(), np.uint8)


def placed(query: _Picture, video: _Picture, edit: FoundEdit) -> FoundEdit:
    """The edit of a picture that moves about, with the place it has in this frame.

    Found by normalised cross-correlation of the indexed picture, as it is in the query, with all
    of the query (Lewis, Vision Interface 1995). Arguments as of `draw_agreement`.
    """
    height, width = query.shape[:2]
    corners = moved(edit.matrix, np.array([[0, 0], [1, 0], [0, 1], [1, 1.0]])) * (width, height)
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.minimum(np.rint(high - low), (width, height)).astype(int)
    if min(size) < BLOCK_SIDE:
        return edit
    to_corner = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]])
    gray, inset = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (query, video))
    inset = cv2.warpPerspective(inset, to_corner @ _in_pixels(query, video, edit), size.tolist())
    alike = cv2.matchTemplate(gray, inset, cv2.TM_CCOEFF_NORMED)
    top, left = np.unravel_index(int(np.argmax(alike)), alike.shape)
    right, down = (left - low[0]) / width, (top - low[1]) / height
    there = np.array([[1, 0, right], [0, 1, down], [0, 0, 1.0]]) @ edit.matrix
    x, y, *sides = edit.rectangle
    return replace(edit, matrix=there, rectangle=(x + right, y + down, sides[0], sides[1]))


def likeness(query: _Picture, video: _Picture, edit: FoundEdit) -> float:
    """How much two frames look the same when laid over one another: mean correlation, in [-1, 1].

    Arguments as of `draw_agreement`; 0.0 where nothing has texture.
    """
    deviations, alike, reached = _compared(query, video, edit)
    counts = (deviations >= MIN_TEXTURE) & (reached > 0.99)
    return float(alike[counts].mean()) if counts.any() else 0.0


def _in_pixels(query: _Picture, video: _Picture, edit: FoundEdit) -> NDArray[np.float64]:
    """From places in pixels of the indexed picture to those of the query."""
    (height, width), (video_height, video_width) = query.shape[:2], video.shape[:2]
    to_query = np.diag([width, height, 1.0]) @ edit.matrix
    return np.asarray(to_query @ np.diag([1 / video_width, 1 / video_height, 1.0]))


def _compared(
    query: _Picture, video: _Picture, edit: FoundEdit
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Deviations and correlations around each pixel of the query, and what the video reaches."""
    (height, width), (video_height, video_width) = query.shape[:2], video.shape[:2]
    matrix = _in_pixels(query, video, edit)
    gray, laid = (
        np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)
        for picture in (query, video)
    )
    there = np.ones((video_height, video_width), np.float32)
    laid, reached = (
        np.asarray(cv2.warpPerspective(plane, matrix, (width, height)), np.float32)
        for plane in (laid, there)
    )
    return (*_of_blocks(gray, laid), reached)


def _of_blocks(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Around each pixel, the deviation of the plainer side and the correlation of both."""

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, (BLOCK_SIDE, BLOCK_SIDE)), np.float32)

    one_mean, other_mean = mean(one), mean(other)
    one_var = np.maximum(mean(one * one) - one_mean**2, 0)
    other_var = np.maximum(mean(other * other) - other_mean**2, 0)
    shared = mean(one * other) - one_mean * other_mean
    deviations = np.sqrt(np.minimum(one_var, other_var))
    return deviations, shared / np.sqrt(np.maximum(one_var * other_var, 1e-3))
