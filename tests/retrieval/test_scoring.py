"""Scores lie in [0, 1], rise with the evidence, and one threshold means `copy`."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sora_search.retrieval import deciding
from sora_search.retrieval.scoring import (
    COPY_SCORE,
    WEIGHTS,
    ZERO_POINT_RANGE,
    Sight,
    find_zero_point,
    kind_of,
    mean_vector,
    score_of_likeness,
    score_of_match,
    strength_of,
    weigh,
)


def two_halves(seed: int, num: int, dim: int = 32) -> NDArray[np.float32]:
    halves = np.random.default_rng(seed).normal(size=(num, 2, dim // 2))
    halves /= np.linalg.norm(halves, axis=2, keepdims=True) * np.sqrt(2)
    return halves.reshape(num, dim).astype(np.float32)


@pytest.mark.parametrize("weights", WEIGHTS.values())
def test_weighted_product_is_a_cosine(weights: tuple[float, float]) -> None:
    a, b = two_halves(0, 20), two_halves(1, 30)
    product = weigh(a, weights) @ b.T
    assert np.abs(product).max() <= 1
    assert np.diag(weigh(a, weights) @ a.T) == pytest.approx(1, abs=1e-5)
    identity = 2 * a[:, :16] @ b[:, :16].T
    meaning = 2 * a[:, 16:] @ b[:, 16:].T
    assert product == pytest.approx((weights[0] * identity + weights[1] * meaning) / 2, abs=1e-5)


def test_weights_of_another_sum_are_refused() -> None:
    with pytest.raises(ValueError, match="sum up to 2"):
        weigh(two_halves(0, 1), (1.0, 0.5))
    with pytest.raises(ValueError, match="sum up to 2"):
        weigh(two_halves(0, 1), (2.5, -0.5))


def test_mean_vector_has_two_halves_of_equal_norm() -> None:
    mean = mean_vector(two_halves(0, 9))
    assert np.linalg.norm(mean[:16]) == pytest.approx(np.sqrt(0.5), abs=1e-5)
    assert np.linalg.norm(mean[16:]) == pytest.approx(np.sqrt(0.5), abs=1e-5)
    one = two_halves(0, 1)
    assert mean_vector(one) == pytest.approx(one[0], abs=1e-6)


def test_zero_point_is_what_chance_reaches_within_bounds() -> None:
    low, high = ZERO_POINT_RANGE
    query = weigh(two_halves(0, 10, 256), WEIGHTS["copies"])
    assert find_zero_point(query, two_halves(1, 500, 256)) == low  # unrelated vectors
    assert find_zero_point(query, two_halves(0, 10, 256)[:1].repeat(9, axis=0)) <= high
    assert find_zero_point(query[:1], two_halves(0, 1, 256)) == high  # only the query itself
    assert find_zero_point(query, np.zeros((0, 256), np.float32)) == high


def test_zero_point_between_the_bounds_is_a_quantile() -> None:
    query = np.array([[1.0, 0.0, 1.0, 0.0]], np.float32) / np.sqrt(2)
    similarity = np.linspace(0, 0.56, 101)
    half = np.stack([similarity, np.sqrt(1 - similarity**2)], axis=1) / np.sqrt(2)
    background = np.hstack([half, half]).astype(np.float32)
    assert find_zero_point(query, background) == pytest.approx(0.53, abs=0.006)
    assert find_zero_point(query, background, quantile=0.5) == 0.28


SIGHTS: tuple[Sight, ...] = get_args(Sight)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 0.9), st.sampled_from(SIGHTS))
def test_more_evidence_never_lowers_the_score(
    a: float, b: float, zero_point: float, sight: Sight
) -> None:
    low, high = sorted((a, b))
    strengths = [strength_of(evidence, zero_point) for evidence in (low, high)]
    scores = [score_of_match(strength, sight) for strength in strengths]
    assert 0 <= scores[0] <= scores[1] <= 1
    likeness = [score_of_likeness(similarity, zero_point) for similarity in (low, high)]
    assert 0 <= likeness[0] <= likeness[1] < COPY_SCORE


@given(st.floats(0, 1))
def test_what_moves_counts_more_than_any_strength(strength: float) -> None:
    other = score_of_match(strength, "other")
    doubtful = score_of_match(strength, "partial", appearance=0.7, motion=0.65)
    sure = score_of_match(strength, "moving", appearance=0.9, motion=0.8)
    assert other < doubtful < COPY_SCORE < 0.9 < sure
    assert kind_of(score_of_match(strength, "featureless")) == "similar"
    assert kind_of(score_of_likeness(strength, 0.4)) == "similar"


def test_what_frames_confirm_is_a_copy() -> None:
    least = {"appearance": deciding.MIN_APPEARANCE, "motion": deciding.LIKELY_MOTION}
    assert kind_of(score_of_match(0.0, "moving", **least)) == "copy"
    least = {"appearance": deciding.STILL_APPEARANCE, "motion": deciding.SURE_STILL}
    assert kind_of(score_of_match(0.0, "picture", **least)) == "copy"


def test_what_moves_alike_and_does_not_stand_out_is_hardly_a_copy() -> None:
    assert kind_of(score_of_match(0.4, "partial", appearance=0.9, motion=0.74)) == "similar"
    assert kind_of(score_of_match(0.0, "moving", appearance=0.5, motion=0.66)) == "copy"
