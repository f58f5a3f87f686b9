import numpy as np
import pytest

from sora_search.datatypes import FrameBatch, Match, TimeSpan, in_order


@pytest.mark.parametrize(
    ("start_s", "end_s", "shown"),
    [
        (3.0, 7.5, "0:03.0-0:07.5"),
        (759.5, 3600.0, "12:39.5-1:00:00.0"),
        (13.6, 13.64, "0:13.6"),
        (13.58, 13.63, "0:13.6"),
        (13.5, 13.75, "0:13.5-0:13.8"),
    ],
)
def test_a_span_is_a_range_or_one_time_where_it_would_look_empty(start_s, end_s, shown):
    assert str(TimeSpan(start_s, end_s)) == shown


def test_frames_show_the_moment_at_which_they_came_on_screen_where_that_is_known():
    frames, times_s = np.zeros((2, 4, 4, 3), np.uint8), np.array([0.25, 0.75])
    assert (FrameBatch(frames, times_s).moments_s == times_s).all()
    began_s = np.array([0.2, 0.7])
    assert (FrameBatch(frames, times_s, began_s).moments_s == began_s).all()
    with pytest.raises(ValueError, match="began_s"):
        FrameBatch(frames, times_s, began_s[:1])


def test_ranges_are_read_as_they_follow_in_the_query_those_confirmed_first():
    last, first = (Match(TimeSpan(s, s + 1), TimeSpan(0, 1), 0.9, verified=True) for s in (5, 2))
    unsure = Match(TimeSpan(0, 1), TimeSpan(0, 1), 0.95)
    still = Match(None, TimeSpan(3, 4), 0.99, verified=True)
    assert in_order([unsure, last, first]) == [first, last, unsure]
    assert in_order([still]) == [still]
