"""How commands present themselves: usage and help by the names that their options declare."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand


class SoraCommand(TyperCommand):
    """A command whose help names arguments as declared, without the types of Python."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - Typer's own signature
        """What stands behind the name of the command: `[OPTIONS] PATH...`."""
        arguments = [
            param.metavar or param.name or ""
            for param in self.get_params(ctx)
            if param.param_type_name == "argument"
        ]
        return ["[OPTIONS]", *arguments]

    def get_short_help_str(self, limit: int = 45) -> str:
        """The line of a list of commands: a whole sentence, which goes on below if it is long."""
        return super().get_short_help_str(max(limit, 200))

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the lists of arguments and of options."""
        arguments, options = [], []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                arguments.append((param.metavar or record[0], getattr(param, "help", "") or ""))
            else:
                options.append(record)
        for title, records in (("Arguments", arguments), ("Options", options)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Parse the command line; what is wrong with a value is said without the type of error.

        Where a file is taken for an option it is said how to name it.
        """
        words = list(args)  # parsing takes them away
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ") + _file_hint(words)
            raise
        except Exception as error:
            # What is raised for an unknown option has no public name.
            if hasattr(error, "option_name") and (hint := _file_hint(words)):
                ctx.fail(f"{error}{hint}")
            raise


def _file_hint(words: Sequence[str]) -> str:
    files = [word for word in words if word.startswith("-") and Path(word).is_file()]
    return f"; to name the file write ./{files[0]}" if files else ""


class SoraTyper(typer.Typer):
    """A group of commands that are `SoraCommand`s."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:  # noqa: ANN401
        """Register a command; see `typer.Typer.command`."""
        return super().command(*args, **{"cls": SoraCommand, **kwargs})
