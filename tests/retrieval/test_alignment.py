"""Ranges that were planted are found, with their ends; nothing else is."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan
from sora_search.retrieval.alignment import (
    AlignedSpan,
    align,
    align_videos,
    join_spans,
    whole_lines,
)
from sora_search.retrieval.timeline import Timeline

ZERO = 0.4
DIM = 48


class Footage:
    """Endless footage: a direction that wanders smoothly, like vectors of a moving scene do."""

    def __init__(self, seed: int, change_s: float = 0.8) -> None:
        self._change_s = change_s
        self._anchors = np.random.default_rng(seed).normal(size=(200, DIM))

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
        place = np.arange(len(self._anchors)) * self._change_s - 10
        weight = np.exp(-0.5 * ((times_s[:, None] - place) / self._change_s) ** 2)
        rows = weight @ self._anchors
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def similarity_of(
    rows: NDArray[np.float32], columns: NDArray[np.float32], noise: float = 0.0, seed: int = 0
) -> NDArray[np.float32]:
    jitter = np.random.default_rng(seed).normal(0, noise, (len(rows), len(columns)))
    return (rows @ columns.T + jitter).astype(np.float32)


def assert_near(span: TimeSpan | None, start_s: float, end_s: float, within_s: float) -> None:
    assert span is not None
    assert abs(span.start_s - start_s) <= within_s, (span.start_s, start_s)
    assert abs(span.end_s - end_s) <= within_s, (span.end_s, end_s)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    start_s=st.floats(2, 40),
    length_s=st.floats(4, 15),
    speed=st.sampled_from([0.5, 0.8, 1.0, 1.25, 2.0]),
    rates=st.sampled_from([(2.0, 2.0), (5.0, 2.0), (2.0, 5.0), (3.2, 2.0), (2.0, 2.1)]),
)
def test_planted_range_is_found_with_its_ends(
    seed: int, start_s: float, length_s: float, speed: float, rates: tuple[float, float]
) -> None:
    footage = Footage(seed)
    rows = Timeline.regular(int(length_s * rates[0]), 1 / rates[0])
    columns = Timeline.regular(int(80 * rates[1]), 1 / rates[1])
    matrix = similarity_of(
        footage.at(start_s + speed * rows.times_s), footage.at(columns.times_s), noise=0.03
    )
    spans = align(matrix, zero_point=ZERO, rows=rows, columns=columns)
    best = spans[0]
    assert_near(best.row_span, 0, rows.end_s, 0.25)
    assert_near(best.column_span, start_s, start_s + speed * rows.end_s, 0.5)
    assert best.window_evidence > 0.35
    assert len(spans) == 1, spans


def test_start_of_a_planted_range_is_finer_than_a_sample() -> None:
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        start_s = rng.uniform(5, 40)
        rows, columns = Timeline.regular(16), Timeline.regular(120)
        matrix = similarity_of(
            Footage(seed).at(start_s + rows.times_s), Footage(seed).at(columns.times_s), 0.03
        )
        span = align(matrix, zero_point=ZERO, rows=rows, columns=columns)[0].column_span
        assert span is not None
        errors.append(abs(span.start_s - start_s))
    assert np.median(errors) < 0.05
    assert max(errors) < 0.25


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), excerpt_s=st.floats(2, 6), at_s=st.floats(3, 12))
def test_excerpt_inside_another_video_ends_where_it_ends(
    seed: int, excerpt_s: float, at_s: float
) -> None:
    rows, columns = Timeline.regular(40), Timeline.regular(120)
    times = rows.times_s
    inside = (times >= at_s) & (times < at_s + excerpt_s)
    video = Footage(seed)
    query = np.where(
        inside[:, None], video.at(times - at_s + 25.2), Footage(seed + 77_777).at(times)
    )
    spans = align(
        similarity_of(query, video.at(columns.times_s), 0.03),
        zero_point=ZERO,
        rows=rows,
        columns=columns,
    )
    # A moment of the other footage that happens to look alike may be taken along.
    assert_near(spans[0].row_span, at_s, at_s + excerpt_s, 1.1)
    assert_near(spans[0].column_span, 25.2, 25.2 + excerpt_s, 1.1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), is_swapped=st.booleans())
def test_two_ranges_are_both_found_in_either_order(seed: int, is_swapped: bool) -> None:
    video = Footage(seed)
    columns = Timeline.regular(120)
    parts = [(10.0, 16.0), (35.0, 41.0)]
    if is_swapped:
        parts.reverse()
    times = np.concatenate([np.arange(start, end, 0.5) + 0.25 for start, end in parts])
    rows = Timeline.regular(len(times))
    spans = align(
        similarity_of(video.at(times), video.at(columns.times_s), 0.03),
        zero_point=ZERO,
        rows=rows,
        columns=columns,
    )
    assert len(spans) == 2
    by_row = sorted(spans, key=lambda span: span.row_span.start_s if span.row_span else 0)
    for i, (start_s, end_s) in enumerate(parts):
        assert_near(by_row[i].row_span, 6.0 * i, 6.0 * (i + 1), 0.6)
        assert_near(by_row[i].column_span, start_s, end_s, 0.6)


def test_two_excerpts_of_one_video_do_not_melt_over_a_gap() -> None:
    video, other = Footage(1), Footage(2)
    rows, columns = Timeline.regular(40), Timeline.regular(120)
    times = rows.times_s
    query = other.at(times)
    query[6:12] = video.at(times[6:12] + 20)
    query[20:26] = video.at(times[20:26] + 20)
    spans = align(similarity_of(query, video.at(columns.times_s)), zero_point=ZERO, columns=columns)
    assert len(spans) == 2
    for span, start_s in zip(
        sorted(spans, key=lambda s: s.row_span.start_s if s.row_span else 0), (3, 10), strict=True
    ):
        assert_near(span.row_span, start_s, start_s + 3, 0.5)


def test_excerpt_in_which_little_changes_keeps_its_length() -> None:
    video, other = Footage(13, change_s=6.0), Footage(14)
    rows, columns = Timeline.regular(40), Timeline.regular(20)
    times = rows.times_s
    query = other.at(times)
    query[6:12] = video.at(times[6:12])
    best = align(
        similarity_of(query, video.at(columns.times_s), 0.005), zero_point=0.55, columns=columns
    )[0]
    assert_near(best.row_span, 3, 6, 0.6)
    assert best.column_span is not None
    assert best.column_span.duration_s == pytest.approx(3, abs=0.7)


def test_short_loss_does_not_end_a_range() -> None:
    video = Footage(3)
    rows, columns = Timeline.regular(24), Timeline.regular(80)
    query = video.at(rows.times_s + 12)
    query[10:12] = Footage(4).at(rows.times_s[10:12])
    [span] = align(similarity_of(query, video.at(columns.times_s)), zero_point=ZERO)
    assert_near(span.row_span, 0, 12, 0.1)


@pytest.mark.parametrize("num_times", [2, 3])
def test_repeated_piece_is_found_at_each_place(num_times: int) -> None:
    piece, other = Footage(5), Footage(6)
    columns = Timeline.regular(120)
    video = other.at(columns.times_s)
    places = [10, 60, 90][:num_times]
    for place in places:
        video[place : place + 12] = piece.at(np.arange(12) * 0.5)
    spans = align(similarity_of(piece.at(np.arange(12) * 0.5), video, 0.02), zero_point=ZERO)
    starts = sorted(span.column_span.start_s for span in spans if span.column_span)
    assert starts == pytest.approx([place / 2 for place in places], abs=0.3)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), speed=st.sampled_from([0.8, 1.0, 1.25]))
def test_transposing_swaps_the_sides(seed: int, speed: float) -> None:
    video = Footage(seed)
    rows, columns = Timeline.regular(30, 0.4), Timeline.regular(90)
    matrix = similarity_of(
        video.at(7.3 + speed * rows.times_s), video.at(columns.times_s), 0.02, seed
    )
    straight = align(matrix, zero_point=ZERO, rows=rows, columns=columns)
    swapped = align(matrix.T, zero_point=ZERO, rows=columns, columns=rows)
    assert len(straight) == len(swapped) == 1
    for mine, theirs in (
        (straight[0].row_span, swapped[0].column_span),
        (straight[0].column_span, swapped[0].row_span),
    ):
        assert mine is not None
        assert_near(theirs, mine.start_s, mine.end_s, 0.2)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 80), st.integers(1, 300)),
    sigma=st.floats(0.01, 0.07),
)
@example(seed=0, shape=(80, 300), sigma=0.07)
def test_noise_alone_gives_nothing(seed: int, shape: tuple[int, int], sigma: float) -> None:
    noise = np.random.default_rng(seed).normal(0, sigma, shape).astype(np.float32)
    if min(shape) >= 4:  # of a single moment, the luckiest of hundreds is a range
        assert align(noise, zero_point=1.645 * sigma) == []


def test_constant_block_is_one_range_as_large_as_the_block() -> None:
    matrix = np.zeros((20, 100), np.float32)
    matrix[4:14, 30:80] = 0.9
    [span] = align(matrix, zero_point=ZERO)
    assert span.is_static
    assert_near(span.row_span, 2, 7, 0.01)
    assert_near(span.column_span, 15, 40, 0.01)


@pytest.mark.parametrize("is_tall", [False, True])
def test_block_in_which_one_diagonal_is_a_little_more_alike_names_it(is_tall: bool) -> None:
    similarity = np.full((20, 100), 0.95, np.float32)
    similarity[np.arange(20), 40 + np.arange(20)] += 0.004
    [span] = align(similarity.T if is_tall else similarity, zero_point=ZERO)
    assert span.is_static
    sides = [pair[::-1] if is_tall else pair for pair in span.diagonals]
    for (short, long), (first, last) in zip(sides, [(0, 10), (0, 5), (5, 10)], strict=True):
        assert_near(short, first, last, 0.01)
        assert_near(long, 20 + first, 20 + last, 0.01)


def test_constant_matrix_is_one_range() -> None:
    [span] = align(np.full((30, 200), 0.95, np.float32), zero_point=ZERO)
    assert_near(span.row_span, 0, 15, 0.01)
    assert_near(span.column_span, 0, 100, 0.01)


def test_periodic_footage_gives_a_bounded_number_of_ranges() -> None:
    phase = np.arange(600) * 0.7
    ring = np.stack([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)
    spans = align(ring[:60] @ ring.T, zero_point=ZERO)
    assert 1 <= len(spans) <= 32
    assert spans[0].row_span is not None
    assert spans[0].row_span.duration_s > 25


def test_slow_shot_is_no_repetition_of_itself() -> None:
    video = Footage(8, change_s=12.0)  # neighbors a second apart are nearly the same
    columns = Timeline.regular(160)
    rows = Timeline.regular(3)
    spans = align(
        similarity_of(video.at(rows.times_s + 30), video.at(columns.times_s)), zero_point=0.5
    )
    assert len(spans) == 1


def test_one_moment_is_found_where_it_is_shown() -> None:
    video = Footage(9)
    columns = Timeline.regular(100)
    moment = Timeline(np.zeros(1), 0.0, 0.0)
    [span] = align(
        similarity_of(video.at(np.array([20.3])), video.at(columns.times_s)),
        zero_point=0.6,
        rows=moment,
        columns=columns,
    )
    assert span.row_span is None
    assert span.column_span is not None
    assert span.column_span.start_s <= 20.3 < span.column_span.end_s
    assert span.column_span.duration_s <= 1.5


def test_frame_and_clip_under_a_second_keep_their_spans() -> None:
    video = Footage(10)
    columns = Timeline.regular(100)
    frame = Timeline.from_spans([TimeSpan(0.0, 0.04)])
    spans = align(
        similarity_of(video.at(np.array([20.3])), video.at(columns.times_s)),
        zero_point=0.6,
        rows=frame,
    )
    assert spans[0].row_span == TimeSpan(0.0, 0.04)
    clip = Timeline.regular(16, 0.5 / 16)
    [span] = align(
        similarity_of(video.at(20.3 + clip.times_s), video.at(columns.times_s)),
        zero_point=0.6,
        rows=clip,
        columns=columns,
    )
    assert_near(span.row_span, 0, 0.5, 0.01)
    assert_near(span.column_span, 20.3, 20.8, 0.3)


def test_many_videos_at_once_give_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    rows = Timeline.regular(30, 0.4)
    sides = [Timeline.regular(n, step) for n, step in ((50, 0.5), (20, 0.2), (1, 0.5), (90, 0.5))]
    video = Footage(11)
    matrices = [
        similarity_of(video.at(rows.times_s), video.at(side.times_s - rng.uniform(-3, 9)), 0.1)
        for side in sides
    ]
    together = align_videos(matrices, zero_point=ZERO, rows=rows, columns=sides)
    alone = [
        align(matrix, zero_point=ZERO, rows=rows, columns=side)
        for matrix, side in zip(matrices, sides, strict=True)
    ]
    assert together == alone
    assert any(together)


def test_ranges_stay_inside_their_files() -> None:
    video = Footage(12)
    rows, columns = Timeline.regular(40), Timeline.regular(40)
    for shift_s in (-7.7, -3.1, 0.2, 4.4, 9.9):  # each begins or ends outside the other
        spans = align(
            similarity_of(video.at(rows.times_s + shift_s), video.at(columns.times_s)),
            zero_point=ZERO,
        )
        start_s, end_s = max(0, -shift_s), min(20, 20 - shift_s)
        assert_near(spans[0].row_span, start_s, end_s, 0.3)
        assert_near(spans[0].column_span, start_s + shift_s, end_s + shift_s, 0.3)
        for span in spans:
            for side in (span.row_span, span.column_span):
                assert side is not None
                assert side.end_s <= 20


def test_an_hour_against_an_hour_takes_seconds_and_little_memory() -> None:
    num = 2400  # a third of an hour at two a second; cost is in proportion to the product
    matrix = np.random.default_rng(0).normal(0, 0.1, (num, num)).astype(np.float32)
    np.fill_diagonal(matrix, 0.9)
    tracemalloc.start()
    started = time.process_time()
    [span] = align(matrix, zero_point=ZERO)
    elapsed_s = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_near(span.row_span, 0, num / 2, 0.1)
    assert elapsed_s < 5
    assert peak < 4 * matrix.nbytes


def test_pieces_of_a_long_query_are_joined() -> None:
    def span(row: tuple[float, float], column: tuple[float, float]) -> AlignedSpan:
        return AlignedSpan(TimeSpan(*row), TimeSpan(*column), 0.4, 0.4)

    joined = join_spans(
        [
            span((0, 512), (100, 612)),
            span((504, 900), (604, 1000)),
            span((504, 512), (604, 612)),
            span((2000, 2010), (5, 15)),
        ]
    )
    assert {(s.row_span, s.column_span) for s in joined} == {
        (TimeSpan(0, 900), TimeSpan(100, 1000)),
        (TimeSpan(2000, 2010), TimeSpan(5, 15)),
    }


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    late_s=st.floats(-4, 12),
    rates=st.sampled_from([(2.0, 2.0), (5.0, 2.0), (2.0, 5.0), (3.2, 2.0)]),
)
def test_the_line_through_all_of_two_videos_is_found_though_all_moments_are_alike(
    seed: int, late_s: float, rates: tuple[float, float]
) -> None:
    footage, scene = Footage(seed), np.float32(3.0)
    rows, columns = (
        Timeline.regular(int(10 * rates[0]), 1 / rates[0]),
        Timeline.regular(int(20 * rates[1]), 1 / rates[1]),
    )
    # Far below any zero point, and much more alike in what all moments share.
    similarity = 0.1 * similarity_of(footage.at(rows.times_s + late_s), footage.at(columns.times_s))
    similarity += 0.1 * scene * np.linspace(0, 1, len(columns), dtype=np.float32)
    best, other = whole_lines(similarity.astype(np.float32), rows=rows, columns=columns, num=2)
    assert best.standing > other.standing
    assert best.span.row_span is not None
    assert best.span.column_span is not None
    found_s = best.span.column_span.start_s - best.span.row_span.start_s
    assert abs(found_s - late_s) < 0.15
    assert best.span.row_span.duration_s == pytest.approx(best.span.column_span.duration_s)
    expected_s = min(10.0, 20.0 - late_s, 10.0 + late_s)
    assert abs(best.span.row_span.duration_s - expected_s) < 1.0


def test_lines_through_single_moments_have_no_length() -> None:
    still = Timeline(np.zeros(1), 0.0, 0.0)
    [line] = whole_lines(np.ones((1, 1), np.float32), rows=still, columns=still, num=2)
    assert line.span.row_span is None
    assert line.span.column_span is None
    likenesses = np.full((1, 60), 0.3, np.float32)
    likenesses[0, 40] = 0.9
    best, _ = whole_lines(likenesses, rows=still, columns=Timeline.regular(60), num=2)
    assert_near(best.span.column_span, 20.0, 20.5, 0.3)
    best, _ = whole_lines(likenesses.T, rows=Timeline.regular(60), columns=still, num=2)
    assert_near(best.span.row_span, 20.0, 20.5, 0.3)


def test_what_stands_out_of_pieces_is_kept_when_they_are_joined() -> None:
    outstanding = ((TimeSpan(3.0, 5.0), TimeSpan(9.0, 11.0)),)
    first = AlignedSpan(TimeSpan(0, 300), TimeSpan(0, 300), 0.5, 0.6, outstanding=outstanding)
    second = AlignedSpan(TimeSpan(292, 500), TimeSpan(292, 500), 0.5, 0.6)
    [joined] = join_spans([first, second])
    assert joined.outstanding == outstanding


def test_wrong_matrices_are_refused() -> None:
    with pytest.raises(ValueError, match="matrix"):
        align(np.zeros(4, np.float32), zero_point=0)
    with pytest.raises(ValueError, match="NaN"):
        align(np.full((2, 2), np.nan, np.float32), zero_point=0)
    with pytest.raises(ValueError, match="similarities"):
        align(np.zeros((2, 3), np.float32), zero_point=0, rows=Timeline.regular(5))
