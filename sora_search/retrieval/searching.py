"""From a query file to the answer: the whole way of a search.

    views         the query, whole and by the rectangles in it      views
    hits          each vector's nearest stored vectors              index.video_index
    candidates    the videos that collect evidence                  candidates
    alignment     query against video, moment by moment             alignment
    verification  do decoded frames show the same footage           verification
    shared matter what many videos show says little                 sharing
    score         copy or similar, and how sure                     scoring
    answer        ranges, coverage, file names, best first          here

Copies and likenesses are looked for separately. A copy shows in a few seconds of the
identity half, whatever the rest of both videos is; two videos are alike as wholes.
The search for copies asks little and looks at frames before it tells anybody: vectors
alone cannot tell two takes of one scene apart. Where no candidate is confirmed the query is
looked at more closely, turned and magnified, once, and so are the videos most alike as wholes.
A long query goes through in pieces that overlap, so memory stays flat.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.config import num_cores
from sora_search.datatypes import (
    Decision,
    Match,
    OnProgress,
    Progress,
    Rejection,
    SearchAnswer,
    SearchResult,
    TimeSpan,
    VideoEmbedding,
)
from sora_search.errors import VideoNotIndexedError
from sora_search.index.discovery import content_id
from sora_search.index.video_index import VideoIndex
from sora_search.media.probing import is_gone, uri_of
from sora_search.retrieval.alignment import (
    MAX_CELLS,
    AlignedSpan,
    WholeLine,
    align,
    align_videos,
    join_spans,
    whole_lines,
)
from sora_search.retrieval.candidates import Candidate, find_candidates
from sora_search.retrieval.footage import FootageReader
from sora_search.retrieval.judging import (
    FURTHER_LOOKS,
    FoundRange,
    Judgment,
    is_fitting,
    judge,
    max_looks,
    without_echoes,
)
from sora_search.retrieval.scoring import (
    BACKGROUND_QUANTILE,
    COPY_SCORE,
    LEAST_STRENGTH,
    LIKENESS_RANGE,
    WEIGHTS,
    Weights,
    find_zero_point,
    kind_of,
    mean_vector,
    score_of_likeness,
    score_of_shared,
    strength_of,
    weigh,
)
from sora_search.retrieval.sharing import shared_with
from sora_search.retrieval.timeline import Timeline
from sora_search.retrieval.views import View, closer_views, window_views
from sora_search.retrieval.windows import Rectangle
from sora_search.sora.encoder import FileEncoder, embed_video

MAX_CANDIDATES = 64
"""Videos aligned (for each piece of the query), and as many compared as wholes."""

NUM_BACKGROUND = 2048
"""Stored vectors that the zero point is measured against."""

NUM_ALIKE = 3
"""Videos of a small index that may be told as alike: of 14, 95 % of the vectors leave none."""

NUM_MOMENTS = 16
"""Vectors of the query, besides their mean, that look for videos that are alike as wholes."""

FOUND_SCORE = 0.3
"""From here on nothing is looked at more closely: what scores less than a copy and this much is
mostly a scene in which nothing moves, of which a closer look tells no more."""

MAX_REJECTIONS = 20
"""Ranges named in an answer that are no part of it."""

MAX_LOADED = 100_000
"""Stored vectors kept for the next step of the search, 100 MB of them."""

NUM_ALIKE_LOOKS, NUM_NEAREST = 8, 2
"""Of so many videos so many ranges are looked at before all others in a closer search: of 16 crops
to 30 % and 16 blends in the suite `choose` 29 are among the first three and 30 among the first six
of all 172 videos (in a trial with weights of 2)."""

LINE_WEIGHT = 3.0
"""How much it counts there, beside the likeness of the means, that moments follow one another in
the same way: without it 27 and 29 of them, with weights of 4 29 and 31."""

SCENE_EXCESS = 0.1
"""Two videos are one scene where the median of the similarities of their moments exceeds the zero
point by so much; it is the zero point of what stands out from it."""

MAX_INSETS, MAX_INSET_AREA = 2, 0.4
"""Rectangles that may be hidden; with a larger share of the picture too little is left around."""

NUM_OUTSTANDING, OTHER_LINE_S = 3, 1.0
"""So many ranges of one scene are looked at beside the first, which lie elsewhere by so much."""

MAX_THREADS = 6
"""Videos that are looked at at a time: as many as most searches look at."""

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
    and names of the files, and on verdicts. What a person decided about the content of the
    query file holds for every part of it: a video with the verdict `match` is a copy with score
    1, found or not; one with `no-match` is never a copy, and is told without ranges if similar.

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
        on_progress: Told how far the query is read, which pieces of a long one were searched, and
            how many videos were looked at.

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
    index.require_model(encoder)

    def reading(reached_s: float, duration_s: float | None) -> None:
        if on_progress is not None:
            on_progress(Progress("reading", 0, 1, reached_s, duration_s))

    info, embedding, damage = embed_video(query, encoder, span=span, on_position=reading)
    if span is not None and info.duration_s is None:
        raise ValueError(f"{str(query)!r} is a still picture: it has no part {span}")
    excluded = _own_video_ids(index, query) if exclude_self else frozenset()
    decisions = index.decisions(query)
    searching = _Searching(index, excluded, decisions)
    views = [View(embedding), *window_views(query, encoder, span=span)]
    windows = (view.window for view in views if view.window)
    insets = list(islice(filter(_is_inset, windows), MAX_INSETS))
    reader = FootageReader()
    bounds = _span_of(embedding)
    at_most = max_looks(bounds.duration_s if bounds else 0.0)

    def judged_of(
        found: Mapping[int, Sequence[FoundRange]], first: Collection[int] = (), further: int = 0
    ) -> Judgment:
        return judge(
            index,
            reader,
            query,
            found,
            first=first,
            at_most=at_most,
            further=further,
            insets=insets,
            bounds=bounds,
            num_threads=min(MAX_THREADS, num_cores()),
            on_progress=on_progress,
        )

    judged = judged_of(searching.copies(views, on_progress=on_progress))
    matches, rejected = judged.matches, judged.rejected
    seen = [match for i in judged.looked_at for match in matches.get(i, ())]
    if not any(map(_is_found, seen)):
        alike = searching.alike(embedding)
        closer = searching.copies(closer_views(query, encoder, span=span))
        for video_id, nearest in alike.items():
            closer[video_id] = [*nearest, *closer.get(video_id, ())]
        judged = judged_of(closer, alike, FURTHER_LOOKS)
        matches = _better_of(matches, _fitting(judged.matches))
        rejected = [*rejected, *judged.rejected]
    found = {
        video_id: FoundVideo(video_id, ranges[0].score, ranges)
        for video_id, ranges in searching.discounted(matches)
    }
    if weights != "copies":
        for video_id, score in searching.similar(embedding, weights):
            if video_id not in found or found[video_id].score < score:
                ranges = found[video_id].matches if video_id in found else ()
                found[video_id] = FoundVideo(video_id, score, ranges)
    for video_id, decision in decisions.items():
        if decision == "match" and video_id not in excluded:
            ranges = found[video_id].matches if video_id in found else ()
            # Seconds that frames refute are not those a person means.
            kept = [match for match in ranges if match.verified is not False]
            found[video_id] = FoundVideo(video_id, 1.0, kept)
    shown = [video for video in found.values() if video.score >= min_score and video.score > 0]
    results = tuple(_results(index, shown, embedding, decisions, k))
    return SearchAnswer(info, results, tuple(_rejections(index, rejected)), damage)


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A video of the answer before its names are looked up; its ranges come best first."""

    video_id: int
    score: float
    matches: Sequence[Match] = ()


