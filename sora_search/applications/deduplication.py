"""Which videos of an index show the same footage: what could go, and what shows it still.

Each video is asked for as a query is, by its stored vectors, among those that show more: longer
ones, and of those as long the ones with more pixels. So each pair is compared once, and no video
leads to itself. What vectors suggest frames confirm, as in a search.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sora_search.config import num_cores
from sora_search.datatypes import (
    Decision,
    Match,
    OnProgress,
    Progress,
    SearchAnswer,
    SearchResult,
    TimeSpan,
    VideoInfo,
)
from sora_search.errors import VideoNotIndexedError
from sora_search.index.video_index import VideoIndex
from sora_search.media.probing import is_gone, path_of
from sora_search.retrieval.footage import FootageReader
from sora_search.retrieval.judging import MAX_THREADS, in_threads, judge, max_looks
from sora_search.retrieval.ranges import FoundRange, covered_share, span_of
from sora_search.retrieval.scoring import COPY_SCORE, MATCH_STRENGTH, kind_of
from sora_search.retrieval.suggesting import Suggester
from sora_search.retrieval.views import View

MIN_COVERAGE = 0.5
"""Of a video, for it to be a duplicate: an intro that two films share makes neither one."""

SAME_DURATION = 1.1
"""Videos whose durations are apart by less than this factor may count as equally long."""

WHOLE = 0.95
"""Share of a duplicate that must be shown for nothing to be lost with it."""

AT_A_TIME = 8
"""Videos compared at a time; each with those of earlier turns by their groups."""


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """A video of the index that has a file.

    Attributes:
        video_id: Its id in this index.
        uri: A file that holds it.
        other_uris: Further files with the same bytes.
        info: What it is.
        size_bytes: Of each of the files, when it was indexed.
    """

    video_id: int
    uri: str
    other_uris: tuple[str, ...]
    info: VideoInfo
    size_bytes: int

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """How much it shows: the greater one of two is what should be kept."""
        steps = math.log(max(self.info.duration_s or 0.0, 0.1)) / math.log(SAME_DURATION)
        pixels = self.info.width * self.info.height  # bars count too: better one that shows bars
        return round(steps), pixels, self.size_bytes, -self.video_id


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A video that another one shows too.

    Attributes:
        video: What could go.
        shown_by: Id of the video that shows it, of higher `rank`.
        score: In [0, 1]: the probability that both show the same footage.
        coverage: Share of the duplicate that the other one shows, in [0, 1].
        verified: Whether frames confirm the best range; see `Match`.
        matches: Every range that both share, best first: `query_span` in the duplicate,
            `video_span` in the other one.
        verdict: What a person decided about the two; None if nobody did.
    """

    video: StoredVideo
    shown_by: int
    score: float
    coverage: float
    verified: bool | None
    matches: tuple[Match, ...]
    verdict: Decision | None = None

    @property
    def is_whole(self) -> bool:
        """Whether next to nothing would be lost with the file, or a person said that it matches."""
        return self.coverage >= WHOLE or (self.verdict == "match" and not self.matches)

    def as_answer(self, shown_by: StoredVideo) -> SearchAnswer:
        """The same as what a query with the duplicate would give, for `write_answer`."""
        result = SearchResult(
            video_id=shown_by.video_id,
            uri=shown_by.uri,
            other_uris=shown_by.other_uris,
            missing=False,
            score=self.score,
            kind=kind_of(self.score),
            coverage=self.coverage,
            verified=self.verified,
            matches=self.matches,
            verdict=self.verdict,
        )
        return SearchAnswer(replace(self.video.info, uri=self.video.uri), (result,))


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """A video with others that are shown by it, or by one another.

    Attributes:
        kept: The one of highest rank: no other one shows it.
        duplicates: The others, the surest first; none where `kept` has several equal files.
    """

    kept: StoredVideo
    duplicates: tuple[Duplicate, ...]

    @property
    def uris(self) -> tuple[str, ...]:
        """The file to keep, then all others."""
        videos = [self.kept, *(duplicate.video for duplicate in self.duplicates)]
        return tuple(uri for video in videos for uri in (video.uri, *video.other_uris))

    @property
    def num_spare(self) -> int:
        """How many files show nothing that no other one shows."""
        spare = sum(len(one.video.other_uris) + one.is_whole for one in self.duplicates)
        return len(self.kept.other_uris) + spare

    @property
    def spare_bytes(self) -> int:
        """What these files take."""
        total = self.kept.size_bytes * len(self.kept.other_uris)
        for one in self.duplicates:
            total += one.video.size_bytes * (len(one.video.other_uris) + one.is_whole)
        return total


