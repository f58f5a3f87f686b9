"""Runs a writer again and again and kills it some steps later each time.

Usage: `killed_writer.py DIR STRIDE`.

A step is anything that reaches the disk: each SQL statement that changes something,
each commit, each file made, forced to disk, renamed or deleted. The index of run N,
killed before its step N, is left in DIR/N, with the operation it was in noted in
DIR/N.operation. Each run is a fork, so that the imports are paid once.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import faiss
from made_vectors import MadeEncoder, add, made_content_id, made_uri
from sqlalchemy import Engine, event

import sora_search.index.migration
from sora_search.index.video_index import VideoIndex

# What the writer does, one transaction or one save each, and the contents by file after it.
OPERATIONS: list[tuple[Callable[[VideoIndex], object], dict[str, str]]] = [
    (lambda index: add(index, "a", "one"), {"a": "one"}),
    (lambda index: add(index, "b", "two"), {"a": "one", "b": "two"}),
    (lambda index: index.save(), {"a": "one", "b": "two"}),
    (lambda index: add(index, "a", "three"), {"a": "three", "b": "two"}),
    (
        lambda index: index.touch_file(made_uri("c"), 1, 1, made_content_id("two")),
        {"a": "three", "b": "two", "c": "two"},
    ),
    (lambda index: index.mark_missing([made_uri("a")]), {"a": "three", "b": "two", "c": "two"}),
    (lambda index: index.forget_files([made_uri("a")]), {"b": "two", "c": "two"}),
    (lambda index: index.save(), {"b": "two", "c": "two"}),
    (lambda index: index.remove([video.video_id for video in index.videos()]), {}),
    (lambda index: add(index, "d", "one"), {"d": "one"}),
]


def write(folder: Path) -> None:
    """Everything that a writer does, from an empty folder on."""
    note = folder.with_name(f"{folder.name}.operation")
    note.write_text("0")
    with VideoIndex.open_or_create(folder, encoder=MadeEncoder()) as index:
        for number, (operation, _) in enumerate(OPERATIONS, 1):
            note.write_text(str(number))
            operation(index)
        note.write_text(str(len(OPERATIONS) + 1))


def kill_before(step: int) -> None:
    """From now on, die before the step of that number."""
    left = step

    def count(*_: object) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            count()
            return function(*args, **kwargs)

        return run

    def count_statement(_: object, __: object, statement: str, *___: object) -> None:
        if not statement.startswith(("SELECT", "BEGIN", "PRAGMA")):
            count()

    for name in ("fsync", "replace", "unlink", "mkdir", "ftruncate"):
        setattr(os, name, counted(getattr(os, name)))
    faiss.write_index = counted(faiss.write_index)
    event.listen(Engine, "before_cursor_execute", count_statement)
    event.listen(Engine, "commit", count)


def main(folder: Path, stride: int) -> None:
    assert sora_search.index.migration
    for step in range(0, 1000, stride):
        child = os.fork()
        if child == 0:
            kill_before(step)
            write(folder / str(step))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            shutil.rmtree(folder / str(step))  # it came to its end: all steps were tried
            sys.exit(os.WEXITSTATUS(status))
    sys.exit("the writer never came to its end")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