def _is_inset(window: Rectangle) -> bool:
    """Whether enough is left around it to recognize footage by."""
    return not window.is_moving and window.width * window.height <= MAX_INSET_AREA


def _is_found(match: Match) -> bool:
    """Whether frames leave so little doubt that looking more closely would find nothing better."""
    return match.verified is not False and match.score >= FOUND_SCORE


def _fitting(judged: Mapping[int, list[Match]]) -> dict[int, list[Match]]:
    """Of a closer look, which sees many chance likenesses, only what frames do not refute."""
    fitting = {video_id: list(filter(is_fitting, matches)) for video_id, matches in judged.items()}
    return {video_id: matches for video_id, matches in fitting.items() if matches}


def _better_of(
    matches: Mapping[int, list[Match]], others: Mapping[int, list[Match]]
) -> dict[int, list[Match]]:
    """Of each video the ranges that are surer."""

    def score_in(side: Mapping[int, list[Match]], video_id: int) -> float:
        return max((match.score for match in side.get(video_id, ())), default=-1.0)

    return {
        video_id: max(matches, others, key=lambda side: score_in(side, video_id))[video_id]
        for video_id in {**matches, **others}
    }


def _own_video_ids(index: VideoIndex, query: Path | str) -> frozenset[int]:
    """The indexed video that holds the query's content, and the one under its name."""
    own = set()
    for key in (uri_of(query), content_id(query)):
        with suppress(VideoNotIndexedError):
            own.add(index.find(key).video_id)
    return frozenset(own)


