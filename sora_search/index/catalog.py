"""The catalog: everything an index knows, in one SQLite file. It is the truth.

With `tables`, `connecting`, `migration` and `verdict_log` the only user of SQLAlchemy. Rows
stay in here; what leaves are dataclasses and arrays. Reads and writes are short
transactions, each of which sees one state of the index. Every change of files, contents or
vectors raises `generation`; a verdict does not, for nothing that is made from the catalog
depends on it.
"""

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Update,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from sora_search.datatypes import TimeSpan, VideoEmbedding, VideoInfo
from sora_search.errors import (
    IndexDamagedError,
    IndexNotFoundError,
    VideoNotIndexedError,
)
from sora_search.index.connecting import check_schema, connect, own_errors, schema_revision
from sora_search.index.manifest import MANIFEST_NAME
from sora_search.index.records import (
    CatalogState,
    FileState,
    IndexedVideo,
    StoredVectors,
    VectorRanges,
)
from sora_search.index.rows import (
    now,
    to_content_row,
    to_spans,
    to_state,
    to_stored,
    to_vectors_row,
    to_video,
)
from sora_search.index.tables import ContentRow, FileRow, StateRow, VectorsRow, VerdictRow

CATALOG_NAME = "catalog.sqlite3"

MAX_ID = 2**63 - 1
"""The largest integer that SQLite holds; it refuses to be asked for a larger one."""

_MAX_VARIABLES = 500  # SQLite allows 999 in a statement in its oldest versions
_MAX_ROWS_AT_ONCE = 8192  # vectors in memory while many videos are read: 4 MB at 256 dimensions


def check_not_lost(folder: Path) -> None:
    """Never make a new catalog beside the remains of an old one.

    The manifest is first written when the catalog has its tables, so an empty catalog
    beside one was not left by a writer that was killed.

    Raises:
        IndexDamagedError: If there are remains of a catalog that is gone or empty.
    """
    catalog = folder / CATALOG_NAME
    is_there = catalog.is_file()
    if is_there and catalog.stat().st_size > 0:
        return
    if (folder / MANIFEST_NAME).exists():
        raise IndexDamagedError(
            f"{str(catalog)!r} is {'empty' if is_there else 'gone'}, but {MANIFEST_NAME} is there: "
            f"put back a copy of it, or delete {str(folder)!r} and run `sora-search index` again"
        )


