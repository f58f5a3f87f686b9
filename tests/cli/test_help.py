"""Every command explains itself, with an example, and appears in the README."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from command_line import sora_search

from sora_search.cli import app

README = (Path(__file__).parents[2] / "README.md").read_text()


def commands_below(typer_app: typer.Typer, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for command in typer_app.registered_commands:
        assert command.name is not None
        yield (*words, command.name)
    for group in typer_app.registered_groups:
        assert group.name is not None
        assert group.typer_instance is not None
        yield from commands_below(group.typer_instance, (*words, group.name))


COMMANDS = list(commands_below(app, ()))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_ends_in_an_example(command):
    result = sora_search(*command, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"Example: sora-search {' '.join(command)}" in result.stdout
    options = re.findall(r"^  (-.*)$", result.stdout, re.MULTILINE)
    assert options
    assert sora_search(*command, "-h").stdout == result.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_names_no_types_of_python(command):
    shown = sora_search(*command, "--help").stdout
    assert not re.search(r"[<>{}]|\[\[|\bPath\b", shown)


@pytest.mark.parametrize("group", [[], ["verdict"], ["db"], ["model"]], ids=" ".join)
def test_lists_of_commands_cut_nothing_off(group):
    _, listed = sora_search(*group, "--help").stdout.split("Commands:")
    assert "..." not in listed


def test_arguments_are_named_as_they_are_given():
    assert "Usage: sora-search index [OPTIONS] PATH...\n" in sora_search("index", "-h").stdout
    shown = sora_search("verdict", "add", "-h").stdout
    assert "verdict add [OPTIONS] QUERY VIDEO match|no-match\n" in shown
    assert re.search(r"^  match\|no-match  Do both show", shown, re.MULTILINE)


def test_what_can_be_chosen_is_listed():
    from sora_search.learning.evaluation import SUITES
    from sora_search.learning.phases import PHASES

    for name in PHASES:
        assert name in sora_search("model", "train", "-h").stdout
    for name in SUITES:
        assert name in sora_search("model", "evaluate", "-h").stdout


def test_words_of_the_answer_are_explained():
    shown = " ".join(sora_search("query", "-h").stdout.split())
    for word in ("`copy`", "`similar`", "`covered`", "`shared with N other videos`"):
        assert word in shown


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_appears_in_the_readme(command):
    assert re.search(rf"^sora-search {' '.join(command)}\b", README, re.MULTILINE)


def test_exit_codes_of_the_readme_are_those_of_the_program():
    from sora_search.errors import ExitCode

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert listed == {*ExitCode, 130}


def test_no_command_is_wrong_usage_and_shows_the_help():
    result = sora_search()
    assert result.exit_code == 2
    assert "Commands:" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["-v", "query", "clip.mp4"], "query -v"),
        (["-vv", "index", "videos"], "index -v"),
        (["--index", "here", "info"], "info --index"),
        (["--jobs=2", "index", "videos"], "index --jobs"),
    ],
    ids=" ".join,
)
def test_an_option_before_its_command_is_told_its_place(words, place):
    result = sora_search(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"belongs behind the command: sora-search {place}\n" in result.stderr


def test_an_option_that_no_command_has_is_unknown():
    assert "No such option: -x" in sora_search("-x", "query", "clip.mp4").stderr


def test_version():
    assert re.fullmatch(r"sora-search \d+\.\d+\.\d+\n", sora_search("--version").stdout)
