"""How well search finds edited pieces of videos again, measured on a folder of videos.

Pieces of indexed videos are edited in every way of `media.editing`, written to a file and
searched, and so are videos that are not indexed. What came of each search is an `Outcome`;
`tallies` counts them.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from sora_search.applications.reviewing import PIECE_S, Footage, read_thumbnails
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
from sora_search.learning.copies import thumbnails_of
from sora_search.learning.metrics import temporal_iou
from sora_search.media.clips import Clip, EditedClip, joined_carrier
from sora_search.media.compositions import CARRIER_S
from sora_search.media.editing import (
    EDITS,
    HARD_EDITS,
    USUAL_EDITS,
    edit_clip,
    read_clip,
)
from sora_search.media.probing import path_of, probe, uri_of
from sora_search.media.writing import write_video
from sora_search.retrieval.scoring import LIKENESS_SCORE
from sora_search.retrieval.searching import search
from sora_search.sora.encoder import FileEncoder

MIN_VIDEOS = 4
"""Two to index and two to take other footage from."""

PICTURE_SIDE = 360
"""Short side, in pixels, to which larger pictures are brought before they are edited."""

NUM_RESULTS = 20
"""Videos asked for by each search."""

NUM_CARRIERS = 12
"""Most videos that are joined to what an insert or an excerpt is put into."""

NEGATIVE = "negative"
"""Stands in the place of an edit where the query is in no indexed video."""

OnFailure = Callable[[Path, Exception], None]


@dataclass(frozen=True, slots=True)
class Suite:
    """What is indexed, what is asked, and what is in no indexed video.

    Attributes:
        corpus: Videos to index.
        asked: Those of them that queries are made of, the first ones first.
        carriers: Videos that queries are pasted into; none is indexed.
        negatives: Videos that are asked though nothing of them is indexed.
        same: For a video those that show the same footage: right answers too. None where it
            is not known: then the frames of the videos that are named decide.
    """

    corpus: Sequence[Path]
    asked: Sequence[Path]
    carriers: Sequence[Path]
    negatives: Sequence[Path]
    same: Mapping[Path, Collection[Path]] | None = None


def halved(folder: Path, *, seed: int = 0) -> Suite:
    """Half of the videos of a folder, drawn by chance, to be indexed, the others to ask for.

    The draw knows nothing of what they show. Where two show the same footage under different
    names, either is right (see `reviewing`).

    Raises:
        ConfigError: If there are too few.
    """
    paths = sorted(Path(file.path) for file in find_videos([folder]).files)
    if len(paths) < MIN_VIDEOS:
        videos = f"{len(paths)} video{'' if len(paths) == 1 else 's'}"
        raise ConfigError(
            f"{str(folder)!r} holds {videos}: give a folder with {MIN_VIDEOS} or more"
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
    keep_dir: Path | None = None,
    on_progress: OnProgress | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Outcome]:
    """Ask for edited pieces of `num_queries` videos, then for negatives; see what is found.

    Args:
        index: Holds the corpus of the suite; what of it could not be indexed is not asked for.
        encoder: That of the index.
        suite: What to ask.
        edits: Names from `editing.EDITS`; those that need a longer video are left out, and
            those that need other footage where there is none.
        num_queries: Videos edited in each of these ways.
        num_negatives: Videos asked that are not indexed.
        seed: Of all that is drawn by chance.
        keep_dir: An existing folder where the edited pieces stay.
        on_progress: Told after each query.
        on_failure: Told once of each video that cannot be read, which is left out; of carriers
            and negatives the next ones take their place. Without it the error is raised.

    Yields:
        What came of each query, as it comes.
    """
    indexed = {uri for video in index.videos() for uri in video.uris}
    asked = [path for path in suite.asked if uri_of(path) in indexed][:num_queries]
    num_total = len(asked) * len(edits) + min(num_negatives, len(suite.negatives))
    num_done = 0
    failures = _Failures(on_failure)

    def done() -> None:
        if on_progress is not None:
            on_progress(Progress("searching", num_done, num_total))

    with tempfile.TemporaryDirectory(prefix="sora-search-") as scratch:
        for number, path in enumerate(asked, 1):
            try:
                for name, edited, footage in _edited(suite, path, edits, [seed, number], failures):
                    query = Path(scratch) / "query.mp4"
                    if keep_dir is not None:
                        query = keep_dir / f"{number:03}-{path.stem}-{name}.mp4"
                    rate = edited.frames_per_s
                    write_video(query, edited.frames, frames_per_s=rate, crf=23)
                    yield _asked(index, encoder, suite, query, name, path, edited, footage)
                    num_done += 1
                    done()
            except (MediaError, OSError) as error:
                failures.add(path, error)
            num_done = number * len(edits)
            done()
        num_asked = 0
        for path in suite.negatives:
            if num_asked == num_negatives:
                break
            try:
                yield _asked(index, encoder, suite, path, NEGATIVE, path)
            except (MediaError, OSError) as error:
                failures.add(path, error)
                continue
            num_asked += 1
            num_done += 1
            done()


class _Failures:
    """Tells of each video once; raises where there is nobody to tell."""

    def __init__(self, on_failure: OnFailure | None) -> None:
        self._on_failure = on_failure
        self._told: set[Path] = set()

    def add(self, path: Path, error: Exception) -> None:
        if self._on_failure is None:
            raise error
        if path not in self._told:
            self._told.add(path)
            self._on_failure(path, error)


@dataclass(frozen=True, slots=True)
class _Sources:
    """What queries are made of: the piece asked for, and what it is put into."""

    piece: Footage
    carrier: Footage


def _edited(
    suite: Suite, path: Path, edits: Sequence[str], seed: Sequence[int], failures: _Failures
) -> Iterator[tuple[str, EditedClip, _Sources]]:
    """The edits of a piece of one video, with spans that count from the start of the video."""
    rng = np.random.default_rng(seed)
    duration_s = probe(path).duration_s or 0.0
    start_s = float(rng.uniform(0.0, max(0.0, duration_s - PIECE_S)))
    clip = _piece(path, start_s)
    piece, nothing = Footage(thumbnails_of(clip)), Footage()
    order = [suite.carriers[i] for i in rng.permutation(len(suite.carriers))]
    carrier: Clip | None = None
    put_into = nothing
    if any(EDITS[name].needs_carrier for name in edits):
        pieces = _carrier_pieces(order, failures)
        if pieces:
            carrier = joined_carrier(pieces, like=clip, duration_s=CARRIER_S)
            put_into = Footage(*(thumbnails_of(one) for one in pieces))
    for name in edits:
        edit = EDITS[name]
        if clip.duration_s < edit.min_duration_s or (edit.needs_carrier and carrier is None):
            continue
        edited = edit_clip(
            name,
            clip,
            seed=seed[0],
            video_hash=path.name,
            carrier=carrier if edit.needs_carrier else None,
        )
        sources = _Sources(piece, put_into if edit.needs_carrier else nothing)
        yield name, edited.later(start_s) if start_s else edited, sources


def _carrier_pieces(paths: Sequence[Path], failures: _Failures) -> list[Clip]:
    """As many beginnings of videos as a carrier takes, and no more: their frames are held."""
    pieces: list[Clip] = []
    for path in paths:
        if len(pieces) == NUM_CARRIERS or sum(clip.duration_s for clip in pieces) >= CARRIER_S:
            break
        try:
            pieces.append(_piece(path, 0.0))
        except (MediaError, OSError) as error:
            failures.add(path, error)
    return pieces


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
    edited: EditedClip | None = None,
    sources: _Sources | None = None,
) -> Outcome:
    started, cpu_started = perf_counter(), process_time()
    answer = search(index, query, encoder=encoder, k=NUM_RESULTS)
    cpu_s, seconds = process_time() - cpu_started, perf_counter() - started
    right, left_out = {_indexed_as(path)}, set[Path]()
    if suite.same is not None:
        right |= {_indexed_as(other) for other in suite.same.get(path, ())}
    for result in answer.results:
        file = path_of(result.uri)
        if file in right:
            continue
        if sources is None:
            if suite.same is None and _shows_negative(result, path):
                right.add(file)
        elif suite.same is None and sources.piece.is_shown_by(result):
            right.add(file)
        elif sources.carrier.is_shown_by(result):
            left_out.add(file)
    return judged(answer, name, path, right, edited, left_out, cpu_s=cpu_s, seconds=seconds)


def _indexed_as(path: Path) -> Path:
    """The name under which an index has a file: absolute, links in it not resolved."""
    return path_of(uri_of(path))


def _shows_negative(result: SearchResult, path: Path) -> bool:
    """Whether an indexed video shows the seconds of a negative that it is named for."""
    span = result.matches[0].query_span if result.matches else None
    if span is None or result.score < LIKENESS_SCORE:
        return False
    end_s = min(span.end_s, span.start_s + PIECE_S)
    return Footage(read_thumbnails(path, TimeSpan(span.start_s, end_s))).is_shown_by(result)


def judged(
    answer: SearchAnswer,
    edit: str,
    path: Path,
    right: Collection[Path],
    edited: EditedClip | None,
    left_out: Collection[Path] = (),
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
        left_out: Videos that show what the query was put into: neither right nor wrong.
        cpu_s: What the search took.
        seconds: What it took by the clock.
    """
    itself = None
    answers = []
    for result in answer.results:
        files = [path_of(uri) for uri in (result.uri, *result.other_uris)]
        if any(file in left_out for file in files):
            continue
        # Nothing of a negative is indexed, but another video may show the same footage.
        is_right = any(file in right for file in files)
        is_itself = edited is not None and _indexed_as(path) in files
        answers.append(
            Answer(files[0].name, result.score, result.verified, is_right, bool(result.matches))
        )
        if is_itself:
            itself = result
    found = _compared(itself, edited) if edited is not None and itself is not None else {}
    return Outcome(
        edit=edit,
        name=path.name,
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
        true = edited.rectangle(_middle_row(edited, best.query_span if best else None))
        found["rectangle_iou"] = _rectangle_iou(edit.rectangle, true)
    return found


def _middle_row(edited: EditedClip, span: TimeSpan | None) -> int | None:
    """The frame in the middle of a range, where what moves is told; None if it is no part of it."""
    if span is None:
        return None
    middle_s = span.middle_s
    if any(true.start_s <= middle_s < true.end_s for true in _spans(edited, "query_span")):
        return min(int(middle_s * edited.frames_per_s), len(edited) - 1)
    return None


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