class Catalog:
    """The tables of one index, open for reading or for writing. Close it, or use `with`."""

    def __init__(self, path: Path, *, writable: bool, create: bool = False) -> None:
        """See `open`, which checks the schema too."""
        self.path = path
        self.writable = writable
        self._engine = connect(path, writable=writable, create=create)

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
                f"no index at {str(path.parent)!r}: make one with "
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
        with own_errors(self.path), self._engine.begin() as connection:
            return schema_revision(connection)

    def initialize(
        self, *, model_id: str, dim: int, sampling: dict[str, Any], structure: str
    ) -> None:
        """Say whose vectors these are; once in the life of an index."""
        with self.writing() as session:
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
                    created_at=now(),
                )
            )

    def change_model(self, *, model_id: str, dim: int, sampling: dict[str, Any]) -> None:
        """Say that the vectors to come are of another model.

        Contents keep their ids and names. Their vectors by other models are not seen any
        more, and each goes when `add_video` brings one by this model.
        """
        with self.writing() as session:
            state = session.get_one(StateRow, 1)
            state.model_id, state.dim = model_id, dim
            state.sampling = json.dumps(sampling, sort_keys=True)
            state.generation += 1

    def state(self) -> CatalogState | None:
        """What the index is, or None before `initialize`."""
        with self.reading() as session:
            row = session.get(StateRow, 1)
            return None if row is None else to_state(row)

    def generation(self) -> int:
        """How many changes there were."""
        with self.reading() as session:
            return session.scalars(select(StateRow.generation)).one()

    def num_videos(self) -> int:
        """How many videos there are."""
        with self.reading() as session:
            model_id = select(StateRow.model_id).scalar_subquery()
            counted = select(func.count()).select_from(VectorsRow)
            return session.scalars(counted.where(VectorsRow.model_id == model_id)).one()

    def ranges(self) -> tuple[CatalogState, VectorRanges]:
        """Whose vectors there are, and the state of the index at the same moment."""
        with self.reading() as session:
            state = to_state(session.get_one(StateRow, 1))
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
        """What is known of a file whose content has vectors of this model, or None."""
        with self.reading() as session:
            return next(_read_file_states(session, uri), None)

    def file_states(self) -> dict[str, FileState]:
        """What is known of all such files, by uri."""
        with self.reading() as session:
            return {state.uri: state for state in _read_file_states(session)}

    def outdated_file_states(self) -> dict[str, FileState]:
        """What is known of the files whose content has vectors of another model alone."""
        with self.reading() as session:
            return {state.uri: state for state in _read_file_states(session, outdated=True)}

    def touch_file(self, uri: str, size_bytes: int, mtime_ns: int, content_id: str) -> None:
        """Say that a file is there and holds a known content.

        Raises:
            VideoNotIndexedError: If the content is not known.
        """
        with self.writing() as session:
            video_id = session.scalars(
                select(ContentRow.id).where(ContentRow.content_id == content_id)
            ).one_or_none()
            if video_id is None:
                raise VideoNotIndexedError(f"no video with the content {content_id} is indexed")
            _set_file(session, uri, size_bytes, mtime_ns, video_id)
            _raise_generation(session)

    def mark_missing(self, uris: Collection[str]) -> int:
        """Say that files are gone, whose contents are kept; how many were not marked yet."""
        with self.writing() as session:
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
        with self.writing() as session:
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
        with self.writing() as session:
            state = session.get_one(StateRow, 1)
            content = session.scalars(
                select(ContentRow).where(ContentRow.content_id == content_id)
            ).one_or_none()
            if content is None:
                content = to_content_row(content_id, info, damage)
                session.add(content)
                session.flush()
            if session.get(VectorsRow, (content.id, state.model_id)) is None:
                session.add(
                    to_vectors_row(content.id, state.model_id, state.next_vector_id, spans, vectors)
                )
                state.next_vector_id += len(vectors)
                session.execute(
                    delete(VectorsRow).where(
                        VectorsRow.content == content.id, VectorsRow.model_id != state.model_id
                    )
                )
            _set_file(session, uri, size_bytes, mtime_ns, content.id)
            state.generation += 1
            return content.id

    def remove_videos(self, video_ids: Collection[int]) -> int:
        """Drop contents with their files and vectors; how many there were."""
        with self.writing() as session:
            num_removed = sum(
                _num_rows(session, delete(ContentRow).where(ContentRow.id.in_(some)))
                for some in _portions(_possible(video_ids))
            )
            if num_removed:
                _raise_generation(session)
            return num_removed

    def videos(self, video_ids: Collection[int] | None = None) -> list[IndexedVideo]:
        """The videos of the index, or those of them that are asked for, in order of id."""
        with self.reading() as session:
            if video_ids is None:
                return _select_videos(session, None)
            found = [
                video
                for some in _portions(_possible(video_ids))
                for video in _select_videos(session, some)
            ]
            return sorted(found, key=lambda video: video.video_id)

    def video_id_of(self, *, uri: str | None = None, content_id: str | None = None) -> int | None:
        """The video that a file held when last looked at, or that has a content; or None."""
        if uri is not None:
            statement = select(FileRow.content).where(FileRow.uri == uri)
        else:
            statement = select(ContentRow.id).where(ContentRow.content_id == content_id)
        with self.reading() as session:
            return session.scalars(statement).one_or_none()

    # Vectors

    def embedding(self, video_id: int) -> VideoEmbedding:
        """The vectors of one video, with their spans.

        Raises:
            VideoNotIndexedError: If there is no such video.
            IndexDamagedError: If they are not what was written.
        """
        with self.reading() as session:
            state = session.get_one(StateRow, 1)
            known = _possible([video_id])
            row = session.get(VectorsRow, (video_id, state.model_id)) if known else None
            if row is None:
                raise VideoNotIndexedError(f"no video has the id {video_id} in this index")
            stored = to_stored(row, state.dim)
            if stored.broken is not None:
                raise IndexDamagedError(
                    f"the vectors of video {video_id} in {str(self.path)!r} {stored.broken}: "
                    "run `sora-search check --repair`"
                )
            return VideoEmbedding(
                spans=to_spans(row),
                vectors=stored.vectors.astype(np.float32),
                model_id=state.model_id,
            )

    def vectors(self, ranges: VectorRanges) -> Iterator[StoredVectors]:
        """The vectors of each video in `ranges` that is still there, in that order.

        Few are in memory at a time, and short transactions read them.
        """
        portions = (np.cumsum(ranges.counts) - 1) // _MAX_ROWS_AT_ONCE
        for portion in np.unique(portions):
            video_ids = ranges.video_ids[portions == portion].tolist()
            for some in _portions(video_ids):
                yield from self._vectors(some)

    def _vectors(self, video_ids: list[int]) -> list[StoredVectors]:
        with self.reading() as session:
            state = session.get_one(StateRow, 1)
            rows = session.scalars(
                select(VectorsRow)
                .where(VectorsRow.content.in_(video_ids), VectorsRow.model_id == state.model_id)
                .order_by(VectorsRow.first_vector_id)
            )
            return [to_stored(row, state.dim) for row in rows]

    # Checking and mending

    def integrity_errors(self, *, deep: bool) -> list[str]:
        """What SQLite itself finds wrong with the file; empty if nothing."""
        pragma = "integrity_check" if deep else "quick_check"
        with self.reading() as session:
            lines = session.connection().exec_driver_sql(f"PRAGMA {pragma}(20)").scalars().all()
        return [str(line) for line in lines if line != "ok"]

    def orphans(self) -> dict[str, int]:
        """Rows by table that belong to nothing: no content, no name, no vectors."""
        with self.reading() as session:
            return {
                table.__tablename__: count
                for table, condition in _orphan_conditions()
                if (
                    count := session.scalar(
                        select(func.count()).select_from(table).where(condition)
                    )
                    or 0
                )
            }

    def delete_orphans(self) -> None:
        """Delete what `orphans` counts."""
        with self.writing() as session:
            for table, condition in _orphan_conditions():
                session.execute(delete(table).where(condition))
            _raise_generation(session)

    def raise_next_vector_id(self, least: int) -> None:
        """Make sure that no id below `least` is given out."""
        with self.writing() as session:
            state = session.get_one(StateRow, 1)
            state.next_vector_id = max(state.next_vector_id, least)
            state.generation += 1

    def reindex(self) -> None:
        """Build SQLite's own look-up structures again from the rows."""
        with self.writing() as session:
            session.connection().exec_driver_sql("REINDEX")

    # Transactions

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state of the index."""
        with own_errors(self.path), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that happens as a whole or not at all.

        Raises:
            ValueError: If the catalog is not open for writing.
        """
        if not self.writable:
            raise ValueError("the index was opened read-only")
        engine = self._engine.execution_options(sora_begin="BEGIN IMMEDIATE")
        with own_errors(self.path), Session(engine) as session, session.begin():
            yield session

    @contextmanager
    def changing_schema(self) -> Iterator[Connection]:
        """A transaction for migrations, in which SQLite does not follow foreign keys.

        Batch migrations drop tables and make them again, which would take along what
        refers to them. SQLite heeds the switch only outside a transaction.
        """
        engine = self._engine.execution_options(sora_begin="BEGIN IMMEDIATE")
        with own_errors(self.path), engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    yield connection
            finally:
                raw.execute("PRAGMA foreign_keys=ON")


