"""From a query file to the answer: the whole way of a search.

    views         the query, whole and by the rectangles in it      views
    candidates    the ranges of videos that vectors suggest         suggesting
    verification  do decoded frames show the same footage           judging
    shared matter what many videos show says little                 sharing
    score         copy or similar, and how sure                     scoring
    answer        ranges, coverage, file names, best first          here

Copies and likenesses are looked for separately. A copy shows in a few seconds of the
identity half, whatever the rest of both videos is; two videos are alike as wholes.
The search for copies asks little and looks at frames before it tells anybody: vectors
alone cannot tell two takes of one scene apart. Where no candidate is confirmed the query is
looked at more closely, turned and magnified, once, and so are the videos most alike as wholes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

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
from sora_search.retrieval.footage import FootageReader
from sora_search.retrieval.judging import (
    FURTHER_LOOKS,
    MAX_THREADS,
    Judgment,
    is_fitting,
    judge,
    max_looks,
)
from sora_search.retrieval.ranges import covered_share, has_echo, span_of
from sora_search.retrieval.scoring import MATCH_STRENGTH, WEIGHTS, Weights, kind_of
from sora_search.retrieval.suggesting import Suggester
from sora_search.retrieval.views import View, closer_views, part_views, window_views
from sora_search.retrieval.windows import Rectangle, around
from sora_search.sora.encoder import FileEncoder, embed_video

FOUND_SCORE = 0.3
"""From here on nothing is looked at more closely: what scores less than a copy and this much is
mostly a scene in which nothing moves, of which a closer look tells no more."""

MAX_REJECTIONS = 20
"""Ranges named in an answer that are no part of it."""

MAX_INSETS, MAX_INSET_AREA = 2, 0.4
"""Rectangles that may be hidden; with a larger share of the picture too little is left around."""

MAX_PARTS, MIN_PART_SIDE, MAX_PART_KNOWN = 2, 0.3, 0.3
"""So many parts of the picture beside what is confirmed are searched on their own, where their
sides are such a share of the picture's at least and no more of them is explained: of two videos on
one screen one may have no edge by which its rectangle is found."""


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
    suggester = Suggester(index, excluded, decisions)
    views = [View(embedding), *window_views(query, encoder, span=span)]
    windows = (view.window for view in views if view.window)
    insets = list(islice(filter(_is_inset, windows), MAX_INSETS))
    bounds = span_of(embedding)
    look_at = partial(
        judge,
        index,
        FootageReader(),
        query,
        at_most=max_looks(bounds.duration_s if bounds else 0.0),
        # A video of the index explains itself; who asks for it wants to know of others.
        is_thorough=index.file_state(uri_of(query)) is not None,
        insets=insets,
        bounds=bounds,
        num_threads=min(MAX_THREADS, num_cores()),
        on_progress=on_progress,
    )
    judged = look_at(suggester.copies(views, on_progress=on_progress))
    if not any(map(_is_found, judged.seen())):
        alike = suggester.alike(embedding)
        closer = suggester.copies(closer_views(query, encoder, span=span))
        for video_id, nearest in alike.items():
            closer[video_id] = [*nearest, *closer.get(video_id, ())]
        again = look_at(closer, first=alike, further=FURTHER_LOOKS)
        judged = _with_closer(judged, again)
    if parts := _unexplained(judged.confirmed()):
        beside = suggester.copies(part_views(query, encoder, parts, span=span))
        again = look_at(
            {
                video_id: ranges
                for video_id, ranges in beside.items()
                if video_id not in judged.matches and ranges[0].strength >= MATCH_STRENGTH
            }
        )
        judged = _with_closer(judged, again)
    found = _found_videos(suggester, judged, embedding, weights, decisions)
    shown = [video for video in found.values() if video.score >= min_score and video.score > 0]
    results = tuple(_results(index, shown, embedding, decisions, k))
    return SearchAnswer(info, results, tuple(_rejections(index, judged.rejected)), damage)


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A video of the answer before its names are looked up; its ranges come best first."""

    video_id: int
    score: float
    matches: Sequence[Match] = ()


def _found_videos(
    suggester: Suggester,
    judged: Judgment,
    embedding: VideoEmbedding,
    weights: Weights,
    decisions: Mapping[int, Decision],
) -> dict[int, FoundVideo]:
    """What is told, by id: copies, what is alike, and what a person said matches."""
    ranges = dict(suggester.discounted(judged.matches))
    found = {i: FoundVideo(i, matches[0].score, matches) for i, matches in ranges.items()}
    if weights != "copies":
        for i, score in suggester.similar(embedding, weights):
            if i not in found or found[i].score < score:
                found[i] = FoundVideo(i, score, ranges.get(i, ()))
    for i, decision in decisions.items():
        if decision == "match" and i not in suggester.excluded:
            # Seconds that frames refute are not those a person means.
            kept = [match for match in ranges.get(i, ()) if match.verified is not False]
            found[i] = FoundVideo(i, 1.0, kept)
    return found


def _is_inset(window: Rectangle) -> bool:
    """Whether enough is left around it to recognize footage by."""
    return not window.is_moving and window.width * window.height <= MAX_INSET_AREA


def _unexplained(confirmed: Sequence[Match]) -> list[Rectangle]:
    """Parts of the query picture beside what frames confirm, large enough to show other footage."""
    edits = [match.evidence.edit for match in confirmed if match.evidence]
    known = [Rectangle(*edit.rectangle) for edit in edits if edit]
    standing = [Rectangle(*edit.rectangle) for edit in edits if edit and not edit.is_moving]
    parts: list[Rectangle] = []
    for rectangle in standing:
        for part in around(rectangle, min_side=MIN_PART_SIDE):
            area = part.width * part.height
            if all(part.shared_area(other) < MAX_PART_KNOWN * area for other in (*known, *parts)):
                parts.append(part)
    return parts[:MAX_PARTS]


def _is_found(match: Match) -> bool:
    """Whether frames leave so little doubt that looking more closely would find nothing better."""
    return match.verified is not False and match.score >= FOUND_SCORE


def _with_closer(judged: Judgment, closer: Judgment) -> Judgment:
    """What a search found, with what a closer look adds: of each video the ranges that are surer.

    A closer look sees many chance likenesses, so of it only what frames do not refute counts.
    """
    matches = dict(judged.matches)
    for video_id, ranges in closer.matches.items():
        fitting = list(filter(is_fitting, ranges))
        if fitting and _best_score(fitting) > _best_score(matches.get(video_id, ())):
            matches[video_id] = fitting
    rejected = [
        (video_id, match)
        for video_id, match in (*judged.rejected, *closer.rejected)
        if not has_echo(match, matches.get(video_id, ()))
    ]
    return Judgment(matches, rejected, judged.looked_at | closer.looked_at)


def _best_score(matches: Iterable[Match]) -> float:
    return max((match.score for match in matches), default=-1.0)


def _own_video_ids(index: VideoIndex, query: Path | str) -> frozenset[int]:
    """The indexed video that holds the query's content, and the one under its name."""
    own = set()
    for key in (uri_of(query), content_id(query)):
        with suppress(VideoNotIndexedError):
            own.add(index.find(key).video_id)
    return frozenset(own)


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
                coverage=covered_share(video.matches, span_of(embedding)),
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
