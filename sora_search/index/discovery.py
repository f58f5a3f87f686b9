"""Which files a run of indexing looks at: folders walked, links followed, contents named."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sora_search.datatypes import VideoFailure
from sora_search.errors import ConfigError
from sora_search.media.probing import has_video_name, uri_of
from sora_search.media.streams import quoted

# What systems and storage boxes put beside the videos: often unreadable, never wanted.
_SYSTEM_FOLDERS = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir"})
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One name of one file.

    Attributes:
        path: The name it was found under, absolute; links in it are not resolved.
        uri: The same as a URI.
        size_bytes: Of the file itself, not of a link to it.
        mtime_ns: When it was last changed.
        identity: Device and inode: equal for two names of one file.
    """

    path: Path
    uri: str
    size_bytes: int
    mtime_ns: int
    identity: tuple[int, int]


@dataclass(frozen=True, slots=True)
class FoundRoot:
    """One path that the user gave.

    Attributes:
        path: The path, absolute.
        uri: The same as a URI.
        is_folder: Whether files lie below it.
        is_complete: Whether all of it could be read.
        is_empty: A folder without any visible entry, as a drive that is not mounted leaves.
    """

    path: Path
    uri: str
    is_folder: bool
    is_complete: bool
    is_empty: bool

    def is_above(self, uri: str) -> bool:
        """Whether `uri` lies below this folder, at any depth."""
        return self.is_folder and uri.startswith(self.uri.rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What lies under the given paths.

    Attributes:
        files: Every name of a video file once, sorted by path.
        roots: The given paths, in their order.
        failures: Folders and files that cannot be looked at, and why.
        num_skipped: Visible files that are not named like videos.
    """

    files: tuple[FoundFile, ...]
    roots: tuple[FoundRoot, ...]
    failures: tuple[VideoFailure, ...]
    num_skipped: int = 0


def find_videos(
    paths: Path | str | Iterable[Path | str], *, skip: Iterable[Path | str] = ()
) -> FoundFiles:
    """Find the video files at and below `paths`.

    Below a folder, files are chosen by their extension; a file given by name is
    taken whatever its name. Links to files and folders are followed, each real
    folder is entered once (so a loop of links ends), real folders before linked ones.
    Hidden files and folders and the system's own are left out. Nothing is opened.

    Args:
        paths: Files and folders; one path alone is fine too.
        skip: Folders never entered, such as the index itself.

    Raises:
        ConfigError: If one of `paths` does not exist.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    walk = _Walk({_identity(os.stat(path)) for path in skip if os.path.isdir(path)})
    roots = [Path(os.path.abspath(path)) for path in given]
    folders = [path for path in roots if _exists_as_folder(path, walk)]
    for path in roots:
        if path not in folders and uri_of(path) not in walk.unread:
            walk.add_file(path)
    walk.add_folders(folders)
    files = sorted(walk.files.values(), key=lambda file: os.fsencode(file.path))
    return FoundFiles(
        tuple(files),
        tuple(_found_root(path, path in folders, walk.unread) for path in roots),
        tuple(walk.failures),
        walk.num_skipped,
    )


def content_id(path: Path | str, *, on_read: Callable[[int], None] | None = None) -> str:
    """The name of a content: `sha256:` and the digest of the whole file.

    Args:
        path: The file, read in blocks.
        on_read: Called with the number of bytes read so far, after each block.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    num_bytes = 0
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            num_bytes += len(block)
            if on_read is not None:
                on_read(num_bytes)
    return f"sha256:{digest.hexdigest()}"


class _Walk:
    """The files found so far, by URI, the folders that cannot be read, and what is wrong."""

    def __init__(self, entered: set[tuple[int, int]]) -> None:
        self.files: dict[str, FoundFile] = {}
        self.unread: set[str] = set()
        self.failures: list[VideoFailure] = []
        self.num_skipped = 0
        self._entered = entered

    def add_file(self, path: Path) -> None:
        """Take one file, whatever its name; what cannot be taken becomes a failure."""
        uri = uri_of(path)
        try:
            status = os.stat(path)
        except OSError as error:
            self._fail(path, error)
            return
        if not stat.S_ISREG(status.st_mode):
            self.failures.append(
                VideoFailure(
                    uri, f"{quoted(path)} is not a regular file: give a video or a picture"
                )
            )
            return
        self.files[uri] = FoundFile(
            path, uri, status.st_size, status.st_mtime_ns, _identity(status)
        )

    def add_folders(self, roots: Iterable[Path]) -> None:
        """Take all below `roots`, real folders before linked ones."""
        real, linked = list(roots), list[Path]()
        while real or linked:
            folder = real.pop() if real else linked.pop()
            try:
                identity = _identity(os.stat(folder))
                entries = [] if identity in self._entered else list(_visible(folder))
            except OSError as error:
                self.add_unread(folder, error)
                continue
            self._entered.add(identity)
            for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                path = folder / entry.name
                if _is_folder(entry):
                    (linked if entry.is_symlink() else real).append(path)
                elif has_video_name(path):
                    self.add_file(path)
                else:
                    self.num_skipped += 1

    def add_unread(self, folder: Path, error: OSError) -> None:
        """Remember a folder that cannot be read: what lies below it is not known to be gone."""
        self.unread.add(uri_of(folder))
        self._fail(folder, error)

    def _fail(self, path: Path, error: OSError) -> None:
        self.failures.append(
            VideoFailure(
                uri_of(path),
                f"cannot read {quoted(path)}: {error.strerror or error}: check its permissions "
                "and that its drive is there, then run again",
            )
        )


def _exists_as_folder(path: Path, walk: _Walk) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"no file or folder at {quoted(path)}: check the path") from error
    except OSError as error:
        walk.add_unread(path, error)
        return False


def _found_root(path: Path, is_folder: bool, unread: set[str]) -> FoundRoot:
    uri = uri_of(path)
    root = FoundRoot(path, uri, is_folder, is_complete=True, is_empty=False)
    if uri in unread or any(root.is_above(folder) for folder in unread):
        return replace(root, is_complete=False)
    return replace(root, is_empty=is_folder and not any(_visible(path)))


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name not in _SYSTEM_FOLDERS:
                yield entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino)
