"""Connections to the SQLite file of a catalog: how it is opened, its schema, its errors."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from sora_search.errors import (
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
    IndexSchemaError,
)

# All schemas there ever were, oldest first: a reader needs no Alembic to know its place.
REVISIONS = ("0001", "0002")

_BUSY_TIMEOUT_S = 30.0

DISK_IS_FULL = "the disk is full; all that was stored before is kept: make room and run it again"


def connect(path: Path, *, writable: bool, create: bool = False) -> Engine:
    """An engine whose connections begin their transactions when told to.

    The execution option `sora_begin` says how: `BEGIN` (the default) takes no lock
    before the first write, `BEGIN IMMEDIATE` waits for its turn to write at once.
    """
    mode = "rwc" if create else _mode(path, writable=writable)
    engine = create_engine(sqlite_url(path, mode=mode), connect_args={"timeout": _BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _set_up_connection(writable))
    event.listen(engine, "begin", _begin)
    return engine


def check_schema(revision: str | None, path: Path) -> None:
    """Make sure that this program and a catalog agree.

    Raises:
        IndexNotFoundError: If the catalog has no tables: it was never finished.
        IndexSchemaError: If it is older or newer.
    """
    if revision is None:
        raise IndexNotFoundError(
            f"the index at {str(path.parent)!r} was never finished: "
            "run `sora-search index PATH` again"
        )
    if revision not in REVISIONS:
        raise IndexSchemaError(
            f"the index at {str(path.parent)!r} has schema {revision}, newer than this "
            f"program knows ({REVISIONS[-1]}): upgrade sora-search"
        )
    if revision != REVISIONS[-1]:
        raise IndexSchemaError(
            f"the index at {str(path.parent)!r} has the older schema {revision}: "
            "run `sora-search db upgrade`"
        )


def schema_revision(connection: Connection) -> str | None:
    """What Alembic noted, or None where it never ran."""
    known = connection.exec_driver_sql(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    ).scalar_one()
    if not known:
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def sqlite_url(path: Path, *, mode: str) -> URL:
    """The URL of an SQLite file; `mode` is ro, rw, rwc or immutable.

    The path travels as a `file:` URI with everything odd in it escaped, so that `#`,
    `?`, `%` and bytes that are not UTF-8 stay part of the name.
    """
    query = {"uri": "true"}
    query |= {"immutable": "1"} if mode == "immutable" else {"mode": mode}
    return URL.create("sqlite", database=_file_uri(path), query=query)


def _file_uri(path: Path) -> str:
    return f"file:{quote(os.fsencode(os.path.abspath(path)))}"


def read_only_mode(*, can_write: bool, has_wal: bool) -> str:
    """How a reader opens an SQLite file in WAL mode.

    A reader too must write the `-shm` file beside it. Where it may not, or the disk is
    full, SQLite reads along with `mode=ro` what is there. Without a `-wal` nothing can be
    in it, and `immutable` opens the file alone; with one it would miss what is committed
    there.
    """
    if can_write:
        return "rw"
    return "ro" if has_wal else "immutable"


def _mode(path: Path, *, writable: bool) -> str:
    if writable:
        return "rw"
    wal = path.with_name(path.name + "-wal")
    may_write = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
    return read_only_mode(
        can_write=may_write and not _is_too_full_to_read(path),
        has_wal=wal.exists() and wal.stat().st_size > 0,
    )


def _is_too_full_to_read(path: Path) -> bool:
    """Whether there is no room for the `-shm` file of a reader who may make it."""
    try:
        with closing(sqlite3.connect(f"{_file_uri(path)}?mode=rw", uri=True)) as connection:
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except (sqlite3.Error, UnicodeDecodeError) as error:  # others come again, and are told then
        code = getattr(error, "sqlite_errorcode", 0)
        return code in _NO_ROOM_TO_READ or code == sqlite3.SQLITE_CANTOPEN
    return False


def _set_up_connection(writable: bool) -> Callable[[sqlite3.Connection, object], None]:
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `_begin` says
        connection.execute("PRAGMA foreign_keys=ON")
        if writable:
            connection.execute("PRAGMA journal_mode=WAL")
            # What is committed survives a power cut too: the FAISS file may name its generation.
            connection.execute("PRAGMA synchronous=FULL")
        else:
            connection.execute("PRAGMA query_only=ON")

    return set_up


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sora_begin", "BEGIN"))


@contextmanager
def own_errors(path: Path) -> Iterator[None]:
    """Errors of SQLite as errors of ours, with what to do next."""
    try:
        yield
    except UnicodeDecodeError as error:
        # SQLite's own message quotes the damaged schema, which Python takes for UTF-8.
        said = bytes(error.object).decode(errors="backslashreplace")
        raise _damaged(path, said) from error
    except (DBAPIError, sqlite3.Error) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(original, "sqlite_errorcode", 0)
        code = sqlite3.SQLITE_FULL if code in _NO_ROOM_TO_READ else code & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or _is_unreadable(original):
            raise _damaged(path, original) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexLockedError(
                f"the catalog {str(path)!r} is busy in another process: try again"
            ) from error
        if code in _SYSTEM_ERRORS:
            number, text = _SYSTEM_ERRORS[code]
            raise OSError(number, f"{text} ({original})", os.fspath(path)) from error
        raise


def _damaged(path: Path, reason: object) -> IndexDamagedError:
    return IndexDamagedError(
        f"the catalog {str(path)!r} is damaged ({reason}): put back a copy of the "
        f"folder {str(path.parent)!r}, or delete it and run `sora-search index` again"
    )


def _is_unreadable(original: BaseException | None) -> bool:
    """Whether SQLite itself sees nothing wrong, but a table or its text is not what it was."""
    return str(original).startswith(("no such table", "no such column", "Could not decode"))


# The `-shm` file cannot be made as long as it must be; any other file that cannot is FULL.
_NO_ROOM_TO_READ = (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMOPEN)

_SYSTEM_ERRORS = {
    sqlite3.SQLITE_FULL: (errno.ENOSPC, DISK_IS_FULL),
    sqlite3.SQLITE_READONLY: (errno.EACCES, "the catalog cannot be written"),
    sqlite3.SQLITE_PERM: (errno.EACCES, "the catalog cannot be opened"),
    sqlite3.SQLITE_CANTOPEN: (
        errno.EACCES,
        "the catalog cannot be opened; if its writer was killed and you may not write its "
        "folder, open the index once as someone who may",
    ),
    sqlite3.SQLITE_IOERR: (
        errno.EIO,
        "the disk is full, or failed, under the catalog; what was stored before is kept unless the "
        "disk failed: make room, or look at the disk, and run it again",
    ),
}
