"""Whether two ranges show the same footage: decoded frames against decoded frames.

Vectors say which moments look alike. Here the pictures themselves are laid over one
another:

    geometry     features of some pairs of frames, plain and mirrored, pooled into one
                 geometry (`geometry`); without one the ranges are not the same
    time         the query's frames, laid into the indexed picture, against its frames
                 at every offset: what changes from frame to frame tells times apart
    appearance   share of the textured blocks that look the same
    motion       how well the changes from frame to frame agree

The same place filmed again has the same geometry and nearly the same appearance: only
motion tells another take from a copy, and where nothing moves nothing can.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FoundEdit, Match, TimeSpan
from sora_search.retrieval.deciding import (
    SCENE_APPEARANCE,
    SURE_MOTION,
    Verification,
    is_same_footage,
    is_same_moment,
)
from sora_search.retrieval.edges import find_edges
from sora_search.retrieval.footage import FRAMES_PER_S, QUERY_FRAMES_PER_S, Footage, Sides
from sora_search.retrieval.geometry import TOLERANCE, find_edit, in_pixels
from sora_search.retrieval.overlay import Laid, lay, moments_of, pairs_at
from sora_search.retrieval.placement import (
    MIN_CELLS,
    Placement,
    place_features,
    whole_picture,
)
from sora_search.retrieval.steadying import steadied
from sora_search.retrieval.stills import MIN_BLOCKS, Moment, find_moments, moment_of
from sora_search.retrieval.synchrony import Clock
from sora_search.retrieval.windows import Rectangle

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Measured on the 36 usual and hard edits of suite videos of use `choose`, times wrong by up
# to .7 s and speeds by 5 %, and on other moments of the same video and of its group.

PADDING_S = 1.5
"""Read on either side of a range: starts found from vectors were wrong by up to this."""

MAX_FRAMES_S = 12.0
"""Most seconds of either side that are held: of longer ranges the middle is looked at."""

MAX_SEARCHED_S = 30.0
"""Most seconds of an indexed video in which a range without movement of its own is looked for."""

LONG_SPEED_ERROR = 0.02
"""Speeds of long ranges closer to 1 than this are 1: vectors tell them to half a second in all."""

MIN_FEATURES = 30
"""Features of a frame below which nothing follows from finding no geometry: an empty sky."""

HOPELESS_CELLS, FEW_CELLS = 6, 25
"""Below the second, the first pairs do not settle the geometry and all are looked at; below
the first they do not need to be: other videos had up to 4, copies that were found 8 or more. And
where two pairs agree on nothing at all a third is not looked at: so it was for 742 of 911 looks
that found no geometry, and for none of 105 at the right video that did (of the suite `choose`)."""

CLEAR_APPEARANCE, RETRY_APPEARANCE, ODD_APPEARANCE, RETRY_CONTRAST = 0.95, 0.75, 0.5, 6.0
"""Below the first, geometry is fitted anew at the time found, and below the second at times
around it, where motion stands out by the last or appearance is below the third, at odds with
the geometry: panning cameras had .15 to .5 at first and .5 to 1.0 then."""

SHORTEST_S = 0.4
"""A shorter range of the query holds hardly a change: its middle is looked for as a picture."""

NEAR_S = 0.2
"""Around the moment of a still picture all frames are looked at."""

SAME_TIME_S = 0.15
"""Motion of a steadied query that agrees at a time farther away says nothing about this one."""

WINDOW_TOLERANCE = 0.06
"""By how much the shape of a window may differ from that of the picture it shows whole: its sides
are known to a pixel or two of 208."""

CLEAR_MOTION = 0.95
"""Together with `CLEAR_APPEARANCE`, enough to look no further for another geometry."""


def verify_match(
    sides: Sides,
    match: Match,
    *,
    within: TimeSpan | None = None,
    known: Placement | FoundEdit | None = None,
) -> Verification:
    """Read the frames around a match of two files, and `verify` it.

    Of ranges longer than `MAX_FRAMES_S` the middle is looked at; their speed stays what the match
    says, which long ranges tell better than a piece of them. Where nothing but frames can tell the
    time, the range may be anywhere `within` a part of the indexed video. Only a `known` geometry is
    tried if there is one: that of the same window, or an edit of the whole picture.

    Raises:
        MediaError: If nothing of a range can be decoded.
        OSError: If a file is not there or may not be read.
    """
    query_span, video_span = match.query_span, match.video_span
    if query_span is None or video_span is None or query_span.duration_s < SHORTEST_S:
        return _verify_still(sides, match)
    longest_s = max(query_span.duration_s, video_span.duration_s)
    share = min(1.0, (MAX_FRAMES_S - 2 * PADDING_S) / longest_s)
    query_piece, video_piece = _middle(query_span, share), _middle(video_span, share)
    searched = _padded(_within(within, video_piece) if within else video_piece)
    query, video = sides.query(_padded(query_piece)), sides.video(searched)
    if isinstance(known, FoundEdit):
        known = Placement(in_pixels(known, video.size, query.size)[None], np.zeros(1), 0)
    found = verify(
        query,
        video,
        query_span=query_piece,
        video_span=video_piece,
        searched=searched,
        window=sides.window,
        known=known,
    )
    if found.match is None:
        return found
    corrected = found.match
    if share < 1.0:
        corrected = replace(match, video_span=_shifted(query_span, video_span, found.offset_s))
    if found.is_same:
        assert found.placement is not None
        corrected = find_edges(sides, corrected, found.placement, appearance=found.appearance)
    return replace(found, match=replace(corrected, score=match.score))


def _verify_still(sides: Sides, match: Match) -> Verification:
    """`verify_match` where one side is a still picture, or the query hardly longer than one.

    Which moment of the other shows it?
    """
    short_span = match.query_span if match.video_span else None
    query_span = match.query_span and _around_piece(match.query_span)
    video_span = match.video_span and _around_piece(match.video_span)
    if short_span is not None:
        query_span, query = None, _middle_frame(sides, short_span)
    else:
        query = sides.query(query_span, frames_per_s=FRAMES_PER_S)
    video = sides.video(video_span)
    moments = find_moments(query, video)
    if not moments:
        num_features = max(len(side.frames[0].features.points) for side in (query, video))
        is_same = False if num_features >= MIN_FEATURES else None
        return Verification(is_same, is_of_a_still=True)

    def refined(moment: Moment) -> Moment:
        near = TimeSpan(max(0.0, moment.span.middle_s - NEAR_S), moment.span.middle_s + NEAR_S)
        if video_span is not None:
            closer = video.joined(sides.video(near, frames_per_s=QUERY_FRAMES_PER_S))
            return moment_of(query, closer, moment)
        if query_span is not None:
            return moment_of(query.joined(sides.query(near)), video, moment)
        return moment_of(query, video, moment)

    moment = max(map(refined, moments), key=lambda moment: moment.likeness)
    if moment.motion is None and moment.num_blocks < MIN_BLOCKS:
        return Verification(None, moment.placement.cells, is_of_a_still=True)
    spans = query_span and moment.span, video_span and moment.span
    if short_span is not None:
        start_s = max(0.0, moment.span.middle_s - short_span.duration_s / 2)
        spans = short_span, TimeSpan(start_s, start_s + short_span.duration_s)
    window = sides.window
    to_whole, whole_size = _around(window, query.size, moment.span.middle_s)
    return Verification(
        is_same_moment(moment),
        moment.placement.cells,
        moment.appearance,
        moment.motion,
        match=Match(*spans, match.score),
        edit=find_edit(
            to_whole @ moment.placement.matrices[0],
            video.size,
            whole_size,
            is_moving=window is not None and window.is_moving,
        ),
        placement=moment.placement,
        is_of_a_still=True,
    )


def _middle_frame(sides: Sides, span: TimeSpan) -> Footage:
    """The frame of the query in the middle of a span, alone."""
    footage = sides.query(_padded(span))
    row = footage.nearest(np.array([span.middle_s]))[0]
    return Footage([footage.frames[row]])


def verify(
    query: Footage,
    video: Footage,
    *,
    query_span: TimeSpan,
    video_span: TimeSpan,
    searched: TimeSpan | None = None,
    window: Rectangle | None = None,
    known: Placement | None = None,
) -> Verification:
    """Compare the frames of two ranges that are supposed to show the same footage.

    Args:
        query: Frames of the query, ten a second or more, from `PADDING_S` before its range
            to as much after it where there is that much.
        video: The same of the indexed video.
        query_span: The range of the query.
        video_span: The range of the indexed video.
        searched: Where in the indexed video it may be; `PADDING_S` around `video_span` if None.
        window: The part of the query picture that `query` shows; None for all of it.
        known: The geometry to try; it is looked for if None.
    """
    clock = clock_between(query_span, video_span)
    reach_s = PADDING_S, PADDING_S
    if searched is not None:
        reach_s = video_span.start_s - searched.start_s, searched.end_s - video_span.end_s
    eyes = _Eyes(query, video, query_span, reach_s)
    times_s = moments_of(query_span)
    if known is not None:
        laid = eyes.lay(clock, known)
    else:
        found = eyes.find(clock, times_s[:3:2])
        if found is not None:
            found = eyes.find(clock, times_s[::2])
        if found is not None and HOPELESS_CELLS <= found.cells < FEW_CELLS:
            found = eyes.find(clock, times_s)
        if found is None or found.cells < MIN_CELLS:
            is_same = False if eyes.can_tell(clock, times_s[:3:2]) else None
            return Verification(is_same, cells=found.cells if found else 0)
        laid = eyes.lay(clock, found)
        if window is not None and window.is_moving:
            laid = _on_its_path(eyes, laid, clock)
        laid = _sharpened(eyes, laid, clock, times_s[::2])
        tolerance = TOLERANCE if window is None else WINDOW_TOLERANCE
        laid = _plainest(eyes, laid, clock, times_s[::2], tolerance)
    laid = _steady(eyes, laid)
    to_whole, whole_size = _around(window, eyes.query.size, query_span.middle_s)
    edit = find_edit(
        to_whole @ laid.placement.at(times_s).mean(axis=0),
        eyes.video.size,
        whole_size,
        speed=laid.clock.speed,
        is_moving=laid.placement.is_moving or (window is not None and window.is_moving),
    )
    return Verification(
        is_same_footage(laid, query_span.duration_s),
        laid.placement.cells,
        laid.appearance,
        laid.motion,
        laid.contrast,
        laid.clock.at_origin_s - clock.at_origin_s,
        _corrected(laid, query_span, eyes.video.times_s),
        edit,
        laid.placement,
        compared_s=query_span.duration_s,
    )


def _shifted(query_span: TimeSpan, video_span: TimeSpan, offset_s: float) -> TimeSpan:
    """The range of the indexed video later by an offset, at the query's own speed if it is near."""
    middle_s = video_span.middle_s + offset_s
    speed = video_span.duration_s / query_span.duration_s
    if abs(speed - 1) < LONG_SPEED_ERROR:
        speed = 1.0
    half_s = speed * query_span.duration_s / 2
    start_s = max(0.0, middle_s - half_s)
    return TimeSpan(start_s, max(start_s + 1e-3, middle_s + half_s))


