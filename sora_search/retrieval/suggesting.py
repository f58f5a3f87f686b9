"""What vectors suggest: the ranges in which stored videos may show the query, and those alike.

    hits          each vector's nearest stored vectors              index.video_index
    candidates    the videos that collect evidence                  candidates
    alignment     query against video, moment by moment             alignment
    shared matter what many videos show says little                 sharing

No frame is looked at: that is for `judging`. A long query goes through in pieces that overlap, so
memory stays flat.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Decision, Match, OnProgress, Progress, TimeSpan, VideoEmbedding
from sora_search.errors import VideoNotIndexedError
from sora_search.index.video_index import VideoIndex
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
from sora_search.retrieval.ranges import FoundRange, without_echoes
from sora_search.retrieval.scoring import (
    BACKGROUND_QUANTILE,
    COPY_SCORE,
    LEAST_STRENGTH,
    LIKENESS_RANGE,
    WEIGHTS,
    Weights,
    find_zero_point,
    mean_vector,
    score_of_likeness,
    score_of_shared,
    strength_of,
    weigh,
)
from sora_search.retrieval.sharing import shared_with
from sora_search.retrieval.timeline import Timeline
from sora_search.retrieval.views import View

MAX_CANDIDATES = 64
"""Videos aligned (for each piece of the query), and as many compared as wholes."""

NUM_BACKGROUND = 2048
"""Stored vectors that the zero point is measured against."""

NUM_ALIKE = 3
"""Videos of a small index that may be told as alike: of 14, 95 % of the vectors leave none."""

NUM_MOMENTS = 16
"""Vectors of the query, besides their mean, that look for videos that are alike as wholes."""

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

NUM_OUTSTANDING, OTHER_LINE_S = 3, 1.0
"""So many ranges of one scene are looked at beside the first, which lie elsewhere by so much."""

PIECE_VECTORS = 1024
"""A longer query is searched in pieces of so many vectors (8.5 minutes at two a second)."""

PIECE_OVERLAP = 16
"""Vectors that a piece shares with the one before, so that no short range is cut in two."""


class Suggester:
    """The vectors of an index as one search sees them, and what of them was loaded and measured."""

    def __init__(
        self, index: VideoIndex, excluded: frozenset[int], decisions: Mapping[int, Decision]
    ) -> None:
        self._index = index
        self.excluded = excluded
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
                        exclude_video_ids=self.excluded,
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
            exclude_video_ids=self.excluded,
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
