"""Edited copies of clips as a model sees them, and which clips show the same footage.

Reading and editing go on in other processes while the caller encodes; what was edited
once can be kept on disk. Nothing here knows a model: whoever has frames in and vectors
out, a training in its own loop too, can be measured on `copy_queries`.
"""

import hashlib
import itertools
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FrameBatch, Match, TimeSpan
from sora_search.errors import MediaError, VideoDecodeError
from sora_search.learning import datasets
from sora_search.media import clips, compositions, editing, operations, writing
from sora_search.media.clips import Clip, EditedClip, joined_carrier, resize_frames
from sora_search.media.compositions import CARRIER_S
from sora_search.media.editing import EDITS, edit_clip, generator_of, read_clip
from sora_search.media.sampling import SamplingConfig, sample_times, sampling_rate

OnFailure = Callable[[str], None]

#: Thumbnails for finding the same footage: height, width, and frames a second.
THUMBNAIL_SIZE = (18, 32)
THUMBNAILS_PER_S = 15.0
#: Of 1,580 pairs of clips of one cluster 17 are the same footage; they correlate with .94
#: or more, other takes of the same scene with .82 at most.
SAME_CORRELATION = 0.90
#: Gray levels. Below it there is nothing but coding noise: pictures that stand still.
NOISE_LEVEL = 1.0

