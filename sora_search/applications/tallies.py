"""Counting what came of many searches. Pure: numbers in, numbers out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sora_search.learning.metrics import (
    CalibrationBin,
    calibration_bins,
    expected_calibration_error,
    micro_average_precision,
    recall_at_zero_false,
    share_interval,
    standard_error,
)
from sora_search.retrieval.scoring import COPY_SCORE

NUM_WORST = 8
"""Wrong answers that are named, the highest scores first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One video of an answer: its name, score, `verified`, whether it is right and has ranges."""

    name: str
    score: float
    verified: bool | None
    is_right: bool
    has_ranges: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one search.

    Attributes:
        edit: What was done to make the query, or `negative`.
        name: The video it was made of.
        answers: All videos of the answer, the first ones first.
        cpu_s: CPU seconds of the search.
        seconds: Its seconds by the clock.
        query_iou: Overlap of the ranges found with the true ones in the query, in [0, 1]; None
            where the video was not found.
        video_iou: The same in the video.
        start_error_s: By how much the best range starts wrong in the video; None without one.
        is_mirror_right: 1 where it was told right whether the picture is mirrored.
        speed_error: Share by which the speed told is wrong.
        rectangle_iou: Overlap of the part of the picture told with the true one, in [0, 1].
    """

    edit: str
    name: str
    answers: tuple[Answer, ...]
    cpu_s: float
    seconds: float
    query_iou: float | None = None
    video_iou: float | None = None
    start_error_s: float | None = None
    is_mirror_right: float | None = None
    speed_error: float | None = None
    rectangle_iou: float | None = None

    @property
    def rank(self) -> int:
        """Of the first right video, from 1; 0 where there is none."""
        places = (place for place, answer in enumerate(self.answers, 1) if answer.is_right)
        return next(places, 0)

    @property
    def score(self) -> float:
        """Of the first right video, whatever its name; 0 where there is none."""
        return self.answers[self.rank - 1].score if self.rank else 0.0

    @property
    def is_copy(self) -> bool:
        """Whether the first right video was called a copy."""
        return self.score >= COPY_SCORE

    @property
    def best_wrong(self) -> Answer | None:
        """The wrong answer with the highest score."""
        wrong = [answer for answer in self.answers if not answer.is_right]
        return max(wrong, key=lambda answer: answer.score, default=None)

    @property
    def is_wrong_copy(self) -> bool:
        """Whether a wrong video was called a copy."""
        return self.best_wrong is not None and self.best_wrong.score >= COPY_SCORE


