"""`sora-search query`: the videos a clip came from, or looks like; many clips in one run."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

import sora_search as ss
from sora_search import config
from sora_search.cli.options import (
    PICTURE_SUFFIXES,
    ConfigOption,
    DeviceOption,
    IndexOption,
    JsonLinesOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VerboseOption,
    load_shared,
    parse_time,
    require_files,
    require_parent,
    require_videos,
    require_writable,
    set_up_logging,
)
from sora_search.cli.output import (
    about_file_line,
    answer_document,
    answer_lines,
    error_text,
    failure_document,
    outdated_line,
    print_json,
    print_json_line,
    print_line,
    shown_path,
)
from sora_search.cli.progress import shown_progress
from sora_search.datatypes import Progress
from sora_search.errors import ConfigError, ExitCode, MediaError

logger = logging.getLogger(__name__)

Purpose = Literal["copies", "meaning", "both"]
Form = Literal["table", "json", "jsonl"]


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
            raise ValueError(f"--top (-k) must be at least 1, it is {self.top}")
        if not 0.0 <= self.min_score <= 1.0:
            raise ValueError(f"--min-score must be between 0 and 1, it is {self.min_score}")


def query_command(
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO...", help="The clips or still pictures to look for."),
    ],
    start: Annotated[
        float | None,
        typer.Option(
            "--start",
            metavar="TIME",
            parser=parse_time,
            help="Look at the part from here on: 62.5 or 1:02.5.",
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
            "--top",
            "-k",
            metavar="N",
            help="Most videos in the answer (default: 10).",
            show_default=False,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="SCORE",
            help="Leave out videos below this score, between 0 and 1; 0.5 leaves the copies "
            "(default: 0).",
            show_default=False,
        ),
    ] = None,
    exclude_self: Annotated[
        bool,
        typer.Option(
            "--exclude-self", help="Leave out the content of the query itself, under all its names."
        ),
    ] = False,
    purpose: Annotated[
        Purpose | None,
        typer.Option(
            "--for",
            metavar="copies|meaning|both",
            help="Look for the same footage (copies), for what happens in it (meaning), or "
            "both (default: both).",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE|DIR",
            help="Write a picture (.jpg, .png) of what matches, in place of what is there; a "
            "folder gets one of each query.",
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
    as_jsonl: JsonLinesOption = False,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Find the indexed videos that each VIDEO came from or looks like, with the seconds that match.

    A result is a `copy` when both show the same footage, however edited, and `similar`
    otherwise. `covered` is the share of VIDEO's seconds that the result shows too, as far as
    frames do not say otherwise. Seconds that are `shared with N other videos` stand in so many
    more indexed videos, as an intro does, and count less the more there are. VIDEO need not be
    in the index.
    """
    set_up_logging(verbose=verbose, quiet=quiet)
    shared = load_shared(config_file, index=index, model=model, device=device)
    flags = {"top": top, "min_score": min_score, "purpose": purpose}
    settings = config.load(QuerySettings, "query", flags, path=config_file)
    is_one = len(videos) == 1
    if is_one:  # of many, one that is not there must not keep the others from their answers
        require_files(videos)
    form = _form_of(videos, as_json=as_json, as_jsonl=as_jsonl)
    if end is not None and end <= (start or 0.0):
        first = f"--start {start:g} s" if start else "the start"
        raise ConfigError(f"--end {end:g} s must come after {first}")
    pictures = _picture_places(save, videos)

    num_failed = 0
    progress = shown_progress(quiet=quiet)
    with ss.VideoIndex.open(shared.index, read_only=True) as video_index:
        num_videos, num_outdated = video_index.num_videos, video_index.num_outdated
        if num_outdated and not quiet:
            print_line(outdated_line(num_outdated, num_videos), error=True)
        require_videos(video_index)
        encoder = ss.load_encoder(shared.model, device=shared.device)
        logger.info(
            "videos in %s: %d, looked through with %s",
            shared.index,
            num_videos,
            encoder.model_id,
        )
        for place, video in enumerate(videos):
            begun_s = time.monotonic()
            try:
                with progress as on_progress:
                    if not is_one:
                        on_progress(Progress("queries", place, len(videos)))
                    answer = ss.search(
                        video_index,
                        video,
                        encoder=encoder,
                        k=settings.top,
                        min_score=settings.min_score,
                        span=_span_of(video, start, end),
                        exclude_self=exclude_self,
                        weights=settings.purpose,
                        on_progress=on_progress if is_one else None,
                    )
            except (ConfigError, MediaError, OSError) as error:
                if is_one and form != "jsonl":
                    raise
                num_failed += 1
                if form == "jsonl":
                    print_json_line(failure_document(ss.uri_of(video), error))
                _print_failed(video, error)
                continue
            logger.info(
                "searched for %s in %.1f s (videos found: %d, ranges rejected: %d)",
                video,
                time.monotonic() - begun_s,
                len(answer.results),
                len(answer.rejected),
            )
            _print_answer(answer, form, head=None if is_one else video, explain=explain)
            if answer.damage is not None and not quiet:
                reason = f"is damaged: {answer.damage}; searched with the rest"
                path = ss.path_of(answer.query.uri)
                print_line(about_file_line("warning", path, f"{str(path)!r} {reason}"), error=True)
            if save is None:
                continue
            try:
                _write_picture(answer, pictures[place], quiet=quiet, explain=explain)
            except (MediaError, OSError) as error:
                if is_one:
                    raise
                num_failed += 1
                _print_failed(video, error)
    if num_failed:
        raise typer.Exit(ExitCode.FAILURE if num_failed == len(videos) else ExitCode.PARTIAL)


