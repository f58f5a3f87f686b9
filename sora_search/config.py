"""Settings: a TOML file, overruled by the environment, overruled by flags.

A module that has settings declares them as a frozen dataclass with defaults; `load`
fills one in and knows none of them. A file has one table for each section::

    [shared]
    index = "/data/videos-index"

    [query]
    top = 20

The environment says the same as `SORA_SEARCH_QUERY_TOP=20`, and, as what is shared is
asked for by every command, `SORA_SEARCH_INDEX=...` without its section.
"""

import dataclasses
import difflib
import logging
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from sora_search.errors import ConfigError

logger = logging.getLogger(__name__)

ConfigT = TypeVar("ConfigT")

SHARED = "shared"
DEFAULT_FILE = "sora-search.toml"

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def load(
    config_class: type[ConfigT],
    section: str,
    overrides: Mapping[str, object] | None = None,
    *,
    path: Path | str | None = None,
    environ: Mapping[str, str] | None = None,
) -> ConfigT:
    """Fill in a dataclass of settings; what is said nowhere keeps its default.

    Args:
        config_class: A dataclass whose fields are str, int, float, bool, `Path`, a
            `Literal` of strings, a tuple of one of these, or one of these or None.
        section: Table of the file, and the middle of the names in the environment.
        overrides: Values of flags by field name; None means that the flag was not given.
        path: The TOML file; by default `SORA_SEARCH_CONFIG`, or `sora-search.toml` in the
            current folder where there is one.
        environ: By default the environment of this process.

    Raises:
        ConfigError: If the file cannot be read, or a value or name does not fit; the
            message says where the value came from. A `ValueError` of the dataclass's own
            checks becomes one as well.
    """
    assert dataclasses.is_dataclass(config_class)
    environ = os.environ if environ is None else environ
    hints = typing.get_type_hints(config_class)
    names = [field.name for field in dataclasses.fields(config_class)]

    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    file, table = _read_section(path, section, environ)
    for name, value in table.items():
        where = f"{file}, [{section}] {name}"
        if name not in names:
            raise ConfigError(f"{where}: no such setting{_meant(name, names)}")
        values[name], sources[name] = _from_toml(value, hints[name], where), where
    for name in names:
        variable = environment_name(section, name)
        if environ.get(variable):
            values[name] = _from_text(environ[variable], hints[name], variable)
            sources[name] = variable
    for name, value in (overrides or {}).items():
        if name not in names:
            raise TypeError(f"{config_class.__name__} has no field {name!r}")
        if value is not None:
            values[name], sources[name] = value, "command line"
    for name, value in values.items():
        logger.debug("[%s] %s = %s (%s)", section, name, value, sources[name])
    try:
        return config_class(**values)
    except ValueError as error:
        places = sorted(set(sources.values()) - {"command line"})
        raise ConfigError(f"{error} (see {', '.join(places)})" if places else f"{error}") from error


def environment_name(section: str, name: str) -> str:
    """The variable that overrules one setting.

    Example:
        >>> environment_name("query", "min_score"), environment_name("shared", "index")
        ('SORA_SEARCH_QUERY_MIN_SCORE', 'SORA_SEARCH_INDEX')
    """
    words = ["SORA_SEARCH", name] if section == SHARED else ["SORA_SEARCH", section, name]
    return "_".join(words).upper().replace("-", "_").replace(".", "_")


def _read_section(
    path: Path | str | None, section: str, environ: Mapping[str, str]
) -> tuple[Path, dict[str, object]]:
    """The file that counts, and its table of that name; empty where there is none."""
    chosen = path or environ.get("SORA_SEARCH_CONFIG")
    file = Path(chosen or DEFAULT_FILE)
    try:
        with file.open("rb") as stream:
            document = tomllib.load(stream)
    except FileNotFoundError as error:
        if chosen:
            raise ConfigError(f"{file}: no such settings file") from error
        return file, {}
    except OSError as error:
        raise ConfigError(f"{file}: cannot read the settings: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    table: object = document
    for part in section.split("."):
        table = table.get(part, {}) if isinstance(table, dict) else table
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [{section}] must be a table, it is {table!r}")
    return file, {name: value for name, value in table.items() if not isinstance(value, dict)}


def _from_toml(value: object, hint: object, where: str) -> object:
    """A value of a TOML file as its field wants it; text in quotes is no number."""
    kinds = _alternatives(hint)
    for kind in kinds:
        if typing.get_origin(kind) is tuple and isinstance(value, list):
            item = typing.get_args(kind)[0]
            return tuple(_from_toml(element, item, where) for element in value)
        if kind is Path and isinstance(value, str):
            return Path(value)
        if typing.get_origin(kind) is Literal and value in typing.get_args(kind):
            return value
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if kind in (str, int, bool) and type(value) is kind:
            return value
    raise ConfigError(f"{where}: must be {_said(kinds)}, it is {value!r}")


def _from_text(text: str, hint: object, where: str) -> object:
    """A value of the environment as its field wants it."""
    kinds = _alternatives(hint)
    for kind in kinds:
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            return tuple(_from_text(part.strip(), item, where) for part in text.split(","))
        if kind is bool and text.lower() in (*_TRUE, *_FALSE):
            return text.lower() in _TRUE
        if typing.get_origin(kind) is Literal and text in typing.get_args(kind):
            return text
        if kind in (int, float):
            try:
                return int(text) if kind is int else float(text)
            except ValueError:
                continue
        if kind in (str, Path):
            return Path(text) if kind is Path else text
    raise ConfigError(f"{where}: must be {_said(kinds)}, it is {text!r}")


def _alternatives(hint: object) -> list[object]:
    """The types that a field takes, None left out."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return [hint]


def _said(kinds: list[object]) -> str:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    words[Path] = "a path"
    said = []
    for kind in kinds:
        if typing.get_origin(kind) is Literal:
            said += [repr(choice) for choice in typing.get_args(kind)]
        elif typing.get_origin(kind) is tuple:
            said.append("a list")
        else:
            said.append(words[typing.cast(type, kind)])
    return " or ".join(said)


def _meant(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"


def num_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
