"""`sora-search db`: the schema of the catalog."""

import typer

from sora_search.cli.commands import SoraTyper
from sora_search.cli.options import ConfigOption, IndexOption, JsonOption, WaitOption, load_shared
from sora_search.cli.output import print_json, print_line
from sora_search.errors import ExitCode

db_app = SoraTyper(
    help="The layout of the index's database: current, upgrade.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@db_app.command(
    "current",
    short_help="Say which layout the index has.",
    epilog="Example: sora-search db current",
)
def current_command(
    index: IndexOption = None, as_json: JsonOption = False, config_file: ConfigOption = None
) -> None:
    """Say which layout (schema) the index has; exit code 4 when it is not the newest."""
    from sora_search.index.migration import current

    state = current(load_shared(config_file, index=index).index)
    if as_json:
        print_json({"revision": state.revision, "newest": state.newest})
    else:
        note = (
            "" if state.is_current else f" (newest: {state.newest}; run `sora-search db upgrade`)"
        )
        print_line(f"{state.revision or 'none'}{note}")
    if not state.is_current:
        raise typer.Exit(ExitCode.NOT_READY)


@db_app.command(
    "upgrade",
    short_help="Bring the layout of the index up to date.",
    epilog="Example: sora-search db upgrade",
)
def upgrade_command(
    index: IndexOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """Bring the layout (schema) of the index up to date; `index` does so by itself."""
    from sora_search.index.migration import upgrade

    before = upgrade(load_shared(config_file, index=index).index, wait=wait)
    if as_json:
        print_json({"before": before.revision, "revision": before.newest})
    elif before.is_current:
        print_line(f"{before.newest}: nothing to do")
    else:
        print_line(f"{before.revision or 'none'} -> {before.newest}")