def _middle(span: TimeSpan, share: float) -> TimeSpan:
    if share == 1.0:
        return span
    cut_s = span.duration_s * (1 - share) / 2
    return TimeSpan(span.start_s + cut_s, span.end_s - cut_s)


def _within(part: TimeSpan, piece: TimeSpan) -> TimeSpan:
    """What is searched of a part of the indexed video: at most `MAX_SEARCHED_S` around a piece."""
    farthest_s = max(0.0, (MAX_SEARCHED_S - piece.duration_s) / 2)
    start_s = max(part.start_s, piece.start_s - farthest_s)
    return TimeSpan(start_s, max(piece.end_s, min(part.end_s, piece.end_s + farthest_s)))


def _around_piece(piece: TimeSpan) -> TimeSpan:
    """Where a still picture is looked for: vectors hardly tell moments of one scene apart."""
    half_s = min(MAX_SEARCHED_S, max(MAX_FRAMES_S, piece.duration_s + 2 * PADDING_S)) / 2
    return TimeSpan(max(0.0, piece.middle_s - half_s), piece.middle_s + half_s)


def _padded(span: TimeSpan) -> TimeSpan:
    return TimeSpan(max(0.0, span.start_s - PADDING_S), span.end_s + PADDING_S)


def _around(
    window: Rectangle | None, size: tuple[int, int], time_s: float
) -> tuple[Floats, tuple[int, int]]:
    """From places in a window of that size (H, W) to places in the picture; its size (H, W)."""
    if window is None:
        return np.eye(3), size
    window = window.at(time_s)
    height, width = size[0] / window.height, size[1] / window.width
    shift = np.array([[1, 0, window.left * width], [0, 1, window.top * height], [0, 0, 1]])
    return shift, (round(height), round(width))


