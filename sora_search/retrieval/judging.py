"""Looking before telling: the best candidates' frames against those of the query.

Vectors bring up what may be the same footage; frames decide. Looking costs a fraction
of a second each, so a limited number of videos is looked at, the most promising first,
several at a time.
What was not looked at is told on trust: where most looks confirmed, as among many files of one
footage, what vectors find as strong may be right as well; where they did not, weaker ones
hardly are.
"""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import TypeVar

from sora_search.datatypes import Match, OnProgress, Progress, TimeSpan
from sora_search.errors import VideoNotIndexedError
from sora_search.index.video_index import VideoIndex
from sora_search.media.probing import is_gone, path_of
from sora_search.retrieval.footage import FootageReader, Sides
from sora_search.retrieval.looking import REPETITION_MOTION, Pair, on_trust
from sora_search.retrieval.ranges import FoundRange, covered_share, has_echo, is_part, once
from sora_search.retrieval.scoring import COPY_SCORE, MATCH_STRENGTH, Sight
from sora_search.retrieval.windows import Rectangle

MAX_REFUTED, MAX_REFUTED_CLOSER, MAX_REFUTED_FURTHER = 2, 3, 1
"""Ranges of one video that may be refuted, or unreadable, before the others are not looked at: in a
first search, in one that looks closer (an inset that crosses the picture passes several windows,
and is seen well in one of them), and among the further videos of that."""

MAX_REFUTED_FIRST = 5
"""The same of the videos that are looked at first: theirs begin with two of the whole picture."""

MIN_LOOKS, S_A_LOOK, FURTHER_LOOKS = 6, 8.0, 30
"""So many videos are looked at, and so many ranges of each; of a film, which may be made of pieces
of many videos, one for each so many seconds; and so many more videos where a search that already
looks closer has confirmed none: of sixteen copies that were missed on the suite `choose` the right
video of two was among thirty of these and not among fifteen. This bounds the time of a search."""

EXPLAINED = 0.9
"""Share of the query from which on, once frames confirm it, only videos are looked at that vectors
would tell by themselves: of the others hardly one is confirmed, and most looks are at them."""

MAX_THREADS = 6
"""Videos that are looked at at a time: as many as most searches look at."""


_Result = TypeVar("_Result")


def max_looks(duration_s: float) -> int:
    """How many videos, and ranges of each, are looked at for a query of a duration."""
    return max(MIN_LOOKS, int(duration_s / S_A_LOOK))


@dataclass(frozen=True, slots=True)
class Judgment:
    """What became of the ranges that vectors suggest.

    Attributes:
        matches: Those told of each video, best first.
        rejected: Those not told, with the id of their video.
        looked_at: Ids of the videos whose frames were looked at.
    """

    matches: dict[int, list[Match]]
    rejected: list[tuple[int, Match]]
    looked_at: set[int]

    def seen(self) -> list[Match]:
        """What is told of the videos whose frames were looked at."""
        return [match for i in self.looked_at for match in self.matches.get(i, ())]

    def confirmed(self) -> list[Match]:
        """What frames confirm, of all videos."""
        return [match for told in self.matches.values() for match in told if match.verified]


