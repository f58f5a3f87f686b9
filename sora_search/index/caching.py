"""The vectors of an index ready for search: the FAISS file, and what it has not got yet.

The catalog is the truth and the FAISS file a cache of it, written every few minutes.
Whoever searches catches up in memory: what was added since goes into a second, small
index searched beside the file, what was removed is left out of the answer. Only the
writer changes the loaded file itself, because it writes the next one.
"""

import dataclasses
import errno
import logging
import threading
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Hits, VectorIndex
from sora_search.errors import IndexDamagedError
from sora_search.index.catalog import Catalog
from sora_search.index.connecting import DISK_IS_FULL
from sora_search.index.manifest import (
    MANIFEST_NAME,
    Manifest,
    VectorsFile,
    delete_stale_files,
    new_vectors_name,
    read_manifest,
    sha256_of,
    write_manifest,
)
from sora_search.index.records import CatalogState, VectorRanges
from sora_search.index.vector_index import ABSENT_SCORE, FaissIndex

logger = logging.getLogger(__name__)

_ADDED_AT_ONCE = 4096  # rows: one call of FAISS for many small videos


class VectorCache:
    """The vectors of one index in memory, kept in step with its catalog.

    Args:
        folder: The folder of the index.
        catalog: Its catalog; if it is writable, so is this.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._lock = threading.RLock()
        self._manifest: Manifest | None = None
        self._file: FaissIndex | None = None  # None: not looked at yet
        self._file_is_saved = False  # writer: the file on disk holds what `_file` holds
        self._added: FaissIndex | None = None
        self._gone = np.empty(0, np.int64)  # ids of the file that are not in the catalog
        self._state: CatalogState | None = None
        self._ranges = VectorRanges(*(np.empty(0, np.int64) for _ in range(3)))

    def refresh(self) -> VectorRanges:
        """Catch up with the catalog: one short read if nothing changed.

        Raises:
            IndexDamagedError: If the FAISS file or the manifest is not what was
                written (a reader; the writer builds the file again).
        """
        with self._lock:
            if self._state is not None and self._state.generation == self._catalog.generation():
                return self._ranges
            if self._file is None or self._is_outdated():
                self._load()
            # Read after the manifest: a writer may be at work, and what the catalog
            # says must never be older than the file.
            state, ranges = self._catalog.ranges()
            self._catch_up(state, ranges)
            self._state, self._ranges = state, ranges
            return ranges

    def search(
        self, queries: NDArray[np.float32], k: int, *, exclude_video_ids: Collection[int] = ()
    ) -> Hits:
        """The `k` nearest of each query; see `VideoIndex.search`."""
        with self._lock:  # a search takes all cores already, and a catch-up must not meet it
            ranges = self.refresh()
            assert self._file is not None
            assert self._added is not None
            excluded = ranges.only(np.isin(ranges.video_ids, list(exclude_video_ids))).vector_ids()
            hits = search_without(self._file, queries, k, np.union1d(self._gone, excluded))
            if len(self._added) == 0:
                return hits
            return _merged(hits, search_without(self._added, queries, k, excluded))

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows of `ids`, shape ``(N, D)``.

        Raises:
            KeyError: If one is not there.
        """
        with self._lock:
            self.refresh()
            assert self._file is not None
            assert self._added is not None
            beside = np.isin(ids, self._added.ids)
            rows = np.empty((len(ids), self._file.dim), np.float32)
            rows[beside] = self._added.vectors(ids[beside])
            rows[~beside] = self._file.vectors(ids[~beside])
            return rows

    def save(self) -> None:
        """Write the FAISS file, if it changed, and the manifest that names it.

        The old file and the old manifest are there until the new manifest is.

        Raises:
            OSError: If the disk is full, say; nothing is lost then.
        """
        try:
            self._save()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OSError(error.errno, DISK_IS_FULL, error.filename) from error

    def _save(self) -> None:
        with self._lock:
            if self._is_saved():
                return
            self.refresh()
            assert self._state is not None
            assert self._file is not None
            vectors = self._manifest.vectors if self._manifest is not None else None
            if not self._file_is_saved:
                name = new_vectors_name(self._state.generation)
                written = self._file.save(self._folder / name)
                vectors = VectorsFile(name, written.size_bytes, written.sha256, None)
            if vectors is not None:
                vectors = _with_time(vectors, self._folder)
            manifest = manifest_of(self._state, vectors)
            if manifest != self._manifest:
                write_manifest(self._folder, manifest)
                self._manifest, self._file_is_saved = manifest, True
            delete_stale_files(self._folder, manifest)

    def _is_saved(self) -> bool:
        """Whether the file on disk is up to date, without reading it."""
        if self._file is not None:
            return False
        state = self._catalog.state()
        try:
            manifest = read_manifest(self._folder)
            if state is None or manifest is None or manifest.vectors is None:
                return False
            check_vectors_file(self._folder / manifest.vectors.name, manifest.vectors, deep=False)
            vectors = _with_time(manifest.vectors, self._folder)
        except (IndexDamagedError, FileNotFoundError):
            return False
        return manifest == manifest_of(state, vectors)

    def rebuild(self) -> None:
        """Forget the FAISS file; the next `refresh` builds it from the catalog alone."""
        with self._lock:
            dim, structure = self._catalog_shape()
            self._file, self._file_is_saved = FaissIndex(dim, structure), False
            self._manifest, self._state = None, None

    def _catalog_shape(self) -> tuple[int, str]:
        state = self._catalog.state()
        assert state is not None
        return state.dim, state.structure

    def _is_outdated(self) -> bool:
        """Whether a writer has saved another file than the one a reader has loaded."""
        return not self._catalog.writable and self._manifest != read_manifest(self._folder)

    def _load(self) -> None:
        writable = self._catalog.writable
        try:
            self._manifest, file = load_vectors(self._folder, self._catalog, verify=writable)
        except IndexDamagedError as error:
            if not writable:
                raise
            logger.warning("%s; building the FAISS file again from the catalog", error)
            self._manifest, file = None, None
        dim, structure = self._catalog_shape()
        if self._manifest is None and not writable and self._catalog.generation() > 0:
            logger.warning(
                "%s is gone, so all vectors are read from the catalog: "
                "run `sora-search check --repair`",
                self._folder / MANIFEST_NAME,
            )
        self._file_is_saved = file is not None
        self._file = FaissIndex(dim, structure) if file is None else file
        self._added = FaissIndex(dim, structure)

    def _catch_up(self, state: CatalogState, ranges: VectorRanges) -> None:
        assert self._file is not None
        if self._added is None:
            self._added = FaissIndex(state.dim, state.structure)
        in_file, gone = compare(ranges, self._file.ids)
        if self._catalog.writable:
            if len(gone) or not in_file.all():
                self._file_is_saved = False
            self._file.remove(gone)
            self._add(self._file, ranges.only(~in_file))
            self._gone = gone[:0]
            return
        in_added, no_longer = compare(ranges, self._added.ids)
        self._added.remove(no_longer)
        self._add(self._added, ranges.only(~in_file & ~in_added))
        self._gone = gone

    def _add(self, index: FaissIndex, ranges: VectorRanges) -> None:
        ids: list[NDArray[np.int64]] = []
        rows: list[NDArray[np.float16]] = []
        for stored in self._catalog.vectors(ranges):
            if stored.broken is not None:
                damage = IndexDamagedError(
                    f"the vectors of video {stored.video_id} in {str(self._catalog.path)!r} "
                    f"{stored.broken}: run `sora-search check --repair`"
                )
                if not self._catalog.writable:
                    raise damage
                logger.warning("%s", damage)  # the others must still reach the disk
                continue
            ids.append(np.arange(stored.first_id, stored.first_id + len(stored.vectors)))
            rows.append(stored.vectors)
            if sum(map(len, rows)) >= _ADDED_AT_ONCE:
                index.add(np.concatenate(ids), np.concatenate(rows).astype(np.float32))
                ids, rows = [], []
        if rows:
            index.add(np.concatenate(ids), np.concatenate(rows).astype(np.float32))


