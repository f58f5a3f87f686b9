"""The catalog: everything an index knows, in one SQLite file. It is the truth.

Together with `tables` and `migration` the only user of SQLAlchemy. Rows stay in here;
what leaves are dataclasses and arrays. Reads and writes are short transactions, each
of which sees one state of the index. Every change raises `generation`.
"""

import errno
import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Delete,
    Update,
    create_engine,
    delete,
    event,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from sora_search.datatypes import TimeSpan, VideoEmbedding, VideoInfo
from sora_search.errors import (
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
    IndexSchemaError,
    VideoNotIndexedError,
)
from sora_search.index.tables import ContentRow, FileRow, StateRow, VectorsRow

CATALOG_NAME = "catalog.sqlite3"

# All schemas there ever were, oldest first: a reader needs no Alembic to know its place.
REVISIONS = ("0001",)

_BUSY_TIMEOUT_S = 30.0
_MAX_VARIABLES = 500  # SQLite allows 999 in a statement in its oldest versions
_VECTORS_TYPE = np.dtype("<f2")
_TIMES_TYPE = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class CatalogState:
    """The one row about the index as a whole."""

    index_id: str
    model_id: str
    dim: int
    sampling: dict[str, Any]
    structure: str
    generation: int
    next_vector_id: int


@dataclass(frozen=True, slots=True, eq=False)
class VectorRanges:
    """Whose vectors there are: parallel arrays ``(M,)`` in order of `first_ids`.

    Attributes:
        video_ids: int64, the content.
        first_ids: int64, its first vector id, increasing.
        counts: int64, how many it has.
    """

    video_ids: NDArray[np.int64]
    first_ids: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.video_ids)


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was when it was last looked at."""

    uri: str
    size_bytes: int
    mtime_ns: int
    content_id: str
    missing: bool


@dataclass(frozen=True, slots=True)
class IndexedVideo:
    """One video of the index.

    Attributes:
        video_id: Its id in this index, never used for another.
        content_id: Digest of its bytes.
        info: What it is; `info.uri` is the first of `uris`.
        uris: All files with this content, those that are there first.
        missing: True when none of them was there at the last `index`.
        num_vectors: N.
        first_vector_id: The others follow it.
        damage: What could not be decoded, in one line; None if all could.
        indexed_at: ISO 8601, UTC.
    """

    video_id: int
    content_id: str
    info: VideoInfo
    uris: tuple[str, ...]
    missing: bool
    num_vectors: int
    first_vector_id: int
    damage: str | None
    indexed_at: str


class Catalog:
    """The tables of one index, open for reading or for writing. Close it, or use `with`."""

    def __init__(self, path: Path, *, writable: bool, create: bool = False) -> None:
        """See `open`, which checks the schema too."""
        self.path = path
        self.writable = writable
        self._engine = create_engine(
            sqlite_url(path, mode="rwc" if create else _mode(path, writable=writable)),
            connect_args={"timeout": _BUSY_TIMEOUT_S},
        )
        event.listen(self._engine, "connect", _set_up_connection(writable))
        event.listen(self._engine, "begin", _begin)

    @classmethod
    def open(cls, path: Path, *, writable: bool, any_schema: bool = False) -> Self:
        """Open the catalog of an index.

        Args:
            path: `catalog.sqlite3` in the folder of the index.
            writable: Whether this is the one writer, who holds the lock.
            any_schema: Do not mind the schema: for those who migrate.

        Raises:
            IndexNotFoundError: If there is none, or it was never finished.
            IndexSchemaError: If its schema is older or newer than this program's.
            IndexDamagedError: If it is no catalog any more.
        """
        if not path.is_file():
            raise IndexNotFoundError(
                f"no index at {path.parent}: make one with "
                f"`sora-search index PATH --index {path.parent}`"
            )
        catalog = cls(path, writable=writable)
        try:
            if not any_schema:
                check_schema(catalog.revision(), path)
        except BaseException:
            catalog.close()
            raise
        return catalog

    def close(self) -> None:
        """Let go of the file; more than once is fine."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The index as a whole

    def revision(self) -> str | None:
        """The schema, or None for a catalog without any table."""
        with _own_errors(self.path), self._engine.begin() as connection:
            return schema_revision(connection)

    def initialize(
        self, *, model_id: str, dim: int, sampling: dict[str, Any], structure: str
    ) -> None:
        """Say whose vectors these are; once in the life of an index."""
        with self._writing() as session:
            session.add(
                StateRow(
                    id=1,
                    index_id=secrets.token_hex(8),
                    model_id=model_id,
                    dim=dim,
                    sampling=json.dumps(sampling, sort_keys=True),
                    structure=structure,
                    generation=0,
                    next_vector_id=0,
                    created_at=_now(),
                )
            )

    def state(self) -> CatalogState | None:
        """What the index is, or None before `initialize`."""
        with self._reading() as session:
            row = session.get(StateRow, 1)
            return None if row is None else _to_state(row)

    def generation(self) -> int:
        """How many changes there were."""
        with self._reading() as session:
            return session.scalars(select(StateRow.generation)).one()

    def ranges(self) -> tuple[CatalogState, VectorRanges]:
        """Whose vectors there are, and the state of the index at the same moment."""
        with self._reading() as session:
            state = _to_state(session.get_one(StateRow, 1))
            rows = session.execute(
                select(VectorsRow.content, VectorsRow.first_vector_id, VectorsRow.num_vectors)
                .where(VectorsRow.model_id == state.model_id)
                .order_by(VectorsRow.first_vector_id)
            ).all()
        table = np.array([tuple(row) for row in rows], np.int64).reshape(-1, 3)
        video_ids, first_ids, counts = (np.ascontiguousarray(column) for column in table.T)
        return state, VectorRanges(video_ids=video_ids, first_ids=first_ids, counts=counts)

    # Files

    def file_state(self, uri: str) -> FileState | None:
        """What is known of a file, or None."""
        with self._reading() as session:
            return next(_read_file_states(session, uri), None)

    def file_states(self) -> dict[str, FileState]:
        """What is known of all files, by uri."""
        with self._reading() as session:
            return {state.uri: state for state in _read_file_states(session)}

    def touch_file(self, uri: str, size_bytes: int, mtime_ns: int, content_id: str) -> None:
        """Say that a file is there and holds a known content.

        Raises:
            VideoNotIndexedError: If the content is not known.
        """
        with self._writing() as session:
            video_id = session.scalars(
                select(ContentRow.id).where(ContentRow.content_id == content_id)
            ).one_or_none()
            if video_id is None:
                raise VideoNotIndexedError(f"no video with the content {content_id} is indexed")
            _set_file(session, uri, size_bytes, mtime_ns, video_id)
            _raise_generation(session)

    def mark_missing(self, uris: Collection[str]) -> int:
        """Say that files are gone, whose contents are kept; how many were not marked yet."""
        with self._writing() as session:
            num_marked = sum(
                _num_rows(
                    session,
                    update(FileRow)
                    .where(FileRow.uri.in_(some), FileRow.missing.is_(False))
                    .values(missing=True),
                )
                for some in _portions(uris)
            )
            if num_marked:
                _raise_generation(session)
            return num_marked

    def forget_files(self, uris: Collection[str]) -> int:
        """Drop files, and each content that has no other; how many files that were."""
        with self._writing() as session:
            num_forgotten = 0
            for some in _portions(uris):
                video_ids = session.scalars(
                    select(FileRow.content).where(FileRow.uri.in_(some)).distinct()
                ).all()
                num_forgotten += _num_rows(session, delete(FileRow).where(FileRow.uri.in_(some)))
                _drop_nameless(session, video_ids)
            if num_forgotten:
                _raise_generation(session)
            return num_forgotten

    # Videos

    def add_video(
        self,
        uri: str,
        size_bytes: int,
        mtime_ns: int,
        content_id: str,
        info: VideoInfo,
        spans: Sequence[TimeSpan | None],
        vectors: NDArray[np.float16],
        damage: str | None,
    ) -> int:
        """Store a content with its vectors under a name, in place of what the name held before.

        A content that is known already keeps its vectors and gets one more name.

        Returns:
            The id of the video.
        """
        with self._writing() as session:
            state = session.get_one(StateRow, 1)
            content = session.scalars(
                select(ContentRow).where(ContentRow.content_id == content_id)
            ).one_or_none()
            if content is None:
                content = _to_content_row(content_id, info, damage)
                session.add(content)
                session.flush()
            if session.get(VectorsRow, (content.id, state.model_id)) is None:
                session.add(
                    _to_vectors_row(
                        content.id, state.model_id, state.next_vector_id, spans, vectors
                    )
                )
                state.next_vector_id += len(vectors)
            _set_file(session, uri, size_bytes, mtime_ns, content.id)
            state.generation += 1
            return content.id

    def remove_videos(self, video_ids: Collection[int]) -> int:
        """Drop contents with their files and vectors; how many there were."""
        with self._writing() as session:
            num_removed = sum(
                _num_rows(session, delete(ContentRow).where(ContentRow.id.in_(some)))
                for some in _portions(video_ids)
            )
            if num_removed:
                _raise_generation(session)
            return num_removed

    def videos(self, video_ids: Collection[int] | None = None) -> list[IndexedVideo]:
        """The videos of the index, or those of them that are asked for, in order of id."""
        with self._reading() as session:
            if video_ids is None:
                return _select_videos(session, None)
            found = [
                video for some in _portions(video_ids) for video in _select_videos(session, some)
            ]
            return sorted(found, key=lambda video: video.video_id)

    def video_id_of(self, *, uri: str | None = None, content_id: str | None = None) -> int | None:
        """The video that a file held when last looked at, or that has a content; or None."""
        if uri is not None:
            statement = select(FileRow.content).where(FileRow.uri == uri)
        else:
            statement = select(ContentRow.id).where(ContentRow.content_id == content_id)
        with self._reading() as session:
            return session.scalars(statement).one_or_none()

    # Vectors

    def embedding(self, video_id: int) -> VideoEmbedding:
        """The vectors of one video, with their spans.

        Raises:
            VideoNotIndexedError: If there is no such video.
            IndexDamagedError: If they are not what was written.
        """
        with self._reading() as session:
            state = session.get_one(StateRow, 1)
            row = session.get(VectorsRow, (video_id, state.model_id))
            if row is None:
                raise VideoNotIndexedError(f"no video has the id {video_id} in this index")
            broken = _what_is_broken(row, state.dim)
            if broken is not None:
                raise IndexDamagedError(
                    f"the vectors of video {video_id} in {self.path} {broken}: "
                    "run `sora-search check --repair`"
                )
            return VideoEmbedding(
                spans=_to_spans(row),
                vectors=_to_vectors(row, state.dim).astype(np.float32),
                model_id=state.model_id,
            )

    def vectors(self, video_ids: Iterable[int]) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """The first vector id and the rows ``(N, D)`` of each video that is still there.

        One video at a time is in memory, and one short transaction reads it.

        Raises:
            IndexDamagedError: If a row is not what was written.
        """
        for video_id in video_ids:
            with self._reading() as session:
                state = session.get_one(StateRow, 1)
                row = session.get(VectorsRow, (video_id, state.model_id))
                if row is None:
                    continue
                if _what_is_broken(row, state.dim) is not None:
                    raise IndexDamagedError(
                        f"the vectors of video {video_id} in {self.path} are damaged: "
                        "run `sora-search check --repair`"
                    )
                found = row.first_vector_id, _to_vectors(row, state.dim)
            yield found

    # Transactions

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with _own_errors(self.path), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        if not self.writable:
            raise ValueError("the index was opened read-only")
        engine = self._engine.execution_options(sora_begin="BEGIN IMMEDIATE")
        with _own_errors(self.path), Session(engine) as session, session.begin():
            yield session

    @contextmanager
    def changing_schema(self) -> Iterator[Connection]:
        """A transaction for migrations, in which SQLite does not follow foreign keys.

        Batch migrations drop tables and make them again, which would take along what
        refers to them. SQLite heeds the switch only outside a transaction.
        """
        engine = self._engine.execution_options(sora_begin="BEGIN IMMEDIATE")
        with _own_errors(self.path), engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    yield connection
            finally:
                raw.execute("PRAGMA foreign_keys=ON")


