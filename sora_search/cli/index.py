"""`sora-search index`: add or update videos."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import sora_search as ss
from sora_search import config
from sora_search.cli.options import (
    ConfigOption,
    DeviceOption,
    IndexOption,
    JobsOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VerboseOption,
    WaitOption,
    load_shared,
    require_paths,
    set_up_logging,
)
from sora_search.cli.output import (
    about_file_line,
    print_json,
    print_line,
    report_lines,
    to_object,
)
from sora_search.cli.progress import shown_progress
from sora_search.errors import ExitCode


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """Table `[index]`.

    Attributes:
        jobs: Processes that decode and embed; None is one for each core of this process.
    """

    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ValueError(f"--jobs (-j) must be at least 1, it is {self.jobs}")


def index_command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Videos, and folders of videos.")
    ],
    index: IndexOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    jobs: JobsOption = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Drop videos whose files are gone, instead of marking them missing."
        ),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="If another model made the index, embed the videos again with this one; "
            "they keep their ids, and verdicts stand.",
        ),
    ] = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Add new videos, embed changed ones again, and note which are gone.

    Run it again at any time: what is unchanged costs nothing, a moved file is known by
    its content, and an interrupted run goes on where it was.
    """
    set_up_logging(verbose=verbose, quiet=quiet)
    shared = load_shared(config_file, index=index, model=model, device=device)
    settings = config.load(IndexSettings, "index", {"jobs": jobs}, path=config_file)
    require_paths(paths)

    encoder = ss.load_encoder(shared.model, device=shared.device)
    with ss.VideoIndex.open_or_create(
        shared.index, encoder=encoder, wait=wait, rebuild=rebuild
    ) as video_index:
        try:
            with shown_progress(quiet=quiet) as on_progress:
                report = ss.index_videos(
                    video_index,
                    paths,
                    encoder=encoder,
                    jobs=settings.jobs or config.num_cores(),
                    prune=prune,
                    on_progress=on_progress,
                    on_failure=lambda failure: _print_about_file("failed", failure),
                    on_warning=lambda warning: (
                        None if quiet else _print_about_file("warning", warning)
                    ),
                )
        except KeyboardInterrupt as interrupt:
            num = video_index.num_videos
            kept = f"the index keeps the {num:,} video{'' if num == 1 else 's'} that it has"
            raise KeyboardInterrupt(f"{kept}, the same command goes on from there") from interrupt
    if as_json:
        print_json(to_object(report))
    else:
        for line in report_lines(report, paths):
            print_line(line)
    raise typer.Exit(exit_code_of(report))


def exit_code_of(report: ss.IndexReport) -> ExitCode:
    """0 when all went well, 3 when some files failed, 1 when all did."""
    num_good = (
        report.num_added
        + report.num_rebuilt
        + report.num_changed
        + report.num_moved
        + report.num_unchanged
        + report.num_other_names
    )
    if not report.failures:
        return ExitCode.OK
    return ExitCode.PARTIAL if num_good else ExitCode.FAILURE


def _print_about_file(what: str, failure: ss.VideoFailure) -> None:
    print_line(about_file_line(what, ss.path_of(failure.uri), failure.reason), error=True)
