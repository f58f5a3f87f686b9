"""`sora-search check`: is what is stored what was written."""

from pathlib import Path
from typing import Annotated

import typer

import sora_search as ss
from sora_search.cli.options import ConfigOption, IndexOption, JsonOption, WaitOption, load_shared
from sora_search.cli.output import about_file_line, print_json, print_line, shown_paths, to_object
from sora_search.errors import ExitCode


def check_command(
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, and check again.")
    ] = False,
    index: IndexOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Compare everything stored in the index with its checksums.

    Ends with exit code 4 when there is damage that is still there at the end.
    """
    shared = load_shared(config_file, index=index)
    with ss.VideoIndex.open(shared.index, read_only=not repair, wait=wait) as video_index:
        repaired = video_index.repair() if repair else []
        damages = video_index.check()
    if as_json:
        print_json({"repaired": repaired, "damages": [to_object(damage) for damage in damages]})
    else:
        for line in repaired:
            print_line(f"repaired: {shown_paths(line)}")
        for damage in damages:
            print_line(about_file_line("damaged", Path(damage.where), damage.what))
        if not damages:
            print_line("everything is as it was written")
    if any(damage.repairable for damage in damages):
        print_line("mend it with `sora-search check --repair`", error=True)
    if damages:
        raise typer.Exit(ExitCode.NOT_READY)
