"""From vectors to figures, on vectors small enough to work them out."""

import numpy as np
import pytest

from sora_search.learning.figures import (
    CopyRows,
    LabelledRows,
    copy_figures,
    probe_figures,
    video_vector,
    weighted,
)


def unit(*values):
    row = np.array(values, np.float32)
    return row / np.linalg.norm(row)


def halves(identity, meaning):
    return np.concatenate([unit(*identity), unit(*meaning)]) / np.float32(np.sqrt(2))


def test_video_vector_renormalizes_each_half():
    # The identity half changes from vector to vector, the meaning half does not.
    vectors = np.stack([halves((1, 0), (1, 0)), halves((0, 1), (1, 0))])
    expected = halves((1, 1), (1, 0))
    np.testing.assert_allclose(video_vector(vectors, 2), expected, atol=1e-6)
    whole = video_vector(vectors, 4)
    np.testing.assert_allclose(whole, unit(*vectors.mean(axis=0)), atol=1e-6)


def test_weights_make_a_product_the_weighed_cosine():
    a, b = halves((1, 0), (1, 1)), halves((1, 1), (0, 1))
    for w_identity in (2.0, 1.5, 1.0, 0.0):
        weights = (w_identity, 2 - w_identity)
        product = weighted(a[None], 2, weights) @ weighted(b[None], 2, weights).T
        cosine = np.sqrt(0.5)
        assert product.item() == pytest.approx(cosine, abs=1e-6)
    c = halves((0, 1), (1, 1))
    both = [
        (weighted(a[None], 2, w) @ weighted(c[None], 2, w).T).item() for w in ((2, 0), (0.5, 1.5))
    ]
    assert both == pytest.approx([0.0, 0.75], abs=1e-6)


def test_probe_leaves_out_the_own_group():
    rows = np.stack([unit(1, 0), unit(1, 0.1), unit(1, 0.5), unit(0, 1)])
    gallery = LabelledRows(rows, ["ucf:a", "ucf:a", "ucf:b", "ucf:a"], ["g1", "g1", "g2", "g3"])
    queries = LabelledRows(rows[:1], ["ucf:a"], ["g1"])
    figures = probe_figures(queries, gallery)
    assert figures.num_queries == 1
    assert figures.rank_1 == 0  # the second is of its own group, the third is wrong
    assert figures.recall_5 == 1
    assert figures.mean_ap == pytest.approx(0.5)
    assert figures.chance == pytest.approx(0.5)
    assert figures.rank_1_by_kind == {"ucf": 0}


def test_probe_does_not_count_queries_without_an_answer():
    rows = np.eye(3, dtype=np.float32)
    side = LabelledRows(rows, ["a", "a", "b"], ["g1", "g2", "g3"])
    figures = probe_figures(side, side)
    assert figures.num_queries == 2
    assert figures.num_gallery == 3
    only = LabelledRows(rows[2:], ["b"], ["g3"])
    assert probe_figures(only, side) is None


GALLERY = np.eye(4, dtype=np.float32)
CLUSTERS = ["x", "x", "y", "z"]


def test_copies_by_edit_and_their_mean():
    rows = np.stack(
        [unit(1, 0, 0, 0), unit(0.1, 0.2, 0.9, 0), unit(1, 0.5, 0, 0), unit(0, 0, 0, 1)]
    )
    queries = CopyRows(rows, np.array([0, 2, 1, 3]), ["blur", "blur", "crop", "crop"])
    figures = copy_figures(queries, GALLERY, CLUSTERS, view="identity")
    assert [(e.edit, e.num_queries, e.rank_1) for e in figures.by_edit] == [
        ("blur", 2, 1.0),
        ("crop", 2, 0.5),
    ]
    assert figures.rank_1 == pytest.approx(0.75)
    assert figures.worst.edit == "crop"
    assert figures.chance == pytest.approx(0.25)
    # Right pairs score 1, .97, .45, 1; the hard ones (clusters x) 0 and .89.
    assert figures.auc_hard == pytest.approx(7 / 8)
    assert figures.recall_at_zero_false_hard == pytest.approx(3 / 4)
    assert figures.recall_at_zero_false_easy == 1


def test_edits_weigh_the_same_however_many_copies_they_have():
    rows = np.stack([GALLERY[0], GALLERY[1], GALLERY[2], GALLERY[0]])
    queries = CopyRows(rows, np.array([0, 1, 2, 3]), ["a", "a", "a", "b"])
    assert copy_figures(queries, GALLERY, CLUSTERS).rank_1 == pytest.approx(0.5)


def test_same_footage_counts_as_right():
    rows = GALLERY[1:2]
    queries = CopyRows(rows, np.array([0]), ["blur"])
    assert copy_figures(queries, GALLERY, CLUSTERS).rank_1 == 0
    with_twins = copy_figures(queries, GALLERY, CLUSTERS, same_footage=[(0, 1)])
    assert with_twins.rank_1 == 1
    assert with_twins.auc_hard is None  # their pair was the only hard one


def test_one_vector_for_everything_finds_nothing():
    rows = np.ones((8, 4), np.float32) / 2
    queries = CopyRows(rows[:4], np.arange(4), ["blur"] * 4)
    figures = copy_figures(queries, rows, [str(i) for i in range(8)])
    assert figures.rank_1 == 0
    assert figures.auc_easy == 0.5


def test_no_copies_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        copy_figures(CopyRows(GALLERY[:0], np.zeros(0, np.int64), []), GALLERY, CLUSTERS)
