"""Ranges that a query and an indexed video may share, each told once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from sora_search.datatypes import Match, TimeSpan, VideoEmbedding
from sora_search.retrieval.alignment import AlignedSpan
from sora_search.retrieval.windows import Rectangle

MOST_RANGES = 500
"""Ranges of one video that are told apart. Each is compared with all better ones, which takes .2 s
for so many and 64 times that for 4,000. Of an hour's query 450 are looked at (`max_looks`); what is
left out would be told on trust alone, behind hundreds of better ranges of its video."""


Spans = tuple[TimeSpan | None, TimeSpan | None]
"""Seconds of the query and of the indexed video; a still picture has none."""


@dataclass(frozen=True, slots=True)
class FoundRange:
    """A range that vectors suggest.

    Attributes:
        span: Where, on both sides.
        strength: Its evidence, see `scoring.strength_of`.
        window: The part of the query picture whose vectors found it; None for all of it.
    """

    span: AlignedSpan
    strength: float
    window: Rectangle | None = None


_Range = TypeVar("_Range", FoundRange, Match)


def without_echoes(ranges: Sequence[FoundRange]) -> list[FoundRange]:
    """Each range once, as the view that shows it best has it; the `MOST_RANGES` strongest."""
    strongest = once(sorted(ranges, key=lambda found: -found.strength))
    return list(islice(strongest, MOST_RANGES))


def once(ranges: Iterable[_Range]) -> Iterator[_Range]:
    """Those of ranges, best first, that are no echo of a better one."""
    kept: list[_Range] = []
    for found in ranges:
        if not has_echo(found, kept):
            kept.append(found)
            yield found


def spans_of(found: FoundRange | Match) -> Spans:
    """Where it lies in the query, and in the indexed video."""
    if isinstance(found, Match):
        return found.query_span, found.video_span
    return found.span.row_span, found.span.column_span


def has_echo(found: FoundRange | Match, others: Iterable[FoundRange | Match]) -> bool:
    """Whether one of some other ranges of the same video tells the same."""
    return any(_is_echo(spans_of(found), spans_of(other)) for other in others)


def _is_echo(spans: Spans, others: Spans) -> bool:
    """Whether two ranges overlap by half of the shorter one, on both sides."""
    return all(
        a is None or b is None or a.overlap_s(b) >= min(a.duration_s, b.duration_s) / 2
        for a, b in zip(spans, others, strict=True)
    )


def is_part(span: TimeSpan, other: TimeSpan) -> bool:
    """Whether half of a span or more lies in another one."""
    return span.overlap_s(other) >= span.duration_s / 2


def span_of(embedding: VideoEmbedding) -> TimeSpan | None:
    """What was embedded, from its start to its end; None for a still picture."""
    first, last = embedding.spans[0], embedding.spans[-1]
    return TimeSpan(first.start_s, last.end_s) if first and last else None


def covered_share(matches: Iterable[Match], whole: TimeSpan | None) -> float:
    """Share of the query that ranges cover, those that frames refute left out.

    Of a still picture, which has no `whole`, all or nothing is covered.
    """
    matches = [match for match in matches if match.verified is not False]
    if whole is None:
        return 1.0 if matches else 0.0
    covered_s, reached_s = 0.0, whole.start_s
    ranges = [match.query_span for match in matches if match.query_span is not None]
    for span in sorted(ranges, key=lambda span: span.start_s):
        covered_s += max(0.0, span.end_s - max(span.start_s, reached_s))
        reached_s = max(reached_s, span.end_s)
    return round(min(1.0, covered_s / whole.duration_s), 4)
