"""Bring an index up to date with the files on disk: parallel, resumable, stopped by no file.

Size and time of change say whether a file must be looked at, the digest of its content
whether it must be decoded: a moved, renamed or copied file is recognized and costs one
reading. Each video is committed as it comes; whatever ends a run, the next one goes on
from there.
"""

import logging
import os
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sora_search.datatypes import (
    IndexReport,
    OnProgress,
    Progress,
    VideoFailure,
)
from sora_search.index.discovery import FoundFile, FoundFiles, FoundRoot, find_videos
from sora_search.index.records import FileState
from sora_search.index.video_index import VideoIndex
from sora_search.index.workers import (
    Embedded,
    EmbedTask,
    Failed,
    Outcome,
    Position,
    Recognized,
    embed_here,
    embed_in_workers,
)
from sora_search.media.probing import path_of
from sora_search.media.streams import quoted
from sora_search.sora.encoder import FileEncoder

OnFailure = Callable[[VideoFailure], None]

_logger = logging.getLogger(__name__)


def index_videos(
    index: VideoIndex,
    paths: Path | str | Iterable[Path | str],
    *,
    encoder: FileEncoder,
    jobs: int = 1,
    prune: bool = False,
    on_progress: OnProgress | None = None,
    on_failure: OnFailure | None = None,
    on_warning: OnFailure | None = None,
    save_every_s: float = 300.0,
    timeout_s: float = 300.0,
) -> IndexReport:
    """Add, update and recognize the videos at and below `paths`.

    A file that cannot be indexed becomes a `VideoFailure` of the report and the run
    goes on; a damaged one is indexed as far as it can be decoded, with a warning.
    Files that are gone from a given folder are marked missing, unless the folder cannot
    be read in full or looks like a drive that is not mounted; of a video that has another
    file the name that is gone is dropped. Every file found counts once in the report: added,
    rebuilt, changed, moved, unchanged, another name of a known content, or failed.

    Args:
        index: Open for writing, made with the same model.
        paths: Files and folders; see `find_videos`.
        encoder: Makes the vectors; its `spec` travels to the workers.
        jobs: Spawned processes, each with one file at a time. 1 works in this process,
            where nothing guards against a file that crashes or hangs the decoder. A
            script that asks for more needs an ``if __name__ == "__main__":`` guard.
        prune: Forget files that are gone, rather than mark them missing.
        on_progress: Told the phase and how far it is, in files and seconds of video.
        on_failure: Told each failure as it happens.
        on_warning: Told what was salvaged of a damaged file, and of folders left alone.
        save_every_s: Time between writes of the vector file; the catalog has every
            video at once.
        timeout_s: A worker that reports nothing for so long is replaced (large files
            get more).

    Returns:
        What was done, in numbers of files. `num_missing` counts all files known to be
        gone below `paths`, `num_dropped` those of them that the index forgot (with `prune`
        all), `num_vectors` the vectors added.

    Raises:
        ConfigError: If one of `paths` does not exist.
        IndexIncompatibleError: If the index is of another model than `encoder`.
        WorkerError: If worker processes cannot be started.
        ValueError: If `jobs` is less than 1.
        OSError: If the index cannot be written. What was committed stays.
    """
    if jobs < 1:
        raise ValueError(f"need at least one job, got {jobs=}")
    index.require_model(encoder)
    run = _Run(
        index=index,
        tracker=_Tracker(on_progress or (lambda progress: None)),
        on_failure=on_failure or (lambda failure: None),
        on_warning=on_warning or (lambda failure: None),
        save_every_s=save_every_s,
    )
    run.tracker.enter("looking for videos")
    found = find_videos(paths, skip=[index.path])
    try:
        run.counts["skipped"] = found.num_skipped
        for failure in found.failures:
            run.fail(failure)
        tasks = run.sort_out(found)
        _logger.info(
            "found %d video files, %d of them to be read, %d at a time",
            len(found.files),
            len(tasks),
            min(jobs, len(tasks)),
        )
        while tasks:
            run.embed(tasks, encoder=encoder, jobs=jobs, timeout_s=timeout_s)
            tasks = run.take_again()
        run.settle_missing(found, prune=prune)
    except Exception:
        try:
            index.save()
        except Exception as error:
            # The catalog holds every committed video; the next open catches up.
            reason = getattr(error, "strerror", None) or error
            _logger.warning("the vector file could not be saved: %s", reason)
            _logger.debug("raised here:", exc_info=True)
        raise
    run.tracker.enter("saving")
    index.save()
    return run.report()


