"""Metrics against cases worked out on paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sora_search.datatypes import TimeSpan
from sora_search.learning import metrics

SIMILARITY = np.array([[0.9, 0.8, 0.7, 0.1], [0.2, 0.9, 0.5, 0.6], [0.3, 0.2, 0.1, 0.0]])
RIGHT = np.array([[0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], bool)


def test_ranks_count_the_wrong_ones_before_the_best_right_one():
    assert metrics.right_ranks(SIMILARITY, RIGHT).tolist() == [2, 1, 0]


def test_excluded_entries_are_neither_right_nor_wrong():
    excluded = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], bool)
    assert metrics.right_ranks(SIMILARITY, RIGHT, excluded).tolist() == [1, 1, 0]


def test_equal_scores_do_not_help():
    same = np.ones((2, 5))
    right = np.zeros((2, 5), bool)
    right[:, 1:3] = True
    assert metrics.right_ranks(same, right).tolist() == [4, 4]
    assert (
        metrics.average_precisions(same, right).tolist() == [pytest.approx((1 / 4 + 2 / 5) / 2)] * 2
    )


def test_recall_leaves_out_queries_without_an_answer():
    ranks = metrics.right_ranks(SIMILARITY, RIGHT)
    assert metrics.recall_at(ranks, 1) == 0.5
    assert metrics.recall_at(ranks, 2) == 1.0
    assert np.isnan(metrics.recall_at(np.zeros(3, np.int64), 1))


def test_average_precision_by_hand():
    # Query 0: right at ranks 2 and 3; query 1: right at ranks 1 and 2; query 2: none.
    found = metrics.average_precisions(SIMILARITY, RIGHT)
    np.testing.assert_allclose(found[:2], [(1 / 2 + 2 / 3) / 2, 1.0])
    assert np.isnan(found[2])


def test_micro_average_precision_by_hand():
    # In one list: right, wrong, right, with a fourth right answer never given.
    found = metrics.micro_average_precision([0.9, 0.8, 0.7], [True, False, True], num_right=3)
    assert found == pytest.approx((1 + 2 / 3) / 3)


def test_micro_average_precision_punishes_scores_that_mean_different_things():
    # Every query ranks its right answer first, so mAP is 1; yet the scores of the second
    # query are all above those of the first, and its wrong answer comes before a right one.
    similarity = np.array([[0.4, 0.3], [0.8, 0.9]])
    right = np.array([[True, False], [False, True]])
    assert np.nanmean(metrics.average_precisions(similarity, right)) == 1.0
    micro = metrics.micro_average_precision(similarity.ravel(), right.ravel(), num_right=2)
    assert micro == pytest.approx((1 + 2 / 3) / 2)


def test_micro_average_precision_counts_answers_to_queries_without_any():
    with_distractor = metrics.micro_average_precision([0.9, 0.5], [False, True], num_right=1)
    assert with_distractor == 0.5
    assert metrics.micro_average_precision([0.5], [True], num_right=1) == 1.0


def test_more_right_answers_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="num_right=1"):
        metrics.micro_average_precision([0.1, 0.2], [True, True], num_right=1)


def test_roc_auc_by_hand():
    # Six pairs: .8 beats all three, .5 beats one, equals one, loses to one.
    assert metrics.roc_auc([0.8, 0.5], [0.6, 0.5, 0.1]) == pytest.approx((3 + 1.5) / 6)
    assert metrics.roc_auc([1.0], [0.0]) == 1.0
    with pytest.raises(ValueError, match="both sides"):
        metrics.roc_auc([], [1.0])


scores = hnp.arrays(np.float64, st.integers(1, 20), elements=st.integers(-5, 5).map(float))


@given(scores, scores)
def test_roc_auc_is_the_share_of_pairs(up, down):
    pairs = np.sign(up[:, None] - down[None]) / 2 + 0.5
    assert metrics.roc_auc(up, down) == pytest.approx(pairs.mean())
    assert metrics.roc_auc(up, down) + metrics.roc_auc(down, up) == pytest.approx(1)


def test_recall_at_zero_false_needs_to_be_strictly_above():
    assert metrics.recall_at_zero_false([0.9, 0.7, 0.5], [0.7, 0.1]) == pytest.approx(1 / 3)
    assert metrics.recall_at_zero_false([0.9, 0.7], []) == 1.0


def spans(*pairs):
    return [TimeSpan(*pair) for pair in pairs]


def test_temporal_iou_by_hand():
    assert metrics.temporal_iou(spans((0, 4)), spans((2, 6))) == pytest.approx(2 / 6)
    assert metrics.temporal_iou(spans((0, 1), (5, 6)), spans((0, 2), (5, 6))) == pytest.approx(
        2 / 3
    )
    assert metrics.temporal_iou(spans((0, 1)), spans((1, 2))) == 0
    assert metrics.temporal_iou([], spans((1, 2))) == 0
    assert metrics.temporal_iou([], []) == 1


def test_overlapping_spans_count_once():
    # The reason to compare sets of spans and not pairs: saying a range twice gains nothing.
    assert metrics.temporal_iou(spans((0, 4), (1, 3), (0, 4)), spans((0, 4))) == 1
    assert metrics.temporal_iou(spans((0, 2), (1, 4)), spans((0, 8))) == pytest.approx(0.5)


span_lists = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 10)).map(lambda p: TimeSpan(p[0], p[0] + p[1])),
    max_size=4,
)


@given(span_lists, span_lists)
def test_temporal_iou_agrees_with_counting_seconds(found, true):
    seconds = [
        {s for span in side for s in range(int(span.start_s), int(span.end_s))}
        for side in (found, true)
    ]
    union = seconds[0] | seconds[1]
    expected = len(seconds[0] & seconds[1]) / len(union) if union else 1
    assert metrics.temporal_iou(found, true) == pytest.approx(expected)
    assert metrics.temporal_iou(true, found) == pytest.approx(expected)


def test_chance_is_the_share_of_right_answers():
    excluded = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert metrics.chance_of_rank_1(RIGHT, excluded) == pytest.approx((2 / 3 + 2 / 4) / 2)


def test_chance_is_what_random_scores_reach():
    rng = np.random.default_rng(0)
    right = rng.random((4000, 20)) < 0.2
    ranks = metrics.right_ranks(rng.random((4000, 20)), right)
    assert metrics.recall_at(ranks, 1) == pytest.approx(metrics.chance_of_rank_1(right), abs=0.02)


def test_standard_error_of_single_values_is_the_textbook_one():
    values = np.random.default_rng(0).random(400) < 0.3
    expected = values.std() / np.sqrt(len(values))
    groups = list(range(400))
    assert metrics.standard_error(values, groups) == pytest.approx(expected, rel=0.08)


def test_groups_that_stand_or_fall_together_have_a_larger_error():
    values = np.repeat([0, 1] * 10, 20)
    together = metrics.standard_error(values, np.repeat(np.arange(20), 20).tolist())
    assert together == pytest.approx(0.5 / np.sqrt(20), rel=0.1)
    apart = metrics.standard_error(values, list(range(400)))
    assert together > 3 * apart
    assert metrics.standard_error(values, ["one"] * 400) == 0


def test_paired_difference_is_surer_than_two_separate_errors():
    rng = np.random.default_rng(1)
    hard = rng.random(300) * 10
    first, second = hard + 0.1 + rng.normal(0, 0.2, 300), hard
    groups = list(range(300))
    found = metrics.paired_difference(first, second, groups)
    assert found.mean == pytest.approx(0.1, abs=0.04)
    assert found.standard_error < metrics.standard_error(second, groups) / 5
    assert found.share_below_zero < 0.001
    assert metrics.paired_difference(second, second, groups).share_below_zero == 0.5


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="need"):
        metrics.right_ranks(SIMILARITY, RIGHT[:2])
    with pytest.raises(ValueError, match="excluded"):
        metrics.right_ranks(SIMILARITY, RIGHT, RIGHT[:2])
    with pytest.raises(ValueError, match="NaN"):
        metrics.right_ranks(np.full((1, 2), np.nan), np.ones((1, 2), bool))
    with pytest.raises(ValueError, match="one group a value"):
        metrics.standard_error([1.0, 2.0], ["a"])


def test_calibration_counts_answers_by_their_score():
    scores, right = [0.05, 0.95, 0.91, 1.0, 0.55], [False, True, True, False, True]
    bins = metrics.calibration_bins(scores, right)
    assert [(one.low, one.num) for one in bins] == [(0.0, 1), (0.5, 1), (0.9, 3)]
    assert bins[2].mean_score == pytest.approx(2.86 / 3)
    assert bins[2].right == pytest.approx(2 / 3)
    # |.05 - 0| + |.55 - 1| + |2.86 - 2|, of five.
    assert metrics.expected_calibration_error(scores, right) == pytest.approx(
        (0.05 + 0.45 + 0.86) / 5
    )


def test_calibration_needs_a_score():
    with pytest.raises(ValueError, match="at least one"):
        metrics.expected_calibration_error([], [])
    with pytest.raises(ValueError, match="twice"):
        metrics.calibration_bins([0.5], [True, False])


def test_the_interval_of_a_share_is_that_of_wilson():
    # 8 of 10: (.8 + .19208) / 1.38416 +- sqrt(3.8416 (.016 + .009604)) / 1.38416.
    low, high = metrics.share_interval(0.8, 10)
    assert (low, high) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    # All of four: 4 / (4 + 1.96^2).
    assert metrics.share_interval(1.0, 4) == pytest.approx((4 / 7.8416, 1.0))
    assert metrics.share_interval(0.0, 4) == pytest.approx((0.0, 1 - 4 / 7.8416))
    for share, num in ((0.5, 0), (1.5, 3), (float("nan"), 3)):
        with pytest.raises(ValueError, match="need a share"):
            metrics.share_interval(share, num)