def manifest_of(state: CatalogState, vectors: VectorsFile | None) -> Manifest:
    """The manifest that belongs to a state of the catalog."""
    return Manifest(
        index_id=state.index_id,
        model_id=state.model_id,
        dim=state.dim,
        sampling=state.sampling,
        structure=state.structure,
        generation=state.generation,
        vectors=vectors,
    )


def _with_time(vectors: VectorsFile, folder: Path) -> VectorsFile:
    """The facts of a FAISS file that is what was written, with the time it has now."""
    return dataclasses.replace(vectors, mtime_ns=(folder / vectors.name).stat().st_mtime_ns)


def load_vectors(
    folder: Path, catalog: Catalog, *, verify: bool
) -> tuple[Manifest | None, FaissIndex | None]:
    """The manifest of an index and the FAISS file it names; None where there is none.

    Args:
        folder: The folder of the index.
        catalog: Its catalog.
        verify: Read the file and compare its checksum; else map it and compare the checksum
            only where the time of its last change is not that of its writing.

    Raises:
        IndexDamagedError: If they are not what was written, or belong to another catalog.
    """
    manifest = read_manifest(folder)
    while manifest is not None and manifest.vectors is not None:
        state = catalog.state()
        assert state is not None
        check_manifest(manifest, state, folder)
        path = folder / manifest.vectors.name
        try:
            check_vectors_file(path, manifest.vectors, deep=verify)
            index = FaissIndex.load(path, read_only=not verify)
        except FileNotFoundError as error:
            # A writer may have replaced the file since the look at the manifest.
            newer = read_manifest(folder)
            if newer != manifest:
                manifest = newer
                continue
            raise IndexDamagedError(
                f"{str(path)!r} is gone: run `sora-search check --repair`"
            ) from error
        if index.dim != state.dim:
            raise IndexDamagedError(
                f"{str(path)!r} has {index.dim} dimensions, not {state.dim}: "
                "run `sora-search check --repair`"
            )
        return manifest, index
    return manifest, None