def clock_between(query_span: TimeSpan, video_span: TimeSpan) -> Clock:
    """The line of time on which both ranges begin and end together."""
    speed = video_span.duration_s / query_span.duration_s
    return Clock(query_span.middle_s, video_span.middle_s, speed)


def _corrected(laid: Laid, span: TimeSpan, video_times_s: Floats) -> Match:
    """The ranges on the line of time found, within what there is of the indexed video."""
    half_s = float(np.median(np.diff(video_times_s))) / 2 if len(video_times_s) > 1 else 0.0
    edges = laid.clock(np.array([span.start_s, span.end_s]))
    edges = np.clip(edges, max(0.0, video_times_s[0] - half_s), video_times_s[-1] + half_s)
    start_s, end_s = np.clip(laid.clock.back(edges), span.start_s, span.end_s)
    if end_s - start_s < 1e-3 or edges[1] - edges[0] < 1e-3:
        start_s, end_s = span.start_s, span.end_s
        edges = np.array([max(0.0, edges[0]), max(0.0, edges[0]) + span.duration_s])
    return Match(
        TimeSpan(float(start_s), float(end_s)),
        TimeSpan(float(edges[0]), float(edges[1])),
        laid.appearance,
    )


# --- geometry ------------------------------------------------------------------------------------


