"""The whole index on disk: catalog, FAISS file, manifest and lock, kept consistent.

    index_data/  manifest.json   catalog.sqlite3   vectors-<generation>-<random>.faiss   lock

The catalog is the truth: what one of its transactions committed is in the index, and
nothing else is. All other files can be built from it (`repair`).
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Decision, Hits, VideoEmbedding, VideoEncoder, VideoInfo
from sora_search.errors import (
    IndexIncompatibleError,
    IndexNotFoundError,
    VideoNotIndexedError,
)
from sora_search.index.caching import VectorCache
from sora_search.index.catalog import CATALOG_NAME, MAX_ID, Catalog, check_not_lost
from sora_search.index.checking import find_damage, mend
from sora_search.index.discovery import content_id as content_id_of
from sora_search.index.locking import IndexLock
from sora_search.index.opening import (
    change_model,
    lock_folder,
    open_writable,
    tidy,
)
from sora_search.index.records import Damage, FileState
from sora_search.index.records import IndexedVideo as IndexedVideo
from sora_search.index.records import Verdict as Verdict
from sora_search.index.vector_index import rounded
from sora_search.index.verdict_log import VerdictLog
from sora_search.media.probing import uri_of
from sora_search.sora.adapter import SUFFIX, adapted_name


class VideoIndex:
    """Videos with their vectors, on disk. Use it with `with`.

    Any number of processes may read while one writes; a reader sees each video as
    soon as it is added. Opened with `open_or_create` or `open`.
    """

    def __init__(self, path: Path, catalog: Catalog, lock: IndexLock | None) -> None:
        state = catalog.state()
        if state is None:
            raise IndexNotFoundError(
                f"the index at {str(path)!r} was never finished: run `sora-search index PATH` again"
            )
        self.path = path
        self._state = state
        self._catalog = catalog
        self._lock = lock
        self._cache = VectorCache(path, catalog)
        self._log = VerdictLog(catalog)

    @classmethod
    def open_or_create(
        cls,
        path: Path | str,
        *,
        encoder: VideoEncoder,
        wait: bool = False,
        rebuild: bool = False,
    ) -> Self:
        """Open an index for writing; make it if it is not there.

        Args:
            path: Its folder.
            encoder: Whose vectors it holds or will hold.
            wait: Wait for another writer to finish instead of raising.
            rebuild: If it holds the vectors of another model, let it hold those of this one
                from now on. Its videos are not found before they are indexed again; they
                keep their ids, and verdicts stand.

        Raises:
            IndexLockedError: If another process is writing.
            IndexIncompatibleError: If it holds the vectors of another model.
            IndexSchemaError: If a newer version of the program made it.
            IndexDamagedError: If its catalog cannot be read.
            OSError: If the folder cannot be written.
        """
        folder = Path(path)
        lock = lock_folder(folder, create=True, wait=wait)
        return cls._open_writer(folder, lock, encoder, create=True, rebuild=rebuild)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        read_only: bool = True,
        encoder: VideoEncoder | None = None,
        wait: bool = False,
    ) -> Self:
        """Open an index that is there.

        Args:
            path: Its folder.
            read_only: False to change it, which one process at a time may do.
            encoder: The model that it must belong to; None takes any.
            wait: Wait for another writer to finish instead of raising.

        Raises:
            IndexNotFoundError: If there is none.
            IndexLockedError: If another process is writing and `read_only` is False.
            IndexIncompatibleError: If it holds the vectors of another model.
            IndexSchemaError: If its schema is another than this program's.
            IndexDamagedError: If its catalog cannot be read.
            OSError: If the folder cannot be written and `read_only` is False.
        """
        folder = Path(path)
        if not read_only and (folder / CATALOG_NAME).is_file():
            lock = lock_folder(folder, create=False, wait=wait)
            return cls._open_writer(folder, lock, encoder, create=False)
        check_not_lost(folder)
        catalog = Catalog.open(folder / CATALOG_NAME, writable=False)
        try:
            index = cls(folder, catalog, None)
            if encoder is not None:
                index.require_model(encoder)
        except BaseException:
            catalog.close()
            raise
        return index

    @classmethod
    def _open_writer(
        cls,
        folder: Path,
        lock: IndexLock,
        encoder: VideoEncoder | None,
        *,
        create: bool,
        rebuild: bool = False,
    ) -> Self:
        try:
            catalog = open_writable(folder, encoder if create else None)
            try:
                index = cls(folder, catalog, lock)
                if rebuild and encoder is not None and not index._is_of(encoder):
                    change_model(folder, catalog, encoder)
                    index = cls(folder, catalog, lock)
                if encoder is not None:
                    index.require_model(encoder)
                tidy(folder, index._state)
            except BaseException:
                catalog.close()
                raise
        except BaseException:
            lock.release()
            raise
        return index

    def close(self) -> None:
        """Let go of the files and the lock without saving; more than once is fine."""
        self._catalog.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and not self.read_only:
                self.save()
        finally:
            self.close()

    def __repr__(self) -> str:
        return f"VideoIndex({str(self.path)!r}, model_id={self.model_id!r})"

    # What it is

    @property
    def read_only(self) -> bool:
        """Whether it was opened for reading."""
        return self._lock is None

    @property
    def model_id(self) -> str:
        """The model whose vectors it holds."""
        return self._state.model_id

    @property
    def dim(self) -> int:
        """D, the length of a vector."""
        return self._state.dim

    @property
    def sampling(self) -> dict[str, Any]:
        """How the model looked at the videos when the index was made."""
        return dict(self._state.sampling)

    @property
    def structure(self) -> str:
        """The FAISS structure of its vectors."""
        return self._state.structure

    @property
    def generation(self) -> int:
        """How many changes of videos it has seen: another number means that something changed."""
        return self._catalog.generation()

    @property
    def num_videos(self) -> int:
        """How many videos it holds."""
        return self._catalog.num_videos()

    @property
    def num_outdated(self) -> int:
        """How many videos wait for vectors of this model and have a file that is not missing."""
        states = self._catalog.outdated_file_states().values()
        return len({state.content_id for state in states if not state.missing})

    def require_model(self, encoder: VideoEncoder) -> None:
        """Make sure that an encoder's vectors may be compared with those in here.

        Raises:
            IndexIncompatibleError: If they come from another model.
        """
        if not self._is_of(encoder):
            base, where = adapted_name(self.model_id), "with --model NAME|PATH"
            if base is not None:  # where its file lies the index cannot know
                where = (
                    f"(an adapter of {base}) with --model FILE{SUFFIX}, which `sora-search model"
                    " list DIR` finds by its id"
                )
            raise IndexIncompatibleError(
                f"the index at {str(self.path)!r} was made by the model {self.model_id}, this is "
                f"{encoder.model_id}: use that model {where}, name another folder with "
                "--index DIR, or embed the videos again with `sora-search index PATH --rebuild`, "
                "which keeps their ids and all verdicts"
            )

    def _is_of(self, encoder: VideoEncoder) -> bool:
        return (encoder.model_id, encoder.dim) == (self.model_id, self.dim)

    # Reading

    def videos(self) -> list[IndexedVideo]:
        """All videos, in order of id."""
        return self._catalog.videos()

    def video(self, video_id: int) -> IndexedVideo:
        """One video.

        Raises:
            VideoNotIndexedError: If there is none with this id.
        """
        found = self._catalog.videos([video_id])
        if not found:
            raise VideoNotIndexedError(
                f"no video has the id {video_id} in the index at {str(self.path)!r}: "
                "`sora-search info --list` shows the ids"
            )
        return found[0]

    def find(self, name: Path | str | int) -> IndexedVideo:
        """The video that a path, uri, content id or video id names.

        Digits name a file of that name if one is indexed, else a video id.

        Raises:
            VideoNotIndexedError: If there is none.
        """
        if isinstance(name, int):
            return self.video(name)
        text = os.fspath(name)
        uri = text if urlsplit(text).scheme == "file" else uri_of(text)
        video_id = self._catalog.video_id_of(uri=uri)
        if video_id is None:
            video_id = self._catalog.video_id_of(content_id=text)
        if video_id is None and text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
            return self.video(int(text))
        if video_id is None and os.path.isdir(text):
            raise VideoNotIndexedError(
                f"{text!r} is a folder: name the videos in it, as in {os.path.join(text, '*')}"
            )
        if video_id is None:
            raise VideoNotIndexedError(
                f"{text!r} is not in the index at {str(self.path)!r}: "
                "`sora-search info --list` shows what is, `sora-search index` adds it"
            )
        return self.video(video_id)

    def search(
        self, queries: NDArray[np.float32], k: int, *, exclude_video_ids: Collection[int] = ()
    ) -> Hits:
        """The `k` nearest vectors of each query, of all that is in the index right now.

        Args:
            queries: Unit rows, float32, shape ``(Q, D)``.
            k: How many, at least 1.
            exclude_video_ids: Videos to leave out, as if they were not there.

        Raises:
            ValueError: If ``k < 1`` or the dimension is another.
            IndexDamagedError: If the FAISS file is not what was written.
        """
        return self._cache.search(queries, k, exclude_video_ids=exclude_video_ids)

    def locate(self, vector_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which video each vector belongs to, and its place there.

        Args:
            vector_ids: int64, any shape.

        Returns:
            Video ids and ordinals, int64, of the same shape; both -1 where the id is
            negative or its video is gone.
        """
        ranges = self._cache.refresh()
        wanted = np.asarray(vector_ids, np.int64)
        if len(ranges) == 0:
            return np.full(wanted.shape, -1), np.full(wanted.shape, -1)
        place = np.searchsorted(ranges.first_ids, wanted, side="right") - 1
        ordinals = wanted - ranges.first_ids[place]
        known = (place >= 0) & (wanted >= 0) & (ordinals < ranges.counts[place])
        return np.where(known, ranges.video_ids[place], -1), np.where(known, ordinals, -1)

    def embedding(self, video_id: int) -> VideoEmbedding:
        """All vectors of one video with their spans, as they were stored.

        Raises:
            VideoNotIndexedError: If there is none with this id.
            IndexDamagedError: If they are not what was written.
        """
        return self._catalog.embedding(video_id)

    def background(self, num: int, seed: int = 0) -> NDArray[np.float32]:
        """Up to `num` stored vectors, spread over the videos, the same for the same `seed`.

        Returns:
            Unit rows, float32, shape ``(n, D)``, ``n <= num``.
        """
        ranges = self._cache.refresh()
        rng = np.random.default_rng(seed)
        quota = _fair_quota(ranges.counts, num)
        firsts, counts = ranges.first_ids, ranges.counts
        chosen = rng.permutation(len(ranges))[: num if quota == 1 else None]
        ids = [
            firsts[i] + rng.choice(counts[i], min(int(counts[i]), quota), replace=False)
            for i in chosen
        ]
        picked = np.concatenate(ids)[:num] if ids else np.empty(0, np.int64)
        return self._cache.vectors(picked)

    def file_state(self, uri: str) -> FileState | None:
        """What is known of a file, or None."""
        return self._catalog.file_state(uri)

    def file_states(self) -> dict[str, FileState]:
        """What is known of all files, by uri: one read instead of one a file."""
        return self._catalog.file_states()

    def outdated_file_states(self) -> dict[str, FileState]:
        """What is known of files that wait for vectors of this model, by uri.

        They are those that a `rebuild` of `open_or_create` has not embedded again yet.
        """
        return self._catalog.outdated_file_states()

    def verdicts(self, query: Path | str | None = None) -> list[Verdict]:
        """The log of what people decided, or what of it is about a query file, oldest first.

        Raises:
            OSError: If the query file cannot be read.
        """
        return self._log.lines(None if query is None else content_id_of(query))

    def decisions(self, query: Path | str) -> dict[int, Decision]:
        """What stands about a query file, by the id of each video that is in the index.

        The file is read whole for it, but only where there is any verdict at all.

        Raises:
            OSError: If the query file cannot be read.
        """
        if self._log.is_empty():
            return {}
        return {
            verdict.video_id: verdict.decision
            for verdict in self.verdicts(query)
            if verdict.state == "stands" and verdict.decision and verdict.video_id is not None
        }

    # Writing: each is one transaction

    def touch_file(self, uri: str, size_bytes: int, mtime_ns: int, content_id: str) -> None:
        """Say that a file is there and holds a known content: a new name, or only touched.

        Raises:
            VideoNotIndexedError: If the content is not known.
        """
        self._catalog.touch_file(uri, size_bytes, mtime_ns, content_id)

    def add_video(
        self,
        uri: str,
        size_bytes: int,
        mtime_ns: int,
        content_id: str,
        info: VideoInfo,
        embedding: VideoEmbedding,
        damage: str | None = None,
    ) -> int:
        """Add a video, in place of what its file held before.

        The old content of a changed file stays until this one is committed, and goes
        with it if no other file has it. A content that is known already keeps its
        vectors and gets one more name.

        Returns:
            Its video id.

        Raises:
            ValueError: If the vectors are not finite unit rows of this dimension.
            IndexIncompatibleError: If another model made them.
            OSError: If the disk is full; nothing is changed then.
        """
        if embedding.model_id != self.model_id:
            raise IndexIncompatibleError(
                f"the index at {str(self.path)!r} holds vectors of {self.model_id}, "
                f"these are of {embedding.model_id}"
            )
        vectors = rounded(embedding.vectors)
        if vectors.shape[1] != self.dim:
            raise ValueError(f"need vectors (N, {self.dim}), got {embedding.vectors.shape}")
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        if not (np.abs(norms - 1) < _UNIT_TOLERANCE).all():  # NaN is not either
            raise ValueError(f"need unit rows, got norms {norms.min()} to {norms.max()}")
        return self._catalog.add_video(
            uri, size_bytes, mtime_ns, content_id, info, embedding.spans, vectors, damage
        )

    def mark_missing(self, uris: Collection[str]) -> int:
        """Say that files are gone; their videos stay. How many were not marked yet."""
        return self._catalog.mark_missing(uris)

    def forget_files(self, uris: Collection[str]) -> int:
        """Drop files, and each video that has no other; how many files that were."""
        return self._catalog.forget_files(uris)

    def remove(self, video_ids: Collection[int]) -> int:
        """Drop videos with all their names; how many of them there were."""
        return self._catalog.remove_videos(video_ids)

    def add_verdict(
        self,
        query: Path | str,
        video: Path | str | int,
        decision: Decision,
        *,
        by: str | None = None,
    ) -> Verdict:
        """Keep what a person decided: whether a query file and a video show the same footage.

        It holds for the contents, whatever their files are called later, and stays in the
        log when the video is removed. The newest verdict about the same two stands.

        Args:
            query: A video or a still picture.
            video: As for `find`.
            decision: `match` or `no-match`.
            by: Who decides; None is the user of this process.

        Raises:
            VideoNotIndexedError: If the video is not in the index.
            ConfigError: If `by` is None and the user has no name.
            ValueError: If `decision` is another word or `by` is empty.
            OSError: If the query file cannot be read.
        """
        known = self.find(video)
        return self._log.add(
            decision,
            query_content_id=content_id_of(query),
            query_uri=uri_of(query),
            video_content_id=known.content_id,
            video_uri=known.uris[0],
            by=by,
        )

    def undo_verdict(self, verdict_id: int, *, by: str | None = None) -> Verdict:
        """Take a verdict back with one more line in the log; what it replaced stands again.

        Raises:
            VerdictNotFoundError: If there is none with this id, or it is undone already.
            ConfigError: If `by` is None and the user has no name.
            ValueError: If `by` is empty.
        """
        return self._log.undo(verdict_id, by=by)

    def save(self) -> None:
        """Write the FAISS file and its manifest, so that the next open finds all in it.

        Without it nothing is lost: whoever opens the index reads from the catalog what
        the file has not got. Leaving `with` without an error saves too.

        Raises:
            OSError: If the disk is full, say; the old file and manifest stay then.
        """
        if self.read_only:
            raise ValueError("the index was opened read-only")
        self._cache.save()

    # Checking and mending

    def check(self, *, deep: bool = True) -> list[Damage]:
        """What of all that is stored is not what was written; empty if all is well.

        Args:
            deep: Read everything and compare it with its checksums; else only the
                sizes, the manifest, the catalog's rows, and what was touched since.
        """
        return find_damage(self.path, self._catalog, deep=deep)

    def repair(self) -> list[str]:
        """Mend what `check` finds and can be mended; what was done, a line each.

        The FAISS file and the manifest are built again from the catalog. A video
        whose own vectors are damaged is dropped: the next `index` computes it again.

        Raises:
            IndexDamagedError: If the catalog itself is beyond mending.
        """
        if self.read_only:
            raise ValueError("the index was opened read-only")
        return mend(self.path, self._catalog, self._cache)


# Digits of the largest id that SQLite can give out.
_MAX_DIGITS = len(str(MAX_ID))

# How far a row of float16 may be from length 1: 256 roundings of 1/2048 of a value each
# add up to less than a thousandth; ten times that is a mistake of the caller.
_UNIT_TOLERANCE = 1e-2


def _fair_quota(counts: NDArray[np.int64], num: int) -> int:
    """The fewest that each video must give so that `num` come together; all give less if few."""
    low, high = 1, max(int(counts.max(initial=1)), 1)
    while low < high:
        middle = (low + high) // 2
        if np.minimum(counts, middle).sum() >= num:
            high = middle
        else:
            low = middle + 1
    return low
