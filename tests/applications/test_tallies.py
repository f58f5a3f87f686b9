"""Outcomes are counted as by hand."""

import pytest

from sora_search.applications.tallies import Answer, Outcome, tally, tally_edit
from sora_search.learning.metrics import share_interval


def answer(score: float, is_right: bool, *, has_ranges: bool = True, name: str = "v") -> Answer:
    return Answer(name, score, True, is_right, has_ranges)


def outcome(edit: str, name: str, *answers: Answer, **facts: object) -> Outcome:
    known = {"cpu_s": 0.2, "seconds": 0.1, **facts}
    return Outcome(edit=edit, name=name, answers=answers, **known)  # type: ignore[arg-type]


FOUND = outcome(
    "crop",
    "a.mp4",
    answer(0.9, True),
    answer(0.3, False),
    query_iou=1.0,
    video_iou=0.8,
    start_error_s=0.1,
    is_mirror_right=1.0,
    speed_error=0.02,
    rectangle_iou=0.9,
    cpu_s=0.4,
)
SECOND = outcome(
    "crop",
    "b.mp4",
    answer(0.6, False, name="wrong.mp4"),
    answer(0.4, True),
    query_iou=0.5,
    video_iou=0.5,
    speed_error=0.1,
)
MISSED = outcome("blur", "c.mp4", answer(0.05, False, has_ranges=False))
NEGATIVE = outcome("negative", "d.mp4", answer(0.5, False), answer(0.2, False))


def test_an_edit_is_counted_with_what_was_missed_as_nothing():
    counted = tally_edit("any", [FOUND, SECOND, MISSED])
    assert counted.num == 3
    assert counted.rank_1 == pytest.approx(1 / 3)
    assert counted.copy == pytest.approx(1 / 3)
    assert counted.query_iou == pytest.approx(0.5)
    assert counted.query_iou_median == 0.5
    assert counted.video_iou == pytest.approx(1.3 / 3)
    assert counted.start_error_s == 0.1
    assert counted.mirror_right == 1.0
    assert counted.speed_right == 0.5
    assert counted.rectangle_iou == 0.9
    assert counted.num_wrong == 1
    assert counted.cpu_ms == pytest.approx(200)
    assert 0.2 < counted.rank_1_error < 0.35  # sqrt(1/3 * 2/3 / 3) = 0.27
    assert counted.rank_1_interval == share_interval(1 / 3, 3)


def test_many_edits_of_one_video_make_nothing_more_certain():
    counted = tally_edit("all", [FOUND] * 20)
    assert counted.rank_1 == 1.0
    assert counted.rank_1_interval == share_interval(1.0, 1)


def test_a_report_counts_queries_and_negatives_apart():
    report = tally([FOUND, SECOND, MISSED, NEGATIVE], num_videos=20, negative="negative")
    assert [one.edit for one in report.edits] == ["crop", "blur"]
    assert report.total is not None
    assert report.total.num == 3
    assert (report.num_negatives, report.num_false) == (1, 1)
    assert report.chance == 0.05
    # Above the wrong .6 lies the right .9 alone, of three queries.
    assert report.recall_at_zero_false == pytest.approx(1 / 3)
    # .9 right; .6 .5 wrong; .4 right: (1 / 1 + 2 / 4) / 3.
    assert report.micro_average_precision == pytest.approx(0.5)
    # Copies: .9 right, .6 and .5 wrong.
    assert report.num_copies == 3
    assert report.copy_precision == pytest.approx(1 / 3)
    # With ranges: .9 and .4 right, .6 .5 .3 .2 wrong, each in a bin of its own.
    assert report.calibration_error == pytest.approx((0.1 + 0.6 + 0.6 + 0.5 + 0.3 + 0.2) / 6)
    assert sum(one.num for one in report.calibration) == 6
    assert [(wrong.query, wrong.video, wrong.score) for wrong in report.worst[:1]] == [
        ("b.mp4", "wrong.mp4", 0.6)
    ]


def test_negatives_alone_have_a_report_too():
    report = tally([NEGATIVE], num_videos=2, negative="negative")
    assert report.total is None
    assert report.edits == ()
    assert report.recall_at_zero_false is None
    assert report.micro_average_precision is None
    assert report.num_false == 1
