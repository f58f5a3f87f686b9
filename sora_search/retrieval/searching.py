"""From a query file to the answer: the whole way of a search.

    embed        the query becomes vectors with times              sora.encoder
    hits         each vector's nearest stored vectors              index.video_index
    candidates   the videos that collect evidence                  candidates
    alignment    query against video, moment by moment             alignment
    score        copy or similar, and how sure                     scoring
    answer       ranges, coverage, file names, best first          here

Copies and likenesses are looked for separately. A copy shows in a few seconds of the
identity half, whatever the rest of both videos is; two videos are alike as wholes.
A long query goes through in pieces that overlap, so memory stays flat.

Later stations have their place: windows of the query picture multiply the vectors
before `candidates`, verification on decoded frames comes between alignment and score.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import (
    Match,
    OnProgress,
    Progress,
    SearchAnswer,
    SearchResult,
    TimeSpan,
    VideoEmbedding,
)
from sora_search.errors import IndexIncompatibleError, VideoNotIndexedError
from sora_search.index.discovery import content_id
from sora_search.index.video_index import VideoIndex
from sora_search.media.probing import uri_of
from sora_search.retrieval.alignment import AlignedSpan, Timeline, align_videos, join_spans
from sora_search.retrieval.candidates import find_candidates
from sora_search.retrieval.scoring import (
    LIKENESS_RANGE,
    MATCH_STRENGTH,
    WEIGHTS,
    Weights,
    find_zero_point,
    kind_of,
    mean_vector,
    score_of_likeness,
    score_of_match,
    strength_of,
    weigh,
)
from sora_search.sora.encoder import FileEncoder, embed_video

MAX_CANDIDATES = 64
"""Videos aligned (for each piece of the query), and as many compared as wholes."""

NUM_BACKGROUND = 2048
"""Stored vectors that the zero point is measured against."""

NUM_MOMENTS = 16
"""Vectors of the query, besides their mean, that look for videos that are alike as wholes."""

PIECE_VECTORS = 1024
"""A longer query is searched in pieces of so many vectors (8.5 minutes at two a second)."""

PIECE_OVERLAP = 16
"""Vectors that a piece shares with the one before, so that no short range is cut in two."""


def search(
    index: VideoIndex,
    query: Path | str,
    *,
    encoder: FileEncoder,
    k: int = 10,
    min_score: float = 0.0,
    span: TimeSpan | None = None,
    exclude_self: bool = False,
    weights: Weights = "both",
    on_progress: OnProgress | None = None,
) -> SearchAnswer:
    """Find the indexed videos that a clip came from or looks like, with the seconds that match.

    Copies come first, then similar videos; the order depends on nothing but the contents
    and names of the files.

    Args:
        index: Where to look; of the same model as `encoder`.
        query: A video of any length, or a still picture.
        encoder: Embeds the query.
        k: Most results.
        min_score: Results below it are left out; 0.5 leaves the copies.
        span: The part of the query to look at; an end behind the file's end is no error.
        exclude_self: Leave out the content of the query file itself, whatever its name.
        weights: Look for the same footage (`copies`: nothing that is merely similar), for what
            happens in it (`meaning`), or for both; copies are found in any case.
        on_progress: Told after each piece of a long query.

    Returns:
        The query as it was read, with spans that count from the start of its file, and up
        to `k` results.

    Raises:
        ValueError: If `k`, `min_score`, `weights` or `span` is out of range.
        IndexIncompatibleError: If the index holds vectors of another model.
        NotAVideoError, VideoDecodeError, OSError: If the query cannot be read.
    """
    if k < 1:
        raise ValueError(f"need k >= 1, got {k=}")
    if not 0 <= min_score <= 1:
        raise ValueError(f"need 0 <= min_score <= 1, got {min_score=}")
    if weights not in WEIGHTS:
        raise ValueError(f"need one of {', '.join(WEIGHTS)}, got {weights=}")
    if encoder.model_id != index.model_id:
        raise IndexIncompatibleError(
            f"the index at {str(index.path)!r} was made by model {index.model_id}, not by"
            f" {encoder.model_id}: use that model, or index again in another folder"
        )
    info, embedding, _ = embed_video(query, encoder, span=span)
    if span is not None and info.duration_s is None:
        raise ValueError(f"{str(query)!r} is a still picture: it has no part {span}")
    excluded = _own_video_ids(index, query) if exclude_self else frozenset()
    found = search_embedding(
        index, embedding, weights=weights, exclude_video_ids=excluded, on_progress=on_progress
    )
    found = [video for video in found if video.score >= min_score and video.score > 0]
    return SearchAnswer(info, tuple(_results(index, found, embedding, k)))


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A video of the answer before its names are looked up."""

    video_id: int
    score: float
    spans: tuple[tuple[AlignedSpan, float], ...] = field(default=())
    """Ranges, each with its own score, best first."""


