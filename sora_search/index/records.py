"""What the catalog hands out: plain values, never rows."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Decision, VideoInfo

VerdictState = Literal["stands", "replaced", "undone"]


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

    def only(self, chosen: NDArray[np.bool_]) -> "VectorRanges":
        """The ranges where `chosen`, shape ``(M,)``, is true."""
        return VectorRanges(
            video_ids=self.video_ids[chosen],
            first_ids=self.first_ids[chosen],
            counts=self.counts[chosen],
        )

    def vector_ids(self) -> NDArray[np.int64]:
        """All ids of these ranges, in rising order."""
        starts = np.cumsum(self.counts) - self.counts
        return np.repeat(self.first_ids - starts, self.counts) + np.arange(self.counts.sum())


@dataclass(frozen=True, slots=True, eq=False)
class StoredVectors:
    """The vectors of one video as they lie in the catalog.

    Attributes:
        video_id: The content.
        first_id: Its first vector id.
        vectors: float16, shape ``(N, D)``; N is 0 where they cannot be read.
        broken: Why they cannot be used, as the rest of a sentence; None if they can.
    """

    video_id: int
    first_id: int
    vectors: NDArray[np.float16]
    broken: str | None


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the log of verdicts: what somebody decided about a query and a video.

    Attributes:
        verdict_id: Its number in the log, never used for another.
        decision: Whether both show the same footage; None where the line only undoes another.
        undoes: The verdict that the line takes back; None where it decides.
        state: `stands` if searches heed it, `replaced` if a newer one about the same two
            contents stands, or `undone`; None where the line undoes another.
        query_content_id: Digest of the query's bytes.
        query_uri: Its file when that was decided.
        video_content_id: Digest of the video's bytes.
        video_uri: A file of the video that the index knows; without one, its file when that
            was decided.
        video_id: Its id in this index; None where its content is not in the index now.
        decided_by: Who decided.
        decided_at: ISO 8601, UTC.
    """

    verdict_id: int
    decision: Decision | None
    undoes: int | None
    state: VerdictState | None
    query_content_id: str
    query_uri: str
    video_content_id: str
    video_uri: str
    video_id: int | None
    decided_by: str
    decided_at: str


@dataclass(frozen=True, slots=True)
class Damage:
    """Something stored that is not what was written.

    Attributes:
        what: What is wrong, in a line.
        where: Path of the file that is damaged, or of the video whose vectors are.
        repairable: Whether `repair` mends it; a video that cannot be read is dropped,
            and the next `index` computes it again.
    """

    what: str
    where: str
    repairable: bool
