"""Is what is stored what was written, and mending what can be mended.

The catalog is the truth, so everything but the catalog can be built again. Of the
catalog itself a video can be lost without the others: it is dropped, and computed
again from its file by the next `index`. The log of verdicts cannot be computed again.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sora_search.errors import IndexDamagedError, IndexSchemaError
from sora_search.index.caching import (
    VectorCache,
    check_manifest,
    check_vectors_file,
    compare,
    manifest_of,
)
from sora_search.index.catalog import Catalog
from sora_search.index.manifest import MANIFEST_NAME, read_manifest
from sora_search.index.records import Damage, StoredVectors, VectorRanges
from sora_search.index.vector_index import FaissIndex
from sora_search.index.verdict_log import VerdictLog
from sora_search.media.probing import path_of
from sora_search.media.streams import quoted

# Structures that keep the rounded vectors as they are, so that both stores can be compared.
_EXACT_STRUCTURES = ("IDMap2,Flat", "IDMap2,SQfp16")
_UNIT_TOLERANCE = 1e-2


def find_damage(folder: Path, catalog: Catalog, *, deep: bool) -> list[Damage]:
    """Everything that is not as it was written; see `VideoIndex.check`."""
    try:
        damages = list(_in_sqlite(catalog, deep=deep))
        if any(not damage.repairable for damage in damages):
            return damages  # what follows would stumble over it
        damages += _in_rows(catalog)
        file, found = _in_cache(folder, catalog, deep=deep)
        damages += found
        if deep:
            damages += _in_vectors(folder, catalog, file)
    except IndexDamagedError as error:
        return [Damage(what=_told(error), where=str(catalog.path), repairable=False)]
    return damages


def mend(folder: Path, catalog: Catalog, cache: VectorCache) -> list[str]:
    """Mend what `find_damage` finds; see `VideoIndex.repair`.

    Raises:
        IndexDamagedError: If the catalog is beyond mending.
    """
    done: list[str] = []
    if any(_in_sqlite(catalog, deep=True)):
        catalog.reindex()
        left = list(_in_sqlite(catalog, deep=True))
        if left:
            raise IndexDamagedError(
                f"the catalog {str(catalog.path)!r} cannot be mended ({left[0].what}): put back "
                f"a copy of the folder {str(folder)!r}, or delete it and run "
                "`sora-search index` again"
            )
        done.append("built the look-up structures of the catalog again")
    done += _mend_rows(catalog)
    file, damages = _in_cache(folder, catalog, deep=True)
    damages += _in_vectors(folder, catalog, file)
    if damages or done:
        cache.rebuild()
        cache.save()
        done.append(f"built the FAISS file and {MANIFEST_NAME} again from the catalog")
    return done


def _mend_rows(catalog: Catalog) -> list[str]:
    done = []
    if orphans := catalog.orphans():
        catalog.delete_orphans()
        done.append(f"deleted rows that belong to nothing ({_counted(orphans)})")
    state, ranges = catalog.ranges()
    broken = _overlapping(ranges) | {
        stored.video_id for stored in catalog.vectors(ranges) if _fault_of(stored, state.dim)
    }
    if broken:
        names = [path_of(uri) for video in catalog.videos(broken) for uri in video.uris]
        catalog.remove_videos(broken)
        again = "the next `sora-search index` computes it again"
        done += [f"dropped {quoted(path)}: {again}" for path in names]
    if state.next_vector_id < (least := _end_of(ranges)):
        catalog.raise_next_vector_id(least)
        done.append(f"raised the next vector id to {least}")
    return done


def _in_sqlite(catalog: Catalog, *, deep: bool) -> Iterator[Damage]:
    for line in catalog.integrity_errors(deep=deep):
        # An index that disagrees with its table is built again from the table.
        repairable = "missing from index" in line or "entries in index" in line
        yield Damage(what=line, where=str(catalog.path), repairable=repairable)


def _in_rows(catalog: Catalog) -> Iterator[Damage]:
    state, ranges = catalog.ranges()
    where = str(catalog.path)
    if orphans := catalog.orphans():
        yield Damage(f"rows belong to nothing ({_counted(orphans)})", where, repairable=True)
    for video_id in sorted(_overlapping(ranges)):
        yield Damage(f"video {video_id} has vector ids of another video", where, repairable=True)
    if state.next_vector_id < _end_of(ranges):
        yield Damage("the next vector id is in use already", where, repairable=True)
    VerdictLog(catalog).lines()  # raises where the log cannot be read


def _in_cache(
    folder: Path, catalog: Catalog, *, deep: bool
) -> tuple[FaissIndex | None, list[Damage]]:
    """The FAISS file, if it can be trusted, and what is wrong with it and the manifest."""
    where = folder / MANIFEST_NAME
    try:
        manifest = read_manifest(folder)
        state, ranges = catalog.ranges()  # after the manifest: a writer may be at work
        if manifest is None:
            if state.generation == 0:  # killed before it wrote the first one
                return None, []
            return None, [Damage("the manifest is gone", str(where), repairable=True)]
        check_manifest(manifest, state, folder)
        if manifest.vectors is None:
            return None, []
        where = folder / manifest.vectors.name
        check_vectors_file(where, manifest.vectors, deep=deep)
        if not deep:
            return None, []
        file = FaissIndex.load(where, read_only=True)
    except FileNotFoundError:
        if read_manifest(folder) != manifest:  # replaced by a writer in the meantime
            return _in_cache(folder, catalog, deep=deep)
        return None, [Damage("the FAISS file is gone", str(where), repairable=True)]
    except (IndexDamagedError, IndexSchemaError) as error:
        repairable = isinstance(error, IndexDamagedError)
        return None, [Damage(_told(error), str(where), repairable=repairable)]
    in_file, gone = compare(ranges, file.ids)
    is_behind = manifest != manifest_of(state, manifest.vectors)
    if file.dim != state.dim or (not is_behind and (len(gone) or not in_file.all())):
        what = f"has other ids than the catalog ({(~in_file).sum()} videos, {len(gone)} ids)"
        return None, [Damage(f"the FAISS file {what}", str(where), repairable=True)]
    return file, []


def _in_vectors(folder: Path, catalog: Catalog, file: FaissIndex | None) -> Iterator[Damage]:
    """Vectors that are damaged, and those that the FAISS file has otherwise."""
    state, ranges = catalog.ranges()
    comparable: set[int] = set()
    if file is not None and state.structure in _EXACT_STRUCTURES:
        in_file, _ = compare(ranges, file.ids)
        comparable = set(ranges.video_ids[in_file].tolist())
    num_different = 0
    for stored in catalog.vectors(ranges):
        if fault := _fault_of(stored, state.dim):
            uris = [uri for video in catalog.videos([stored.video_id]) for uri in video.uris]
            where = path_of(uris[0]) if uris else catalog.path
            yield Damage(f"its vectors {fault}", str(where), repairable=True)
        elif file is not None and stored.video_id in comparable:
            ids = np.arange(stored.first_id, stored.first_id + len(stored.vectors))
            num_different += not np.array_equal(file.vectors(ids), stored.vectors)
    if num_different:
        what = f"the FAISS file has other vectors than the catalog for {num_different} videos"
        yield Damage(what, str(folder), repairable=True)


def _told(error: IndexDamagedError | IndexSchemaError) -> str:
    """What is wrong, without what to do: whoever checks knows that already."""
    return str(error).removesuffix(": run `sora-search check --repair`")


def _fault_of(stored: StoredVectors, dim: int) -> str | None:
    """Why vectors cannot be used, as the rest of a sentence; None if they can."""
    if stored.broken is not None:
        return stored.broken
    rows = stored.vectors.astype(np.float32)
    if rows.shape[1] != dim or not np.isfinite(rows).all():
        return "hold NaN or infinity"
    if (np.abs(np.linalg.norm(rows, axis=1) - 1) > _UNIT_TOLERANCE).any():
        return "are not of length 1"
    return None


def _overlapping(ranges: VectorRanges) -> set[int]:
    """Videos whose first id lies inside the range of one before."""
    if len(ranges) == 0:
        return set()
    ends = np.maximum.accumulate(ranges.first_ids + ranges.counts)
    return set(ranges.video_ids[1:][ranges.first_ids[1:] < ends[:-1]].tolist())


def _end_of(ranges: VectorRanges) -> int:
    return int((ranges.first_ids + ranges.counts).max(initial=0))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} of {table}" for table, count in counts.items())