_NUM_CARRIERS = 8

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """Which frames a model wants.

    Attributes:
        size: Height and width; the whole picture is squeezed into it.
        sampling: How many, and when.
    """

    size: tuple[int, int]
    sampling: SamplingConfig = field(default_factory=SamplingConfig)


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A clip as it is.

    Attributes:
        row: Its place among the clips asked for.
        batch: The frames a model wants.
        end_s: Where the clip ends.
        thumbnails: Gray uint8, shape ``(T, 18, 32)``, at 15 a second.
    """

    row: int
    batch: FrameBatch
    end_s: float
    thumbnails: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class CopyQuery:
    """An edited copy of a clip.

    Attributes:
        row: The place of its original among the clips asked for.
        edit: What was done to it, a key of `editing.EDITS`.
        batch: The frames a model wants.
        end_s: Where it ends.
        matches: Which spans of the original it shows, the truth.
    """

    row: int
    edit: str
    batch: FrameBatch
    end_s: float
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class SameFootage:
    """Two clips whose frames agree: rows of the clips asked for.

    `offset_s` is the time in the first at which the second begins.
    """

    first: int
    second: int
    offset_s: float
    correlation: float


def originals(
    dataset: Sequence[datasets.Clip],
    request: FrameRequest,
    *,
    jobs: int = 1,
    on_failure: OnFailure | None = None,
) -> Iterator[Original]:
    """The clips as a model sees them, in their order.

    Args:
        dataset: The clips.
        request: Which frames.
        jobs: Processes that read; 1 reads here.
        on_failure: Told in a line about each file that cannot be read.

    Raises:
        VideoDecodeError: At such a file, without `on_failure`.
    """
    tasks = (_Reading(row, clip, request) for row, clip in enumerate(dataset))
    yield from _without_failures(mapped(_read, tasks, jobs), on_failure)


def copy_queries(
    dataset: Sequence[datasets.Clip],
    edits: Sequence[str],
    request: FrameRequest,
    *,
    carriers: Sequence[datasets.Clip] = (),
    rows: Sequence[int] | None = None,
    seed: int = 0,
    jobs: int = 1,
    cache_dir: Path | str | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[CopyQuery]:
    """Edited copies as a model sees them: clip by clip, all edits of one after the other.

    An edit that a clip is too short for is left out.

    Args:
        dataset: The originals.
        edits: Keys of `editing.EDITS`.
        request: Which frames.
        carriers: Footage for the edits that put a clip into another video; must show
            nothing of what the gallery shows. A copy's carriers depend on its hash.
        rows: Only copies of these clips.
        seed: Another seed makes other random choices.
        jobs: Processes that read and edit; 1 does it here.
        cache_dir: Keep the edited frames here and use them next time (as they are: 16
            frames of 128 px are 0.8 MB a copy).
        on_failure: Told in a line about each file that cannot be read.

    Raises:
        ValueError: If an edit is unknown, or needs carriers and there are none.
        VideoDecodeError: At a file that cannot be read, without `on_failure`.
    """
    for name in edits:
        if name not in EDITS:
            raise ValueError(f"no edit {name!r}; there are {', '.join(EDITS)}")
        if EDITS[name].needs_carrier and not carriers:
            raise ValueError(f"{name!r} needs carriers: clips of other videos")
    tasks = (
        _Editing(
            row,
            dataset[row],
            tuple(edits),
            request,
            tuple(_drawn_carriers(dataset[row], carriers, seed)),
            seed,
            None if cache_dir is None else Path(cache_dir),
        )
        for row in (range(len(dataset)) if rows is None else rows)
    )
    for copies in _without_failures(mapped(_edit, tasks, jobs), on_failure):
        yield from copies


def view_of(clip: Clip, request: FrameRequest) -> FrameBatch:
    """The frames of a clip that a model wants, at the times of `media.sampling`."""
    rate = sampling_rate(clip.duration_s, request.sampling)
    times = sample_times(TimeSpan(0.0, clip.duration_s), rate)
    return FrameBatch(resize_frames(clip.frames_at(times), request.size), times)


def thumbnails_of(clip: Clip) -> NDArray[np.uint8]:
    """A clip as `same_footage` compares it: gray uint8, shape ``(T, 18, 32)``, at 15 a second."""
    times = np.arange(0.5 / THUMBNAILS_PER_S, clip.duration_s, 1 / THUMBNAILS_PER_S)
    small = resize_frames(clip.frames_at(times if len(times) else np.zeros(1)), THUMBNAIL_SIZE)
    gray: NDArray[np.uint8] = small.mean(axis=3).round().astype(np.uint8)
    return gray


def same_footage(
    thumbnails: Sequence[NDArray[np.uint8]], clusters: Sequence[str]
) -> list[SameFootage]:
    """The pairs of one cluster that show the same footage for a second or more.

    Decided by the frames alone: shifted against one another, what moves in the two must
    move alike (pixels minus their mean over the shared time correlate), or both must
    stand still and be the same picture. Brightness and contrast may differ; a mirrored,
    cropped or faster copy is not found.

    Args:
        thumbnails: One array a clip, as in `Original`.
        clusters: One a clip; pairs across clusters are not compared.
    """
    members: dict[str, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    found = []
    for rows in members.values():
        for first, second in itertools.combinations(rows, 2):
            pair = _best_shift(thumbnails[first], thumbnails[second])
            if pair is not None:
                found.append(SameFootage(first, second, *pair))
    return found


def _best_shift(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[float, float] | None:
    """Offset in seconds and correlation where two clips are the same, or None."""
    x, y = (part.reshape(len(part), -1).astype(np.float32) for part in (a, b))
    shortest = min(round(THUMBNAILS_PER_S), len(x), len(y))
    best: tuple[float, float] | None = None
    for offset in range(shortest - len(y), len(x) - shortest + 1):
        start = max(0, offset)
        length = min(len(x) - start, len(y) + offset - start)
        ours, theirs = x[start : start + length], y[start - offset : start - offset + length]
        correlation = _agreement(ours, theirs)
        if correlation >= SAME_CORRELATION and (best is None or correlation > best[1]):
            best = offset / THUMBNAILS_PER_S, correlation
    return best


def _agreement(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    moving = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    levels = [float(np.sqrt((part**2).mean())) for part in moving]
    if max(levels) < NOISE_LEVEL:
        return float(np.sqrt(((ours - theirs) ** 2).mean()) < NOISE_LEVEL)
    if min(levels) < NOISE_LEVEL:
        return 0.0
    return float((moving[0] * moving[1]).mean() / (levels[0] * levels[1]))


# The work on one clip, in whatever process


@dataclass(frozen=True, slots=True)
class _Reading:
    row: int
    clip: datasets.Clip
    request: FrameRequest


@dataclass(frozen=True, slots=True)
class _Editing:
    row: int
    clip: datasets.Clip
    edits: tuple[str, ...]
    request: FrameRequest
    carriers: tuple[datasets.Clip, ...]
    seed: int
    cache_dir: Path | None


def _read(task: _Reading) -> Original | str:
    try:
        clip = read_clip(task.clip.path, span=task.clip.span)
    except (MediaError, OSError) as error:
        return f"{task.clip.path}: {error}"
    batch = view_of(clip, task.request)
    return Original(task.row, batch, clip.duration_s, thumbnails_of(clip))


def _edit(task: _Editing) -> list[CopyQuery] | str:
    try:
        video_hash = _content_hash(task.clip)
        copies = {name: _kept(task, video_hash, name) for name in task.edits}
        missing = [name for name, copy in copies.items() if copy is None]
        if missing:
            clip = read_clip(task.clip.path, span=task.clip.span)
            carrier = None
            if any(EDITS[name].needs_carrier for name in missing):
                pieces = [read_clip(other.path, span=other.span) for other in task.carriers]
                carrier = joined_carrier(pieces, like=clip, duration_s=CARRIER_S)
            for name in missing:
                if clip.duration_s < EDITS[name].min_duration_s:
                    continue
                edited = edit_clip(
                    name, clip, seed=task.seed, video_hash=video_hash, carrier=carrier
                )
                copies[name] = copy = _as_query(task, name, edited)
                _keep(task, video_hash, copy)
    except (MediaError, OSError) as error:
        return f"{task.clip.path}: {error}"
    return [copy for copy in copies.values() if copy is not None]


def _as_query(task: _Editing, name: str, edited: EditedClip) -> CopyQuery:
    batch = view_of(edited, task.request)
    return CopyQuery(task.row, name, batch, edited.duration_s, edited.matches)


def _drawn_carriers(
    clip: datasets.Clip, carriers: Sequence[datasets.Clip], seed: int
) -> Iterator[datasets.Clip]:
    if carriers:
        try:
            video_hash = _content_hash(clip)
        except OSError:
            return  # whoever edits it reports it
        rng = generator_of("carriers", video_hash, seed)
        for place in rng.integers(len(carriers), size=_NUM_CARRIERS):
            yield carriers[place]


def _content_hash(clip: datasets.Clip) -> str:
    """Of the file's content; a span of it is another video."""
    with clip.path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{content}{clip.span or ''}"