def search_embedding(
    index: VideoIndex,
    embedding: VideoEmbedding,
    *,
    weights: Weights = "both",
    exclude_video_ids: frozenset[int] = frozenset(),
    on_progress: OnProgress | None = None,
) -> list[FoundVideo]:
    """`search` for a query that is vectors already; in no particular order."""
    background = index.background(NUM_BACKGROUND)
    loaded: dict[int, VideoEmbedding] = {}
    found = {
        video.video_id: video
        for video in _find_copies(
            index, embedding, background, exclude_video_ids, loaded, on_progress
        )
    }
    if weights != "copies":
        for video_id, score in _find_similar(
            index, embedding, background, weights, exclude_video_ids, loaded
        ):
            known = found.get(video_id, FoundVideo(video_id, 0.0))
            found[video_id] = FoundVideo(video_id, max(known.score, score), known.spans)
    return list(found.values())


def _own_video_ids(index: VideoIndex, query: Path | str) -> frozenset[int]:
    """The indexed video that holds the query's content, and the one under its name."""
    own = set()
    for key in (uri_of(query), content_id(query)):
        with suppress(VideoNotIndexedError):
            own.add(index.find(key).video_id)
    return frozenset(own)


# --- copies: a few seconds of the same footage --------------------------------------------------


def _find_copies(
    index: VideoIndex,
    embedding: VideoEmbedding,
    background: NDArray[np.float32],
    exclude_video_ids: frozenset[int],
    loaded: dict[int, VideoEmbedding],
    on_progress: OnProgress | None,
) -> Iterator[FoundVideo]:
    weighted = weigh(embedding.vectors, WEIGHTS["copies"])
    zero_point = find_zero_point(weighted, background)
    starts = range(0, max(1, len(weighted) - PIECE_OVERLAP), PIECE_VECTORS - PIECE_OVERLAP)
    spans: dict[int, list[AlignedSpan]] = {}
    for num_done, start in enumerate(starts, 1):
        piece = slice(start, start + PIECE_VECTORS)
        if len(starts) > 1:
            loaded.clear()
        for video_id, aligned in _align_candidates(
            index,
            weighted[piece],
            Timeline.from_spans(embedding.spans[piece]),
            zero_point,
            exclude_video_ids,
            loaded,
        ):
            spans.setdefault(video_id, []).extend(aligned)
        if on_progress is not None:
            on_progress(Progress("searching", num_done, len(starts)))
    for video_id, parts in spans.items():
        scored = []
        for span in join_spans(parts) if len(starts) > 1 else parts:
            strength = strength_of(span.window_evidence, zero_point)
            if strength >= MATCH_STRENGTH:
                scored.append((span, _rounded(score_of_match(strength))))
        if scored:
            # Of a video that is merely similar one range says where; many would say nothing.
            best_score = max(score for _, score in scored)
            shown = scored if kind_of(best_score) == "copy" else scored[:1]
            yield FoundVideo(video_id, best_score, tuple(shown))


