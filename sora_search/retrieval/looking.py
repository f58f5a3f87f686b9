"""Looking at a pair of files: what frames say about the ranges that vectors suggest.

A range is looked at whole; where it agrees only in part, in halves anywhere in it, around an inset
without the inset, and around a window that is believed faintly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sora_search.datatypes import Evidence, Match, TimeSpan
from sora_search.errors import MediaError
from sora_search.retrieval.deciding import (
    CLEAR_CONTRAST_APPEARANCE,
    LIKELY_MOTION,
    SCENE_APPEARANCE,
    SHORT_MOTION,
    SURE_CONTRAST,
    SURE_MOTION,
    Verification,
)
from sora_search.retrieval.footage import Sides
from sora_search.retrieval.placement import Placement
from sora_search.retrieval.ranges import FoundRange, Spans, is_part, spans_of
from sora_search.retrieval.scoring import Sight, score_of_match
from sora_search.retrieval.synchrony import Clock
from sora_search.retrieval.verification import clock_between, verify_match
from sora_search.retrieval.windows import Rectangle

MAX_REFUTED_SCENE = 3
"""Ranges of a video that may be refuted where another one is of the same scene at least."""

MIN_CONFIRMED = 0.75
"""Where less of a range is confirmed, its halves are looked at too."""

MIN_HALF_S, MIN_REST_S = 1.5, 1.0
"""Seconds of the query that are looked at alone: a half, and what confirmed parts leave."""

REPETITION_MOTION = 0.1
"""How much less motion agrees where an exercise is done again: .75 beside 1.00, .76 beside .94."""

MOST_AROUND = 2.0
"""Where the picture that a window shows a part of is larger by so much, and what moves in the
window is the same only because it stands out, all of it must move alike, or stand out farther: in a
quarter of the picture a pitcher's second throw agreed with the first by .78 (contrast 20), in the
whole by .5 (17; a negative of the suite `report`); a blend by .63 (32) and .54 (45)."""

IN_LINE_S = 0.3
"""Ranges whose moments are paired alike but for so much are parts of one."""

ANYWHERE = TimeSpan(0.0, 1e9)
"""Of an indexed video. Of eight clips of two indexed videos, one inside the other, the outer one
was confirmed for five; of the others vectors suggested a time that was seconds away."""


def on_trust(ranges: Sequence[FoundRange], reason: str, sight: Sight) -> Iterator[Match]:
    """What is told of ranges at which nobody looked, and for which reason."""
    for found in ranges:
        score = score_of_match(found.strength, sight)
        evidence = Evidence(reason, round(found.strength, 4))
        yield Match(found.span.row_span, found.span.column_span, score, evidence=evidence)


class Pair:
    """The query and a file of an indexed video, and what was seen of both."""

    def __init__(self, sides: Sides, insets: Sequence[Rectangle] = ()) -> None:
        self._sides = sides
        self._insets = insets
        self._confirmed: list[tuple[Rectangle | None, TimeSpan, Placement]] = []

    def look_at(
        self, ranges: Sequence[FoundRange], at_most: int, max_refuted: int
    ) -> Iterator[Match]:
        """What frames say about ranges, the most promising first, and of those left on trust."""
        num_refuted = num_unread = 0
        for place, found in enumerate(ranges):
            if place >= at_most or num_refuted + num_unread >= max_refuted:
                sight: Sight = "behind" if 0 < num_refuted == place else "unseen"
                reason = "not looked at after the others of its video"
                yield from on_trust(ranges[place:], reason, sight)
                return
            try:
                matches = list(self._compare(found))
            except (MediaError, OSError):  # it was there when it was indexed
                # Another part of a damaged file may still be fine.
                yield from on_trust([found], "its file cannot be read there any more", "unseen")
                num_unread += 1
                continue
            num_refuted += all(match.verified is False for match in matches)
            if any(match.verified is None and match.edit for match in matches):
                # The same scene, at least: another of its windows may show more.
                max_refuted = max(max_refuted, MAX_REFUTED_SCENE)
            yield from matches

    def _compare(self, found: FoundRange) -> Iterator[Match]:
        """What frames say about a range: a match, or one for each part that belongs elsewhere."""
        ranges, within = spans_of(found), found.span.column_span
        whole: Spans
        halves: Sequence[Spans]
        whole, *halves = found.span.diagonals or (ranges,)
        seen = self._verify(found, whole, within if found.span.diagonals else None)
        parts: list[_Part] = []
        if seen.appearance >= SCENE_APPEARANCE and not _is_confirmed(seen, whole):
            # The same scene, in another order, or again and again.
            if not halves and (seen.is_same is not False or seen.contrast >= SURE_CONTRAST):
                halves = _halves(whole)
            found_parts = self._parts(found, halves, within)
            parts = [part for part in found_parts if _is_better(part.seen, seen)]
        if not parts and not seen.is_same:
            tried = [_Part(spans, self._verify(found, spans)) for spans in found.span.outstanding]
            parts = [part for part in tried if part.seen.is_same]
        if parts:
            parts += list(self._rest(found, parts))
            yield from (match_of(ranges, found.strength, seen) for seen in _apart(parts))
            return
        is_open = not seen.is_same and not self._confirmed
        if is_open and found.window is None and seen.motion is not None:
            seen = self._around_an_inset(found, whole) or seen
        if found.span.diagonals and not seen.is_same:
            # Where nothing moves all of both ranges is as alike as what was looked at.
            seen = replace(seen, match=None)
        yield match_of(ranges, found.strength, seen)

    def _around_an_inset(self, found: FoundRange, spans: Spans) -> Verification | None:
        """What frames confirm beyond doubt of the picture without one of its insets, at any time.

        What moves in an inset hides that the footage around it moves alike, and when. It is for
        videos of which nothing is confirmed: of others it might find the same seconds again.
        """
        match = Match(*spans, found.strength)
        for inset in self._insets:
            sides = replace(self._sides, hidden=inset)
            seen = verify_match(sides, match, within=ANYWHERE)
            if seen.is_same and seen.appearance >= CLEAR_CONTRAST_APPEARANCE:
                return seen
        return None

    def _parts(
        self, found: FoundRange, halves: Sequence[Spans], within: TimeSpan | None
    ) -> Iterator["_Part"]:
        """What frames confirm of the halves of a range, anywhere in it, and if need be of theirs.

        A half of three seconds may hold the end of one repetition and the beginning of the next.
        """
        for half in halves:
            part = self._verify(found, half, within)
            if part.is_same:
                yield _Part(half, part)
            elif part.is_same is None and part.motion is not None:
                for quarter in _halves(half):
                    again = self._verify(found, quarter, within, known=part.placement)
                    if again.is_same and (again.motion or 0.0) >= SHORT_MOTION:
                        yield _Part(quarter, again)

    def _rest(self, found: FoundRange, parts: Sequence["_Part"]) -> Iterator["_Part"]:
        """What frames confirm of the seconds of a range that its confirmed parts leave."""
        within = found.span.column_span
        if found.span.row_span is None or within is None:
            return
        spans = [part.seen.match.query_span for part in parts if part.seen.match]
        for span in _left_of(found.span.row_span, [span for span in spans if span]):
            rest = span, _in_the_middle(within, span.duration_s)
            part = self._verify(found, rest, within, known=parts[0].seen.placement)
            if part.is_same:
                yield _Part(rest, part)

    def _verify(
        self,
        found: FoundRange,
        spans: Spans,
        within: TimeSpan | None = None,
        *,
        known: Placement | None = None,
    ) -> Verification:
        match = Match(*spans, found.strength)

        def verified(known: Placement | None) -> Verification:
            sides = replace(self._sides, window=found.window)
            return verify_match(sides, match, within=within, known=known)

        if known is not None:
            return verified(known)
        for window, span, placement in self._confirmed:
            # Seconds that are there twice were edited once.
            if window == found.window and match.query_span and is_part(match.query_span, span):
                return verified(placement)
        seen = verified(None)
        if seen.is_same and found.window and _is_in_doubt(seen, found.window):
            assert seen.match is not None
            around = verify_match(self._sides, seen.match, known=seen.edit)
            if not around.is_same and around.contrast <= seen.contrast:
                seen = replace(around, cells=seen.cells)
        if seen.is_same and seen.placement and seen.match and seen.match.query_span:
            self._confirmed.append((found.window, seen.match.query_span, seen.placement))
        return seen


@dataclass(frozen=True, slots=True)
class _Part:
    """Some seconds of a range that were looked at alone, and what was seen of them."""

    spans: Spans
    seen: Verification

    def confirmed_span(self) -> TimeSpan | None:
        """The seconds of the query that were looked at and confirmed."""
        match, looked_at = self.seen.match, self.spans[0]
        if match is None or match.query_span is None or looked_at is None:
            return None
        start_s = max(match.query_span.start_s, looked_at.start_s)
        end_s = min(match.query_span.end_s, looked_at.end_s)
        return TimeSpan(start_s, end_s) if start_s < end_s else None


def _apart(parts: Sequence[_Part]) -> Iterator[Verification]:
    """What was seen of parts, none of which reaches into seconds in which another was confirmed.

    From a confirmed part on frames are followed outwards; a movement that is done again and again
    agrees there as well, a repetition away.
    """
    for part in parts:
        match, looked_at = part.seen.match, part.spans[0]
        if match is None or match.query_span is None or looked_at is None:
            yield part.seen
            continue
        start_s, end_s = match.query_span.start_s, match.query_span.end_s
        for other in parts:
            theirs = other.confirmed_span()
            if theirs is None or other.seen.match is None or _is_in_line(other.seen.match, match):
                continue
            if theirs.middle_s < looked_at.middle_s:
                start_s = max(start_s, min(theirs.end_s, looked_at.start_s))
            else:
                end_s = min(end_s, max(theirs.start_s, looked_at.end_s))
        if start_s < end_s:
            yield replace(part.seen, match=_cut(match, TimeSpan(start_s, end_s)))


def _is_in_line(match: Match, other: Match) -> bool:
    """Whether two ranges pair the same moments."""
    if match.query_span is None or match.video_span is None:
        return False
    there_s = _line_of(other)(np.array([match.query_span.middle_s]))[0]
    return bool(abs(there_s - match.video_span.middle_s) < IN_LINE_S)


def _line_of(match: Match) -> Clock:
    """The line of time of a match of two videos."""
    assert match.query_span is not None
    assert match.video_span is not None
    return clock_between(match.query_span, match.video_span)


def _cut(match: Match, span: TimeSpan) -> Match:
    """Of a match of two videos what lies in a span of the query."""
    start_s, end_s = _line_of(match)(np.array([span.start_s, span.end_s])).tolist()
    # Rounding may lead to just before the first frame.
    return replace(match, query_span=span, video_span=TimeSpan(max(0.0, start_s), end_s))


def _is_in_doubt(seen: Verification, window: Rectangle) -> bool:
    """Whether a part of the picture, of which the query shows much more, speaks for it faintly."""
    if seen.edit is None or seen.is_of_a_still or window.is_moving or seen.motion is None:
        return False
    _, _, width, height = seen.edit.rectangle
    is_part = width * height > MOST_AROUND * window.width * window.height
    return is_part and seen.motion < SURE_MOTION


def _is_confirmed(seen: Verification, spans: Spans) -> bool:
    """Whether frames agree clearly over most of what was looked at, not in a part of it alone."""
    if not seen.is_same or seen.match is None or seen.match.query_span is None or spans[0] is None:
        return bool(seen.is_same)
    is_clear = seen.motion is None or seen.motion >= LIKELY_MOTION
    covered_s = seen.match.query_span.overlap_s(spans[0])
    return is_clear and covered_s >= MIN_CONFIRMED * spans[0].duration_s


def _is_better(part: Verification, whole: Verification) -> bool:
    """Whether more moves alike in a part than in the whole, or as much and that is much."""
    if not whole.is_same or whole.motion is None or whole.motion >= LIKELY_MOTION:
        return True
    return part.motion is not None and part.motion >= whole.motion + REPETITION_MOTION


def _halves(spans: Spans) -> list[Spans]:
    """Both halves of a range, if they are long enough to be looked at alone."""
    query_span, video_span = spans
    if query_span is None or video_span is None or query_span.duration_s < 2 * MIN_HALF_S:
        return []
    query_s, video_s = query_span.middle_s, video_span.middle_s
    return [
        (TimeSpan(query_span.start_s, query_s), TimeSpan(video_span.start_s, video_s)),
        (TimeSpan(query_s, query_span.end_s), TimeSpan(video_s, video_span.end_s)),
    ]


def _left_of(whole: TimeSpan, told: Sequence[TimeSpan]) -> Iterator[TimeSpan]:
    """What spans leave of a whole, where it is long enough to be looked at alone."""
    starts_s, ends_s = [], [whole.start_s]
    for span in sorted(told, key=lambda span: span.start_s):
        starts_s.append(span.start_s)
        ends_s.append(max(ends_s[-1], span.end_s))
    for start_s, end_s in zip(ends_s, [*starts_s, whole.end_s], strict=True):
        if end_s - start_s >= MIN_REST_S:
            yield TimeSpan(start_s, end_s)


def _in_the_middle(span: TimeSpan, duration_s: float) -> TimeSpan:
    """Seconds at a span's own speed around its middle."""
    start_s = max(0.0, span.middle_s - duration_s / 2)
    return TimeSpan(start_s, start_s + duration_s)


def match_of(ranges: Spans, strength: float, seen: Verification) -> Match:
    """What frames say of ranges of that strength, with the score that it makes."""
    spans = seen.match or Match(*ranges, strength)
    return Match(
        spans.query_span,
        spans.video_span,
        score_of_match(
            strength,
            seen.sight,
            appearance=seen.appearance,
            motion=seen.weighed_motion,
        ),
        verified=seen.is_same,
        edit=seen.edit.describe() if seen.edit and seen.is_same is not False else "",
        evidence=Evidence(
            seen.reason(),
            round(strength, 4),
            seen.cells,
            round(seen.appearance, 4),
            None if seen.motion is None else round(seen.motion, 4),
            seen.edit,
        ),
    )
