"""The heat map of an explanation."""

import numpy as np
import pytest

from sora_search.datatypes import FoundEdit
from sora_search.retrieval.agreement import draw_agreement


def edit_of(matrix, rectangle=(0.0, 0.0, 1.0, 1.0)):
    return FoundEdit(np.array(matrix, float), False, 1.0, rectangle, (1.0, 1.0), 0.0, 1.0)


@pytest.fixture
def picture():
    texture = np.random.default_rng(0).integers(60, 190, (24, 32, 1), np.uint8)
    return texture.repeat(5, 0).repeat(5, 1).repeat(3, 2)


def reddened(drawn, before):
    """How much more red than green each pixel became."""
    change = drawn.astype(int) - before
    return change[..., 0] - change[..., 1]


def test_what_agrees_is_green_and_what_was_drawn_over_is_red(picture):
    query = picture.copy()
    patch = np.random.default_rng(1).integers(60, 190, (8, 8, 1), np.uint8)
    query[40:80, 60:100] = patch.repeat(5, 0).repeat(5, 1)
    tint = reddened(draw_agreement(query, picture, edit_of(np.eye(3))), query)
    assert np.median(tint[48:72, 68:92]) > 40
    assert np.median(tint[90:, 110:]) < -40


def test_plain_places_keep_their_color(picture):
    query, video = picture.copy(), picture.copy()
    query[:, :60], video[:, :60] = 120, 130
    drawn = draw_agreement(query, video, edit_of(np.eye(3)))
    assert (drawn[:, :45] == 120).all()


def test_the_indexed_picture_lies_where_the_edit_says(picture):
    query = np.full_like(picture, 200)
    query[:60, 80:] = picture[::2, ::2]
    half = [[0.5, 0, 0.5], [0, 0.5, 0], [0, 0, 1]]
    drawn = draw_agreement(query, picture, edit_of(half, (0.5, 0.0, 0.5, 0.5)))
    assert drawn[70:, :].max() <= 60  # outside of it: dark
    assert np.median(reddened(drawn, query)[8:52, 90:150]) < -40
