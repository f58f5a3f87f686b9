import pytest

from sora_search.datatypes import TimeSpan


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