def check_manifest(manifest: Manifest, state: CatalogState, folder: Path) -> None:
    """Make sure that a manifest belongs to a catalog and is not newer than it.

    A catalog that is older than the manifest was put back from a copy: the ids that it
    gives out next are in the FAISS file already, for other vectors.

    Raises:
        IndexDamagedError: If it does not.
    """
    expected = manifest_of(state, manifest.vectors)
    wrong = [
        name
        for name in ("index_id", "model_id", "dim", "sampling", "structure")
        if getattr(manifest, name) != getattr(expected, name)
    ]
    if manifest.generation > expected.generation:
        wrong.append("generation")
    if wrong:
        raise IndexDamagedError(
            f"the manifest in {str(folder)!r} does not belong to the catalog beside it "
            f"(other {', '.join(wrong)}): run `sora-search check --repair`"
        )


def check_vectors_file(path: Path, vectors: VectorsFile, *, deep: bool) -> None:
    """Make sure that a FAISS file is what was written: its size, and its checksum.

    The checksum is compared if `deep`, or if the file was changed or copied since.

    Raises:
        FileNotFoundError: If it is not there.
        IndexDamagedError: If it is not.
    """
    found = path.stat()
    if found.st_size != vectors.size_bytes:
        raise IndexDamagedError(
            f"{str(path)!r} has {found.st_size} of {vectors.size_bytes} bytes: "
            "run `sora-search check --repair`"
        )
    is_touched = found.st_mtime_ns != vectors.mtime_ns
    if (deep or is_touched) and sha256_of(path) != vectors.sha256:
        raise IndexDamagedError(
            f"{str(path)!r} does not have the checksum it was written with: "
            "run `sora-search check --repair`"
        )


def compare(
    ranges: VectorRanges, ids: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which ranges of the catalog a vector index has, and which of its ids no range has.

    A range of which only a part is there counts as absent and that part as too much:
    a catch-up then puts it right.

    Returns:
        bool ``(M,)``, and the ids, int64.
    """
    ids = np.sort(ids)
    start = np.searchsorted(ids, ranges.first_ids)
    stop = np.searchsorted(ids, ranges.first_ids + ranges.counts)
    present = stop - start == ranges.counts
    steps = np.zeros(len(ids) + 1, np.int64)
    np.add.at(steps, start[present], 1)
    np.add.at(steps, stop[present], -1)
    return present, ids[np.cumsum(steps[:-1]) == 0]


def search_without(
    index: VectorIndex, queries: NDArray[np.float32], k: int, excluded: NDArray[np.int64]
) -> Hits:
    """The `k` nearest that are not among `excluded`, exactly.

    Asks for more than `k` and again for more until enough are left: with a selector
    FAISS compares vector by vector, 194 ms where this takes 37 (60 queries, 100,000 x 256).

    Args:
        index: Where to look.
        queries: ``(Q, D)``.
        k: How many; at least 1.
        excluded: Ids in rising order.
    """
    if len(excluded) == 0:
        return _at_most(index, queries, k, k)
    enough = min(k + len(excluded), max(len(index), 1))
    asked = min(enough, k + 256)  # 300 neighbors cost hardly more than 50
    while True:
        hits = _at_most(index, queries, asked, asked)
        place = np.searchsorted(excluded, hits.vector_ids).clip(max=len(excluded) - 1)
        keep = (hits.vector_ids >= 0) & (excluded[place] != hits.vector_ids)
        if asked >= enough or len(queries) == 0 or keep.sum(axis=1).min() >= k:
            break
        asked = min(enough, 4 * asked)
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(keep, order, axis=1)
    ids = np.where(kept, np.take_along_axis(hits.vector_ids, order, axis=1), -1)
    scores = np.where(kept, np.take_along_axis(hits.scores, order, axis=1), ABSENT_SCORE)
    return _padded(Hits(vector_ids=ids, scores=scores), k)


def _at_most(index: VectorIndex, queries: NDArray[np.float32], asked: int, k: int) -> Hits:
    """A search that never asks FAISS for more than there is: it would make room for all."""
    found = index.search(queries, min(asked, max(len(index), 1)) if asked > 0 else asked)
    return _padded(found, k)


def _padded(hits: Hits, k: int) -> Hits:
    absent = k - hits.vector_ids.shape[1]
    if absent <= 0:
        return hits
    wide = ((0, 0), (0, absent))
    return Hits(
        vector_ids=np.pad(hits.vector_ids, wide, constant_values=-1),
        scores=np.pad(hits.scores, wide, constant_values=ABSENT_SCORE),
    )


def _merged(one: Hits, other: Hits) -> Hits:
    """The best of both, as many as one of them has; both have the same shape."""
    ids = np.hstack([one.vector_ids, other.vector_ids])
    scores = np.hstack([one.scores, other.scores])
    order = np.argsort(-scores, axis=1, kind="stable")[:, : one.vector_ids.shape[1]]
    return Hits(
        vector_ids=np.take_along_axis(ids, order, axis=1),
        scores=np.take_along_axis(scores, order, axis=1),
    )
