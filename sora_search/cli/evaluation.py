"""`sora-search evaluate`: how well search finds edited pieces of one's own videos."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import sora_search as ss
from sora_search import config
from sora_search.cli.options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VerboseOption,
    load_shared,
    require_paths,
    require_picture,
    set_up_logging,
)
from sora_search.cli.output import (
    about_file_line,
    error_text,
    print_json,
    print_line,
    table_lines,
    to_object,
)
from sora_search.cli.progress import shown_progress
from sora_search.errors import ConfigError, ExitCode, MediaError

if TYPE_CHECKING:
    from sora_search.applications.tallies import BenchmarkReport, EditTally, Missed
    from sora_search.learning.metrics import CalibrationBin

MAX_MISSED_LINES = 12
"""Queries named for which nothing was found; a document names them all."""


def evaluate_command(
    videos: Annotated[
        Path,
        typer.Option("--videos", metavar="DIR", help="Your videos: half of them are indexed."),
    ],
    edits: Annotated[
        str,
        typer.Option("--edits", metavar="NAMES", help="usual, hard, all, or names with commas."),
    ] = "usual",
    queries: Annotated[
        int, typer.Option("--queries", metavar="N", help="Videos edited in each way.")
    ] = 8,
    negatives: Annotated[
        int,
        typer.Option("--negatives", metavar="N", help="Videos asked that are not indexed."),
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another one draws others.")] = 0,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the reliability diagram (.jpg, .png)."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Keep the index, which the next run uses, and the edited pieces.",
        ),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Measure on your own videos how well edited pieces of them are found again.

    Half of the videos are indexed. Pieces of these are cropped, mirrored, recompressed and so
    on, and searched; so are videos that are not indexed, for which nothing is right. A video
    that shows the same footage under another name is right too.
    """
    from sora_search.applications.benchmarking import (
        NEGATIVE,
        edits_named,
        halved,
        index_corpus,
        run_queries,
    )
    from sora_search.applications.tallies import tally

    set_up_logging(verbose=verbose, quiet=quiet)
    shared = load_shared(config_file, model=model, device=device)
    require_paths([videos])
    if queries < 1 or min(negatives, seed) < 0:
        raise ConfigError(
            f"need --queries >= 1 and no negative numbers, got {queries}, "
            f"--negatives {negatives}, --seed {seed}"
        )
    if save is not None:
        require_picture(save)
    names = edits_named(edits)
    suite = halved(videos, seed=seed)
    encoder = ss.load_encoder(shared.model, device=shared.device)
    progress = shown_progress(quiet=quiet)
    outcomes = []
    num_failed = 0
    interrupted = False

    def failed(path: Path, reason: str) -> None:
        nonlocal num_failed
        num_failed += 1
        print_line(about_file_line("failed", path, reason), error=True)

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sora-search-")))
        place = (keep or scratch) / "index"
        with progress as on_progress:
            report = index_corpus(
                suite, encoder, place, jobs=config.num_cores(), on_progress=on_progress
            )
        for failure in report.failures:
            failed(ss.path_of(failure.uri), failure.reason)
        index = stack.enter_context(ss.VideoIndex.open(place, read_only=True))
        num_videos = index.num_videos
        if num_videos == 0:
            raise MediaError(f"none of the {len(suite.corpus)} videos drawn could be indexed")
        if keep is not None:
            (keep / "queries").mkdir(exist_ok=True)
        try:
            with progress as on_progress:
                for outcome in run_queries(
                    index,
                    encoder,
                    suite,
                    edits=names,
                    num_queries=queries,
                    num_negatives=negatives,
                    seed=seed,
                    keep_dir=None if keep is None else keep / "queries",
                    on_progress=on_progress,
                    on_failure=lambda path, error: failed(path, error_text(error)),
                ):
                    outcomes.append(outcome)
        except KeyboardInterrupt:
            if not outcomes:
                raise
            interrupted = True
            print_line("interrupted: what was measured until then follows", error=True)
    if not outcomes:
        raise MediaError("nothing was measured: no query could be made of these videos")
    counted = tally(outcomes, num_videos=num_videos, negative=NEGATIVE)
    if as_json:
        facts = {"interrupted": interrupted, "num_failed": num_failed, "num_videos": num_videos}
        print_json({**facts, **to_object(counted)})
    else:
        for line in [f"{num_videos} videos indexed", *benchmark_lines(counted)]:
            print_line(line)
    if save is not None:
        _write_reliability(save, counted)
        if not quiet:
            print_line(f"picture: {save}", error=True)
    if interrupted:
        raise typer.Exit(130)
    if num_failed:
        raise typer.Exit(ExitCode.PARTIAL)