@dataclass
class _Run:
    """One call of `index_videos`: what is known, what is under way, what was done."""

    index: VideoIndex
    tracker: "_Tracker"
    on_failure: OnFailure
    on_warning: OnFailure
    save_every_s: float
    states: Mapping[str, FileState] = field(init=False)  # as they were at the start
    names: "_Names" = field(init=False)
    outdated: Mapping[str, FileState] = field(init=False)  # with vectors of another model alone
    outdated_contents: Collection[str] = field(init=False)
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[VideoFailure] = field(default_factory=list)
    # Further names of a file that is being embedded, by the URI that is.
    aliases: dict[str, list[FoundFile]] = field(default_factory=dict)
    # Which file a content is being embedded from, and others that turned out to hold it.
    under_way: dict[str, str] = field(default_factory=dict)
    held_back: dict[str, list[Recognized]] = field(default_factory=dict)
    again: list[EmbedTask] = field(default_factory=list)
    roots: tuple[FoundRoot, ...] = ()
    saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.states = self.index.file_states()
        self.names = _Names(self.states.values())
        self.outdated = self.index.outdated_file_states()
        self.outdated_contents = {state.content_id for state in self.outdated.values()}

    def sort_out(self, found: FoundFiles) -> list[EmbedTask]:
        """Settle what needs no reading; the rest as tasks, the largest first."""
        self.roots = found.roots
        self.tracker.start(len(found.files))
        groups: dict[tuple[int, int], list[FoundFile]] = {}
        for file in found.files:
            groups.setdefault(file.identity, []).append(file)
        tasks = []
        for files in groups.values():
            content, fresh = None, []
            for file in files:
                state = self.states.get(file.uri)
                if state and (state.size_bytes, state.mtime_ns) == (file.size_bytes, file.mtime_ns):
                    content = state.content_id
                    if state.missing:
                        self._touch(file.uri, file.size_bytes, file.mtime_ns, content)
                    self._count("unchanged", file.uri)
                else:
                    fresh.append(file)
            if content is not None:
                for file in fresh:
                    self._name(file.uri, file.size_bytes, file.mtime_ns, content)
            elif fresh:
                first, *others = fresh
                tasks.append(EmbedTask(str(first.path), first.uri, first.size_bytes))
                self.aliases[first.uri] = others
        tasks.sort(key=lambda task: task.size_bytes, reverse=True)
        return tasks

    def embed(
        self, tasks: list[EmbedTask], *, encoder: FileEncoder, jobs: int, timeout_s: float
    ) -> None:
        """Compute the vectors of `tasks` and commit each video as it comes."""
        self.tracker.embed(tasks)
        outcomes: Generator[Outcome, None, None]
        if jobs == 1:
            outcomes = embed_here(tasks, encoder, wanted=self._wants, on_position=self.tracker.move)
        else:
            outcomes = embed_in_workers(
                tasks,
                encoder.spec,
                jobs=jobs,
                timeout_s=timeout_s,
                wanted=self._wants,
                on_position=self.tracker.move,
            )
        with closing(outcomes):  # ends the workers before an error here goes further up
            for outcome in outcomes:
                match outcome:
                    case Embedded():
                        self._add(outcome)
                    case Recognized():
                        self._recognize(outcome)
                    case Failed(task, reason):
                        self._give_up(task, reason)
                self._save_now_and_then()

    def take_again(self) -> list[EmbedTask]:
        """Tasks whose content was to come from another file, which then failed."""
        tasks, self.again = self.again, []
        return tasks

    def settle_missing(self, found: FoundFiles, *, prune: bool) -> None:
        """Mark or forget what is gone from the given folders."""
        here = {file.uri for file in found.files}
        for root in found.roots:
            known = {*self.names.uris(), *self.outdated}
            below = [uri for uri in known if root.is_above(uri) and uri not in here]
            if not below or not root.is_complete:
                continue
            if root.is_empty:
                self.on_warning(
                    VideoFailure(
                        root.uri,
                        f"{quoted(root.path)} is empty, but {len(below)} indexed files were in it: "
                        "taken for a drive that is not mounted, nothing marked missing "
                        "(`sora-search remove` takes them out of the index)",
                    )
                )
                continue
            gone = [uri for uri in below if not os.path.lexists(path_of(uri))]
            # Of a file that others have the content of, nobody needs the old name.
            dropped = {uri for uri in gone if prune or self._is_elsewhere(uri)}
            self._mark_missing([uri for uri in gone if uri not in dropped])
            self._forget(list(dropped))
            self._add_to("missing", len(gone))
            self._add_to("dropped", len(dropped))
            here.update(gone)  # below a second given folder too

    def _is_elsewhere(self, uri: str) -> bool:
        """Whether the content of a file is there under another name."""
        content = self.names.content_of(uri)
        if content is None and uri in self.outdated:
            content = self.outdated[uri].content_id
        others = () if content is None else self.names.of(content)
        # A link whose target is gone does not count.
        return any(other != uri and os.path.exists(path_of(other)) for other in others)

    def fail(self, failure: VideoFailure) -> None:
        self.failures.append(failure)
        self.on_failure(failure)

    def report(self) -> IndexReport:
        return IndexReport(
            **{f"num_{name}": number for name, number in self.counts.items()},
            failures=tuple(self.failures),
        )

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self.saved_at >= self.save_every_s:
            self.tracker.enter("saving")
            self.index.save()
            self.saved_at = time.monotonic()
            self.tracker.enter("embedding")

    def _wants(self, task: EmbedTask, content: str) -> bool:
        _logger.debug("%s has the content %s", quoted(task.path), content)
        if content in self.names or content in self.under_way:
            return False
        self.under_way[content] = task.uri
        return True

    def _add(self, video: Embedded) -> None:
        uri = video.task.uri
        is_change = self.names.content_of(uri) is not None
        self.index.add_video(
            uri,
            video.size_bytes,
            video.mtime_ns,
            video.content_id,
            video.info,
            video.embedding,
            video.damage,
        )
        _logger.debug("%s gave %d vectors", quoted(video.task.path), len(video.embedding))
        self.names.put(uri, video.content_id)
        self.under_way.pop(video.content_id, None)
        self._add_to("vectors", len(video.embedding))
        if video.damage is not None:
            self._add_to("salvaged", 1)
            self.on_warning(
                VideoFailure(
                    uri, f"{quoted(video.task.path)} is damaged: {video.damage}; kept the rest"
                )
            )
        self.tracker.finish(video.task, video.info.duration_s)
        is_known = video.content_id in self.outdated_contents
        self._count("rebuilt" if is_known else "changed" if is_change else "added", uri)
        self._name_aliases(uri, video.size_bytes, video.mtime_ns, video.content_id)
        for other in self.held_back.pop(video.content_id, []):
            self._recognize(other)

    def _recognize(self, file: Recognized) -> None:
        uri, content = file.task.uri, file.content_id
        if content in self.names:
            self.tracker.finish(file.task, None)
            self._name(uri, file.size_bytes, file.mtime_ns, content)
            self._name_aliases(uri, file.size_bytes, file.mtime_ns, content)
        elif content in self.under_way:
            self.held_back.setdefault(content, []).append(file)
        else:  # what it was to share is gone again: a failure, or a file overwritten meanwhile
            self.again.append(file.task)

    def _give_up(self, task: EmbedTask, reason: str) -> None:
        self.tracker.finish(task, None)
        for uri in [task.uri, *(file.uri for file in self.aliases.pop(task.uri, []))]:
            self.fail(VideoFailure(uri, reason))
            self.tracker.count(uri)
        for content in [c for c, uri in self.under_way.items() if uri == task.uri]:
            del self.under_way[content]
            self.again.extend(other.task for other in self.held_back.pop(content, []))

    def _name_aliases(self, uri: str, size_bytes: int, mtime_ns: int, content: str) -> None:
        for file in self.aliases.pop(uri, []):
            self._name(file.uri, size_bytes, mtime_ns, content)

    def _name(self, uri: str, size_bytes: int, mtime_ns: int, content: str) -> None:
        """Record that known `content` is under this name (now), and count what that means."""
        old_content = self.names.content_of(uri)
        left = [
            name
            for name in self.names.of(content)
            if name != uri and not os.path.lexists(path_of(name))
        ]
        self._touch(uri, size_bytes, mtime_ns, content)
        if old_content == content:
            self._count("unchanged", uri)
        elif old_content is not None:
            self._count("changed", uri)
        elif left:
            self._leave(left)
            self._count("moved", uri)
        else:
            self._count("other_names", uri)

    def _leave(self, uris: list[str]) -> None:
        """Drop the old names of a moved file where it surely was; elsewhere they are missing."""
        sure = [
            uri
            for uri in uris
            if any(r.is_above(uri) and r.is_complete and not r.is_empty for r in self.roots)
        ]
        self._forget(sure)
        self._mark_missing([uri for uri in uris if uri not in sure])

    def _touch(self, uri: str, size_bytes: int, mtime_ns: int, content: str) -> None:
        self.index.touch_file(uri, size_bytes, mtime_ns, content)
        self.names.put(uri, content)

    def _forget(self, uris: list[str]) -> None:
        if uris:
            self.index.forget_files(uris)
            for uri in uris:
                _logger.info("dropped: %s", quoted(path_of(uri)))
                self.names.drop(uri)

    def _mark_missing(self, uris: list[str]) -> None:
        if uris:
            self.index.mark_missing(uris)
            for uri in uris:
                _logger.info("missing: %s", quoted(path_of(uri)))

    def _count(self, name: str, uri: str) -> None:
        level = logging.DEBUG if name == "unchanged" else logging.INFO
        _logger.log(level, "%s: %s", name.replace("_", " "), quoted(path_of(uri)))
        self._add_to(name, 1)
        self.tracker.count(uri)

    def _add_to(self, name: str, number: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + number


class _Names:
    """Which contents the index holds under which names; follows the index as it is written.

    As in the index, a content goes with its last name.
    """

    def __init__(self, states: Iterable[FileState]) -> None:
        self._by_uri: dict[str, str] = {}
        self._by_content: dict[str, set[str]] = {}
        for state in states:
            self.put(state.uri, state.content_id)

    def __contains__(self, content: str) -> bool:
        return content in self._by_content

    def uris(self) -> Iterable[str]:
        return self._by_uri

    def of(self, content: str) -> list[str]:
        return sorted(self._by_content.get(content, ()))

    def content_of(self, uri: str) -> str | None:
        return self._by_uri.get(uri)

    def put(self, uri: str, content: str) -> None:
        if self._by_uri.get(uri) != content:
            self.drop(uri)
            self._by_uri[uri] = content
            self._by_content.setdefault(content, set()).add(uri)

    def drop(self, uri: str) -> None:
        content = self._by_uri.pop(uri, None)
        if content is not None:
            self._by_content[content].discard(uri)
            if not self._by_content[content]:
                del self._by_content[content]


class _Tracker:
    """Turns what happens into `Progress`.

    How many seconds of video there are in all is known only when every file was opened,
    so it is estimated: files not opened yet count by their size, at the seconds a byte
    of those that were.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._phase = ""
        self._num_done = self._num_total = 0
        self._finished_s = self._shown_s = 0.0
        self._known_s = 0.0
        self._known_bytes = self._all_bytes = 0
        self._opened: set[str] = set()
        self._positions_s: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        self._phase = phase
        self._tell("")

    def start(self, num_total: int) -> None:
        self._num_total = num_total

    def embed(self, tasks: list[EmbedTask]) -> None:
        self._all_bytes = self._known_bytes + sum(task.size_bytes for task in tasks)
        self.enter("embedding")

    def move(self, position: Position) -> None:
        self._positions_s[position.task.uri] = position.position_s
        if position.duration_s is not None:
            self._open(position.task, position.duration_s)
        self._tell("")

    def finish(self, task: EmbedTask, duration_s: float | None) -> None:
        """One task is over; `duration_s` is None when it gave no vectors."""
        position_s = self._positions_s.pop(task.uri, 0.0)
        self._finished_s += position_s if duration_s is None else duration_s
        self._open(task, duration_s or 0.0)

    def count(self, uri: str) -> None:
        self._num_done += 1
        self._tell(uri)

    def _open(self, task: EmbedTask, duration_s: float) -> None:
        if task.uri not in self._opened:
            self._opened.add(task.uri)
            self._known_s += duration_s
            self._known_bytes += task.size_bytes

    def _tell(self, uri: str) -> None:
        # What is shown never steps back, though an estimate may turn out smaller.
        self._shown_s = max(self._shown_s, self._finished_s + sum(self._positions_s.values()))
        total_s = None
        if self._known_s and self._known_bytes:
            total_s = max(self._shown_s, self._known_s * self._all_bytes / self._known_bytes)
        self._on_progress(
            Progress(self._phase, self._num_done, self._num_total, self._shown_s, total_s, uri)
        )