def _raise_generation(session: Session) -> None:
    session.execute(update(StateRow).values(generation=StateRow.generation + 1))


def _read_file_states(
    session: Session, uri: str | None = None, *, outdated: bool = False
) -> Iterator[FileState]:
    model_id = select(StateRow.model_id).scalar_subquery()
    # A content has vectors of one model: those of the one before go when it is embedded again.
    is_wanted = VectorsRow.model_id != model_id if outdated else VectorsRow.model_id == model_id
    statement = (
        select(FileRow, ContentRow.content_id)
        .join(ContentRow, FileRow.content == ContentRow.id)
        .join(VectorsRow, VectorsRow.content == ContentRow.id)
        .where(is_wanted)
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
        to_video(row, first, num, tuple(uris.get(row.id, ())), missing=row.id not in present)
        for row, first, num in session.execute(contents)
    ]


def _orphan_conditions() -> list[
    tuple[type[FileRow | VectorsRow | ContentRow | VerdictRow], ColumnElement[bool]]
]:
    contents = select(ContentRow.id)
    named = select(FileRow.content)
    embedded = select(VectorsRow.content)  # by whatever model
    verdicts = select(aliased(VerdictRow).id)
    return [
        (FileRow, FileRow.content.not_in(contents)),
        (VectorsRow, VectorsRow.content.not_in(contents)),
        (ContentRow, or_(ContentRow.id.not_in(named), ContentRow.id.not_in(embedded))),
        (VerdictRow, VerdictRow.undoes.not_in(verdicts)),
    ]


def _possible(ids: Collection[int]) -> list[int]:
    """Those of some ids that a row can have at all."""
    return [i for i in ids if 0 <= i <= MAX_ID]


_Item = TypeVar("_Item")


def _portions(items: Collection[_Item]) -> Iterator[list[_Item]]:
    listed = list(dict.fromkeys(items))
    for start in range(0, len(listed), _MAX_VARIABLES):
        yield listed[start : start + _MAX_VARIABLES]


def _num_rows(session: Session, statement: Delete | Update) -> int:
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount
