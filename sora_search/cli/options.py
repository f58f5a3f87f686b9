"""Options that mean the same in every command, declared once, and the settings they overrule."""

import logging
import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sora_search import config
from sora_search.cli.output import print_line, shown_paths
from sora_search.errors import ConfigError, NotReadyError

if TYPE_CHECKING:
    from sora_search.index.video_index import VideoIndex

Device = Literal["auto", "cpu", "cuda"]
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """What every command asks for: table `[shared]`, or `SORA_SEARCH_INDEX` and so on.

    Attributes:
        index: Folder of the index.
        model: Name of a model that ships, or path of one that was exported.
        device: Where the model runs.
    """

    index: Path = Path("index_data")
    model: str = "sora-small"
    device: Device = "auto"


IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="Folder of the index (default: index_data).",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|PATH",
        help="A model that ships (see `model list`), or the path of one (default: sora-small).",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Where the model runs; cuda needs a GPU (default: auto).",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings (TOML); the environment overrules them, and flags overrule both "
        "(default: sora-search.toml, where there is one).",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of a table.")
]
JsonLinesOption = Annotated[
    bool,
    typer.Option("--jsonl", help="Print one JSON document a line, each as soon as it is there."),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        help="Processes at work (default: all cores).",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Fixes every random choice (default: 0).",
        show_default=False,
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option("--wait", help="Wait while another process writes to the index."),
]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        help="Say on stderr what is being done; -vv: in detail.",
        show_default=False,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")
]


def load_shared(
    path: Path | None,
    *,
    index: Path | None = None,
    model: str | None = None,
    device: Device | None = None,
) -> SharedSettings:
    """The shared settings: those of the file at `path` and the environment, under the flags.

    Raises:
        ConfigError: If one cannot be used.
    """
    flags = {"index": index, "model": model, "device": device}
    settings = config.load(SharedSettings, config.SHARED, flags, path=path)
    if settings.index.exists() and not settings.index.is_dir():
        raise ConfigError(f"--index {str(settings.index)!r} is no folder: give the index's folder")
    return settings


def require_videos(index: "VideoIndex") -> None:
    """Refuse an index in which nothing can be found.

    Raises:
        NotReadyError: If it holds no video.
    """
    if index.num_videos == 0:
        raise NotReadyError(
            f"the index at {str(index.path)!r} holds no video yet: "
            f"`sora-search index PATH --index {index.path}` adds some"
        )


def require_parent(save: Path) -> None:
    """Refuse a picture that has no folder to lie in, before the work and not after it.

    Raises:
        ConfigError: If there is none, or it cannot be written.
    """
    if not save.parent.is_dir():
        raise ConfigError(f"--save {str(save)!r}: there is no folder {str(save.parent)!r}")
    require_writable(save, save.parent)


def require_writable(save: Path, folder: Path) -> None:
    """The same for a folder that is there.

    Raises:
        ConfigError: If no file can be made in it.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--save {str(save)!r}: the folder {str(folder)!r} cannot be written")


def require_paths(paths: list[Path]) -> None:
    """Say which of these paths does not exist, before any work is done.

    Raises:
        ConfigError: If one does not exist.
    """
    for path in paths:
        if not path.exists():
            is_address = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)) is not None
            hint = ": this is an address, download the video first" if is_address else ""
            raise ConfigError(f"no such file or folder: {str(path)!r}{hint}")


def require_picture(save: Path) -> None:
    """Refuse what cannot become a picture, before the work and not after it.

    Raises:
        ConfigError: If its suffix is none of a picture, or it has no folder to lie in, or none
            that can be written.
    """
    if save.suffix.lower() not in PICTURE_SUFFIXES:
        raise ConfigError(f"--save {str(save)!r} must end in {', '.join(PICTURE_SUFFIXES)}")
    require_parent(save)


def require_files(paths: list[Path]) -> None:
    """The same for what cannot be a folder.

    Raises:
        ConfigError: If one does not exist, or is a folder.
    """
    require_paths(paths)
    for path in paths:
        if path.is_dir():
            raise ConfigError(f"{str(path)!r} is a folder: name the files in it, as in {path}/*")


def parse_time(text: str) -> float:
    """A time on the command line in seconds: `62.5`, `1:02.5` or `0:01:02.5`.

    Raises:
        typer.BadParameter: If it is none of these.
    """
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no time; write seconds or m:ss, as 62.5 or 1:02.5")
    hours, minutes, seconds = match.groups()
    if (minutes is not None and float(seconds) >= 60) or (hours is not None and int(minutes) >= 60):
        raise typer.BadParameter(
            f"{text!r} is no time: 60 seconds or minutes or more after a colon"
        )
    time_s = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
    if not math.isfinite(time_s):
        raise typer.BadParameter(f"{text!r} is too long a time")
    return time_s


def set_up_logging(*, verbose: int, quiet: bool = False) -> None:
    """Send the library's log to stderr; the only place where logging is configured."""
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logger = logging.getLogger("sora_search")
    logger.setLevel(logging.ERROR if quiet else levels[min(verbose, 2)])
    for handler in [h for h in logger.handlers if isinstance(h, _StderrHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(_StderrHandler())


class _StderrHandler(logging.Handler):
    """Lines on stderr as all others: safe on any terminal, above a bar that is being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        # As of every handler: what is logged never fails, or it would take the place of an error.
        with suppress(OSError):
            for line in f"{record.levelname.lower()}: {self.format(record)}".splitlines():
                print_line(shown_paths(line), error=True)
