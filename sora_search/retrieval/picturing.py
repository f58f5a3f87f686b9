"""An answer as a picture: the query's frames, and beneath them the frames that match.

One row of the query for each range that was found, one row of each video that has
it; what stands in one column is the same moment. A file that is gone leaves gray
cells with the word.
"""

from collections.abc import Sequence
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
)
from sora_search.errors import MediaError
from sora_search.media.decoding import read_at
from sora_search.media.probing import path_of, probe
from sora_search.media.rendering import PictureRow, draw_alignment, write_side_by_side
from sora_search.retrieval.agreement import draw_agreement

FRAMES_A_RANGE = 5
"""Moments shown of each range."""

MAX_RANGES = 3
"""Ranges shown of one video, the best ones."""

MAX_RESULTS = 10
"""Videos shown, the best ones."""

CELL_SIDE = 240
"""Longest side of a frame, in pixels."""

MOMENT_S = 0.2
"""A range shorter than this is one moment, as that of a still picture: it is shown once."""

_SAME_S = 0.25
_Frames = Sequence[tuple[str, NDArray[np.uint8] | None]]


def write_answer(answer: SearchAnswer, path: Path | str, *, explain: bool = False) -> Path:
    """Write a picture of an answer: rows of frames with their times, what matches in columns.

    Args:
        answer: What `searching.search` found.
        path: Where to; .jpg, .jpeg or .png.
        explain: Draw too where in the picture both agree, and which seconds belong together.

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
        for match in result.matches[:MAX_RANGES] or (None,)
    ]
    wholly = _whole(answer.query)
    spans = [match.query_span if match else wholly for _, _, match in pairs] or [wholly]
    query_rows = _frames_of(path_of(answer.query.uri), spans)
    rows: list[PictureRow] = []
    shown: TimeSpan | None = None
    for i, span in enumerate(spans):
        if i == 0 or not _is_same(span, shown):
            rows.append(PictureRow(_query_label(answer.query, span), query_rows[i]))
            shown = span
        if pairs:
            place, result, match = pairs[i]
            rows.append(_result_row(place, result, match))
            if explain and match is not None:
                rows += _agreement_rows(query_rows[i], rows[-1], match)
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


def _query_label(info: VideoInfo, span: TimeSpan | None) -> str:
    name = path_of(info.uri).name
    return f"query  {name}  {span}" if span else f"query  {name}"


def _result_row(place: int, result: SearchResult, match: Match | None) -> PictureRow:
    """The frames of one range of a video, or of the whole where none is named."""
    path = path_of(result.uri)
    score = match.score if match and match.verified is not False else result.score
    label = f"{place}.  {result.kind}  {score:.3f}  {path.name}"
    if match and match.video_span:
        label += f"  {match.video_span}"
    if match:
        label += f"  {match.describe()}"
    try:
        span = match.video_span if match else _whole(probe(path))
        cells = _frames_of(path, [span])[0]
    except FileNotFoundError:
        cells = [("missing", None)] * FRAMES_A_RANGE
    except (MediaError, OSError):
        cells = [("unreadable", None)] * FRAMES_A_RANGE
    return PictureRow(label, cells)


def _agreement_rows(query: _Frames, video: PictureRow, match: Match) -> list[PictureRow]:
    """Where both agree, for a range whose frames fit over one another."""
    if match.evidence is None or match.evidence.edit is None:
        return []
    edit = match.evidence.edit
    columns = list(zip(query, video.cells, strict=False))
    if edit.is_moving:  # its place is known in the middle of the range alone
        columns = columns[len(columns) // 2 :][:1]
    cells = [
        (caption, draw_agreement(ours, theirs, edit))
        for (caption, ours), (_, theirs) in columns
        if ours is not None and theirs is not None
    ]
    label = "where both look the same (green), where not (red)"
    return [PictureRow(f"{label}: {match.evidence.reason}", cells)] if cells else []


def _alignment_rows(answer: SearchAnswer) -> list[PictureRow]:
    """For each video, which seconds of the query are which of its own."""
    cells = []
    for place, result in enumerate(answer.results[:FRAMES_A_RANGE], 1):
        ranges = [
            (match.query_span, match.video_span)
            for match in result.matches
            if match.query_span and match.video_span
        ]
        if ranges and answer.query.duration_s:
            try:
                duration_s = probe(path_of(result.uri)).duration_s
            except (MediaError, OSError):
                duration_s = None
            whole_s = max(duration_s or 0.0, *(video.end_s for _, video in ranges))
            picture = draw_alignment(ranges, (answer.query.duration_s, whole_s), side=CELL_SIDE)
            cells.append((f"{place}.  {path_of(result.uri).name}", picture))
    label = "seconds of the query (to the right) and of each video (upwards)"
    return [PictureRow(label, cells)] if cells else []


def _frames_of(path: Path, spans: Sequence[TimeSpan | None]) -> list[_Frames]:
    """Frames at even steps of each span, of one file that is read once; a picture for None."""
    times_s = [_moments(span) for span in spans]
    pictures = iter(read_at(path, [t for times in times_s for t in times], max_side=CELL_SIDE))
    return [
        [(format_time(time_s) if span else "", next(pictures)) for time_s in times]
        for span, times in zip(spans, times_s, strict=True)
    ]


def _moments(span: TimeSpan | None) -> list[float]:
    if span is None:
        return [0.0]
    if span.duration_s < MOMENT_S:
        return [(span.start_s + span.end_s) / 2]
    shares = (np.arange(FRAMES_A_RANGE) + 0.5) / FRAMES_A_RANGE
    return [float(span.start_s + share * span.duration_s) for share in shares]
