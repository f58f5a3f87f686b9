"""Nearest neighbours of vectors by cosine: `FaissIndex`, and `BruteForceIndex` to test it against.

The only module that uses FAISS. Threads: FAISS takes all cores for a search, unless
the environment says otherwise before Python starts (``OMP_NUM_THREADS=1``).

Which structure FAISS uses is one string of its own index factory. `IDMap2,SQfp16`
was measured as well (100,000 vectors of 256 dimensions rounded to float16, one
thread): the same neighbours and scores as `IDMap2,Flat` in half the bytes; 1.5 ms a
query however many there are, where `Flat` needs 3.6 ms for one, 1.2 ms each for ten
and 0.55 ms each for a hundred. A query video has 20 vectors and more, so `Flat`
stays the default; `SQfp16` is there for those short of disk.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Hits
from sora_search.errors import IndexDamagedError

DEFAULT_STRUCTURE = "IDMap2,Flat"

# What FAISS puts where there is no neighbour; the same here, so that both answer alike.
ABSENT_SCORE = np.float32(np.finfo(np.float32).min)

# From so many queries on, a matrix product beats one scan of the vectors a query
# (100,000 x 256, one thread: 1.6 against 3.5 ms a query at 4, 0.5 at 100).
_MIN_QUERIES_FOR_BLAS = 4

SMALL_SEARCH = 200_000_000
"""Multiplications (some hundredths of a second) up to which one thread searches."""

_MAX_THREADS = faiss.omp_get_max_threads()


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """What was written to disk: enough to know later that it is still the same."""

    size_bytes: int
    sha256: str


class FaissIndex:
    """Vectors in a FAISS index, in memory or mapped from a file.

    Args:
        dim: D, the length of a vector.
        structure: FAISS factory string of a structure that keeps ids and needs no
            training: `IDMap2,Flat` or `IDMap2,SQfp16`.

    Raises:
        ValueError: If FAISS does not know the structure, or it takes no ids or needs training.
    """

    def __init__(self, dim: int, structure: str = DEFAULT_STRUCTURE) -> None:
        if dim < 1:
            raise ValueError(f"need dim >= 1, got {dim=}")
        try:
            index = faiss.index_factory(dim, structure, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise ValueError(f"FAISS does not know the structure {structure!r}") from error
        if not isinstance(index, faiss.IndexIDMap) or not index.is_trained:
            raise ValueError(f"need a structure with ids and without training, got {structure!r}")
        self._adopt(index, read_only=False)

    @classmethod
    def load(cls, path: Path | str, *, read_only: bool = False) -> Self:
        """Read an index that `save` wrote.

        Args:
            path: The file.
            read_only: Map the file instead of reading it: opens at once, shares its
                memory with other processes, and can be searched but not changed.

        Raises:
            OSError: If the file cannot be opened.
            IndexDamagedError: If it holds no index of this kind. A flipped bit inside
                a vector is not noticed: compare the checksum of the file for that.
        """
        path = Path(path)
        try:
            index = _read(path, mapped=read_only)
        except (RuntimeError, MemoryError) as error:
            raise IndexDamagedError(
                f"{str(path)!r} is no FAISS index any more: run `sora-search check --repair`"
            ) from error
        if not isinstance(index, faiss.IndexIDMap):
            raise IndexDamagedError(
                f"{str(path)!r} holds a {type(index).__name__} without ids: "
                "run `sora-search check --repair`"
            )
        loaded = cls.__new__(cls)
        loaded._adopt(index, read_only=read_only)
        return loaded

    def _adopt(self, index: faiss.IndexIDMap, *, read_only: bool) -> None:
        self._index = index
        self._read_only = read_only
        self._max_id = -1 if index.ntotal == 0 else int(self.ids.max())
        # FAISS 1.15 counts queries times dimensions and starts at 128,000, so that 499
        # queries of 256 dimensions are 499 scans, seven times slower; before, it
        # counted queries and started at 20. The setting is one for the whole process.
        if faiss.cvar.distance_compute_blas_threshold > 1000:
            faiss.cvar.distance_compute_blas_threshold = _MIN_QUERIES_FOR_BLAS * index.d

    @property
    def dim(self) -> int:
        """D, the length of a vector."""
        return int(self._index.d)

    @property
    def ids(self) -> NDArray[np.int64]:
        """A copy of all ids, shape ``(N,)``, in the order they were added."""
        if len(self) == 0:
            return np.empty(0, np.int64)
        return np.asarray(faiss.vector_to_array(self._index.id_map), np.int64)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def __repr__(self) -> str:
        return f"FaissIndex({len(self)} x {self.dim})"

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add unit rows ``(N, D)`` under new ids ``(N,)``; see `VectorIndex.add`.

        Raises:
            ValueError: If shapes disagree, an id is negative, repeated or there
                already, or the index was opened read-only.
        """
        self._check_writable()
        ids, vectors = _checked_rows(ids, vectors, self.dim)
        if len(ids) == 0:
            return
        # Ids come in rising order nearly always; only then is a look at all of them spared.
        if ids.min() <= self._max_id and np.isin(ids, self.ids).any():
            raise ValueError(f"ids are there already: {_few(ids[np.isin(ids, self.ids)])}")
        self._index.add_with_ids(vectors, ids)
        self._max_id = max(self._max_id, int(ids.max()))

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Remove those of `ids` that are there; how many that were.

        Raises:
            ValueError: If the index was opened read-only.
        """
        self._check_writable()
        ids = np.ascontiguousarray(ids, np.int64).reshape(-1)
        if len(ids) == 0 or len(self) == 0:
            return 0
        return int(self._index.remove_ids(faiss.IDSelectorBatch(ids)))

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The `k` nearest of each row of ``(Q, D)``, best first; see `VectorIndex.search`."""
        queries = _checked_queries(queries, k, self.dim)
        if len(queries) == 0 or len(self) == 0:
            return _no_hits(len(queries), k)
        # Threads that wait for one another cost a busy machine more than a small search.
        is_small = queries.size * len(self) < SMALL_SEARCH
        faiss.omp_set_num_threads(1 if is_small else _MAX_THREADS)
        scores, ids = self._index.search(queries, k)
        return Hits(vector_ids=ids, scores=scores)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored rows of `ids`, shape ``(N, D)``.

        Raises:
            KeyError: If an id is not there.
        """
        ids = np.ascontiguousarray(ids, np.int64).reshape(-1)
        if len(ids) == 0:
            return np.empty((0, self.dim), np.float32)
        try:
            return np.asarray(self._index.reconstruct_batch(ids), np.float32)
        except RuntimeError as error:
            raise KeyError(f"not in the index: one of {_few(ids)}") from error

    def flush(self) -> None:
        """Nothing to do: `save` writes the whole index."""

    def save(self, path: Path | str) -> WrittenFile:
        """Write the index to a new file and wait until the disk has it.

        Nothing is left behind when it fails, for example because the disk is full.

        Raises:
            FileExistsError: If there is such a file.
            OSError: If it cannot be written.
        """
        path = Path(path)
        with path.open("xb") as file:
            try:
                return _write(self._index, file.write, file.fileno)
            except BaseException as error:
                path.unlink(missing_ok=True)
                if isinstance(error, OSError) and error.filename is None:
                    raise OSError(error.errno, error.strerror, os.fspath(path)) from error
                raise

    def _check_writable(self) -> None:
        if self._read_only:  # adding to a mapped index aborts the process
            raise ValueError("the vector index was opened read-only")


def _read(path: Path, *, mapped: bool) -> faiss.Index:
    with path.open("rb") as file:  # a missing file is said as everywhere in Python
        # FAISS takes names in UTF-8 alone, and on Windows not even all of those.
        name = os.fspath(path)
        sayable = name.isascii() if os.name == "nt" else _is_utf8(name)
        if mapped and sayable:
            return faiss.read_index(name, faiss.IO_FLAG_MMAP_IFC)
        return faiss.read_index(faiss.PyCallbackIOReader(file.read, 1 << 20))  # type: ignore[attr-defined]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write(
    index: faiss.Index, write: Callable[[bytes], int], fileno: Callable[[], int]
) -> WrittenFile:
    """Write through Python, so that an error keeps its number and one pass gives the checksum."""
    digest = hashlib.sha256()
    size_bytes = 0
    failures: list[BaseException] = []  # FAISS makes one of its own of what a call-back raises

    def pass_on(data: bytes) -> None:
        nonlocal size_bytes
        try:
            write(data)
        except BaseException as error:
            failures.append(error)
            raise
        digest.update(data)
        size_bytes += len(data)

    try:
        faiss.write_index(index, faiss.PyCallbackIOWriter(pass_on, 1 << 20))  # type: ignore[attr-defined]
    except RuntimeError as error:
        if failures:
            raise failures[0] from None
        raise OSError(errno.EIO, "FAISS could not write its index") from error
    os.fsync(fileno())
    return WrittenFile(size_bytes=size_bytes, sha256=digest.hexdigest())


class BruteForceIndex:
    """Exact neighbours with nothing but numpy: the measure of every other vector index.

    Of equal scores the smaller id comes first.
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"need dim >= 1, got {dim=}")
        self._ids = np.empty(0, np.int64)
        self._vectors = np.empty((0, dim), np.float32)

    @property
    def dim(self) -> int:
        """D, the length of a vector."""
        return self._vectors.shape[1]

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"BruteForceIndex({len(self)} x {self.dim})"

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add unit rows under new ids; see `VectorIndex.add`."""
        ids, vectors = _checked_rows(ids, vectors, self.dim)
        known = np.isin(ids, self._ids)
        if known.any():
            raise ValueError(f"ids are there already: {_few(ids[known])}")
        self._ids = np.concatenate([self._ids, ids])
        self._vectors = np.concatenate([self._vectors, vectors])

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Remove those of `ids` that are there; how many that were."""
        keep = ~np.isin(self._ids, ids)
        self._ids, self._vectors = self._ids[keep], self._vectors[keep]
        return int((~keep).sum())

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The `k` nearest of each row, best first; see `VectorIndex.search`."""
        queries = _checked_queries(queries, k, self.dim)
        hits = _no_hits(len(queries), k)
        scores = queries @ self._vectors.T
        for row, found in enumerate(scores):
            order = np.lexsort((self._ids, -found))[:k]
            hits.vector_ids[row, : len(order)] = self._ids[order]
            hits.scores[row, : len(order)] = found[order]
        return hits

    def flush(self) -> None:
        """Nothing to do: it has no place on disk."""


def rounded(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """Vectors as they are stored. Round before any use, so that every store answers alike."""
    return np.ascontiguousarray(vectors).astype(np.float16)


def _checked_rows(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], dim: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = np.ascontiguousarray(ids, np.int64)
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim or ids.shape != (len(vectors),):
        raise ValueError(f"need ids (N,) and vectors (N, {dim}), got {ids.shape} {vectors.shape}")
    if len(ids) and ids.min() < 0:
        raise ValueError(f"need ids >= 0, got {ids.min()}")
    if not (np.diff(ids) > 0).all() and len(np.unique(ids)) < len(ids):
        raise ValueError("ids are repeated")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors hold NaN or infinity")
    return ids, vectors


def _checked_queries(queries: NDArray[np.float32], k: int, dim: int) -> NDArray[np.float32]:
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"need queries (Q, {dim}), got {queries.shape=}")
    if k < 1:
        raise ValueError(f"need k >= 1, got {k=}")
    if not np.isfinite(queries).all():
        raise ValueError("queries hold NaN or infinity")
    return queries


def _no_hits(num_queries: int, k: int) -> Hits:
    return Hits(
        vector_ids=np.full((num_queries, k), -1, np.int64),
        scores=np.full((num_queries, k), ABSENT_SCORE, np.float32),
    )


def _few(ids: NDArray[np.int64]) -> str:
    shown = ", ".join(str(i) for i in ids[:3].tolist())
    return shown if len(ids) <= 3 else f"{shown}, ..."