def judge(
    index: VideoIndex,
    reader: FootageReader,
    query_path: Path | str,
    found: Mapping[int, Sequence[FoundRange]],
    *,
    first: Collection[int] = (),
    at_most: int = MIN_LOOKS,
    further: int = 0,
    is_thorough: bool = False,
    insets: Sequence[Rectangle] = (),
    bounds: TimeSpan | None = None,
    num_threads: int = 1,
    on_progress: OnProgress | None = None,
) -> Judgment:
    """Look at the most promising videos; see which of their ranges stand.

    Args:
        index: Where the videos are named.
        reader: Reads the frames of both sides, and keeps them for the next time.
        query_path: The query file.
        found: Ranges of each video, the most promising first.
        first: Videos to look at before all others, whatever their strength.
        at_most: How many videos to look at, and how many ranges of each.
        further: How many more videos to look at while none is confirmed.
        is_thorough: Look at what vectors hardly suggest even if all of the query is confirmed.
        insets: Parts of the query picture that may show something else than what is around them.
        bounds: The part of the query that is searched; None for a still picture.
        num_threads: How many videos to look at at a time; the answer is the same.
        on_progress: Told after each video looked at.

    Returns:
        Matches of each video that has any, with `verified`, a score and evidence. Where a
        range is confirmed those refuted are rejected; a video all of whose ranges are refuted
        keeps the best one, if vectors alone would tell it.
    """
    order = sorted(found, key=lambda i: (i not in first, -found[i][0].strength, i))
    files = _files_of(index, order, at_most + further)
    places = {video_id: place for place, video_id in enumerate(filter(files.get, files))}
    judgment = Judgment({}, [], set())
    phase = "looking closer" if further else "looking"
    num_looks = most = len(places)
    num_strong = 1 + max(
        (place for i, place in places.items() if found[i][0].strength >= MATCH_STRENGTH), default=-1
    )
    num_standing = 0

    def look_at(video_id: int, place: int) -> Callable[[], list[Match]]:
        path = files[video_id]
        assert path is not None
        pair = Pair(Sides(reader, query_path, path, bounds=bounds), insets)
        patience = MAX_REFUTED_CLOSER if further else MAX_REFUTED
        if place >= at_most:
            patience = MAX_REFUTED_FURTHER
        if video_id in first:
            patience = MAX_REFUTED_FIRST
        return lambda: list(pair.look_at(found[video_id], at_most, patience))

    looks = in_threads(starmap(look_at, places.items()), num_threads, on_interrupt=reader.interrupt)
    for video_id in order:
        place = places.get(video_id, most)
        if at_most <= place < num_looks and judgment.confirmed():
            num_looks = place
        is_weak = num_strong <= place < num_looks and not is_thorough
        if is_weak and covered_share(judgment.confirmed(), bounds) >= EXPLAINED:
            num_looks = place
        if video_id in files and files[video_id] is None:
            matches = list(on_trust(found[video_id], "its file is gone", "unseen"))
        elif place >= num_looks:
            looks.close()
            reason = f"not among the {num_looks} looked at"
            is_trusted = 2 * num_standing >= len(judgment.looked_at)
            sight: Sight = "unseen" if is_trusted else "behind"
            matches = list(on_trust(found[video_id], reason, sight))
        else:
            matches = next(looks)
            judgment.looked_at.add(video_id)
            num_standing += any(map(_stands, matches))
        matches.sort(key=lambda match: -match.score)
        told = [match for match in matches if _is_told(match)]
        likely = list(filter(_stands, told))
        told = _explained(likely) if likely else told[:1]
        if told:
            judgment.matches[video_id] = told
        judgment.rejected.extend(
            (video_id, match) for match in matches if not has_echo(match, told)
        )
        if on_progress is not None and place < num_looks:
            on_progress(Progress(phase, place + 1, most))
    if on_progress is not None and num_looks < most:
        on_progress(Progress(phase, num_looks, num_looks))
    return judgment


def in_threads(
    tasks: Iterable[Callable[[], _Result]], num: int, *, on_interrupt: Callable[[], None]
) -> Generator[_Result, None, None]:
    """The results of tasks, in order; of the next ones `num` in all are worked on meanwhile.

    Closed, it waits for those that were begun; the others are not. On Ctrl-C it first says so, so
    that they end soon.
    """
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(num) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) == num:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KeyboardInterrupt:
            on_interrupt()
            raise
        finally:
            for future in waiting:
                future.cancel()


def _explained(matches: Iterable[Match]) -> list[Match]:
    """Those, best first, that a better one does not explain.

    Frames may have shown that two ranges are parts of one. And where seconds of the query are
    confirmed at one place of a video, another place at which less moves alike is a repetition of
    the movement: footage that is there twice agrees twice.
    """
    kept: list[Match] = []
    for match in once(matches):
        if not any(_is_repetition(match, better) for better in kept):
            kept.append(match)
    return kept


def _is_repetition(match: Match, better: Match) -> bool:
    if match.query_span is None or better.query_span is None:
        return False
    assert match.evidence is not None
    assert better.evidence is not None
    if not is_part(match.query_span, better.query_span):
        return False
    motion = match.evidence.motion
    return motion is None or motion < (better.evidence.motion or 0.0) - REPETITION_MOTION


def _stands(match: Match) -> bool:
    """Whether frames confirm it, or leave it open and probably it is the same footage."""
    return bool(match.verified) or (match.verified is None and match.score >= COPY_SCORE)


def _is_told(match: Match) -> bool:
    assert match.evidence is not None
    # Frames that leave it open are worth telling however little the vectors saw.
    return is_fitting(match) or match.evidence.strength >= MATCH_STRENGTH


def is_fitting(match: Match) -> bool:
    """Whether frames confirm it, or fit over one another and do not tell takes of a scene apart."""
    assert match.evidence is not None
    is_open = match.verified is None and match.evidence.edit is not None
    return bool(match.verified) or is_open


def _files_of(index: VideoIndex, video_ids: Iterable[int], most: int) -> dict[int, Path | None]:
    """A file of each video, None where none is there, until `most` are there."""
    files: dict[int, Path | None] = {}
    num_there = 0
    for video_id in video_ids:
        if num_there == most:
            break
        files[video_id] = _file_of(index, video_id)
        num_there += files[video_id] is not None
    return files


def _file_of(index: VideoIndex, video_id: int) -> Path | None:
    """A file of the video that can be looked at; None where there is none."""
    try:
        uris = index.video(video_id).uris
    except VideoNotIndexedError:  # removed while we searched
        return None
    return next((path_of(uri) for uri in uris if not is_gone(uri)), None)
