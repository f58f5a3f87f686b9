"""`sora-search evaluate`: how well search finds edited pieces of one's own videos."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import sora_search as ss
from sora_search.cli.options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    VerboseOption,
    load_shared,
    num_cores,
    require_paths,
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
from sora_search.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from sora_search.applications.tallies import BenchmarkReport, EditTally


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
        typer.Option("--keep", metavar="DIR", help="Keep the index, which the next run uses."),
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
    on, and searched; so are videos that are not indexed, for which nothing is right.
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
    names = edits_named(edits)
    suite = halved(videos, seed=seed)
    encoder = ss.load_encoder(shared.model, device=shared.device)
    progress = shown_progress(quiet=quiet)
    outcomes = []
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="sora-search-"))
        place = (keep or Path(scratch)) / "index"
        with progress as on_progress:
            report = index_corpus(suite, encoder, place, jobs=num_cores(), on_progress=on_progress)
        for failure in report.failures:
            _print_failed(ss.path_of(failure.uri), failure.reason)
        index = stack.enter_context(ss.VideoIndex.open(place, read_only=True))
        num_videos = len(index.videos())
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
                    on_progress=on_progress,
                    on_failure=lambda path, error: _print_failed(path, error_text(error)),
                ):
                    outcomes.append(outcome)
        except KeyboardInterrupt:
            if not outcomes:
                raise
            print_line("interrupted: what was measured until then follows", error=True)
    if not outcomes:
        raise typer.Exit(ExitCode.FAILURE)
    counted = tally(outcomes, num_videos=num_videos, negative=NEGATIVE)
    if as_json:
        print_json({"num_videos": num_videos, **to_object(counted)})
    else:
        for line in [f"{num_videos} videos indexed", *benchmark_lines(counted)]:
            print_line(line)
    if save is not None:
        print_line(f"picture: {_write_reliability(save, counted)}", error=True)
    if report.failures:
        raise typer.Exit(ExitCode.PARTIAL)


def _print_failed(path: Path, reason: str) -> None:
    print_line(about_file_line("failed", path, reason), error=True)


def benchmark_lines(report: "BenchmarkReport") -> list[str]:
    """A report for people."""
    lines = []
    if report.total is not None:
        head = [
            "edit",
            "n",
            "rank 1",
            "+-",
            "copy",
            "IoU query",
            "video",
            "start",
            "mirror",
            "speed",
            "place",
            "wrong",
            "ms",
        ]
        rows = [head, *(_edit_row(one) for one in (*report.edits, report.total))]
        lines += table_lines(rows, right=frozenset(range(1, len(head))))
        lines += [
            "",
            "IoU: overlap of the ranges found with the true ones, mean; of a query not found 0."
            " start: median error in s.",
            "mirror, speed: told right, of those told; place: median overlap of the part of the"
            " picture told. wrong: a wrong video called copy.",
            f"A right video first by chance: {report.chance:.3f}",
            f"recall at zero false reports {_number(report.recall_at_zero_false)},"
            f" uAP {_number(report.micro_average_precision)}",
        ]
    lines += [
        f"negatives for which a video was called copy: {report.num_false} of"
        f" {report.num_negatives}",
        f"precision of copy {_number(report.copy_precision)} over {report.num_copies} answers",
        f"expected calibration error of the score {_number(report.calibration_error)}",
    ]
    if report.calibration:
        bins = [
            (f"{b.low:.1f}-{b.high:.1f}", str(b.num), f"{b.mean_score:.3f}", f"{b.right:.3f}")
            for b in report.calibration
        ]
        rows = [("score", "answers with ranges", "mean score", "right"), *bins]
        lines += ["", *table_lines(rows, right=frozenset({1, 2, 3}))]
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


def _edit_row(one: "EditTally") -> tuple[str, ...]:
    shares = (one.rank_1, one.rank_1_error, one.copy, one.query_iou, one.video_iou)
    known = (one.start_error_s, one.mirror_right, one.speed_right, one.rectangle_iou)
    return (
        one.edit,
        str(one.num),
        *(f"{share:.3f}" for share in shares),
        *("-" if value is None else f"{value:.2f}" for value in known),
        str(one.num_wrong),
        f"{one.cpu_ms:.0f}",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _write_reliability(path: Path, report: "BenchmarkReport") -> Path:
    from sora_search.media.rendering import PictureRow, draw_reliability, write_side_by_side

    bins = [(one.mean_score, one.right, one.num) for one in report.calibration]
    label = f"share of right answers, by score (error {_number(report.calibration_error)})"
    row = PictureRow(label, [("", draw_reliability(bins))])
    return write_side_by_side(path, [row], cell_side=360)
