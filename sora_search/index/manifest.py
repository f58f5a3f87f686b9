"""The manifest: which FAISS file belongs to the catalog, and whose vectors these are.

All but the facts of the file is a copy of the catalog's one row, so a lost manifest
costs no more than building the FAISS file again.
"""

import dataclasses
import hashlib
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sora_search.errors import IndexDamagedError, IndexSchemaError

FORMAT = 1
MANIFEST_NAME = "manifest.json"
_VECTORS_NAME = re.compile(r"vectors-\d+-[0-9a-f]+\.faiss")


@dataclass(frozen=True, slots=True)
class VectorsFile:
    """A FAISS file as it was when it was written.

    Attributes:
        name: In the folder of the index.
        size_bytes: Its size.
        sha256: Its checksum.
        mtime_ns: Time of its last change: another one says that somebody else was at it,
            so that the checksum must be compared (0.07 s for 100 MB). None: not known.
    """

    name: str
    size_bytes: int
    sha256: str
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` says; `vectors` is None as long as there is no FAISS file."""

    index_id: str
    model_id: str
    dim: int
    sampling: dict[str, Any]
    structure: str
    generation: int
    vectors: VectorsFile | None


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of an index, or None if it has none.

    Raises:
        IndexDamagedError: If it is not one.
        IndexSchemaError: If a newer version of the program wrote it.
    """
    path = folder / MANIFEST_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
        written_format = values["format"]
        if isinstance(written_format, int) and written_format > FORMAT:
            raise IndexSchemaError(
                f"{str(path)!r} has format {written_format}, newer than this program knows: "
                "upgrade sora-search"
            )
        return _parsed(values)
    except (ValueError, KeyError, TypeError) as error:
        raise IndexDamagedError(
            f"{str(path)!r} is not a manifest ({type(error).__name__}): "
            "run `sora-search check --repair`"
        ) from error


def _parsed(values: dict[str, Any]) -> Manifest:
    vectors = values["vectors"]
    if vectors is not None:
        vectors = VectorsFile(
            name=str(vectors["name"]),
            size_bytes=int(vectors["size_bytes"]),
            sha256=str(vectors["sha256"]),
            mtime_ns=vectors.get("mtime_ns"),
        )
        if not _VECTORS_NAME.fullmatch(vectors.name):
            raise ValueError(f"not the name of a FAISS file: {vectors.name!r}")
    return Manifest(
        index_id=str(values["index_id"]),
        model_id=str(values["model_id"]),
        dim=int(values["dim"]),
        sampling=dict(values["sampling"]),
        structure=str(values["structure"]),
        generation=int(values["generation"]),
        vectors=vectors,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest in one step: whoever looks sees the old one or the new one.

    Raises:
        OSError: If it cannot be written; the old one is still there then.
    """
    values = {"format": FORMAT, **dataclasses.asdict(manifest)}
    temporary = folder / f"{MANIFEST_NAME}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("x", encoding="utf-8") as file:
            json.dump(values, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / MANIFEST_NAME)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def new_vectors_name(generation: int) -> str:
    """A name for a FAISS file that was never used before."""
    return f"vectors-{generation}-{secrets.token_hex(6)}.faiss"


def delete_stale_files(folder: Path, manifest: Manifest | None) -> None:
    """Delete what no manifest names. Only who holds the lock may do so."""
    kept = manifest.vectors.name if manifest is not None and manifest.vectors is not None else None
    for path in folder.iterdir():
        is_vectors = _VECTORS_NAME.fullmatch(path.name) is not None
        is_temporary = path.name.startswith(f"{MANIFEST_NAME}.") and path.suffix == ".tmp"
        if (is_vectors and path.name != kept) or is_temporary:
            try:
                path.unlink(missing_ok=True)
            except PermissionError:  # Windows: a reader has it open; the next writer tries again
                continue


def sha256_of(path: Path) -> str:
    """The checksum of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder (Windows has no way to say that)."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
