"""Files to vectors, in this process or in spawned ones that may die without harm.

`embed_here` and `embed_in_workers` do the same work: an unordered, bounded map from
tasks to outcomes. They compute and never write; the caller alone does. A worker is a
whole process with its own pipe: `concurrent.futures` gives up the whole pool when one
process dies, while here a death, a hang or too little memory costs one video, and the
next one gets a fresh process. Processes are spawned, never forked: a fork of a process
in which torch or FAISS has threads hangs.
"""

import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process, resource_tracker
from typing import Any

from sora_search.datatypes import VideoEmbedding, VideoInfo
from sora_search.errors import (
    MediaError,
    NotAVideoError,
    SoraSearchError,
    VideoChangedError,
    WorkerError,
)
from sora_search.index.discovery import content_id
from sora_search.media.probing import is_still_picture
from sora_search.media.streams import quoted
from sora_search.sora.encoder import EncoderRecipe, FileEncoder, embed_video

# A worker reports after every batch of frames (seconds of work at most). What it does
# silently, such as looking through the packets of a file without a duration, is bound by
# reading the file; nothing that still makes sense to index from is slower than this.
_SLOWEST_READ_BYTES_PER_S = 5e6
_START_LIMIT_S = 300.0
_START_ATTEMPTS = 3
_REPORT_EVERY_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """One file to hash and embed.

    Attributes:
        path: Its name as a string, for names that are not UTF-8 too.
        uri: The same as a URI.
        size_bytes: When it was found; longest first and deadlines go by it.
    """

    path: str
    uri: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read: a sign of life and a step of the progress bar.

    `duration_s` is that of the header, None until the file has been opened.
    """

    task: EmbedTask
    position_s: float
    duration_s: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The vectors of a file, with the size and time it had all the while it was read.

    `damage` is a line about what could not be decoded, None where all could.
    """

    task: EmbedTask
    size_bytes: int
    mtime_ns: int
    content_id: str
    info: VideoInfo
    embedding: VideoEmbedding
    damage: str | None


