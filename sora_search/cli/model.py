"""`sora-search model`: which models there are, and how one comes to be."""

from pathlib import Path
from typing import Annotated

import typer

from sora_search import config
from sora_search.cli.options import (
    ConfigOption,
    DeviceOption,
    QuietOption,
    VerboseOption,
    num_cores,
    require_paths,
    set_up_logging,
)
from sora_search.cli.output import print_line
from sora_search.cli.progress import shown_progress

model_app = typer.Typer(
    help="Models: list, show, train, evaluate, export.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DataOption = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", help="A folder of videos, or one with a manifest.csv."),
]


@model_app.command(
    "train", epilog="Example: sora-search model train --data ./clips --output runs/mine"
)
def train_command(
    data: DataOption,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The run: settings, figures, checkpoints."
        ),
    ],
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher",
            metavar="DIR",
            help="A folder with a movinet.py whose load() gives a network to learn from.",
        ),
    ] = None,
    split: Annotated[
        list[str],
        typer.Option("--split", metavar="NAME", help="Rows of the manifest to learn from."),
    ] = ["train"],  # noqa: B006 - Typer copies it
    init: Annotated[
        list[Path],
        typer.Option(
            "--init", metavar="DIR", help="A finished run whose learned parts to start from."
        ),
    ] = [],  # noqa: B006
    phase: Annotated[
        list[str],
        typer.Option(
            "--phase",
            metavar="NAME",
            help="Parts of the training (default: all).",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Fixes every random choice (default: 0).", show_default=False),
    ] = None,
    device: DeviceOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", help="Processes that decode (default: all cores).", show_default=False
        ),
    ] = None,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Train a model on your own clips; the same command again goes on where it stopped.

    Steps and learning rates are settings: table [train] of the settings file.
    """
    from sora_search.learning.datasets import ClipDataset, FrameStore
    from sora_search.learning.training import TrainConfig, train

    set_up_logging(verbose=verbose, quiet=quiet)
    require_paths([data, *init, *([teacher] if teacher else [])])
    flags = {
        "seed": seed,
        "phases": tuple(phase) or None,
        "device": None if device == "auto" else device,
    }
    train_config = config.load(TrainConfig, "train", flags, path=config_file)
    dataset = ClipDataset.open(data, splits=split)
    with shown_progress(quiet=quiet) as on_progress:
        store = FrameStore.build(
            dataset, output / "frames", jobs=jobs or num_cores(), on_progress=on_progress
        )
        for failure in store.failures:
            print_line(f"left out: {failure}", error=True)
        train(
            train_config,
            store,
            out_dir=output,
            init=init,
            teacher_dir=teacher,
            on_progress=on_progress,
        )
    print_line(str(output / "checkpoint_last"))