def check_schema(revision: str | None, path: Path) -> None:
    """Make sure that this program and a catalog agree.

    Raises:
        IndexNotFoundError: If the catalog has no tables: it was never finished.
        IndexSchemaError: If it is older or newer.
    """
    if revision is None:
        raise IndexNotFoundError(
            f"the index at {path.parent} was never finished: run `sora-search index PATH` again"
        )
    if revision not in REVISIONS:
        raise IndexSchemaError(
            f"the index at {path.parent} has schema {revision}, newer than this program knows "
            f"({REVISIONS[-1]}): upgrade sora-search"
        )
    if revision != REVISIONS[-1]:
        raise IndexSchemaError(
            f"the index at {path.parent} has the older schema {revision}: "
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


# Connections


def sqlite_url(path: Path, *, mode: str) -> URL:
    """The URL of an SQLite file; `mode` is ro, rw, rwc or immutable.

    The path travels as a `file:` URI with everything odd in it escaped, so that `#`,
    `?`, `%` and bytes that are not UTF-8 stay part of the name.
    """
    query = {"uri": "true"}
    query |= {"immutable": "1"} if mode == "immutable" else {"mode": mode}
    escaped = quote(os.fsencode(os.path.abspath(path)))
    return URL.create("sqlite", database=f"file:{escaped}", query=query)


def read_only_mode(*, folder_writable: bool, has_wal: bool, has_shm: bool) -> str:
    """How a reader opens an SQLite file in WAL mode.

    A reader too must write the `-shm` file beside it. Where it cannot, SQLite reads
    along with `mode=ro` if the files are there. Without a `-wal` nothing can be in it,
    and `immutable` opens the file alone; with one it would miss what is committed there.
    """
    if folder_writable:
        return "rw"
    return "ro" if has_wal or has_shm else "immutable"


def _mode(path: Path, *, writable: bool) -> str:
    if writable:
        return "rw"
    wal = path.with_name(path.name + "-wal")
    return read_only_mode(
        folder_writable=os.access(path.parent, os.W_OK) and os.access(path, os.W_OK),
        has_wal=wal.exists() and wal.stat().st_size > 0,
        has_shm=False,
    )


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
def _own_errors(path: Path) -> Iterator[None]:
    """Errors of SQLite as errors of ours, with what to do next."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(original, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise IndexDamagedError(
                f"the catalog {path} is damaged ({original}): put back a copy of the folder "
                f"{path.parent}, or delete it and run `sora-search index` again"
            ) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexLockedError(
                f"the catalog {path} is busy in another process: try again"
            ) from error
        if code in _SYSTEM_ERRORS:
            number, text = _SYSTEM_ERRORS[code]
            raise OSError(number, f"{text} ({original})", os.fspath(path)) from error
        raise


_SYSTEM_ERRORS = {
    sqlite3.SQLITE_FULL: (
        errno.ENOSPC,
        "the disk is full; all that was stored before is kept: make room and run it again",
    ),
    sqlite3.SQLITE_READONLY: (errno.EACCES, "the catalog cannot be written"),
    sqlite3.SQLITE_PERM: (errno.EACCES, "the catalog cannot be opened"),
    sqlite3.SQLITE_CANTOPEN: (errno.EACCES, "the catalog cannot be opened"),
    sqlite3.SQLITE_IOERR: (errno.EIO, "the disk failed under the catalog"),
}


# Rows


def _to_state(row: StateRow) -> CatalogState:
    return CatalogState(
        index_id=row.index_id,
        model_id=row.model_id,
        dim=row.dim,
        sampling=json.loads(row.sampling),
        structure=row.structure,
        generation=row.generation,
        next_vector_id=row.next_vector_id,
    )


def _raise_generation(session: Session) -> None:
    session.execute(update(StateRow).values(generation=StateRow.generation + 1))


def _read_file_states(session: Session, uri: str | None = None) -> Iterator[FileState]:
    statement = select(FileRow, ContentRow.content_id).join(
        ContentRow, FileRow.content == ContentRow.id
    )
    if uri is not None:
        statement = statement.where(FileRow.uri == uri)
    for row, content_id in session.execute(statement):
        yield FileState(
            uri=row.uri,
            size_bytes=row.size_bytes,
            mtime_ns=row.mtime_ns,
            content_id=content_id,
            missing=row.missing,
        )


def _set_file(session: Session, uri: str, size_bytes: int, mtime_ns: int, video_id: int) -> None:
    """Point a name at a content; the content it had before goes if that was its last name."""
    row = session.scalars(select(FileRow).where(FileRow.uri == uri)).one_or_none()
    if row is None:
        row = FileRow(uri=uri, content=video_id)
        session.add(row)
    before, row.content = row.content, video_id
    row.size_bytes, row.mtime_ns, row.missing = size_bytes, mtime_ns, False
    session.flush()
    if before != video_id:
        _drop_nameless(session, [before])


def _drop_nameless(session: Session, video_ids: Collection[int]) -> None:
    named = select(FileRow.content)
    for some in _portions(video_ids):
        session.execute(
            delete(ContentRow).where(ContentRow.id.in_(some), ContentRow.id.not_in(named))
        )


def _to_content_row(content_id: str, info: VideoInfo, damage: str | None) -> ContentRow:
    rate = info.average_frame_rate
    return ContentRow(
        content_id=content_id,
        duration_s=info.duration_s,
        width=info.width,
        height=info.height,
        codec=info.codec,
        frame_rate_numerator=None if rate is None else rate.numerator,
        frame_rate_denominator=None if rate is None else rate.denominator,
        # It may quote a name that is not UTF-8, which SQLite does not take.
        damage=None if damage is None else damage.encode("utf-8", "backslashreplace").decode(),
        indexed_at=_now(),
    )


def _select_videos(session: Session, video_ids: Sequence[int] | None) -> list[IndexedVideo]:
    model_id = session.scalars(select(StateRow.model_id)).one()
    contents = (
        select(ContentRow, VectorsRow.first_vector_id, VectorsRow.num_vectors)
        .join(VectorsRow, VectorsRow.content == ContentRow.id)
        .where(VectorsRow.model_id == model_id)
        .order_by(ContentRow.id)
    )
    files = select(FileRow.content, FileRow.uri, FileRow.missing).order_by(
        FileRow.missing, FileRow.id
    )
    if video_ids is not None:
        contents = contents.where(ContentRow.id.in_(video_ids))
        files = files.where(FileRow.content.in_(video_ids))
    uris: dict[int, list[str]] = {}
    present: set[int] = set()
    for video_id, uri, missing in session.execute(files):
        uris.setdefault(video_id, []).append(uri)
        if not missing:
            present.add(video_id)
    return [
        _to_video(row, first, num, tuple(uris.get(row.id, ())), missing=row.id not in present)
        for row, first, num in session.execute(contents)
    ]


def _to_video(
    row: ContentRow, first: int, num: int, uris: tuple[str, ...], *, missing: bool
) -> IndexedVideo:
    rate = None
    if row.frame_rate_numerator is not None and row.frame_rate_denominator:
        rate = Fraction(row.frame_rate_numerator, row.frame_rate_denominator)
    return IndexedVideo(
        video_id=row.id,
        content_id=row.content_id,
        info=VideoInfo(
            uri=uris[0] if uris else "",
            duration_s=row.duration_s,
            width=row.width,
            height=row.height,
            codec=row.codec,
            average_frame_rate=rate,
        ),
        uris=uris,
        missing=missing,
        num_vectors=num,
        first_vector_id=first,
        damage=row.damage,
        indexed_at=row.indexed_at,
    )


def _to_vectors_row(
    video_id: int,
    model_id: str,
    first: int,
    spans: Sequence[TimeSpan | None],
    vectors: NDArray[np.float16],
) -> VectorsRow:
    times: bytes | None = None
    if any(span is not None for span in spans):
        edges = [(s.start_s, s.end_s) if s is not None else (np.nan, np.nan) for s in spans]
        times = np.array(edges, _TIMES_TYPE).tobytes()
    data = vectors.astype(_VECTORS_TYPE).tobytes()
    return VectorsRow(
        content=video_id,
        model_id=model_id,
        first_vector_id=first,
        num_vectors=len(vectors),
        checksum=_checksum(times, data),
        times=times,
        data=data,
    )


def _checksum(times: bytes | None, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(times or b""))


def _to_vectors(row: VectorsRow, dim: int) -> NDArray[np.float16]:
    return np.frombuffer(row.data, _VECTORS_TYPE).reshape(row.num_vectors, dim)


def _to_spans(row: VectorsRow) -> tuple[TimeSpan | None, ...]:
    if row.times is None:
        return (None,) * row.num_vectors
    edges = np.frombuffer(row.times, _TIMES_TYPE).reshape(-1, 2).tolist()
    return tuple(TimeSpan(start, end) if start == start else None for start, end in edges)


def _what_is_broken(row: VectorsRow, dim: int) -> str | None:
    """Why a row of vectors cannot be used, as the rest of a sentence; None if it can."""
    if len(row.data) != row.num_vectors * dim * _VECTORS_TYPE.itemsize:
        return f"have {len(row.data)} bytes, which is not {row.num_vectors} x {dim}"
    if row.times is not None and len(row.times) != row.num_vectors * 2 * _TIMES_TYPE.itemsize:
        return f"have {len(row.times)} bytes of times for {row.num_vectors} rows"
    if _checksum(row.times, row.data) != row.checksum:
        return "do not have the checksum they were written with"
    return None


_Item = TypeVar("_Item")


def _portions(items: Collection[_Item]) -> Iterator[list[_Item]]:
    listed = list(dict.fromkeys(items))
    for start in range(0, len(listed), _MAX_VARIABLES):
        yield listed[start : start + _MAX_VARIABLES]


def _num_rows(session: Session, statement: Delete | Update) -> int:
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
