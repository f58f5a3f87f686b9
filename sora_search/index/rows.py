"""Rows of the catalog to values and back, and the checksum of stored vectors."""

import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan, VideoInfo
from sora_search.index.records import (
    CatalogState,
    IndexedVideo,
    StoredVectors,
    Verdict,
    VerdictState,
)
from sora_search.index.tables import ContentRow, StateRow, VectorsRow, VerdictRow

_VECTORS_TYPE = np.dtype("<f2")
_TIMES_TYPE = np.dtype("<f8")


def to_content_row(content_id: str, info: VideoInfo, damage: str | None) -> ContentRow:
    """A new content, as of now."""
    rate = info.average_frame_rate
    return ContentRow(
        content_id=content_id,
        duration_s=info.duration_s,
        width=info.width,
        height=info.height,
        codec=info.codec,
        frame_rate_numerator=None if rate is None else rate.numerator,
        frame_rate_denominator=None if rate is None else rate.denominator,
        damage=None if damage is None else to_text(damage),
        indexed_at=now(),
    )


def to_text(text: str) -> str:
    """What a user or the system wrote, as SQLite takes it: UTF-8 even where a name is not."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_video(
    row: ContentRow, first: int, num: int, uris: tuple[str, ...], *, missing: bool
) -> IndexedVideo:
    """A content with its range of vector ids and its files."""
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


def to_vectors_row(
    video_id: int,
    model_id: str,
    first: int,
    spans: Sequence[TimeSpan | None],
    vectors: NDArray[np.float16],
) -> VectorsRow:
    """The vectors of a content under the ids from `first` on."""
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


def to_stored(row: VectorsRow, dim: int) -> StoredVectors:
    """The vectors as they lie there, compared with their checksum."""
    broken = _what_is_broken(row, dim)
    readable = len(row.data) == row.num_vectors * dim * _VECTORS_TYPE.itemsize
    data = row.data if readable else b""
    return StoredVectors(
        video_id=row.content,
        first_id=row.first_vector_id,
        vectors=np.frombuffer(data, _VECTORS_TYPE).reshape(-1, dim),
        broken=broken,
    )


def _what_is_broken(row: VectorsRow, dim: int) -> str | None:
    """Why a row of vectors cannot be used, as the rest of a sentence; None if it can."""
    if len(row.data) != row.num_vectors * dim * _VECTORS_TYPE.itemsize:
        return f"have {len(row.data)} bytes, which is not {row.num_vectors} x {dim}"
    if row.times is not None and len(row.times) != row.num_vectors * 2 * _TIMES_TYPE.itemsize:
        return f"have {len(row.times)} bytes of times for {row.num_vectors} rows"
    if _checksum(row.times, row.data) != row.checksum:
        return "do not have the checksum they were written with"
    return None


def to_spans(row: VectorsRow) -> tuple[TimeSpan | None, ...]:
    """The span of each vector; None for a still picture."""
    if row.times is None:
        return (None,) * row.num_vectors
    edges = np.frombuffer(row.times, _TIMES_TYPE).reshape(-1, 2).tolist()
    return tuple(TimeSpan(start, end) if start == start else None for start, end in edges)


def to_verdicts(found: Sequence[tuple[VerdictRow, int | None, str | None]]) -> list[Verdict]:
    """Lines of the log, each with what became of it.

    Args:
        found: All lines about some pairs of contents, oldest first, each with the id of the
            video and one of its files; both None where the video is not in the index.
    """
    undone = {row.undoes for row, _, _ in found}
    newest = {
        (row.query_content_id, row.video_content_id): row.id
        for row, _, _ in found
        if row.decision is not None and row.id not in undone
    }

    def state_of(row: VerdictRow) -> VerdictState | None:
        if row.decision is None:
            return None
        if row.id in undone:
            return "undone"
        pair = (row.query_content_id, row.video_content_id)
        return "stands" if newest[pair] == row.id else "replaced"

    return [
        Verdict(
            verdict_id=row.id,
            decision=row.decision,
            undoes=row.undoes,
            state=state_of(row),
            query_content_id=row.query_content_id,
            query_uri=row.query_uri,
            video_content_id=row.video_content_id,
            video_uri=row.video_uri if uri is None else uri,
            video_id=video_id,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
        )
        for row, video_id, uri in found
    ]


def to_state(row: StateRow) -> CatalogState:
    """The index as a whole."""
    return CatalogState(
        index_id=row.index_id,
        model_id=row.model_id,
        dim=row.dim,
        sampling=json.loads(row.sampling),
        structure=row.structure,
        generation=row.generation,
        next_vector_id=row.next_vector_id,
    )


def now() -> str:
    """The time as the catalog writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
