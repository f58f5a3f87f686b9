"""What is told of parts of a range that were looked at alone."""

import numpy as np
import pytest

from sora_search.datatypes import Match, TimeSpan
from sora_search.retrieval.deciding import Verification
from sora_search.retrieval.looking import _apart, _cut, _Part


def part_of(looked_at: tuple[float, float], query: tuple[float, float], start_s: float) -> _Part:
    """A part of which more was confirmed than was looked at, at the speed 1."""
    video = TimeSpan(start_s, start_s + query[1] - query[0])
    match = Match(TimeSpan(*query), video, 0.9)
    return _Part((TimeSpan(*looked_at), None), Verification(True, match=match))


def test_parts_do_not_reach_into_what_another_one_confirms() -> None:
    first, second = part_of((0, 4), (0, 4.5), 3.0), part_of((4, 8), (3.5, 8), 2.5)
    cut = [(seen.match.query_span, seen.match.video_span) for seen in _apart([first, second])]  # type: ignore[union-attr]
    assert cut == [(TimeSpan(0, 4), TimeSpan(3, 7)), (TimeSpan(4, 8), TimeSpan(3, 7))]


def test_a_part_that_is_cut_begins_no_earlier_than_its_video() -> None:
    whole = part_of((0, 3.76), (0, 3.76), 0.1 + 0.2 - 0.3)
    assert whole.seen.match is not None
    for start_s in np.linspace(0.0, 0.3, 50):
        video = _cut(whole.seen.match, TimeSpan(start_s, 3.7)).video_span
        assert video is not None
        assert video.start_s == pytest.approx(start_s, abs=1e-9)


def test_parts_of_one_range_stay_as_long_as_they_are() -> None:
    first, second = part_of((0, 4), (0, 8), 3.0), part_of((4, 8), (0.5, 8), 3.5)
    assert list(_apart([first, second])) == [first.seen, second.seen]
