"""What every `VectorIndex` does, over each of them; brute force is the reference."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_vectors import unit_rows

from sora_search.datatypes import VectorIndex
from sora_search.index.vector_index import ABSENT_SCORE, BruteForceIndex, FaissIndex

DIM = 16
MAKERS: dict[str, Callable[[], VectorIndex]] = {
    "flat": lambda: FaissIndex(DIM),
    "half": lambda: FaissIndex(DIM, "IDMap2,SQfp16"),
    "brute": lambda: BruteForceIndex(DIM),
}


@pytest.fixture(params=MAKERS)
def index(request: pytest.FixtureRequest) -> VectorIndex:
    return MAKERS[request.param]()


def filled(index: VectorIndex, num: int = 20, first: int = 100) -> np.ndarray:
    rows = unit_rows(num, dim=DIM, seed=1)
    index.add(np.arange(first, first + num), rows)
    return rows


def test_is_a_vector_index_of_its_dimension(index):
    assert isinstance(index, VectorIndex)
    assert index.dim == DIM
    assert len(index) == 0
    index.flush()


def test_a_vector_finds_itself_first_with_score_one(index):
    rows = filled(index)
    hits = index.search(rows, 3)
    assert hits.vector_ids.dtype == np.int64
    assert hits.scores.dtype == np.float32
    np.testing.assert_array_equal(hits.vector_ids[:, 0], np.arange(100, 120))
    np.testing.assert_allclose(hits.scores[:, 0], 1, atol=1e-3)
    assert (np.diff(hits.scores, axis=1) <= 0).all()


def test_missing_neighbors_are_minus_one_with_the_lowest_score(index):
    filled(index, num=2)
    hits = index.search(unit_rows(3, dim=DIM), 5)
    assert (hits.vector_ids[:, 2:] == -1).all()
    assert (hits.scores[:, 2:] == ABSENT_SCORE).all()
    assert [len(found) for found in hits] == [2, 2, 2]


def test_an_empty_index_and_no_queries_give_empty_answers(index):
    assert (index.search(unit_rows(2, dim=DIM), 4).vector_ids == -1).all()
    filled(index)
    assert index.search(np.empty((0, DIM), np.float32), 4).vector_ids.shape == (0, 4)
    index.add(np.empty(0, np.int64), np.empty((0, DIM), np.float32))
    assert len(index) == 20


def test_what_is_removed_is_not_found_and_may_come_back(index):
    rows = filled(index)
    assert index.remove(np.array([100, 105, 7, 105])) == 2
    assert index.remove(np.array([100])) == 0
    assert len(index) == 18
    assert not np.isin(index.search(rows, 20).vector_ids, [100, 105]).any()
    index.add(np.array([105]), rows[5:6])
    assert index.search(rows[5:6], 1).vector_ids.item() == 105


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(index, k):
    filled(index)
    with pytest.raises(ValueError, match=f"{k=}"):
        index.search(unit_rows(1, dim=DIM), k)


@pytest.mark.parametrize("shape", [(2, DIM - 1), (DIM,), (2, DIM, 1)])
def test_queries_of_another_dimension_are_refused(index, shape):
    with pytest.raises(ValueError, match="queries"):
        index.search(np.zeros(shape, np.float32), 1)


def test_queries_that_are_no_numbers_are_refused(index):
    filled(index)
    with pytest.raises(ValueError, match="NaN"):
        index.search(np.full((1, DIM), np.nan, np.float32), 1)


@pytest.mark.parametrize(
    ("ids", "shape", "message"),
    [
        ([1, 2], (2, DIM + 1), "vectors"),
        ([1], (2, DIM), "ids"),
        ([3, 3], (2, DIM), "repeated"),
        ([4, 2, 4], (3, DIM), "repeated"),
        ([-1, 2], (2, DIM), "ids >= 0"),
        ([99, 100], (2, DIM), "already"),
        ([500, 119], (2, DIM), "already: 119"),
    ],
)
def test_wrong_rows_are_refused_and_change_nothing(index, ids, shape, message):
    rows = filled(index)
    with pytest.raises(ValueError, match=message):
        index.add(np.array(ids), np.ones(shape, np.float32))
    assert len(index) == 20
    np.testing.assert_array_equal(index.search(rows, 1).vector_ids[:, 0], np.arange(100, 120))


def test_vectors_that_are_no_numbers_are_refused(index):
    with pytest.raises(ValueError, match="NaN"):
        index.add(np.array([1]), np.full((1, DIM), np.inf, np.float32))


@pytest.mark.parametrize("name", ["flat", "half"])
@settings(max_examples=40)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sets(st.integers(0, 200), max_size=40)),
            st.tuples(st.just("remove"), st.sets(st.integers(0, 200), max_size=40)),
        ),
        max_size=6,
    ),
    num_queries=st.integers(1, 30),
    k=st.integers(1, 50),
)
def test_agrees_with_brute_force(name, steps, num_queries, k):
    index, reference = MAKERS[name](), BruteForceIndex(DIM)
    rows = unit_rows(201, dim=DIM, seed=3)
    there: set[int] = set()
    for step, chosen in steps:
        ids = np.array(sorted(chosen - there if step == "add" else chosen), np.int64)
        for each in (index, reference):
            if step == "add":
                each.add(ids[::-1], rows[ids[::-1]])
            else:
                assert each.remove(ids) == len(chosen & there)
        there = there | chosen if step == "add" else there - chosen
    assert len(index) == len(reference) == len(there)
    queries = unit_rows(num_queries, dim=DIM, seed=4)
    got, expected = index.search(queries, k), reference.search(queries, k)
    np.testing.assert_allclose(got.scores, expected.scores, atol=2e-6)
    # Only where two scores are the same to the last digits may the order be another.
    for q, place in np.argwhere(got.vector_ids != expected.vector_ids):
        score = float(queries[q] @ rows[got.vector_ids[q, place]])
        assert score == pytest.approx(float(expected.scores[q, place]), abs=2e-6)