@dataclass(frozen=True, slots=True)
class Recognized:
    """The caller needs no vectors of this content."""

    task: EmbedTask
    size_bytes: int
    mtime_ns: int
    content_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing came of this file; `reason` is one line that names it and what to do."""

    task: EmbedTask
    reason: str


Outcome = Embedded | Recognized | Failed
OnPosition = Callable[[Position], None]
Wanted = Callable[[EmbedTask, str], bool]


def embed_here(
    tasks: Iterable[EmbedTask],
    encoder: FileEncoder,
    *,
    wanted: Wanted,
    on_position: OnPosition,
) -> Generator[Outcome, None, None]:
    """Embed one file after the other in this process; nothing guards it from a crash or hang.

    Args:
        tasks: In the order they are done.
        encoder: Used as it is.
        wanted: Asked with the content's id, before anything is decoded.
        on_position: Told how far the current file is.
    """
    for task in tasks:
        yield _embed_file(task, encoder, wanted, on_position)


def embed_in_workers(
    tasks: Iterable[EmbedTask],
    recipe: EncoderRecipe,
    *,
    jobs: int,
    timeout_s: float,
    wanted: Wanted,
    on_position: OnPosition,
) -> Generator[Outcome, None, None]:
    """Embed files in up to `jobs` spawned processes; outcomes come as they are ready.

    A process that dies or falls silent is replaced and its file becomes a `Failed`.
    Closing the iterator (an exception or Ctrl-C in the caller's loop) ends them all at once.

    Args:
        tasks: In the order they are begun.
        recipe: Describes the encoder; each process builds its own.
        jobs: Processes at most, one file and one thread each; with fewer files than that,
            the files get the spare threads.
        timeout_s: Silence after which a process counts as hung, besides the time it takes
            to read its file from a slow disk.
        wanted: As for `embed_here`; called in this process.
        on_position: As for `embed_here`; called in this process.

    Raises:
        WorkerError: If workers cannot be started at all.
        Exception: What went wrong in a worker and is not the fault of its file.
    """
    waiting = deque(tasks)
    workers: list[_Worker] = []
    num_lost_in_a_row = 0
    try:
        while waiting or any(worker.task for worker in workers):
            num_busy = sum(worker.task is not None for worker in workers)
            while len(workers) < min(jobs, num_busy + len(waiting)):
                workers.append(_Worker(recipe, timeout_s))
            for worker in workers:
                if waiting and worker.is_idle:
                    num_busy = sum(other.task is not None for other in workers)
                    threads = max(1, jobs // (num_busy + len(waiting)))
                    worker.begin(waiting.popleft(), threads)
            outcomes: list[Outcome] = []
            for worker in _that_spoke_or_died(workers):
                try:
                    outcome = worker.listen(wanted, on_position)
                    num_lost_in_a_row = 0
                except _WorkerLostError as lost:
                    workers.remove(worker)
                    worker.kill()
                    outcome = None
                    if worker.task is not None:
                        outcome = Failed(worker.task, lost.reason(worker.task))
                    elif (num_lost_in_a_row := num_lost_in_a_row + 1) >= _START_ATTEMPTS:
                        raise WorkerError(
                            f"worker processes cannot be started ({lost.what}): a script that "
                            "calls this needs an `if __name__ == '__main__':` guard, or use jobs=1"
                        ) from None
                if outcome is not None:
                    outcomes.append(outcome)
            yield from outcomes
    finally:
        for worker in workers:
            worker.kill()


class _WorkerLostError(Exception):
    """The process of a worker is gone or of no use; `what` says how."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice

    def reason(self, task: EmbedTask) -> str:
        return f"{quoted(task.path)} was given up: {self.what}: {self.advice}"


@dataclass(frozen=True, slots=True)
class _ContentQuestion:
    """From a worker: is this content wanted? It waits for a bool."""

    task: EmbedTask
    content_id: str


@dataclass(frozen=True, slots=True)
class _Breakdown:
    """From a worker: an exception that is not the fault of a file."""

    error: Exception


class _Worker:
    """One spawned process, seen from the process that writes."""

    def __init__(self, recipe: EncoderRecipe, timeout_s: float) -> None:
        context = get_context("spawn")
        self.conn, child_end = context.Pipe()
        self.task: EmbedTask | None = None
        self._is_ready = False
        self._timeout_s = timeout_s
        self._process = context.Process(
            target=_work, args=(child_end, recipe), name="sora-search worker", daemon=True
        )
        with _fit_for_spawning():
            self._process.start()
        child_end.close()
        self._allow(_START_LIMIT_S)

    @property
    def is_idle(self) -> bool:
        return self._is_ready and self.task is None

    def begin(self, task: EmbedTask, threads: int) -> None:
        self.task = task
        self._allow(self._silence_s)
        try:
            self.conn.send((task, threads))
        except OSError:  # it died meanwhile: the next `listen` tells
            return

    def listen(self, wanted: Wanted, on_position: OnPosition) -> Outcome | None:
        """Take one message that is there; the outcome when the task is done.

        Raises:
            _WorkerLostError: If there is none any more, or has not been for too long.
        """
        try:
            if not self.conn.poll():
                raise _WorkerLostError(
                    f"its worker made no progress for {self._silence_s:.0f} s"
                    if self._is_ready
                    else f"no answer for {_START_LIMIT_S:.0f} s",
                    "the file may be damaged, or the disk or machine is stuck",
                )
            message = self.conn.recv()
        except (EOFError, ConnectionError) as error:
            raise self._death() from error
        self._is_ready = True
        self._allow(self._silence_s)
        match message:
            case Position():
                on_position(message)
            case _ContentQuestion(task, content):
                try:
                    self.conn.send(wanted(task, content))
                except ConnectionError as error:
                    raise self._death() from error
            case Embedded() | Recognized() | Failed():
                self.task = None
                return message
            case _Breakdown(cause):
                raise cause
        return None

    def kill(self) -> None:
        """End the process at once; there is nothing in it to lose."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.conn.close()

    @property
    def rest_s(self) -> float:
        """Time until it counts as hung; without a task it may be silent for ever."""
        if self.is_idle:
            return float("inf")
        return self._deadline_s - time.monotonic()

    @property
    def _silence_s(self) -> float:
        size_bytes = 0 if self.task is None else self.task.size_bytes
        return self._timeout_s + size_bytes / _SLOWEST_READ_BYTES_PER_S

    def _allow(self, seconds: float) -> None:
        self._deadline_s = time.monotonic() + seconds

    def _death(self) -> _WorkerLostError:
        self._process.join(timeout=10)
        code = self._process.exitcode
        if code == -getattr(signal, "SIGKILL", 9):
            return _WorkerLostError(
                "its worker was killed, most likely for lack of memory",
                "run again with fewer jobs",
            )
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return _WorkerLostError(f"its worker crashed ({how})", "the file may be damaged")


def _that_spoke_or_died(workers: list[_Worker]) -> list[_Worker]:
    """Wait for messages, ends of processes and deadlines; those there is something of."""
    rest_s = min(worker.rest_s for worker in workers)
    spoken = connection.wait(
        [worker.conn for worker in workers],
        timeout=None if rest_s == float("inf") else max(0.0, rest_s),
    )
    return [worker for worker in workers if worker.conn in spoken or worker.rest_s <= 0]


@contextmanager
def _fit_for_spawning() -> Iterator[None]:
    """What a child process inherits: one thread for numeric libraries, Ctrl-C left to us.

    The terminal sends Ctrl-C to parent and children alike. Blocked from its first
    instruction on, it cannot leave a traceback of a child on the screen; the parent
    gets it as soon as the block ends.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    resource_tracker.ensure_running()  # its own start would lift the block
    if hasattr(signal, "pthread_sigmask"):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work(conn: "connection.Connection[Any, Any]", recipe: EncoderRecipe) -> None:
    """The life of a worker process: build the encoder, then file after file until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _be_first_to_go()
    last_report_s = 0.0

    def on_position(position: Position) -> None:
        nonlocal last_report_s
        if time.monotonic() - last_report_s >= 0.1:
            last_report_s = time.monotonic()
            conn.send(position)

    def wanted(task: EmbedTask, content: str) -> bool:
        conn.send(_ContentQuestion(task, content))
        return bool(conn.recv())

    try:
        encoder, threads = recipe.load(), recipe.threads
        conn.send(None)
        while True:
            task, new_threads = conn.recv()
            if new_threads != threads:
                threads = new_threads
                encoder = replace(recipe, threads=threads).load()  # type: ignore[type-var]
            conn.send(_embed_file(task, encoder, wanted, on_position))
    except (EOFError, ConnectionError):
        return  # the parent is gone
    except Exception as error:
        conn.send(_Breakdown(_portable(error)))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _be_first_to_go() -> None:
    """When memory runs out, Linux shall end a worker rather than the process that writes."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:  # another system, or not allowed: the default is fine
        return


def _portable(error: Exception) -> Exception:
    """The same exception where it can travel, with its traceback as a note."""
    trace = traceback.format_exc()
    if isinstance(error, SoraSearchError):
        return error
    error.add_note(f"in a worker process:\n{trace}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"a worker process failed:\n{trace}")
    return error


def _embed_file(
    task: EmbedTask, encoder: FileEncoder, wanted: Wanted, on_position: OnPosition
) -> Outcome:
    """Hash one file, ask whether it is needed, embed it; what is wrong with it is a `Failed`."""
    before: os.stat_result | None = None
    try:
        before = os.stat(task.path)
        content = content_id(task.path, on_read=_every_so_often(task, on_position))
        _check_unchanged(task, before)
        if not wanted(task, content):
            return Recognized(task, before.st_size, before.st_mtime_ns, content)
        info, embedding, damage = _embed(task, encoder, on_position)
        _check_unchanged(task, before)
        return Embedded(task, before.st_size, before.st_mtime_ns, content, info, embedding, damage)
    except (MediaError, OSError, MemoryError) as error:
        return Failed(task, _reason(task, before, error))


def _every_so_often(task: EmbedTask, on_position: OnPosition) -> Callable[[int], None]:
    def on_read(num_bytes: int) -> None:
        if num_bytes % _REPORT_EVERY_BYTES == 0:
            on_position(Position(task, 0.0, None))

    return on_read


def _embed(
    task: EmbedTask, encoder: FileEncoder, on_position: OnPosition
) -> tuple[VideoInfo, VideoEmbedding, str | None]:
    info, embedding, damage = embed_video(
        task.path,
        encoder,
        on_position=lambda at_s, duration_s: on_position(Position(task, at_s, duration_s)),
    )
    if is_still_picture(info):
        raise NotAVideoError(
            f"{quoted(task.path)} is a still picture, and only videos are indexed: leave it out "
            "(as a query it is fine)"
        )
    return info, embedding, damage


def _check_unchanged(task: EmbedTask, before: os.stat_result) -> None:
    try:
        now = os.stat(task.path)
    except FileNotFoundError as error:
        raise VideoChangedError(
            f"{quoted(task.path)} vanished while it was read: run again when it is back"
        ) from error
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise VideoChangedError(
            f"{quoted(task.path)} changed while it was read: run again when it is complete"
        )


def _reason(
    task: EmbedTask, before: os.stat_result | None, error: MediaError | OSError | MemoryError
) -> str:
    if isinstance(error, MemoryError):
        return f"{quoted(task.path)} needs more memory than there is: run again with fewer jobs"
    try:
        if before is not None:
            _check_unchanged(task, before)  # then that is why it cannot be decoded
        elif isinstance(error, FileNotFoundError):
            return f"{quoted(task.path)} vanished before it was read: run again when it is back"
    except VideoChangedError as changed:
        return str(changed)
    except OSError:
        pass  # the first error says more
    if isinstance(error, MediaError):
        return str(error)
    return (
        f"cannot read {quoted(task.path)}: {error.strerror or error}: check its permissions and "
        "that its drive is there, then run again"
    )