# Copies kept on disk


def _kept(task: _Editing, video_hash: str, name: str) -> CopyQuery | None:
    path = _place(task, video_hash, name)
    if path is None or not path.exists():
        return None
    with np.load(path) as stored:
        notes = json.loads(str(stored["notes"]))
        batch = FrameBatch(stored["frames"], stored["pts_s"])
    spans = ((TimeSpan(*query), TimeSpan(*video)) for query, video in notes["matches"])
    matches = tuple(Match(query, video, 1.0) for query, video in spans)
    return CopyQuery(task.row, name, batch, notes["end_s"], matches)


def _keep(task: _Editing, video_hash: str, copy: CopyQuery) -> None:
    path = _place(task, video_hash, copy.edit)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    spans = [(m.query_span, m.video_span) for m in copy.matches]
    pairs = [[(s.start_s, s.end_s) for s in pair if s is not None] for pair in spans]
    notes = json.dumps({"end_s": copy.end_s, "matches": pairs})
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, frames=copy.batch.frames, pts_s=copy.batch.pts_s, notes=np.array(notes))
    os.replace(partial, path)


def _place(task: _Editing, video_hash: str, name: str) -> Path | None:
    """A name that changes with everything the frames depend on, the edits' code included."""
    if task.cache_dir is None:
        return None
    carriers = [str(c.path) for c in task.carriers] if EDITS[name].needs_carrier else []
    request = {"size": task.request.size, **asdict(task.request.sampling)}
    facts = json.dumps([video_hash, name, task.seed, request, carriers, _code_digest()])
    digest = hashlib.sha256(facts.encode()).hexdigest()
    return task.cache_dir / digest[:2] / f"{digest[2:34]}.npz"


@cache
def _code_digest() -> str:
    digest = hashlib.sha256()
    for module in (clips, compositions, editing, operations, writing):
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()


# Processes


def mapped(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], jobs: int
) -> Iterator[_Result]:
    """Results in the order of the tasks, a few of them computed ahead by other processes."""
    if jobs < 1:
        raise ValueError(f"need jobs >= 1, got {jobs=}")
    if jobs == 1:
        yield from map(work, tasks)
        return
    remaining = iter(tasks)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            for task in itertools.islice(remaining, 2 * jobs):
                waiting.append(pool.submit(work, task))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, task) for task in itertools.islice(remaining, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _without_failures(
    results: Iterator[_Result | str], on_failure: OnFailure | None
) -> Iterator[_Result]:
    for result in results:
        if not isinstance(result, str):
            yield result
        elif on_failure is None:
            raise VideoDecodeError(result)
        else:
            on_failure(result)