class _Eyes:
    """Both sides, and where one lies in the other."""

    def __init__(
        self,
        query: Footage,
        video: Footage,
        span: TimeSpan,
        reach_s: tuple[float, float],
    ) -> None:
        self.query, self.video = query, video
        self._span, self._reach_s = span, reach_s

    def lay(self, clock: Clock, placement: Placement) -> Laid:
        """One side laid into the other, at the time near a supposed one where they agree best."""
        return lay(self.query, self.video, clock, placement, self._span, reach_s=self._reach_s)

    def find(
        self, clock: Clock, times_s: Floats, *, is_exact: bool = False, is_upright: bool = False
    ) -> Placement | None:
        """The placement that the pairs of frames at some times of the query agree on.

        Exact pairs are worth their features once the clock is right.
        """
        rows = self._rows(clock, times_s)
        if is_exact:
            rows = pairs_at(self.query, self.video, clock, times_s)
        pairs = sorted(set(zip(*(side.tolist() for side in rows), strict=True)))
        return place_features(
            [self.video.frames[row].features for _, row in pairs],
            [self.query.frames[row].features for row, _ in pairs],
            width=self.video.size[1],
            times_s=self.query.times_s[[row for row, _ in pairs]],
            tolerance=TOLERANCE * max(self.query.size),
            is_upright=is_upright,
        )

    def other_times_s(self) -> list[float]:
        """Offsets at which the geometry may be another: a few nearby, fewer far away."""
        far_s = np.concatenate(
            [
                np.arange(PADDING_S - 0.5, self._reach_s[0] - PADDING_S / 2) * -1,
                np.arange(PADDING_S - 0.5, self._reach_s[1] - PADDING_S / 2),
            ]
        )
        return [-0.6, -0.3, -0.1, 0.1, 0.3, 0.6, *far_s.tolist()]

    def shown_times_s(self, clock: Clock) -> Floats:
        """Times of the query at which it shows the frames of the indexed video."""
        shown_s: Floats = clock.back(self.video.times_s)
        inside = (shown_s >= self.query.times_s[0]) & (shown_s <= self.query.times_s[-1])
        return np.asarray(shown_s[inside])

    def can_tell(self, clock: Clock, times_s: Floats) -> bool:
        """Whether the frames of either side hold enough to be recognized by."""
        medians = [
            float(np.median([len(side.frames[row].features.points) for row in rows]))
            for side, rows in zip((self.query, self.video), self._rows(clock, times_s), strict=True)
        ]
        return max(medians) >= MIN_FEATURES

    def _rows(self, clock: Clock, times_s: Floats) -> tuple[Integers, Integers]:
        """The frames of the query and of the indexed video at some times of the query."""
        rows = self.query.nearest(times_s)
        return rows, self.video.nearest(clock(self.query.times_s[rows]))


# --- other geometries and times -------------------------------------------------------------------


