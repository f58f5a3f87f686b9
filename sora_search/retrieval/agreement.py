"""Where in the picture two frames agree: the heat map of an explanation."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FoundEdit
from sora_search.retrieval.geometry import in_pixels, moved
from sora_search.retrieval.overlay import MIN_TEXTURE, SAME_BLOCK

BLOCK_SIDE = 12
"""Pixels of a block."""

CLEAR_TEXTURE = 15.0
"""Standard deviation, in levels, of a block that differs from a plain one. In 225 pairs of frames
of five videos and their copies (blurred, noisy, in another light, smaller, cropped, compressed) at
most .5 % more turn red with it; from `MIN_TEXTURE` on it would be up to 6 %, grain above all."""

REACHED = 0.99
"""From so much of a pixel on, the indexed picture reaches it."""

_SAME_COLOR, _OTHER_COLOR, _TINT = (30, 200, 60), (230, 40, 40), 0.4
_Picture = NDArray[np.uint8]
_Plane = NDArray[np.float32]


def draw_agreement(query: _Picture, video: _Picture, edit: FoundEdit) -> _Picture:
    """The query's frame, green where the indexed one looks the same when laid over it.

    Red is what looks different, also where something clear lies over or under what is plain. What
    is plain in both, or hardly more in one, stays as it is: grain, and what compression leaves of
    a sky. What the indexed picture does not reach is dark.

    Args:
        query: RGB uint8, shape ``(H, W, 3)``.
        video: The indexed frame of the same moment, of any size.
        edit: Where it lies in the query's.

    Returns:
        RGB uint8, shape ``(H, W, 3)``.
    """
    plainer, richer, alike, reached = _compared(query, video, edit)
    drawn = query.astype(np.float32)
    is_textured = plainer >= MIN_TEXTURE
    for chosen, color in (
        (is_textured & (alike >= SAME_BLOCK), _SAME_COLOR),
        ((is_textured | (richer >= CLEAR_TEXTURE)) & (alike < SAME_BLOCK), _OTHER_COLOR),
    ):
        mask = chosen & (reached > REACHED)
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
    matrix = in_pixels(edit, video.shape[:2], query.shape[:2])
    inset = cv2.warpPerspective(inset, to_corner @ matrix, size.tolist())
    alike = cv2.matchTemplate(gray, inset, cv2.TM_CCOEFF_NORMED)
    top, left = np.unravel_index(int(np.argmax(alike)), alike.shape)
    right, down = (left - low[0]) / width, (top - low[1]) / height
    there = np.array([[1, 0, right], [0, 1, down], [0, 0, 1.0]]) @ edit.matrix
    x, y, *sides = edit.rectangle
    return replace(edit, matrix=there, rectangle=(x + right, y + down, sides[0], sides[1]))


def likeness(query: _Picture, video: _Picture, edit: FoundEdit) -> float:
    """How much two frames look the same when laid over one another: mean correlation, in [-1, 1].

    Arguments as of `draw_agreement`; 0.0 where nothing has texture in both.
    """
    plainer, _, alike, reached = _compared(query, video, edit)
    counts = (plainer >= MIN_TEXTURE) & (reached > REACHED)
    return float(alike[counts].mean()) if counts.any() else 0.0


def _compared(
    query: _Picture, video: _Picture, edit: FoundEdit
) -> tuple[_Plane, _Plane, _Plane, _Plane]:
    """What `_of_blocks` tells around each pixel of the query, and what the video reaches."""
    (height, width), (video_height, video_width) = query.shape[:2], video.shape[:2]
    matrix = in_pixels(edit, video.shape[:2], query.shape[:2])
    gray, laid = (
        np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)
        for picture in (query, video)
    )
    there = np.ones((video_height, video_width), np.float32)
    laid, reached = (
        np.asarray(cv2.warpPerspective(plane, matrix, (width, height)), np.float32)
        for plane in (laid, there)
    )
    return (*_of_blocks(gray, laid, reached), reached)


def _of_blocks(one: _Plane, other: _Plane, reached: _Plane) -> tuple[_Plane, _Plane, _Plane]:
    """Around each pixel: deviation of the plainer and of the richer side, correlation of both."""
    # The border of the indexed picture is no texture.
    inside = (reached > REACHED).astype(np.float32)

    def blurred(values: _Plane) -> _Plane:
        return np.asarray(cv2.blur(values, (BLOCK_SIDE, BLOCK_SIDE)), np.float32)

    share = np.maximum(blurred(inside), 1e-6)

    def mean(values: _Plane) -> _Plane:
        return np.asarray(blurred(values * inside) / share, np.float32)

    one_mean, other_mean = mean(one), mean(other)
    one_var = np.maximum(mean(one * one) - one_mean**2, 0)
    other_var = np.maximum(mean(other * other) - other_mean**2, 0)
    shared = mean(one * other) - one_mean * other_mean
    plainer, richer = np.sqrt(np.sort([one_var, other_var], axis=0))
    return plainer, richer, shared / np.sqrt(np.maximum(one_var * other_var, 1e-3))
