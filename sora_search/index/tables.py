"""The tables of the catalog.

    index_state   one row: whose vectors these are, and two counters that only rise
    content       one video, whatever its names: what its bytes are and show
    file          a name, and the content it had when it was last looked at
    vectors       the vectors of a content, one row a model
    verdict       the log of what people decided about a query and a video

A content's vectors have the ids `first_vector_id` to `first_vector_id + num_vectors - 1`.
They stand with the vectors, not with the content: another model has another number
of them, and may fill its rows while this one still answers. A verdict names contents by
their digest, not by their row: it outlives the removal of the video.

A change here needs a migration; a test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sora_search.datatypes import Decision


class Table(DeclarativeBase):
    """What all tables share: how their constraints are named, so that migrations can say them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class StateRow(Table):
    """The one row about the index as a whole; the manifest is a copy of it."""

    __tablename__ = "index_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    index_id: Mapped[str]  # random: tells the files of one index from those of another
    model_id: Mapped[str]
    dim: Mapped[int]
    sampling: Mapped[str]  # JSON object
    structure: Mapped[str]
    generation: Mapped[int] = mapped_column(BigInteger)  # raised by every change
    next_vector_id: Mapped[int] = mapped_column(BigInteger)  # ids are never used twice
    created_at: Mapped[str]  # ISO 8601, UTC


class ContentRow(Table):
    """One video."""

    __tablename__ = "content"
    __table_args__ = ({"sqlite_autoincrement": True},)  # the id of a video is never used twice

    id: Mapped[int] = mapped_column(primary_key=True)
    content_id: Mapped[str] = mapped_column(unique=True)  # digest of the file's bytes
    duration_s: Mapped[float | None] = mapped_column(Double)
    width: Mapped[int]
    height: Mapped[int]
    codec: Mapped[str]
    frame_rate_numerator: Mapped[int | None] = mapped_column(BigInteger)
    frame_rate_denominator: Mapped[int | None] = mapped_column(BigInteger)
    damage: Mapped[str | None]  # what could not be decoded, in one line
    indexed_at: Mapped[str]  # ISO 8601, UTC


class FileRow(Table):
    """One name of a video."""

    __tablename__ = "file"

    id: Mapped[int] = mapped_column(primary_key=True)
    uri: Mapped[str] = mapped_column(unique=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    missing: Mapped[bool]
    content: Mapped[int] = mapped_column(ForeignKey("content.id", ondelete="CASCADE"), index=True)


class VectorsRow(Table):
    """The vectors of one content by one model. Blobs are little-endian and come last."""

    __tablename__ = "vectors"
    # All that a catch-up needs, so that it reads no page with vectors on it.
    __table_args__ = (
        Index(None, "model_id", "first_vector_id", "num_vectors", "content", unique=True),
    )

    content: Mapped[int] = mapped_column(
        ForeignKey("content.id", ondelete="CASCADE"), primary_key=True
    )
    model_id: Mapped[str] = mapped_column(primary_key=True)
    first_vector_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    num_vectors: Mapped[int]
    checksum: Mapped[int] = mapped_column(BigInteger)  # CRC-32 of `times`, then `data`
    times: Mapped[bytes | None] = mapped_column(LargeBinary)  # float64 (N, 2); null: a picture
    data: Mapped[bytes] = mapped_column(LargeBinary)  # float16 (N, D)


class VerdictRow(Table):
    """One line of the log of verdicts. Lines are added, never changed."""

    __tablename__ = "verdict"
    __table_args__ = (
        CheckConstraint("decision IN ('match', 'no-match')", name="known_decision"),
        CheckConstraint("(decision IS NULL) = (undoes IS NOT NULL)", name="decides_or_undoes"),
        {"sqlite_autoincrement": True},  # the id of a verdict is never used twice
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    query_content_id: Mapped[str] = mapped_column(index=True)
    query_uri: Mapped[str]
    video_content_id: Mapped[str]  # may be in the index, or not any more
    video_uri: Mapped[str]
    # Null: only takes back `undoes`, a line about the same contents.
    decision: Mapped[Decision | None] = mapped_column(String)
    undoes: Mapped[int | None] = mapped_column(ForeignKey("verdict.id"), unique=True)
    decided_by: Mapped[str]
    decided_at: Mapped[str]  # ISO 8601, UTC