class _Searching:
    """One search: the index, and what of it was loaded and measured."""

    def __init__(
        self, index: VideoIndex, excluded: frozenset[int], decisions: Mapping[int, Decision]
    ) -> None:
        self._index = index
        self._excluded = excluded
        self._no_copies = excluded | {i for i, said in decisions.items() if said == "no-match"}
        self._background = index.background(NUM_BACKGROUND)
        self._loaded: OrderedDict[int, VideoEmbedding] = OrderedDict()
        self._aligned_ids: set[int] = set()

    def copies(
        self, views: Iterable[View], *, on_progress: OnProgress | None = None
    ) -> dict[int, list[FoundRange]]:
        """The ranges of each video in which a view sees a few seconds of the same footage.

        `on_progress` is told of the pieces of the first view, the longest.
        """
        found: dict[int, list[FoundRange]] = {}
        for view in views:
            weighted = weigh(view.embedding.vectors, WEIGHTS["copies"])
            zero_point = find_zero_point(weighted, self._background)
            for video_id, spans in self._aligned(
                view.embedding.spans, weighted, zero_point, on_progress
            ):
                ranges = found.setdefault(video_id, [])
                for span in spans:
                    strength = strength_of(span.window_evidence, zero_point)
                    if strength >= LEAST_STRENGTH:
                        ranges.append(FoundRange(span, strength, view.window))
            on_progress = None
        return {video_id: without_echoes(ranges) for video_id, ranges in found.items() if ranges}

    def alike(self, embedding: VideoEmbedding) -> dict[int, list[FoundRange]]:
        """Of the videos that are most alike as wholes, the ranges that come nearest.

        A strong crop resembles its source more than other videos in the mean of all moments, and in
        how these follow one another, where no moment by itself does.
        """
        vectors = embedding.vectors[:PIECE_VECTORS]
        rows = Timeline.from_spans(embedding.spans[:PIECE_VECTORS])
        usual = find_zero_point(weigh(vectors, WEIGHTS["copies"]), self._background)
        ranked: list[tuple[float, int, list[WholeLine]]] = []
        for video_id, video, likeness in self._near(embedding, "both"):
            if video_id in self._no_copies:
                continue
            lines = whole_lines(
                # What happens tells moments of one scene apart where the footage hardly does.
                vectors @ video.vectors.T,
                rows=rows,
                columns=Timeline.from_spans(video.spans),
                num=NUM_NEAREST,
            )
            ranked.append((likeness + LINE_WEIGHT * lines[0].standing, video_id, lines))
        ranked.sort(key=lambda one: (-one[0], one[1]))
        return {
            video_id: [
                FoundRange(line.span, strength_of(line.span.evidence - usual, usual))
                for line in lines
            ]
            for _, video_id, lines in ranked[:NUM_ALIKE_LOOKS]
        }

    def _aligned(
        self,
        times: Sequence[TimeSpan | None],
        weighted: NDArray[np.float32],
        zero_point: float,
        on_progress: OnProgress | None,
    ) -> Iterator[tuple[int, list[AlignedSpan]]]:
        """The ranges that one view shares with each video, piece by piece and then joined."""
        starts = range(0, max(1, len(weighted) - PIECE_OVERLAP), PIECE_VECTORS - PIECE_OVERLAP)
        parts: dict[int, list[AlignedSpan]] = {}
        for num_done, start in enumerate(starts, 1):
            piece = slice(start, start + PIECE_VECTORS)
            rows = Timeline.from_spans(times[piece])
            for video_id, spans in self._align_piece(weighted[piece], rows, zero_point):
                parts.setdefault(video_id, []).extend(spans)
            if on_progress is not None:
                on_progress(Progress("searching", num_done, len(starts)))
        for video_id, spans in parts.items():
            yield video_id, join_spans(spans) if len(starts) > 1 else spans

    def _align_piece(
        self, weighted: NDArray[np.float32], rows: Timeline, zero_point: float
    ) -> Iterator[tuple[int, list[AlignedSpan]]]:
        candidates = find_candidates(
            self._index,
            weighted,
            zero_point=zero_point,
            limit=MAX_CANDIDATES,
            exclude_video_ids=self._no_copies,
        )
        self._aligned_ids.update(candidate.video_id for candidate in candidates)
        for group in self._groups(candidates, len(weighted)):
            similarities = [weighted @ video.vectors.T for video in group.values()]
            columns = [Timeline.from_spans(video.spans) for video in group.values()]
            aligned = align_videos(similarities, zero_point=zero_point, rows=rows, columns=columns)
            for video_id, spans, similarity, timeline in zip(
                group, aligned, similarities, columns, strict=True
            ):
                if spans:
                    best = _with_outstanding(spans[0], similarity, zero_point, rows, timeline)
                    yield video_id, [best, *spans[1:]]

    def _groups(
        self, candidates: Sequence[Candidate], num_rows: int
    ) -> Iterator[dict[int, VideoEmbedding]]:
        """Candidates to be aligned together: as many as `MAX_CELLS` allows, at least one."""
        group: dict[int, VideoEmbedding] = {}
        num_cells = 0
        for candidate in candidates:
            video = self._embedding(candidate.video_id)
            if video is None:
                continue
            if group and num_cells + num_rows * len(video) > MAX_CELLS:
                yield group
                group, num_cells = {}, 0
            group[candidate.video_id] = video
            num_cells += num_rows * len(video)
        if group:
            yield group

    def discounted(
        self, matches: Mapping[int, Sequence[Match]]
    ) -> Iterator[tuple[int, list[Match]]]:
        """The matches with the score that is left to what many videos share, best first."""
        for video_id in matches:
            video = self._embedding(video_id)
            if video is None:
                continue
            ranges = []
            for match in matches[video_id]:
                if match.score >= COPY_SCORE and match.video_span is not None:
                    num = shared_with(
                        self._index,
                        video,
                        video_id,
                        match.video_span,
                        exclude_video_ids=self._excluded,
                    )
                    match = replace(match, shared_with=num, score=score_of_shared(match.score, num))
                ranges.append(match)
            yield video_id, sorted(ranges, key=lambda match: -match.score)

    def similar(self, embedding: VideoEmbedding, weights: Weights) -> Iterator[tuple[int, float]]:
        """Videos that are alike as wholes, by the likeness of their mean vectors to the query's."""
        query = weigh(mean_vector(embedding.vectors)[None], WEIGHTS[weights])
        zero_point = self._whole_zero_point(query)
        for video_id, _, likeness in self._near(embedding, weights):
            score = score_of_likeness(likeness, zero_point)
            if score > 0:
                yield video_id, score

    def _whole_zero_point(self, query: NDArray[np.float32]) -> float:
        share = 1 - NUM_ALIKE / max(NUM_ALIKE, self._index.num_videos)
        return find_zero_point(
            query,
            self._background,
            bounds=LIKENESS_RANGE,
            quantile=min(BACKGROUND_QUANTILE, share),
        )

    def _near(
        self, embedding: VideoEmbedding, weights: Weights
    ) -> Iterator[tuple[int, VideoEmbedding, float]]:
        """Videos worth comparing as wholes, with the likeness of their mean vectors."""
        query = weigh(mean_vector(embedding.vectors)[None], WEIGHTS[weights])
        some = np.linspace(0, len(embedding) - 1, min(len(embedding), NUM_MOMENTS)).astype(int)
        candidates = find_candidates(
            self._index,
            np.concatenate([query, weigh(embedding.vectors[some], WEIGHTS[weights])]),
            zero_point=self._whole_zero_point(query),
            limit=MAX_CANDIDATES,
            exclude_video_ids=self._excluded,
        )
        for video_id in sorted({one.video_id for one in candidates} | self._aligned_ids):
            video = self._embedding(video_id)
            if video is not None:
                yield video_id, video, float((query @ mean_vector(video.vectors))[0])

    def _embedding(self, video_id: int) -> VideoEmbedding | None:
        """Stored vectors of a video, kept for later; None if it was removed since the hits."""
        if video_id not in self._loaded:
            try:
                self._loaded[video_id] = self._index.embedding(video_id)
            except VideoNotIndexedError:
                return None
        self._loaded.move_to_end(video_id)
        while len(self._loaded) > 1 and sum(map(len, self._loaded.values())) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return self._loaded[video_id]