def _form_of(videos: Sequence[Path], *, as_json: bool, as_jsonl: bool) -> Form:
    """How to print the answers.

    Raises:
        ConfigError: If no form can be what was asked for.
    """
    if as_json and as_jsonl:
        raise ConfigError("--json and --jsonl exclude each other: leave one out")
    if as_json and len(videos) > 1:
        raise ConfigError(
            f"--json prints the answer to one query, not to {len(videos)}: use --jsonl, which"
            " prints a document a line"
        )
    return "jsonl" if as_jsonl else "json" if as_json else "table"


def _print_answer(answer: ss.SearchAnswer, form: Form, *, head: Path | None, explain: bool) -> None:
    if form == "jsonl":
        print_json_line(answer_document(answer))
    elif form == "json":
        print_json(answer_document(answer))
    else:
        uris = {uri for result in answer.results for uri in (result.uri, *result.other_uris)}
        uris |= {rejection.uri for rejection in answer.rejected}
        paths = {uri: shown_path(ss.path_of(uri)) for uri in uris}
        name = None if head is None else str(head)
        for line in answer_lines(answer, paths, head=name, explain=explain):
            print_line(line)


def _print_failed(video: Path, error: Exception) -> None:
    path = ss.path_of(ss.uri_of(video))
    print_line(about_file_line("failed", path, error_text(error)), error=True)


def _picture_places(save: Path | None, videos: Sequence[Path]) -> list[Path]:
    """Where the picture of each query goes; of queries of one name each has its own.

    It is found out before the search, not after it, that a picture cannot be written.

    Raises:
        ConfigError: If `save` is neither a picture nor a folder, or one picture for many queries,
            or its folder cannot be written.
    """
    if save is None:
        return []
    if save.suffix.lower() in PICTURE_SUFFIXES:
        if len(videos) > 1:
            raise ConfigError(
                f"--save {str(save)!r} is one picture, for one query: name a folder for"
                f" {len(videos)}"
            )
        require_parent(save)
        if save.exists() and any(save.samefile(video) for video in videos):
            raise ConfigError(f"--save {str(save)!r} is the query itself: name another picture")
        return [save]
    if save.is_dir():
        require_writable(save, save)
    else:
        if save.suffix or save.exists():
            raise ConfigError(
                f"--save {str(save)!r} must end in {', '.join(PICTURE_SUFFIXES)}, or be a folder"
            )
        require_parent(save)
    digits = len(str(len(videos)))
    return [save / f"{place:0{digits}}-{video.stem}.jpg" for place, video in enumerate(videos, 1)]


def _write_picture(answer: ss.SearchAnswer, place: Path, *, quiet: bool, explain: bool) -> None:
    try:
        place.parent.mkdir(exist_ok=True)
        ss.write_answer(answer, place, explain=explain)
    except OSError as error:
        # It names the file that was to become the picture.
        raise OSError(error.errno, error.strerror, str(place)) from error
    if not quiet:
        print_line(f"picture: {place}", error=True)


def _span_of(video: Path, start_s: float | None, end_s: float | None) -> ss.TimeSpan | None:
    """The part of the query to look at; None is all of it.

    Raises:
        ConfigError: If it lies after the end.
    """
    if start_s is None and end_s is None:
        return None
    duration_s = ss.probe(video).duration_s
    if duration_s is None:
        raise ConfigError(f"{str(video)!r} is a still picture: leave out --start and --end")
    if start_s is not None and start_s >= duration_s:
        raise ConfigError(
            f"--start {start_s:g} s is after the end: {str(video)!r} lasts {duration_s:.1f} s"
        )
    return ss.TimeSpan(start_s or 0.0, duration_s if end_s is None else end_s)
