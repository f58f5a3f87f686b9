"""Hits become candidates by hand-made cases."""

import numpy as np
import pytest

from sora_search.datatypes import Hits
from sora_search.retrieval.candidates import POOLED_VECTORS, pool_hits


def hits_of(scores: list[list[float]]) -> Hits:
    array = np.array(scores, np.float32)
    return Hits(np.arange(array.size).reshape(array.shape), array)


def test_only_the_best_hit_of_each_query_vector_counts() -> None:
    hits = hits_of([[0.9, 0.8, 0.7], [0.8, 0.6, 0.2]])
    videos = np.array([[1, 1, 2], [1, 2, 2]])
    assert pool_hits(hits, videos, 0.5) == pytest.approx({1: 0.4 + 0.3, 2: 0.2 + 0.1})


def test_hits_below_the_zero_point_and_absent_ones_count_nothing() -> None:
    hits = hits_of([[0.9, 0.4], [0.8, 0.7]])
    assert pool_hits(hits, np.array([[3, 4], [-1, -1]]), 0.5) == pytest.approx({3: 0.4})
    assert pool_hits(hits, np.array([[-1, 4], [-1, -1]]), 0.5) == {}


def test_short_strong_likeness_beats_a_long_vague_one() -> None:
    num = 10 * POOLED_VECTORS
    scores = [[0.95 if i < POOLED_VECTORS else 0.1, 0.55] for i in range(num)]
    pooled = pool_hits(hits_of(scores), np.tile([1, 2], (num, 1)), 0.5)
    assert pooled[1] == pytest.approx(0.45 * POOLED_VECTORS, abs=1e-3)
    assert pooled[2] == pytest.approx(0.05 * POOLED_VECTORS, abs=1e-3)