def _with_outstanding(
    span: AlignedSpan,
    similarity: NDArray[np.float32],
    zero_point: float,
    rows: Timeline,
    columns: Timeline,
) -> AlignedSpan:
    """A range with what stands out from it where the whole of two videos is one scene.

    There the longest line is the likeliest one, and parts in another order lie beside it.
    """
    usual = float(np.median(similarity))
    if usual < zero_point + SCENE_EXCESS or span.row_span is None:
        return span
    outstanding = []
    for other in align(similarity, zero_point=usual, rows=rows, columns=columns)[:NUM_OUTSTANDING]:
        if other.row_span and other.column_span and span.column_span:
            speed = span.column_span.duration_s / span.row_span.duration_s
            on_line_s = span.column_span.start_s + speed * (
                other.row_span.start_s - span.row_span.start_s
            )
            if abs(on_line_s - other.column_span.start_s) > OTHER_LINE_S:
                outstanding.append((other.row_span, other.column_span))
    return replace(span, outstanding=tuple(outstanding))


def _results(
    index: VideoIndex,
    found: list[FoundVideo],
    embedding: VideoEmbedding,
    decisions: Mapping[int, Decision],
    k: int,
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
        # Files may have gone, and come, since the last `index`.
        uri, *other_uris = sorted(stored.uris, key=is_gone)
        results.append(
            SearchResult(
                video_id=video.video_id,
                uri=uri,
                other_uris=tuple(other_uris),
                missing=is_gone(uri),
                score=video.score,
                kind=kind_of(video.score),
                coverage=_coverage(video.matches, embedding),
                verified=video.matches[0].verified if video.matches else None,
                matches=tuple(video.matches),
                verdict=decisions.get(video.video_id),
            )
        )
    return sorted(results, key=lambda result: (-result.score, result.uri))[:k]


def _rejections(index: VideoIndex, rejected: Sequence[tuple[int, Match]]) -> Iterator[Rejection]:
    """The most promising of them, with names."""

    def promise(pair: tuple[int, Match]) -> float:
        assert pair[1].evidence is not None
        return -pair[1].evidence.strength

    for video_id, match in sorted(rejected, key=promise)[:MAX_REJECTIONS]:
        with suppress(VideoNotIndexedError):  # removed while we searched
            assert match.evidence is not None
            uri = index.video(video_id).uris[0]
            yield Rejection(uri, match.query_span, match.video_span, match.evidence)


def _span_of(embedding: VideoEmbedding) -> TimeSpan | None:
    """What was embedded, from its start to its end; None for a still picture."""
    first, last = embedding.spans[0], embedding.spans[-1]
    return TimeSpan(first.start_s, last.end_s) if first and last else None


def _coverage(matches: Sequence[Match], embedding: VideoEmbedding) -> float:
    """Share of the query that ranges cover; all of a still picture or nothing."""
    matches = [match for match in matches if match.verified is not False]
    whole = _span_of(embedding)
    if whole is None:
        return 1.0 if matches else 0.0
    covered_s, reached_s = 0.0, whole.start_s
    ranges = [match.query_span for match in matches if match.query_span is not None]
    for span in sorted(ranges, key=lambda span: span.start_s):
        covered_s += max(0.0, span.end_s - max(span.start_s, reached_s))
        reached_s = max(reached_s, span.end_s)
    return round(min(1.0, covered_s / whole.duration_s), 4)
