"""`sora-search query`: the videos a clip came from, or looks like."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

import sora_search as ss
from sora_search import config
from sora_search.cli.options import (
    ConfigOption,
    DeviceOption,
    IndexOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VerboseOption,
    load_shared,
    parse_time,
    require_paths,
    set_up_logging,
)
from sora_search.cli.output import (
    answer_document,
    answer_lines,
    print_json,
    print_line,
    shown_path,
)
from sora_search.cli.progress import shown_progress
from sora_search.errors import ConfigError

Purpose = Literal["copies", "meaning", "both"]
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """Table `[query]`.

    Attributes:
        top: Most videos in the answer.
        min_score: Videos below it are left out.
        purpose: Which half of the vectors counts (`--for`).
    """

    top: int = 10
    min_score: float = 0.0
    purpose: Purpose = "both"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"--top must be at least 1, it is {self.top}")
        if not 0.0 <= self.min_score <= 1.0:
            raise ValueError(f"--min-score must be between 0 and 1, it is {self.min_score}")


def query_command(
    video: Annotated[
        Path, typer.Argument(metavar="VIDEO", help="The clip or still picture to look for.")
    ],
    start: Annotated[
        float | None,
        typer.Option(
            "--start", metavar="TIME", parser=parse_time, help="Look at the part from here on."
        ),
    ] = None,
    end: Annotated[
        float | None,
        typer.Option(
            "--end", metavar="TIME", parser=parse_time, help="Look at the part up to here."
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", "-k", help="Most videos in the answer (default: 10).", show_default=False
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            help="Leave out videos below this score (default: 0).",
            show_default=False,
        ),
    ] = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Leave out the query's own content.")
    ] = False,
    purpose: Annotated[
        Purpose | None,
        typer.Option(
            "--for",
            help="Look for the same footage (copies), for what happens in it (meaning), or "
            "both (default: both).",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="FILE", help="Write a picture (.jpg, .png) of what matches."
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say why, and what was considered and rejected; --save draws where both agree.",
        ),
    ] = False,
    index: IndexOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Find the indexed videos that VIDEO came from or looks like, with the seconds that match.

    A result is a `copy` when both show the same footage, however edited, and `similar`
    otherwise. Times are seconds or m:ss.
    """
    set_up_logging(verbose=verbose, quiet=quiet)
    shared = load_shared(config_file, index=index, model=model, device=device)
    flags = {"top": top, "min_score": min_score, "purpose": purpose}
    settings = config.load(QuerySettings, "query", flags, path=config_file)
    require_paths([video])
    _require_picture_place(save)
    span = _span_of(video, start, end)

    with ss.VideoIndex.open(shared.index, read_only=True) as video_index:
        encoder = ss.load_encoder(shared.model, device=shared.device)
        with shown_progress(quiet=quiet) as on_progress:
            answer = ss.search(
                video_index,
                video,
                encoder=encoder,
                k=settings.top,
                min_score=settings.min_score,
                span=span,
                exclude_self=exclude_self,
                weights=settings.purpose,
                on_progress=on_progress,
            )
    _print_answer(answer, as_json=as_json, explain=explain)
    if save is not None:
        _write_picture(answer, save, explain=explain)
        if not quiet:
            print_line(f"picture: {save}", error=True)


def _print_answer(answer: ss.SearchAnswer, *, as_json: bool, explain: bool) -> None:
    if as_json:
        print_json(answer_document(answer))
        return
    uris = {uri for result in answer.results for uri in (result.uri, *result.other_uris)}
    uris |= {rejection.uri for rejection in answer.rejected}
    paths = {uri: shown_path(ss.path_of(uri)) for uri in uris}
    for line in answer_lines(answer, paths, explain=explain):
        print_line(line)


def _write_picture(answer: ss.SearchAnswer, save: Path, *, explain: bool) -> None:
    try:
        ss.write_answer(answer, save, explain=explain)
    except OSError as error:
        # It names the file that was to become the picture.
        raise OSError(error.errno, error.strerror, str(save)) from error


def _span_of(video: Path, start_s: float | None, end_s: float | None) -> ss.TimeSpan | None:
    """The part of the query to look at; None is all of it.

    Raises:
        ConfigError: If it is empty, or lies after the end.
    """
    if start_s is None and end_s is None:
        return None
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ConfigError(f"--end {end_s:g} must come after --start {start_s or 0.0:g}")
    duration_s = ss.probe(video).duration_s
    if duration_s is None:
        raise ConfigError(f"{str(video)!r} is a still picture: leave out --start and --end")
    if start_s is not None and start_s >= duration_s:
        raise ConfigError(
            f"--start {start_s:g} is after the end: {str(video)!r} lasts {duration_s:.1f} s"
        )
    return ss.TimeSpan(start_s or 0.0, duration_s if end_s is None else end_s)


def _require_picture_place(save: Path | None) -> None:
    """Find out that the picture cannot be written before the search, not after it."""
    if save is None:
        return
    if save.suffix.lower() not in PICTURE_SUFFIXES:
        raise ConfigError(f"--save {str(save)!r} must end in {', '.join(PICTURE_SUFFIXES)}")
    if not save.parent.is_dir():
        raise ConfigError(f"--save {str(save)!r}: there is no folder {str(save.parent)!r}")