def find_duplicates(
    index: VideoIndex,
    *,
    min_score: float = COPY_SCORE,
    min_coverage: float = MIN_COVERAGE,
    on_progress: OnProgress | None = None,
) -> list[DuplicateGroup]:
    """Find the videos of an index most of whose footage others show as well.

    Verdicts count, whichever of the two was the query: a `match` is a duplicate, a `no-match`
    is none. Videos without a file are left out, and so are copies in which nothing moves:
    no frame could confirm them.

    Args:
        index: Where to look; no model is needed.
        min_score: Pairs below it are left out.
        min_coverage: Share of a video that another one must show.
        on_progress: Told after each video.

    Returns:
        Groups, those first whose duplicates take most space. A file of equal bytes under another
        name makes a group as well.

    Raises:
        ValueError: If `min_score` or `min_coverage` is out of range.
    """
    videos = videos_with_files(index)
    found = duplicates_among(
        index, videos, min_score=min_score, min_coverage=min_coverage, on_progress=on_progress
    )
    return grouped(videos, found)


def videos_with_files(index: VideoIndex) -> list[StoredVideo]:
    """The videos of an index that have a file now, those that show most first."""
    states = index.file_states()
    videos = []
    for video in index.videos():
        there = [uri for uri in video.uris if not is_gone(uri)]
        if there and there[0] in states:
            size_bytes = states[there[0]].size_bytes
            videos.append(
                StoredVideo(video.video_id, there[0], tuple(there[1:]), video.info, size_bytes)
            )
    return sorted(videos, key=lambda video: video.rank, reverse=True)


def duplicates_among(
    index: VideoIndex,
    videos: Sequence[StoredVideo],
    *,
    min_score: float = COPY_SCORE,
    min_coverage: float = MIN_COVERAGE,
    on_progress: OnProgress | None = None,
) -> Iterator[Duplicate]:
    """Each of some videos that another of them shows, those that show most first.

    Args:
        index: Where they are.
        videos: As `videos_with_files` orders them.
        min_score: As in `find_duplicates`, like all that follows.
        min_coverage: Share of a video that another one must show.
        on_progress: Told after each video.

    Raises:
        ValueError: If `min_score` or `min_coverage` is out of range.
    """
    if not (0 <= min_score <= 1 and 0 <= min_coverage <= 1):
        raise ValueError(f"need shares in [0, 1], got {min_score=}, {min_coverage=}")
    comparing = _Comparing(index, videos, min_score, min_coverage)
    num_threads, num_done = min(MAX_THREADS, num_cores()), 0
    for start in range(0, len(videos), AT_A_TIME):
        begun = [comparing.begin(video) for video in videos[start : start + AT_A_TIME]]
        for found in in_threads(begun, num_threads, on_interrupt=comparing.interrupt):
            num_done += 1
            if on_progress is not None:
                on_progress(Progress("comparing", num_done, len(videos)))
            if found is not None:
                comparing.shown_by[found.video.video_id] = found.shown_by
                yield found


def grouped(videos: Iterable[StoredVideo], duplicates: Iterable[Duplicate]) -> list[DuplicateGroup]:
    """Duplicates beneath the video that shows them, and that no other one shows."""
    of = {duplicate.video.video_id: duplicate for duplicate in duplicates}

    def kept(video_id: int) -> int:
        while video_id in of:
            video_id = of[video_id].shown_by
        return video_id

    members: defaultdict[int, list[Duplicate]] = defaultdict(list)
    for video_id, duplicate in of.items():
        members[kept(video_id)].append(duplicate)
    groups = [
        DuplicateGroup(video, tuple(sorted(members[video.video_id], key=_order)))
        for video in videos
        if video.video_id in members or (video.other_uris and video.video_id not in of)
    ]
    return sorted(groups, key=lambda group: (-group.spare_bytes, group.kept.uri))


def _order(duplicate: Duplicate) -> tuple[float, str]:
    return -duplicate.score, duplicate.video.uri


