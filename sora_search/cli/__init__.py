"""The command line: each command parses, calls the library, and prints.

This module holds the application and the one place where errors become exit codes.
"""

import logging
import os
import sys

# Before NumPy is loaded: its products are small here, and threads that wait for one another cost
# a third more CPU for a query that takes as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sora_search.cli.check import check_command
from sora_search.cli.commands import SoraTyper
from sora_search.cli.db import db_app
from sora_search.cli.dedupe import dedupe_command
from sora_search.cli.evaluation import evaluate_command
from sora_search.cli.index import index_command
from sora_search.cli.info import info_command
from sora_search.cli.model import model_app
from sora_search.cli.output import error_text, print_line
from sora_search.cli.query import query_command
from sora_search.cli.remove import remove_command
from sora_search.cli.verdict import verdict_app
from sora_search.errors import ExitCode, SoraSearchError

logger = logging.getLogger(__name__)


class SoraGroup(TyperGroup):
    """A group of commands in which every expected error ends in one line and its exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Parse what stands before a command: an option of the command is told its place."""
        option = args[0].split("=")[0] if args else ""
        option = option if option.startswith("--") else option[:2]  # `-vv` is `-v` twice
        name = next((word for word in args if word in self.commands), None)
        if name and any(option in param.opts for param in self.commands[name].params):
            ctx.fail(f"{option} belongs behind the command: sora-search {name} {option}")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own signature
        """Run the command; see `ExitCode` for what comes out."""
        try:
            return super().invoke(ctx)
        except SoraSearchError as error:
            logger.debug("raised here:", exc_info=True)
            print_line(f"error: {error}", error=True)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            logger.debug("raised here:", exc_info=True)
            print_line(f"error: {error_text(error)}", error=True)
            raise typer.Exit(ExitCode.FAILURE) from error
        except KeyboardInterrupt as interrupt:
            said = f": {interrupt}" if str(interrupt) else ""
            print_line(f"interrupted{said}", error=True)
            raise typer.Exit(130) from interrupt


app = SoraTyper(
    name="sora-search",
    cls=SoraGroup,
    help="Find the video a clip came from, or videos that show the same, in your own folders.",
    epilog="Example: sora-search index ./videos && sora-search query clip.mp4",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    "index", short_help="Add or update videos.", epilog="Example: sora-search index ./videos"
)(index_command)
app.command(
    "query",
    short_help="Find the videos that a clip came from.",
    epilog="Example: sora-search query clip.mp4 --save answer.jpg",
)(query_command)
app.command(
    "dedupe",
    short_help="List groups of videos that show the same footage.",
    epilog="Example: sora-search dedupe --save duplicates/",
)(dedupe_command)
app.command("info", epilog="Example: sora-search info --list")(info_command)
app.command(
    "remove",
    short_help="Take videos out of the index.",
    epilog="Example: sora-search remove ./videos/old.mp4",
)(remove_command)
app.command("check", epilog="Example: sora-search check --repair")(check_command)
app.command("evaluate", epilog="Example: sora-search evaluate --videos ./videos")(evaluate_command)
app.add_typer(verdict_app, name="verdict")
app.add_typer(db_app, name="db")
app.add_typer(model_app, name="model")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"sora-search {version('sora-search')}")
        raise typer.Exit


@app.callback()
def _sora_search(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line of this process."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot show must not end a command.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name="sora-search")


def _open_missing_streams() -> None:
    """Let nothing come of what is read or printed where a stream was closed, as by `>&-`.

    Else the next file that is opened, say the catalog, gets the number of the stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # It gets the lowest number that is free, which is this one; workers need it too.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