@dataclass(frozen=True, slots=True)
class EditTally:
    """Queries that were made by one edit, or all of them. What was not found counts as 0.

    Attributes:
        edit: Its name, or `all`.
        num: Queries.
        rank_1: Share of them with a right video first.
        rank_1_error: Standard error of that, by drawing videos again.
        rank_1_interval: Where it lies with 95 %, counting each video once: edits of one
            video are not independent.
        copy: Share with a right video first that is called a copy.
        query_iou: Mean overlap of ranges in the query.
        query_iou_median: Its median.
        video_iou: Mean overlap of ranges in the video.
        video_iou_median: Its median.
        start_error_s: Median error of the start of the best range; None without any.
        mirror_right: Share of those told with which `mirrored` is right; None without any.
        speed_right: Share of them with a speed within 3 %.
        rectangle_iou: Median overlap of the part of the picture told with the true one.
        num_wrong: Queries for which a wrong video was called a copy.
        cpu_ms: Median CPU milliseconds.
    """

    edit: str
    num: int
    rank_1: float
    rank_1_error: float
    rank_1_interval: tuple[float, float]
    copy: float
    query_iou: float
    query_iou_median: float
    video_iou: float
    video_iou_median: float
    start_error_s: float | None
    mirror_right: float | None
    speed_right: float | None
    rectangle_iou: float | None
    num_wrong: int
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong answer: to which query, of which edit, which video, with which score."""

    query: str
    edit: str
    video: str
    score: float


@dataclass(frozen=True, slots=True)
class Missed:
    """A query for which no right video came first and as a copy.

    Attributes:
        query: The video it was made of.
        edit: What was done to it.
        rank: Of the first right video, from 1; 0 where there is none.
        score: Of that video.
    """

    query: str
    edit: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """All that is counted.

    Attributes:
        edits: One tally an edit, in the order asked.
        total: All queries together; None without any.
        num_negatives: Queries of which nothing is indexed.
        num_false: Those for which some video was called a copy.
        recall_at_zero_false: Share of the queries whose right first video scores above every
            wrong answer, to queries and negatives; None without queries.
        micro_average_precision: Of all answers to all queries in one list; None likewise.
        num_copies: Answers called a copy.
        copy_precision: Share of them that are right; None without any.
        num_ranged: Answers with ranges.
        calibration_error: Expected error of their score; None without any.
        calibration: By score: how many answers, their mean score and share of right ones.
        chance: Rank 1 of an answer in random order.
        worst: The wrong answers with the highest scores.
        missed: The queries for which no right video came first and as a copy.
        median_s: Median seconds of a search.
        max_s: Seconds of the longest.
    """

    edits: tuple[EditTally, ...]
    total: EditTally | None
    num_negatives: int
    num_false: int
    recall_at_zero_false: float | None
    micro_average_precision: float | None
    num_copies: int
    copy_precision: float | None
    num_ranged: int
    calibration_error: float | None
    calibration: tuple[CalibrationBin, ...]
    chance: float
    worst: tuple[Wrong, ...]
    missed: tuple[Missed, ...]
    median_s: float
    max_s: float


def tally(outcomes: Sequence[Outcome], *, num_videos: int, negative: str) -> BenchmarkReport:
    """Count outcomes.

    Args:
        outcomes: Of all searches, at least one.
        num_videos: Videos indexed.
        negative: The name that stands in place of an edit for queries that are not indexed.
    """
    by_edit: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_edit[outcome.edit].append(outcome)
    negatives = by_edit.pop(negative, [])
    queries = [outcome for group in by_edit.values() for outcome in group]
    answers = [answer for outcome in outcomes for answer in outcome.answers]
    ranged = [answer for answer in answers if answer.has_ranges]
    copies = [answer for answer in answers if answer.score >= COPY_SCORE]
    scores = [answer.score for answer in ranged]
    right = [answer.is_right for answer in ranged]
    seconds = [outcome.seconds for outcome in outcomes]
    return BenchmarkReport(
        edits=tuple(tally_edit(name, group) for name, group in by_edit.items()),
        total=tally_edit("all", queries) if queries else None,
        num_negatives=len(negatives),
        num_false=sum(outcome.is_wrong_copy for outcome in negatives),
        recall_at_zero_false=_recall(queries, outcomes) if queries else None,
        micro_average_precision=_precision(queries, outcomes) if queries else None,
        num_copies=len(copies),
        copy_precision=float(np.mean([a.is_right for a in copies])) if copies else None,
        num_ranged=len(ranged),
        calibration_error=expected_calibration_error(scores, right) if ranged else None,
        calibration=tuple(calibration_bins(scores, right)),
        chance=1 / num_videos,
        worst=tuple(_worst(outcomes)),
        missed=tuple(
            Missed(outcome.name, outcome.edit, outcome.rank, outcome.score)
            for outcome in queries
            if outcome.rank != 1 or not outcome.is_copy
        ),
        median_s=float(np.median(seconds)),
        max_s=float(np.max(seconds)),
    )


def tally_edit(name: str, outcomes: Sequence[Outcome]) -> EditTally:
    """Count the queries of one edit, at least one."""
    first = [float(outcome.rank == 1) for outcome in outcomes]
    names = [outcome.name for outcome in outcomes]
    query_ious = [outcome.query_iou or 0.0 for outcome in outcomes]
    video_ious = [outcome.video_iou or 0.0 for outcome in outcomes]
    speeds = _known([outcome.speed_error for outcome in outcomes])
    return EditTally(
        edit=name,
        num=len(outcomes),
        rank_1=float(np.mean(first)),
        rank_1_error=standard_error(first, names),
        rank_1_interval=share_interval(float(np.mean(first)), len(set(names))),
        copy=float(np.mean([outcome.rank == 1 and outcome.is_copy for outcome in outcomes])),
        query_iou=float(np.mean(query_ious)),
        query_iou_median=float(np.median(query_ious)),
        video_iou=float(np.mean(video_ious)),
        video_iou_median=float(np.median(video_ious)),
        start_error_s=_median(_known([outcome.start_error_s for outcome in outcomes])),
        mirror_right=_mean(_known([outcome.is_mirror_right for outcome in outcomes])),
        speed_right=_mean([float(error <= 0.03) for error in speeds]),
        rectangle_iou=_median(_known([outcome.rectangle_iou for outcome in outcomes])),
        num_wrong=sum(outcome.is_wrong_copy for outcome in outcomes),
        cpu_ms=1000 * float(np.median([outcome.cpu_s for outcome in outcomes])),
    )


def _recall(queries: Sequence[Outcome], outcomes: Sequence[Outcome]) -> float:
    true = [outcome.score if outcome.rank == 1 else 0.0 for outcome in queries]
    wrong = [outcome.best_wrong for outcome in outcomes]
    return recall_at_zero_false(true, [answer.score for answer in wrong if answer is not None])


def _precision(queries: Sequence[Outcome], outcomes: Sequence[Outcome]) -> float:
    """Of each query the best right answer and all wrong ones: another copy adds nothing."""
    best = [
        max((answer.score for answer in query.answers if answer.is_right), default=None)
        for query in queries
    ]
    found = _known(best)
    wrong = [a.score for outcome in outcomes for a in outcome.answers if not a.is_right]
    right = [True] * len(found) + [False] * len(wrong)
    return micro_average_precision(found + wrong, right, num_right=len(queries))


def _worst(outcomes: Sequence[Outcome]) -> list[Wrong]:
    found = [
        Wrong(outcome.name, outcome.edit, outcome.best_wrong.name, outcome.best_wrong.score)
        for outcome in outcomes
        if outcome.best_wrong is not None
    ]
    return sorted(found, key=lambda wrong: -wrong.score)[:NUM_WORST]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