def benchmark_lines(report: "BenchmarkReport") -> list[str]:
    """A report for people."""
    lines = []
    if report.total is not None:
        lines += [*_edit_lines((*report.edits, report.total)), ""]
        lines += [
            "rank 1: share with a right video first, between the bounds with 95 % (counting each"
            f" video once); by chance {report.chance:.3f}",
            "copy: of all, with a right video first that is called copy.  wrong: number for which"
            " a wrong one is",
            "IoU: overlap of the ranges found with the true ones, of what is not found 0; means."
            f" Medians of all: {report.total.query_iou_median:.3f} in the query,"
            f" {report.total.video_iou_median:.3f} in the video",
            "start: median error in s.  mirror, speed: of the edits told, the share told right"
            " (speed within 3 %)",
            "place: median overlap of the part of the picture told with the true one",
            "",
            f"recall at zero false reports {_number(report.recall_at_zero_false)},"
            f" uAP {_number(report.micro_average_precision)}",
        ]
    lines += [
        f"negatives for which a video was called copy: {report.num_false} of"
        f" {report.num_negatives}",
        f"precision of copy {_number(report.copy_precision)} over {report.num_copies} answers",
        f"expected calibration error of the score {_number(report.calibration_error)} over"
        f" {report.num_ranged} answers with ranges",
    ]
    if report.calibration:
        lines += ["", *_calibration_lines(report.calibration)]
    if report.missed:
        lines += ["", "no right video first and called copy:"]
        lines += [f"  {_missed_text(missed)}" for missed in report.missed[:MAX_MISSED_LINES]]
        num_left = len(report.missed) - MAX_MISSED_LINES
        if num_left > 0:
            lines.append(f"  {num_left} more (--json names them)")
    if report.worst:
        lines += ["", "wrong answers with the highest scores:"]
        lines += [
            f"  {wrong.score:.3f}  {wrong.edit} of {wrong.query} -> {wrong.video}"
            for wrong in report.worst
        ]
    return [
        *lines,
        "",
        f"a search took {report.median_s:.2f} s (median), {report.max_s:.2f} at most",
    ]


def _edit_lines(tallies: "Sequence[EditTally]") -> list[str]:
    shares = ("rank 1", "95 %", "copy", "IoU query", "IoU video")
    known = ("start", "mirror", "speed", "place")
    head = ("edit", "n", *shares, *known, "wrong", "CPU ms")
    rows = [head, *(_edit_row(one) for one in tallies)]
    return table_lines(rows, right=frozenset(range(1, len(head))))


def _calibration_lines(calibration: "Sequence[CalibrationBin]") -> list[str]:
    head = ("score", "answers with ranges", "mean score", "right")
    rows = [
        (f"{b.low:.1f}-{b.high:.1f}", str(b.num), f"{b.mean_score:.3f}", f"{b.right:.3f}")
        for b in calibration
    ]
    return table_lines([head, *rows], right=frozenset({1, 2, 3}))


def _edit_row(one: "EditTally") -> tuple[str, ...]:
    low, high = one.rank_1_interval
    known = (one.start_error_s, one.mirror_right, one.speed_right, one.rectangle_iou)
    return (
        one.edit,
        str(one.num),
        f"{one.rank_1:.3f}",
        f"{low:.2f}-{high:.2f}",
        *(f"{share:.3f}" for share in (one.copy, one.query_iou, one.video_iou)),
        *("-" if value is None else f"{value:.2f}" for value in known),
        str(one.num_wrong),
        f"{one.cpu_ms:.0f}",
    )


def _missed_text(missed: "Missed") -> str:
    what = f"{missed.edit} of {missed.query}"
    if missed.rank == 0:
        return f"{what}: not found"
    return f"{what}: the right one has rank {missed.rank}, score {missed.score:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _write_reliability(path: Path, report: "BenchmarkReport") -> None:
    from sora_search.media.rendering import PictureRow, draw_reliability, write_side_by_side

    bins = [(one.mean_score, one.right, one.num) for one in report.calibration]
    label = f"Is the score true? Calibration error {_number(report.calibration_error)}"
    caption = "Numbers: how many answers. Best: on the line."
    row = PictureRow(label, [(caption, draw_reliability(bins))])
    write_side_by_side(path, [row], cell_side=360)