def _sharpened(eyes: _Eyes, laid: Laid, supposed: Clock, times_s: Floats) -> Laid:
    """The same with the geometry of frames that belong together.

    While the camera moves, frames of different moments give a geometry that holds at
    none, and that in turn hides the right time: then some times around are tried.
    """
    for _ in range(2):
        is_hopeful = laid.contrast >= RETRY_CONTRAST or laid.appearance >= ODD_APPEARANCE
        if laid.appearance >= CLEAR_APPEARANCE or not is_hopeful:
            break
        again = _relaid(eyes, laid, [laid.clock], times_s, is_exact=True)
        if again is laid:
            break
        laid = again
    is_odd = laid.contrast >= RETRY_CONTRAST or laid.appearance < ODD_APPEARANCE
    if laid.appearance >= RETRY_APPEARANCE or not is_odd:
        return laid
    around = [supposed.shifted(offset_s) for offset_s in eyes.other_times_s()]
    again = _relaid(eyes, laid, around, times_s[len(times_s) // 2 :][:1])
    if again is not laid and again.appearance < CLEAR_APPEARANCE:
        again = _relaid(eyes, again, [again.clock], times_s, is_exact=True)
    return again


def _relaid(
    eyes: _Eyes,
    laid: Laid,
    clocks: Sequence[Clock],
    times_s: Floats,
    *,
    is_exact: bool = False,
) -> Laid:
    """Laid anew with the best geometry that some clocks lead to, where that is better."""
    tried = [(eyes.find(clock, times_s, is_exact=is_exact), clock) for clock in clocks]
    found = [(placement, clock) for placement, clock in tried if placement]
    placement, clock = max(found, key=lambda pair: pair[0].cells, default=(None, laid.clock))
    if placement is None or placement.cells < MIN_CELLS:
        return laid
    return _better(laid, eyes.lay(clock, placement))


def _plainest(eyes: _Eyes, laid: Laid, supposed: Clock, times_s: Floats, tolerance: float) -> Laid:
    """The same with the whole picture at its own speed, or a picture that is upright, if better.

    Frames that are a moment apart, and movement that repeats itself, lead to a geometry and a
    speed that nobody made.
    """
    is_plain = abs(laid.clock.speed - 1) < 0.03 and laid.appearance >= CLEAR_APPEARANCE
    if is_plain and (laid.motion is None or laid.motion >= CLEAR_MOTION):
        return laid
    matrix = whole_picture(
        eyes.video.size,
        eyes.query.size,
        tolerance=tolerance,
        is_mirrored=laid.placement.is_mirrored,
    )
    if matrix is not None:
        whole = replace(laid.placement, matrices=matrix[None])
        laid = _better(laid, eyes.lay(replace(supposed, speed=1.0), whole))
    if laid.appearance < CLEAR_APPEARANCE:
        upright = eyes.find(laid.clock, times_s, is_exact=True, is_upright=True)
        if upright is not None and upright.cells >= MIN_CELLS:
            laid = _better(laid, eyes.lay(laid.clock, upright))
    return laid


def _on_its_path(eyes: _Eyes, laid: Laid, supposed: Clock) -> Laid:
    """The same with an inset that crosses the picture where it is from frame to frame.

    Before anything else: what is wrong with its path looks like movement, and hides the time.
    """
    shown_s = eyes.shown_times_s(supposed)
    placement = steadied(
        eyes.query, eyes.video, supposed, laid.placement, shown_s, is_drifting=True
    )
    return laid if placement is None else _better(laid, eyes.lay(supposed, placement))


def _steady(eyes: _Eyes, laid: Laid) -> Laid:
    """The same without the shaking of a hand that filmed it, where that hides what moves."""
    is_scene = laid.appearance >= SCENE_APPEARANCE
    if not is_scene or laid.motion is None or laid.motion >= SURE_MOTION:
        return laid
    shown_s = eyes.shown_times_s(laid.clock)
    placement = steadied(eyes.query, eyes.video, laid.clock, laid.placement, shown_s)
    if placement is None:
        return laid
    steady = eyes.lay(laid.clock, placement)
    if steady.motion is None or steady.motion <= laid.motion:
        return laid
    middle_s = np.array([shown_s.mean()])
    if abs(steady.clock(middle_s) - laid.clock(middle_s)) > SAME_TIME_S:
        return laid
    return replace(laid, motion=steady.motion, contrast=steady.contrast)


def _better(laid: Laid, other: Laid) -> Laid:
    return other if other.likeness > laid.likeness else laid
