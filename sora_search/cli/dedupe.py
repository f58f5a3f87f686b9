"""`sora-search dedupe`: which videos of the index show the same footage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

import sora_search as ss
from sora_search import config
from sora_search.cli.options import (
    ConfigOption,
    IndexOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    load_shared,
    require_parent,
    require_videos,
    require_writable,
    set_up_logging,
)
from sora_search.cli.output import (
    format_bytes,
    print_json,
    print_line,
    range_text,
    shown_path,
    to_object,
)
from sora_search.cli.progress import shown_progress
from sora_search.datatypes import Progress, format_time, in_order
from sora_search.errors import ConfigError

if TYPE_CHECKING:
    from sora_search.applications.deduplication import Duplicate, DuplicateGroup, StoredVideo


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupeSettings:
    """Table `[dedupe]`.

    Attributes:
        min_score: Pairs of videos below it are left out.
        min_coverage: Share of a video that another one must show.
    """

    min_score: float = 0.5
    min_coverage: float = 0.5

    def __post_init__(self) -> None:
        for name in ("min_score", "min_coverage"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                option = "--" + name.replace("_", "-")
                raise ValueError(f"{option} must be between 0 and 1, it is {value}")


def dedupe_command(
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="SCORE",
            help="Leave out pairs of videos below this score, between 0 and 1 (default: 0.5).",
            show_default=False,
        ),
    ] = None,
    min_coverage: Annotated[
        float | None,
        typer.Option(
            "--min-coverage",
            metavar="SHARE",
            help="Of a video so much must be shown by another one (default: 0.5).",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="DIR",
            help="Write a picture of each duplicate, beside what shows it, to look at first.",
        ),
    ] = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """List groups of videos that show the same footage: recompressed, cropped, cut shorter.

    The first file of each group shows most; below it stand those that it shows as well, with
    their seconds and its own. A piece of a longer video is a duplicate too. No file is deleted or
    changed. Ctrl-C prints what was found until then.
    """
    from sora_search.applications.deduplication import (
        duplicates_among,
        grouped,
        videos_with_files,
    )

    set_up_logging(verbose=verbose, quiet=quiet)
    shared = load_shared(config_file, index=index)
    flags = {"min_score": min_score, "min_coverage": min_coverage}
    settings = config.load(DedupeSettings, "dedupe", flags, path=config_file)
    _require_folder(save)
    duplicates: list[Duplicate] = []
    interrupted, num_compared = False, 0

    def show(progress: Progress) -> None:
        nonlocal num_compared
        num_compared = progress.num_done
        on_progress(progress)

    with ss.VideoIndex.open(shared.index, read_only=True) as video_index:
        require_videos(video_index)
        videos = videos_with_files(video_index)
        num_gone = video_index.num_videos - len(videos)
        if num_gone and not quiet:
            print_line(f"left out, as their files are gone: {num_gone:,}", error=True)
        try:
            with shown_progress(quiet=quiet) as on_progress:
                for duplicate in duplicates_among(
                    video_index,
                    videos,
                    min_score=settings.min_score,
                    min_coverage=settings.min_coverage,
                    on_progress=show,
                ):
                    duplicates.append(duplicate)
        except KeyboardInterrupt:
            interrupted = True
            compared = f"{num_compared:,} of {len(videos):,} videos were compared"
            print_line(f"interrupted: {compared}, what was found follows", error=True)
    groups = grouped(videos, duplicates)
    names = {video.video_id: _shown(video.uri) for video in videos}
    if as_json:
        facts = {
            "interrupted": interrupted,
            "num_videos": len(videos),
            "num_compared": num_compared,
            "num_left_out": num_gone,
        }
        print_json({**facts, "groups": [_group_object(group) for group in groups]})
    else:
        for line in _lines(groups, names, len(videos)):
            print_line(line)
    if save is not None:
        _write_pictures(groups, {video.video_id: video for video in videos}, save, quiet=quiet)
    if interrupted:
        raise typer.Exit(130)


def _require_folder(save: Path | None) -> None:
    if save is None:
        return
    if save.is_dir():
        require_writable(save, save)
        return
    if save.exists():
        raise ConfigError(f"--save {str(save)!r} is a file: name a folder")
    require_parent(save)


def _group_object(group: "DuplicateGroup") -> dict[str, object]:
    return {**to_object(group), "num_spare": group.num_spare, "spare_bytes": group.spare_bytes}


def _lines(
    groups: "Sequence[DuplicateGroup]", names: dict[int, str], num_videos: int
) -> Iterator[Text]:
    """The groups for people, and what they come to."""
    for number, group in enumerate(groups, 1):
        yield Text(f"group {number}: {_spare(group.num_spare, group.spare_bytes)}", "bold")
        yield Text(f"  keep   {_video_text(group.kept)}")
        yield from _equal_lines(group.kept)
        for duplicate in group.duplicates:
            yield from _duplicate_lines(duplicate, group, names)
        yield Text()
    num_spare = sum(group.num_spare for group in groups)
    among = f"among {num_videos:,} video{'' if num_videos == 1 else 's'}"
    if not groups:
        yield Text(f"no duplicates {among}")
        return
    said = "1 group" if len(groups) == 1 else f"{len(groups):,} groups"
    spare_bytes = sum(group.spare_bytes for group in groups)
    yield Text(f"{said} {among}: {_spare(num_spare, spare_bytes)}")


def _spare(num_files: int, num_bytes: int) -> str:
    files = "1 file" if num_files == 1 else f"{num_files:,} files"
    return f"{files} could go ({format_bytes(num_bytes)})" if num_files else "none could go whole"


def _duplicate_lines(
    duplicate: "Duplicate", group: "DuplicateGroup", names: dict[int, str]
) -> Iterator[Text]:
    line = Text("  ")
    line.append(f"{duplicate.score:>5.3f}", style="green" if duplicate.verified else "")
    line.append(f"  {_video_text(duplicate.video)}")
    if duplicate.matches:
        line.append(
            f"  {duplicate.coverage:.0%} of it shown", "" if duplicate.is_whole else "yellow"
        )
    if duplicate.shown_by != group.kept.video_id:
        line.append(f" by {names[duplicate.shown_by]}")
    if duplicate.verdict is not None:
        line.append(f"  (verdict: {duplicate.verdict})", style="yellow")
    yield line
    for match in in_order(duplicate.matches):
        yield Text(f"{' ' * 9}{range_text(match)}  {match.describe()}")
    yield from _equal_lines(duplicate.video)


def _equal_lines(video: "StoredVideo") -> Iterator[Text]:
    for uri in video.other_uris:
        yield Text(f"  equal  {_shown(uri)}")


def _video_text(video: "StoredVideo") -> str:
    info = video.info
    length = "picture" if info.duration_s is None else format_time(info.duration_s)
    size = f"{info.width} x {info.height}, {format_bytes(video.size_bytes)}"
    return f"{_shown(video.uri)}  ({length}, {size})"


def _shown(uri: str) -> str:
    return shown_path(ss.path_of(uri))


def _write_pictures(
    groups: "Sequence[DuplicateGroup]",
    videos: "dict[int, StoredVideo]",
    folder: Path,
    *,
    quiet: bool,
) -> None:
    """Of each duplicate one, named by its group and its place there."""
    folder.mkdir(exist_ok=True)
    num = 0
    for number, group in enumerate(groups, 1):
        for place, duplicate in enumerate(group.duplicates, 1):
            name = ss.path_of(duplicate.video.uri).stem
            path = folder / f"{number:03}-{place:02}-{name}.jpg"
            answer = duplicate.as_answer(videos[duplicate.shown_by])
            ss.write_answer(answer, path, name="duplicate")
            num += 1
    if not quiet:
        print_line(f"pictures in {folder}: {num}", error=True)
