"""Opening the folder of an index: who may write, what must be there, what was left behind."""

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

from sora_search.datatypes import VideoEncoder
from sora_search.errors import IndexDamagedError
from sora_search.index.caching import manifest_of
from sora_search.index.catalog import CATALOG_NAME, Catalog, check_not_lost
from sora_search.index.locking import LOCK_NAME, IndexLock
from sora_search.index.manifest import (
    delete_stale_files,
    read_manifest,
    write_manifest,
)
from sora_search.index.records import CatalogState
from sora_search.index.vector_index import DEFAULT_STRUCTURE


def lock_folder(folder: Path, *, create: bool, wait: bool) -> IndexLock:
    """Become the one writer of an index.

    Args:
        folder: Of the index.
        create: Make it if it is not there.
        wait: Wait for another writer to finish instead of raising.

    Raises:
        IndexLockedError: If another process is writing.
        OSError: If the folder cannot be written.
    """
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        return IndexLock(folder / LOCK_NAME, wait=wait)
    except OSError as error:
        raise _unwritable(error, folder, is_new=create) from error


def open_writable(folder: Path, encoder: VideoEncoder | None) -> Catalog:
    """The catalog for the one writer, with the newest schema.

    Args:
        folder: Of the index.
        encoder: Whose vectors a new index will hold; None makes none.

    Raises:
        IndexSchemaError: If a newer version of the program made it.
        IndexDamagedError: If it cannot be read, or was lost.
    """
    # Alembic takes a tenth of a second to import, and only writers migrate.
    from sora_search.index.migration import migrate

    check_not_lost(folder)
    catalog = Catalog(folder / CATALOG_NAME, writable=True, create=encoder is not None)
    try:
        migrate(catalog)
        if encoder is not None and catalog.state() is None:
            catalog.initialize(
                model_id=encoder.model_id,
                dim=encoder.dim,
                sampling=_sampling_of(encoder),
                structure=DEFAULT_STRUCTURE,
            )
    except BaseException:
        catalog.close()
        raise
    return catalog


def change_model(folder: Path, catalog: Catalog, encoder: VideoEncoder) -> None:
    """Let the vectors to come be those of another model; ids, names and verdicts stay.

    The FAISS file goes first: killed in between, the next writer builds it again.
    """
    before = catalog.state()
    assert before is not None
    _forget_vectors_file(folder, before)
    catalog.change_model(model_id=encoder.model_id, dim=encoder.dim, sampling=_sampling_of(encoder))
    after = catalog.state()
    assert after is not None
    _forget_vectors_file(folder, after)


def _forget_vectors_file(folder: Path, state: CatalogState) -> None:
    manifest = manifest_of(state, None)
    write_manifest(folder, manifest)
    delete_stale_files(folder, manifest)


def tidy(folder: Path, state: CatalogState) -> None:
    """Put right what an earlier writer left behind when it was killed."""
    try:
        manifest = read_manifest(folder)
    except IndexDamagedError:  # said when the FAISS file is looked for
        return
    is_new = manifest is None and state.generation == 0
    # The catalog was put back from a copy: the ids that it gives out next are in
    # the FAISS file already, for other vectors. The file must never count again.
    is_ahead = manifest is not None and manifest.generation > state.generation
    if is_new or is_ahead:
        _forget_vectors_file(folder, state)
    else:
        delete_stale_files(folder, manifest)


def _sampling_of(encoder: VideoEncoder) -> dict[str, Any]:
    sampling = getattr(encoder, "sampling", None)
    if dataclasses.is_dataclass(sampling) and not isinstance(sampling, type):
        return dataclasses.asdict(sampling)
    return {}


def _unwritable(error: OSError, folder: Path, *, is_new: bool) -> OSError:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        # What changes an index that is there is of no use in another one.
        advice = "make its folder writable"
        if is_new:
            advice += ", or choose another with --index DIR"
        return PermissionError(
            error.errno, f"the index cannot be written: {advice}", os.fspath(folder)
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return NotADirectoryError(
            errno.ENOTDIR, "the index must be a folder, not a file", os.fspath(folder)
        )
    return error
