"""How good rankings and scores are (pure: arrays in, numbers out).

Queries are rows, gallery entries columns; `right` marks the right answers, of which
a query may have several, and `excluded` what does not take part (the query itself,
its own group). Ties never help: a wrong entry with the score of a right one counts
as ranked before it, so a network that gives one vector to everything scores 0.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sora_search.datatypes import TimeSpan

Similarity = NDArray[np.floating]
Mask = NDArray[np.bool_]


def right_ranks(
    similarity: Similarity, right: Mask, excluded: Mask | None = None
) -> NDArray[np.int64]:
    """The rank of each query's best right answer, 1 for the top; 0 where there is none.

    Args:
        similarity: Shape ``(Q, G)``.
        right: The same shape.
        excluded: The same shape; those entries are neither right nor wrong.

    Raises:
        ValueError: If the shapes differ or a similarity is NaN.
    """
    similarity, right, allowed = _checked(similarity, right, excluded)
    right = right & allowed
    best = np.where(right, similarity, -np.inf).max(axis=1, initial=-np.inf)
    before = (allowed & ~right & (similarity >= best[:, None])).sum(axis=1)
    return np.where(right.any(axis=1), before + 1, 0)


def recall_at(ranks: NDArray[np.int64], k: int) -> float:
    """Share of the queries with a right answer among the first `k`; rank 1 is ``k=1``.

    Queries without any right answer (rank 0) do not count; NaN if none counts.
    """
    counted = ranks[ranks > 0]
    return float((counted <= k).mean()) if len(counted) else float("nan")


def average_precisions(
    similarity: Similarity, right: Mask, excluded: Mask | None = None
) -> NDArray[np.float64]:
    """Average precision of each query, shape ``(Q,)``; NaN where it has no right answer.

    The mean over the right answers of the precision at the rank of each. Their mean
    over queries (`np.nanmean`) is the mAP.
    """
    similarity, right, allowed = _checked(similarity, right, excluded)
    result = np.full(len(similarity), np.nan)
    for row, scores in enumerate(similarity):
        kept = allowed[row]
        is_right = right[row][kept]
        if is_right.any():
            result[row] = _average_precision(scores[kept], is_right, int(is_right.sum()))
    return result


def micro_average_precision(scores: ArrayLike, right: ArrayLike, *, num_right: int) -> float:
    """Average precision of all answers to all queries in one list (uAP, also called µAP).

    Unlike mAP it asks that scores mean the same for every query, and an answer to a
    query that has none counts as wrong.

    Args:
        scores: Of every answer given, shape ``(N,)``.
        right: Which are right, shape ``(N,)``.
        num_right: How many there are to find, whether or not an answer names them.

    Raises:
        ValueError: If the shapes differ, or more are right than there are.

    Source: Image Similarity Challenge (Douze et al., 2021, arXiv 2106.09672).
    """
    values, is_right = np.asarray(scores, np.float64), np.asarray(right, bool)
    if values.shape != is_right.shape or values.ndim != 1:
        raise ValueError(f"need (N,) twice, got {values.shape=} {is_right.shape=}")
    if num_right < is_right.sum() or num_right < 1:
        raise ValueError(f"{is_right.sum()} answers are right, got {num_right=}")
    return _average_precision(values, is_right, num_right)


def _average_precision(scores: Similarity, right: Mask, num_right: int) -> float:
    # Among equal scores the wrong ones come first.
    order = np.lexsort((right, -scores))
    hits = right[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].sum() / num_right)


def roc_auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The chance that a positive scores above a negative, equal scores counting half.

    Raises:
        ValueError: If one side is empty.
    """
    up, down = np.asarray(positives).ravel(), np.sort(np.asarray(negatives).ravel())
    if up.size == 0 or down.size == 0:
        raise ValueError(f"need scores on both sides, got {up.size} and {down.size}")
    below = np.searchsorted(down, up, side="left").astype(np.float64)
    not_above = np.searchsorted(down, up, side="right")
    return float((below + not_above).mean() / 2 / down.size)


