"""`sora-search db`: the schema of the catalog."""

import typer

db_app = typer.Typer(
    help="The schema of the catalog: current, upgrade.", no_args_is_help=True, rich_markup_mode=None
)