class _Comparing:
    """Each of some videos against those that show more."""

    def __init__(
        self,
        index: VideoIndex,
        videos: Sequence[StoredVideo],
        min_score: float,
        min_coverage: float,
    ) -> None:
        self.shown_by: dict[int, int] = {}
        self._index = index
        self._places = {video.video_id: place for place, video in enumerate(videos)}
        self._min_score, self._min_coverage = min_score, min_coverage
        self._decisions = _decisions(index)
        self._readers: list[FootageReader] = []

    def begin(self, video: StoredVideo) -> Callable[[], Duplicate | None]:
        """Find what vectors suggest of one video; the result compares frames, in any thread."""
        decided = self._decisions.get(video.video_id, {})
        suggester = Suggester(self._index, frozenset([video.video_id]), decided)
        try:
            embedding = self._index.embedding(video.video_id)
        except VideoNotIndexedError:  # removed while others were compared
            return lambda: None
        found = {
            other: ranges
            for other, ranges in suggester.copies([View(embedding)]).items()
            if self._shows_more(other, video) and ranges[0].strength >= MATCH_STRENGTH
        }
        whole = span_of(embedding)
        groups = {other for other in found if self.shown_by.get(other) not in found}

        def compare() -> Duplicate | None:
            told = [
                _duplicate(video, other, (), whole, decision)
                for other, decision in decided.items()
                if decision == "match" and self._shows_more(other, video)
            ]
            reader = FootageReader()
            self._readers.append(reader)
            try:
                # Of a group the video that shows most stands for the others, as a rule.
                for some in (groups, found.keys() - groups):
                    matches = self._matches(video, {i: found[i] for i in some}, whole, reader)
                    for other, ranges in suggester.discounted(matches):
                        told.append(_duplicate(video, other, ranges, whole, decided.get(other)))
                    enough = list(filter(self._is_enough, told))
                    if enough:
                        return min(enough, key=self._preference)
            finally:
                self._readers.remove(reader)
            return None

        return compare

    def interrupt(self) -> None:
        """Let those that compare frames end soon."""
        for reader in tuple(self._readers):
            reader.interrupt()

    def _shows_more(self, other: int, video: StoredVideo) -> bool:
        place = self._places.get(other)
        return place is not None and place < self._places[video.video_id]

    def _is_enough(self, duplicate: Duplicate) -> bool:
        is_enough = duplicate.coverage >= self._min_coverage and bool(duplicate.matches)
        return bool(duplicate.verdict) or (duplicate.score >= self._min_score and is_enough)

    def _preference(self, duplicate: Duplicate) -> tuple[bool, int]:
        """What frames confirm first, and of that what shows most."""
        return not duplicate.verified, self._places[duplicate.shown_by]

    def _matches(
        self,
        video: StoredVideo,
        found: Mapping[int, Sequence[FoundRange]],
        whole: TimeSpan | None,
        reader: FootageReader,
    ) -> Mapping[int, list[Match]]:
        """What frames say of the ranges that vectors suggest."""
        if not found:
            return {}
        at_most = max_looks(whole.duration_s if whole else 0.0)
        path = path_of(video.uri)
        return judge(self._index, reader, path, found, at_most=at_most, bounds=whole).matches


def _duplicate(
    video: StoredVideo,
    other: int,
    matches: Sequence[Match],
    whole: TimeSpan | None,
    decision: Decision | None,
) -> Duplicate:
    """What the ranges of a pair amount to, those that frames refute left out."""
    matches = [match for match in matches if match.verified is not False]
    return Duplicate(
        video,
        other,
        1.0 if decision == "match" else max((match.score for match in matches), default=0.0),
        covered_share(matches, whole),
        matches[0].verified if matches else None,
        tuple(matches),
        decision,
    )


def _decisions(index: VideoIndex) -> Mapping[int, Mapping[int, Decision]]:
    """What stands about two videos of the index, by the id of either."""
    ids = {video.content_id: video.video_id for video in index.videos()}
    decisions: defaultdict[int, dict[int, Decision]] = defaultdict(dict)
    for verdict in index.verdicts():  # the newest last
        one, other = ids.get(verdict.query_content_id), verdict.video_id
        if verdict.state == "stands" and verdict.decision and one and other and one != other:
            decisions[one][other] = decisions[other][one] = verdict.decision
    return decisions
