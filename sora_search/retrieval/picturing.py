"""An answer as a picture: the query's frames, and beneath them the frames that match.

One row of the query for each range that was found, one row of each video that has
it; what stands in one column is the same moment. A still picture has one column. A
file that is gone leaves gray cells with the word.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import (
    Match,
    SearchAnswer,
    SearchResult,
    TimeSpan,
    VideoInfo,
    format_time,
    in_order,
)
from sora_search.errors import MediaError
from sora_search.media.decoding import read_at
from sora_search.media.probing import path_of, probe
from sora_search.media.rendering import PictureRow, draw_alignment, write_side_by_side
from sora_search.retrieval.agreement import draw_agreement, likeness, placed

FRAMES_A_RANGE = 5
"""Moments shown of each range."""

MAX_RANGES = 3
"""Ranges shown of one video, the best ones."""

MAX_RESULTS = 10
"""Videos shown, the best ones."""

CELL_SIDE = 240
"""Longest side of a frame, in pixels."""

MAX_ERROR_S = 0.05
"""So far the seconds of a verified range may be off: a frame or two, which the eye would see."""

_SAME_S = 0.25
_Picture = NDArray[np.uint8]
_Cells = list[tuple[str, _Picture | None]]


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Frames of one file, and when they are on screen."""

    times_s: list[float]
    pictures: list[_Picture]

    def cells(self, span: TimeSpan | None) -> _Cells:
        """With their times as captions; a still picture has none."""
        pairs = zip(self.times_s, self.pictures, strict=True)
        return [(format_time(time_s) if span else "", picture) for time_s, picture in pairs]


def write_answer(
    answer: SearchAnswer, path: Path | str, *, explain: bool = False, name: str = "query"
) -> Path:
    """Write a picture of an answer: rows of frames with their times, what matches in columns.

    Args:
        answer: What `searching.search` found.
        path: Where to; .jpg, .jpeg or .png.
        explain: Draw too where in the picture both agree, and which seconds belong together.
        name: What to call the query.

    Returns:
        The path written.

    Raises:
        ValueError: If the suffix is another.
        NotAVideoError, VideoDecodeError, OSError: If the query cannot be read any more, or
            the picture cannot be written. A video of the answer may be gone.
    """
    pairs = [
        (place, result, match)
        for place, result in enumerate(answer.results[:MAX_RESULTS], 1)
        for match in in_order(result.matches[:MAX_RANGES]) or (None,)
    ]
    wholly = _whole(answer.query)
    spans = [match.query_span if match else wholly for _, _, match in pairs] or [wholly]
    rate = answer.query.average_frame_rate
    seen = _read_each(path_of(answer.query.uri), [_moments(span, rate) for span in spans])
    rows: list[PictureRow] = []
    shown = 0  # the range whose frames of the query stand above
    for i, span in enumerate(spans):
        if i == 0 or not _is_same(span, spans[shown]):
            shown = i
            rows.append(PictureRow(_query_label(name, answer.query, span), seen[i].cells(span)))
        if pairs:
            place, result, match = pairs[i]
            rows.append(_result_row(place, result, match, seen[shown]))
            if explain and match is not None:
                rows += _agreement_rows(seen[shown], rows[-1], match)
    if not pairs:
        rows.append(PictureRow("nothing found", ()))
    elif explain:
        rows += _alignment_rows(answer)
    return write_side_by_side(path, rows, cell_side=CELL_SIDE)


def _whole(info: VideoInfo) -> TimeSpan | None:
    return TimeSpan(0.0, info.duration_s) if info.duration_s else None


def _is_same(span: TimeSpan | None, other: TimeSpan | None) -> bool:
    """Whether two rows of the query would show the same frames."""
    if span is None or other is None:
        return span is other
    starts, ends = abs(span.start_s - other.start_s), abs(span.end_s - other.end_s)
    return starts < _SAME_S and ends < _SAME_S


def _query_label(called: str, info: VideoInfo, span: TimeSpan | None) -> str:
    name = path_of(info.uri).name
    return f"{called}  {name}  {span}" if span else f"{called}  {name}"