def _align_candidates(
    index: VideoIndex,
    weighted: NDArray[np.float32],
    rows: Timeline,
    zero_point: float,
    exclude_video_ids: frozenset[int],
    loaded: dict[int, VideoEmbedding],
) -> Iterator[tuple[int, list[AlignedSpan]]]:
    """The ranges that one piece of the query shares with its best candidates."""
    candidates = find_candidates(
        index,
        weighted,
        zero_point=zero_point,
        limit=MAX_CANDIDATES,
        exclude_video_ids=exclude_video_ids,
    )
    videos = _load(index, [candidate.video_id for candidate in candidates], loaded)
    aligned = align_videos(
        [weighted @ video.vectors.T for video in videos.values()],
        zero_point=zero_point,
        rows=rows,
        columns=[Timeline.from_spans(video.spans) for video in videos.values()],
    )
    for video_id, spans in zip(videos, aligned, strict=True):
        if spans:
            yield video_id, spans


def _load(
    index: VideoIndex, video_ids: Iterable[int], loaded: dict[int, VideoEmbedding]
) -> dict[int, VideoEmbedding]:
    """Stored vectors of some videos, kept for later; without those removed since the hits."""
    for video_id in video_ids:
        if video_id not in loaded:
            with suppress(VideoNotIndexedError):
                loaded[video_id] = index.embedding(video_id)
    return {video_id: loaded[video_id] for video_id in video_ids if video_id in loaded}


# --- similar videos: alike as wholes ------------------------------------------------------------


def _find_similar(
    index: VideoIndex,
    embedding: VideoEmbedding,
    background: NDArray[np.float32],
    weights: Weights,
    exclude_video_ids: frozenset[int],
    loaded: dict[int, VideoEmbedding],
) -> Iterator[tuple[int, float]]:
    """Videos by the likeness of their mean vectors to that of the query."""
    query = weigh(mean_vector(embedding.vectors)[None], WEIGHTS[weights])
    zero_point = find_zero_point(query, background, bounds=LIKENESS_RANGE)
    some = np.linspace(0, len(embedding) - 1, min(len(embedding), NUM_MOMENTS)).astype(int)
    candidates = find_candidates(
        index,
        np.concatenate([query, weigh(embedding.vectors[some], WEIGHTS[weights])]),
        zero_point=zero_point,
        limit=MAX_CANDIDATES,
        exclude_video_ids=exclude_video_ids,
    )
    video_ids = sorted({candidate.video_id for candidate in candidates} | loaded.keys())
    for video_id, video in _load(index, video_ids, loaded).items():
        similarity = float((query @ mean_vector(video.vectors))[0])
        score = _rounded(score_of_likeness(similarity, zero_point))
        if score > 0:
            yield video_id, score


# --- the answer ---------------------------------------------------------------------------------


def _results(
    index: VideoIndex, found: list[FoundVideo], embedding: VideoEmbedding, k: int
) -> list[SearchResult]:
    """The best `k`, with names; equal scores in the order of their names."""
    found = sorted(found, key=lambda video: -video.score)
    if len(found) > k:
        found = [video for video in found if video.score >= found[k - 1].score]
    results = []
    for video in found:
        try:
            stored = index.video(video.video_id)
        except VideoNotIndexedError:  # removed while we searched
            continue
        results.append(
            SearchResult(
                video_id=video.video_id,
                uri=stored.uris[0],
                other_uris=stored.uris[1:],
                missing=stored.missing,
                score=video.score,
                kind=kind_of(video.score),
                coverage=_coverage(video, embedding),
                verified=None,
                matches=tuple(
                    Match(span.row_span, span.column_span, score) for span, score in video.spans
                ),
            )
        )
    return sorted(results, key=lambda result: (-result.score, result.uri))[:k]


def _coverage(video: FoundVideo, embedding: VideoEmbedding) -> float:
    """Share of the query that the ranges cover; all of a still picture or nothing."""
    first, last = embedding.spans[0], embedding.spans[-1]
    if first is None or last is None:
        return 1.0 if video.spans else 0.0
    covered_s, reached_s = 0.0, first.start_s
    ranges = [span.row_span for span, _ in video.spans if span.row_span is not None]
    for span in sorted(ranges, key=lambda span: span.start_s):
        covered_s += max(0.0, span.end_s - max(span.start_s, reached_s))
        reached_s = max(reached_s, span.end_s)
    return round(min(1.0, covered_s / (last.end_s - first.start_s)), 4)


def _rounded(score: float) -> float:
    """So many digits as do not depend on the order in which a processor adds."""
    return round(score, 4)
