import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_search.media.timing import PresentationClock, end_of_last_frame


def times_of(stamps, **settings):
    clock = PresentationClock(**settings)
    return [clock.time_of(stamp) for stamp in stamps]


@given(
    st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=50),
    st.floats(0.001, 2.0),
)
def test_times_always_go_forward(stamps, interval_s):
    times = times_of(stamps, interval_s=interval_s)
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def test_the_first_frame_is_at_zero():
    assert times_of([7.0, 7.04, 7.5]) == pytest.approx([0.0, 0.04, 0.5])


def test_frames_without_stamps_are_one_interval_apart():
    assert times_of([None, None, None], interval_s=0.1) == pytest.approx([0.0, 0.1, 0.2])
    assert times_of([1.0, None, 1.2], interval_s=0.1) == pytest.approx([0.0, 0.1, 0.2])


def test_stamps_that_step_back_do_not_pile_up():
    stamps = [0.0, 0.08, 0.12, 0.04, 0.2, 0.24, 0.16, 0.32]  # B-frames with the order of decoding
    times = times_of(stamps, interval_s=0.04)
    assert times == pytest.approx([0.0, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32])


def test_repeated_stamps_never_lead_far():
    stamps = [i // 10 * 0.1 for i in range(200)]  # ten frames on each tick of the clock
    times = times_of(stamps, interval_s=0.04)
    assert max(time - stamp for time, stamp in zip(times, stamps, strict=True)) < 0.26


def test_a_recording_that_starts_anew_goes_on():
    times = times_of([10.0, 10.5, 11.0, 0.0, 0.5], interval_s=0.5)
    assert times == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])


def test_one_wild_stamp_does_not_move_the_rest():
    times = times_of([0.0, 0.04, 95_000.0, 0.12, 0.16], interval_s=0.04)
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])


def test_a_long_still_picture_keeps_its_length():
    assert times_of([0.0, 900.0, 900.04]) == pytest.approx([0.0, 900.0, 900.04])


def end_of(stamps, *, stated_duration_s=None, stated_end_s=None, **settings):
    clock = PresentationClock(**settings)
    for stamp in stamps:
        clock.time_of(stamp)
    return end_of_last_frame(clock, stated_duration_s=stated_duration_s, stated_end_s=stated_end_s)


def test_span_of_last_frame_ends_one_average_interval_after_it():
    assert end_of([0.0, 0.1, 0.2]) == pytest.approx(0.3)


def test_one_frame_lasts_what_the_header_says():
    assert end_of([5.0], interval_s=0.1) == pytest.approx(0.1)
    assert end_of([5.0]) == pytest.approx(0.04)


def test_last_of_a_slide_show_lasts_what_file_and_header_say():
    assert end_of([0.0, 1.0], stated_duration_s=9.0, stated_end_s=10.0) == pytest.approx(10.0)
    assert end_of([0.0, 1.0], stated_duration_s=99.0, stated_end_s=10.0) == pytest.approx(2.0)


def test_pictures_far_apart_end_where_the_header_says():
    end_s = end_of([0.0, 60.0, 120.0], interval_s=0.04, stated_end_s=120.04)
    assert end_s == pytest.approx(120.04)


def test_no_frame_has_no_end():
    with pytest.raises(ValueError, match="no frame"):
        end_of([])