def _result_row(
    place: int, result: SearchResult, match: Match | None, query: _Frames
) -> PictureRow:
    """The frames of a video that belong beneath those of the query, or some of the whole."""
    path = path_of(result.uri)
    label = f"{place}.  {result.kind}  {result.score:.3f}"
    if result.verdict is not None:
        label += f"  (verdict: {result.verdict})"
    label += f"  {path.name}"
    if match and match.video_span:
        label += f"  {match.video_span}"
    if match:
        label += f"  {result.describe(match)}"
    cells: _Cells
    try:
        info = probe(path)
        span = match.video_span if match else _whole(info)
        if match:
            frames = _beneath(path, info.average_frame_rate, match, query)
        else:
            [frames] = _read_each(path, [_moments(span, info.average_frame_rate)])
        cells = frames.cells(span)
    except FileNotFoundError:
        cells = [("missing", None)] * len(query.times_s)
    except (MediaError, OSError):
        cells = [("unreadable", None)] * len(query.times_s)
    return PictureRow(label, cells)


def _beneath(path: Path, rate: Fraction | None, match: Match, query: _Frames) -> _Frames:
    """The frames of a video that a match pairs with some of the query."""
    times_s = _same_moments(match, query.times_s)
    edit = match.evidence.edit if match.verified and match.evidence else None
    if edit is None or edit.is_moving or rate is None:
        [frames] = _read_each(path, [times_s])
        return frames
    reach = math.ceil(MAX_ERROR_S * rate)
    shifts_s = [float(n / rate) for n in sorted(range(-reach, reach + 1), key=abs)]
    tried = _read_each(
        path, [[max(0.0, time_s + shift_s) for time_s in times_s] for shift_s in shifts_s]
    )

    def agreement(frames: _Frames) -> float:
        pairs = zip(query.pictures, frames.pictures, strict=True)
        return sum(likeness(ours, theirs, edit) for ours, theirs in pairs)

    return max(tried, key=agreement)


def _same_moments(match: Match, query_times_s: Sequence[float]) -> list[float]:
    """Times of the query as times of the video, on the line of a match."""
    query, video = match.query_span, match.video_span
    if video is None:
        return [0.0] * len(query_times_s)
    if query is None:
        return [video.middle_s] * len(query_times_s)
    speed = video.duration_s / query.duration_s
    times_s = [video.start_s + (time_s - query.start_s) * speed for time_s in query_times_s]
    return [max(0.0, time_s) for time_s in times_s]


def _agreement_rows(query: _Frames, video: PictureRow, match: Match) -> list[PictureRow]:
    """Where both agree, for a range whose frames fit over one another."""
    if match.evidence is None or match.evidence.edit is None:
        return []
    edit = match.evidence.edit
    columns = list(zip(query.cells(match.query_span), video.cells, strict=True))
    cells = []
    for (caption, ours), (_, theirs) in columns:
        if ours is not None and theirs is not None:
            here = placed(ours, theirs, edit) if edit.is_moving else edit
            cells.append((caption, draw_agreement(ours, theirs, here)))
    label = "where both look the same (green), where not (red)"
    return [PictureRow(f"{label}: {match.evidence.reason}", cells)] if cells else []


def _alignment_rows(answer: SearchAnswer) -> list[PictureRow]:
    """For each video, which seconds of the query are which of its own."""
    cells = []
    for place, result in enumerate(answer.results[:FRAMES_A_RANGE], 1):
        ranges = [
            (match.query_span, match.video_span, match.verified)
            for match in result.matches
            if match.query_span and match.video_span
        ]
        if ranges and answer.query.duration_s:
            try:
                duration_s = probe(path_of(result.uri)).duration_s
            except (MediaError, OSError):
                duration_s = None
            whole_s = max(duration_s or 0.0, *(video.end_s for _, video, _ in ranges))
            picture = draw_alignment(ranges, (answer.query.duration_s, whole_s), side=CELL_SIDE)
            cells.append((f"{place}.  {path_of(result.uri).name}", picture))
    label = "seconds of the query (to the right) and of each video (upwards)"
    label += "; thin: not verified, gray: frames differ"
    return [PictureRow(label, cells)] if cells else []


def _read_each(path: Path, times_s: Sequence[Sequence[float]]) -> list[_Frames]:
    """The frames at each list of times, of one file that is read once."""
    pictures = iter(read_at(path, [t for times in times_s for t in times], max_side=CELL_SIDE))
    return [_Frames([*times], [next(pictures) for _ in times]) for times in times_s]


def _moments(span: TimeSpan | None, rate: Fraction | None) -> list[float]:
    """Even steps of a span, none twice; of a still picture, the one there is.

    Each is the middle of a frame: at its border a thousandth of a second shows the one before.
    """
    if span is None:
        return [0.0]
    shares = (np.arange(FRAMES_A_RANGE) + 0.5) / FRAMES_A_RANGE
    times_s = span.start_s + shares * span.duration_s
    if rate is not None:
        times_s = (np.floor(times_s * float(rate)) + 0.5) / float(rate)
    return [float(time_s) for time_s in np.unique(times_s)]