def recall_at_zero_false(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Share of the positives that score above every negative.

    Raises:
        ValueError: If there are no positives.
    """
    up, down = np.asarray(positives).ravel(), np.asarray(negatives).ravel()
    if up.size == 0:
        raise ValueError("need at least one positive score")
    return float((up > down.max()).mean()) if down.size else 1.0


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Answers whose scores lie between `low` and `high` (without it, unless it is 1).

    Attributes:
        low: Where the bin starts.
        high: Where it ends.
        num: Answers in it.
        mean_score: Of them.
        right: Share of them that are right.
    """

    low: float
    high: float
    num: int
    mean_score: float
    right: float


def calibration_bins(
    scores: ArrayLike, right: ArrayLike, *, num_bins: int = 10
) -> list[CalibrationBin]:
    """How often answers of a score are right, for equal bins of [0, 1] that hold any.

    Args:
        scores: Probabilities, shape ``(N,)``.
        right: Which are right, shape ``(N,)``.
        num_bins: How many bins.

    Raises:
        ValueError: If the shapes differ.
    """
    values, is_right = np.asarray(scores, np.float64), np.asarray(right, bool)
    if values.shape != is_right.shape or values.ndim != 1:
        raise ValueError(f"need (N,) twice, got {values.shape=} {is_right.shape=}")
    places = np.minimum((values * num_bins).astype(np.int64), num_bins - 1)
    return [
        CalibrationBin(
            place / num_bins,
            (place + 1) / num_bins,
            int((places == place).sum()),
            float(values[places == place].mean()),
            float(is_right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    ]


def expected_calibration_error(scores: ArrayLike, right: ArrayLike, *, num_bins: int = 10) -> float:
    """Mean distance of score and share of right answers over bins, by their size; 0 is best.

    Raises:
        ValueError: If the shapes differ or there is no score.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    bins = calibration_bins(scores, right, num_bins=num_bins)
    if not bins:
        raise ValueError("need at least one score")
    gaps = sum(one.num * abs(one.mean_score - one.right) for one in bins)
    return gaps / sum(one.num for one in bins)


def temporal_iou(found: Sequence[TimeSpan], true: Sequence[TimeSpan]) -> float:
    """Seconds that both sets of spans share, of those that either covers; in [0, 1].

    Spans of one set may overlap and count once. Two empty sets agree: 1.0.
    """
    both = [*found, *true]
    if not both:
        return 1.0
    edges = np.unique([edge for span in both for edge in (span.start_s, span.end_s)])
    lengths, middles = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    in_found, in_true = _covered(found, middles), _covered(true, middles)
    union = lengths[in_found | in_true].sum()
    return float(lengths[in_found & in_true].sum() / union)


def _covered(spans: Sequence[TimeSpan], times_s: NDArray[np.float64]) -> Mask:
    inside = np.zeros(len(times_s), bool)
    for span in spans:
        inside |= (times_s >= span.start_s) & (times_s < span.end_s)
    return inside


def chance_of_rank_1(right: Mask, excluded: Mask | None = None) -> float:
    """What answers drawn at random would score at rank 1, over queries with a right answer."""
    _, right, allowed = _checked(np.zeros(right.shape), right, excluded)
    right = right & allowed
    counted = right.any(axis=1)
    if not counted.any():
        return float("nan")
    return float((right.sum(axis=1)[counted] / allowed.sum(axis=1)[counted]).mean())


def standard_error(
    values: ArrayLike, groups: Sequence[Hashable], *, num_draws: int = 1000, seed: int = 0
) -> float:
    """Standard error of the mean of `values` by bootstrap over whole groups.

    Values of one group (clips of one source) are not independent, so groups are drawn
    with replacement, never single values. 0.0 for one group.

    Args:
        values: One number a query, shape ``(Q,)``.
        groups: The group of each.
        num_draws: Bootstrap samples; 1000 leave about 2 % of doubt about the error itself.
        seed: Of the draws.

    Raises:
        ValueError: If the lengths differ or there is no value.
    """
    return float(_drawn_means(values, groups, num_draws, seed).std())


def share_interval(share: float, num: int) -> tuple[float, float]:
    """Where the true share lies with 95 %, if `share` of `num` independent tries came out well.

    Unlike a standard error it is not 0 where all of a few tries did.

    Raises:
        ValueError: If `num` is not positive, or `share` not in [0, 1].

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
    """
    if num < 1 or not 0.0 <= share <= 1.0:
        raise ValueError(f"need a share in [0, 1] of one try or more, got {share=} {num=}")
    z2 = 1.96**2
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = math.sqrt(z2 * (share * (1 - share) / num + z2 / (4 * num**2))) / (1 + z2 / num)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """By how much one way beats another on the same queries.

    Attributes:
        mean: Mean of first minus second.
        standard_error: Of that mean, by bootstrap over groups.
        share_below_zero: Share of the draws in which the second was better (half of the
            ties): a one-sided p-value of "the first is better".
    """

    mean: float
    standard_error: float
    share_below_zero: float


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[Hashable],
    *,
    num_draws: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two ways query by query, by paired bootstrap over whole groups.

    Raises:
        ValueError: If the lengths differ or there is no value.
    """
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    means = _drawn_means(differences, groups, num_draws, seed)
    below = (means < 0).mean() + (means == 0).mean() / 2
    return PairedDifference(float(differences.mean()), float(means.std()), float(below))


def _drawn_means(
    values: ArrayLike, groups: Sequence[Hashable], num_draws: int, seed: int
) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or len(numbers) == 0 or len(groups) != len(numbers):
        raise ValueError(f"need one group a value, got {numbers.shape=} {len(groups)=}")
    place = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([place[group] for group in groups])
    sums = np.bincount(group_of, weights=numbers)
    counts = np.bincount(group_of)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(num_draws, len(counts)))
    means: NDArray[np.float64] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _checked(
    similarity: Similarity, right: Mask, excluded: Mask | None
) -> tuple[Similarity, Mask, Mask]:
    if similarity.ndim != 2 or right.shape != similarity.shape:
        raise ValueError(f"need (Q, G) twice, got {similarity.shape=} {right.shape=}")
    if excluded is not None and excluded.shape != similarity.shape:
        raise ValueError(f"need {similarity.shape}, got {excluded.shape=}")
    if np.isnan(similarity).any():
        raise ValueError("a similarity is NaN")
    allowed = np.ones(similarity.shape, bool) if excluded is None else ~excluded
    return similarity, right, allowed
