"""The heat map of an explanation."""

import numpy as np
import pytest

from sora_search.datatypes import FoundEdit
from sora_search.retrieval.agreement import draw_agreement, placed


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


def test_texture_against_what_is_plain_is_red(picture):
    plain = np.full_like(picture, 128)
    for query, video in ((picture, plain), (plain, picture)):
        tint = reddened(draw_agreement(query, video, edit_of(np.eye(3))), query)
        assert np.median(tint) > 40


def test_a_sky_that_compression_made_plain_keeps_its_color():
    grain = np.random.default_rng(2).normal(170, 8, (24, 32, 1)).clip(0, 255).astype(np.uint8)
    sky = grain.repeat(5, 0).repeat(5, 1).repeat(3, 2)
    plain = np.full_like(sky, 170)
    for query, video in ((sky, plain), (plain, sky)):
        np.testing.assert_array_equal(draw_agreement(query, video, edit_of(np.eye(3))), query)


def test_the_border_of_the_indexed_picture_is_no_difference():
    plain = np.full((120, 160, 3), 240, np.uint8)
    query = plain.copy()
    query[:60, 80:] = 200
    half = [[0.5, 0, 0.5], [0, 0.5, 0], [0, 0, 1]]
    drawn = draw_agreement(query, plain, edit_of(half, (0.5, 0.0, 0.5, 0.5)))
    np.testing.assert_array_equal(drawn[:59, 81:], query[:59, 81:])


def test_the_indexed_picture_lies_where_the_edit_says(picture):
    query = np.full_like(picture, 200)
    query[:60, 80:] = picture[::2, ::2]
    half = [[0.5, 0, 0.5], [0, 0.5, 0], [0, 0, 1]]
    drawn = draw_agreement(query, picture, edit_of(half, (0.5, 0.0, 0.5, 0.5)))
    assert drawn[70:, :].max() <= 60  # outside of it: dark
    assert np.median(reddened(drawn, query)[8:52, 90:150]) < -40


@pytest.mark.parametrize(("left", "top"), [(0, 0), (37, 12), (80, 60)])
def test_a_picture_that_moves_about_is_found_in_each_frame(picture, left, top):
    query = np.random.default_rng(3).integers(60, 190, picture.shape, np.uint8)
    query[top : top + 60, left : left + 80] = picture[::2, ::2]
    in_the_middle = edit_of([[0.5, 0, 0.25], [0, 0.5, 0.25], [0, 0, 1]], (0.25, 0.25, 0.5, 0.5))
    found = placed(query, picture, in_the_middle)
    assert found.rectangle == pytest.approx((left / 160, top / 120, 0.5, 0.5), abs=0.01)
    assert found.matrix[:2, 2] == pytest.approx((left / 160, top / 120), abs=0.01)
    drawn = draw_agreement(query, picture, found)
    assert np.median(reddened(drawn, query)[top + 8 : top + 52, left + 8 : left + 72]) < -40


def test_what_is_too_small_to_be_found_stays_where_it_was(picture):
    tiny = edit_of([[0.05, 0, 0.25], [0, 0.05, 0.25], [0, 0, 1]], (0.25, 0.25, 0.05, 0.05))
    assert placed(picture, picture, tiny) is tiny
