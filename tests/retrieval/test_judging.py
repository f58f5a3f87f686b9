"""Which ranges are told: each once, and what frames say about them."""

from sora_search.datatypes import TimeSpan
from sora_search.retrieval.alignment import AlignedSpan
from sora_search.retrieval.judging import FoundRange, without_echoes
from sora_search.retrieval.windows import Rectangle


def found(
    rows: tuple[float, float] | None, columns: tuple[float, float], strength: float
) -> FoundRange:
    row_span = TimeSpan(*rows) if rows else None
    return FoundRange(AlignedSpan(row_span, TimeSpan(*columns), 0.1, 0.1), strength)


def test_a_range_that_two_views_see_is_kept_as_the_better_one_has_it() -> None:
    whole = found((0, 4), (10, 14), 0.4)
    window = FoundRange(found((0.5, 4), (10.5, 14), 0.8).span, 0.8, Rectangle(0, 0, 0.5, 0.5))
    assert without_echoes([whole, window]) == [window]


def test_what_occurs_twice_stays_twice_on_either_side() -> None:
    twice_in_video = [found((0, 4), (10, 14), 0.8), found((0, 4), (20, 24), 0.7)]
    twice_in_query = [found((0, 4), (10, 14), 0.8), found((6, 10), (10, 14), 0.9)]
    assert without_echoes(twice_in_video) == twice_in_video
    assert without_echoes(twice_in_query) == twice_in_query[::-1]


def test_a_still_picture_shows_at_several_times() -> None:
    ranges = [found(None, (10, 14), 0.8), found(None, (20, 24), 0.9)]
    assert without_echoes(ranges) == ranges[::-1]
