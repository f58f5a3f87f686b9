"""How well search finds edited pieces of videos again, measured on a folder of videos.

Pieces of indexed videos are edited in every way of `media.editing`, written to a file and
searched, and so are videos that are not indexed. What came of each search is an `Outcome`;
`tallies` counts them.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from sora_search.applications.tallies import Answer, Outcome
from sora_search.datatypes import (
    IndexReport,
    OnProgress,
    Progress,
    SearchAnswer,
    SearchResult,
    TimeSpan,
)
from sora_search.errors import ConfigError, MediaError
from sora_search.index.discovery import find_videos
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.learning.metrics import temporal_iou
from sora_search.media.clips import Clip, EditedClip, joined_carrier
from sora_search.media.editing import EDITS, HARD_EDITS, USUAL_EDITS, edit_clip, read_clip
from sora_search.media.probing import path_of, probe, uri_of
from sora_search.media.writing import write_video
from sora_search.retrieval.searching import search
from sora_search.sora.encoder import FileEncoder

MIN_VIDEOS = 4
"""Two to index and two to take other footage from."""

PIECE_S = 20.0
"""Most seconds of a video that are edited at once: its frames are held."""

PICTURE_SIDE = 360
"""Short side, in pixels, to which larger pictures are brought before they are edited."""

NUM_RESULTS = 20
"""Videos asked for by each search."""

NUM_CARRIERS = 12
"""Videos that are joined to what an insert or an excerpt is put into."""

NEGATIVE = "negative"
"""Stands in the place of an edit where the query is in no indexed video."""


@dataclass(frozen=True, slots=True)
class Suite:
    """What is indexed, what is asked, and what is in no indexed video.

    Attributes:
        corpus: Videos to index.
        asked: Those of them that queries are made of, the first ones first.
        carriers: Videos that queries are pasted into; none is indexed.
        negatives: Videos that are asked though nothing of them is indexed.
        same: For a video those that show the same footage: right answers too.
    """

    corpus: Sequence[Path]
    asked: Sequence[Path]
    carriers: Sequence[Path]
    negatives: Sequence[Path]
    same: Mapping[Path, Collection[Path]] = field(default_factory=dict)


def halved(folder: Path, *, seed: int = 0) -> Suite:
    """Half of the videos of a folder, drawn by chance, to be indexed, the others to ask for.

    Nothing is known about which of them show the same footage: where two do under different
    names, an answer that is right counts as wrong.

    Raises:
        ConfigError: If there are too few.
    """
    paths = sorted(Path(file.path) for file in find_videos([folder]).files)
    if len(paths) < MIN_VIDEOS:
        raise ConfigError(
            f"{str(folder)!r} holds {len(paths)} videos: give a folder with {MIN_VIDEOS} or more"
        )
    drawn = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
    half = (len(drawn) + 1) // 2
    return Suite(drawn[:half], drawn[:half], drawn[half:], drawn[half:])


def edits_named(names: str) -> list[str]:
    """The edits that `usual`, `hard`, `all`, or names with commas between them mean.

    Raises:
        ConfigError: If there is no such edit.
    """
    groups = {"usual": USUAL_EDITS, "hard": HARD_EDITS, "all": USUAL_EDITS + HARD_EDITS}
    edits = list(groups.get(names) or names.split(","))
    unknown = [name for name in edits if name not in EDITS]
    if unknown:
        raise ConfigError(f"no edit {unknown[0]!r}; there are {', '.join(EDITS)}")
    return edits


def index_corpus(
    suite: Suite,
    encoder: FileEncoder,
    folder: Path,
    *,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> IndexReport:
    """Index what a suite has indexed, and nothing else; what was indexed before is kept.

    Raises:
        IndexIncompatibleError: If the folder holds an index of another model.
    """
    with VideoIndex.open_or_create(folder, encoder=encoder) as index:
        report = index_videos(
            index, list(suite.corpus), encoder=encoder, jobs=jobs, on_progress=on_progress
        )
        wanted = {uri_of(path) for path in suite.corpus}
        index.remove([v.video_id for v in index.videos() if wanted.isdisjoint(v.uris)])
    return report


def run_queries(
    index: VideoIndex,
    encoder: FileEncoder,
    suite: Suite,
    *,
    edits: Sequence[str],
    num_queries: int,
    num_negatives: int,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    on_failure: Callable[[Path, Exception], None] | None = None,
) -> Iterator[Outcome]:
    """Ask for edited pieces of `num_queries` videos, then for negatives; see what is found.

    Args:
        index: Holds the corpus of the suite.
        encoder: That of the index.
        suite: What to ask.
        edits: Names from `editing.EDITS`; those that need a longer video are left out.
        num_queries: Videos edited in each of these ways.
        num_negatives: Videos asked that are not indexed.
        seed: Of all that is drawn by chance.
        on_progress: Told after each query.
        on_failure: Told of each video that cannot be read, which is left out. Without it
            the error is raised.

    Yields:
        What came of each query, as it comes.
    """
    asked, negatives = suite.asked[:num_queries], suite.negatives[:num_negatives]
    num_total = len(asked) * len(edits) + len(negatives)
    num_done = 0

    def done() -> None:
        if on_progress is not None:
            on_progress(Progress("searching", num_done, num_total))

    with tempfile.TemporaryDirectory(prefix="sora-search-") as scratch:
        query = Path(scratch) / "query.mp4"
        for number, path in enumerate(asked, 1):
            try:
                for name, edited in _edited(suite, path, edits, [seed, number]):
                    rate = edited.frames_per_s
                    write_video(query, edited.frames, frames_per_s=rate, crf=23)
                    yield _asked(index, encoder, suite, query, name, path, edited)
                    num_done += 1
                    done()
            except (MediaError, OSError) as error:
                if on_failure is None:
                    raise
                on_failure(path, error)
            num_done = number * len(edits)
            done()
        for path in negatives:
            try:
                yield _asked(index, encoder, suite, path, NEGATIVE, path, None)
            except (MediaError, OSError) as error:
                if on_failure is None:
                    raise
                on_failure(path, error)
            num_done += 1
            done()


def _edited(
    suite: Suite, path: Path, edits: Sequence[str], seed: Sequence[int]
) -> Iterator[tuple[str, EditedClip]]:
    """The edits of a piece of one video, with spans that count from the start of the video."""
    rng = np.random.default_rng(seed)
    duration_s = probe(path).duration_s or 0.0
    start_s = float(rng.uniform(0.0, max(0.0, duration_s - PIECE_S)))
    clip = _piece(path, start_s)
    carrier: Clip | None = None
    order = rng.permutation(len(suite.carriers))[:NUM_CARRIERS]
    for name in edits:
        edit = EDITS[name]
        if clip.duration_s < edit.min_duration_s:
            continue
        if edit.needs_carrier and carrier is None:
            carrier = joined_carrier([_piece(suite.carriers[i], 0.0) for i in order], like=clip)
        edited = edit_clip(
            name,
            clip,
            seed=seed[0],
            video_hash=path.name,
            carrier=carrier if edit.needs_carrier else None,
        )
        yield name, edited.later(start_s) if start_s else edited


def _piece(path: Path, start_s: float) -> Clip:
    span = TimeSpan(start_s, start_s + PIECE_S)
    return read_clip(path, span=span, short_side=PICTURE_SIDE)


def _asked(
    index: VideoIndex,
    encoder: FileEncoder,
    suite: Suite,
    query: Path,
    name: str,
    path: Path,
    edited: EditedClip | None,
) -> Outcome:
    started, cpu_started = perf_counter(), process_time()
    answer = search(index, query, encoder=encoder, k=NUM_RESULTS)
    cpu_s, seconds = process_time() - cpu_started, perf_counter() - started
    right = {path.resolve(), *(other.resolve() for other in suite.same.get(path, ()))}
    return judged(answer, name, path, right, edited, cpu_s=cpu_s, seconds=seconds)


def judged(
    answer: SearchAnswer,
    edit: str,
    path: Path,
    right: Collection[Path],
    edited: EditedClip | None,
    *,
    cpu_s: float = 0.0,
    seconds: float = 0.0,
) -> Outcome:
    """What an answer is worth, with the truth beside it.

    Args:
        answer: To the query.
        edit: What was done to make it.
        path: The video that it was made of.
        right: All videos that are right.
        edited: The query; None where nothing of the video is indexed.
        cpu_s: What the search took.
        seconds: What it took by the clock.
    """
    rank, itself = 0, None
    answers = []
    for place, result in enumerate(answer.results, 1):
        files = [path_of(uri) for uri in (result.uri, *result.other_uris)]
        # A negative is in no indexed video, but its cluster may show the same footage.
        is_right = any(file in right for file in files)
        is_itself = edited is not None and path.resolve() in files
        answers.append(
            Answer(files[0].name, result.score, result.verified, is_right, bool(result.matches))
        )
        if is_right and not rank:
            rank = place
        if is_itself:
            itself = result
    found = _compared(itself, edited) if edited is not None and itself is not None else {}
    return Outcome(
        edit=edit,
        name=path.name,
        rank=rank,
        score=itself.score if itself else 0.0,
        is_copy=itself is not None and itself.kind == "copy",
        answers=tuple(answers),
        cpu_s=cpu_s,
        seconds=seconds,
        **found,
    )


def _compared(result: SearchResult, edited: EditedClip) -> dict[str, float | None]:
    """Ranges and edit of the right video against the truth."""
    sides = {
        side: temporal_iou(_spans(result, side), _spans(edited, side))
        for side in ("query_span", "video_span")
    }
    found: dict[str, float | None] = {
        "query_iou": sides["query_span"],
        "video_iou": sides["video_span"],
    }
    best = result.matches[0] if result.matches else None
    if best is not None and best.video_span is not None:
        starts_s = [span.start_s for span in _spans(edited, "video_span")]
        found["start_error_s"] = min(abs(best.video_span.start_s - start) for start in starts_s)
    edit = best.evidence.edit if best is not None and best.evidence is not None else None
    if edit is not None:
        found["is_mirror_right"] = float(edit.mirrored == edited.mirrored)
        found["speed_error"] = abs(edit.speed / edited.speed - 1)
        found["rectangle_iou"] = _rectangle_iou(edit.rectangle, edited.rectangle())
    return found


def _spans(holder: SearchResult | EditedClip, side: str) -> list[TimeSpan]:
    spans = [getattr(match, side) for match in holder.matches]
    return [span for span in spans if span is not None]


def _rectangle_iou(
    found: tuple[float, float, float, float], true: tuple[float, float, float, float]
) -> float:
    """Shared area of two rectangles (left, top, width, height), of what either covers."""
    shared = 1.0
    for first, size in ((0, 2), (1, 3)):
        low = max(found[first], true[first])
        high = min(found[first] + found[size], true[first] + true[size])
        shared *= max(0.0, high - low)
    return shared / (found[2] * found[3] + true[2] * true[3] - shared)
