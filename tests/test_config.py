from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from sora_search import config
from sora_search.errors import ConfigError, ExitCode


@dataclass(frozen=True)
class Settings:
    top: int = 10
    rate: float = 0.5
    name: str = "plain"
    folder: Path | None = None
    loud: bool = False
    mode: Literal["one", "two"] = "one"
    steps: tuple[int, ...] = (1,)

    def __post_init__(self):
        if self.top < 1:
            raise ValueError(f"--top must be at least 1, it is {self.top}")


def load(tmp_path, text="", environ=None, **flags):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return config.load(Settings, "query", flags, path=file, environ=environ or {})


def test_what_is_said_nowhere_keeps_its_default(tmp_path):
    assert load(tmp_path, "[index]\ntop = 3") == Settings()


def test_flag_beats_environment_beats_file_beats_default(tmp_path):
    text = "[query]\ntop = 2\nrate = 1\nname = 'file'"
    environ = {"SORA_SEARCH_QUERY_TOP": "3", "SORA_SEARCH_QUERY_RATE": "0.25"}
    settings = load(tmp_path, text, environ, top=4, name=None)
    assert settings == Settings(top=4, rate=0.25, name="file")


def test_every_kind_of_value_from_a_file(tmp_path):
    text = "[query]\nfolder = 'a b'\nloud = true\nmode = 'two'\nsteps = [3, 4]"
    expected = Settings(folder=Path("a b"), loud=True, mode="two", steps=(3, 4))
    assert load(tmp_path, text) == expected


def test_every_kind_of_value_from_the_environment(tmp_path):
    said = {"FOLDER": "a b", "LOUD": "Yes", "MODE": "two", "STEPS": "3, 4", "NAME": "7"}
    environ = {f"SORA_SEARCH_QUERY_{name}": value for name, value in said.items()}
    expected = Settings(folder=Path("a b"), loud=True, mode="two", steps=(3, 4), name="7")
    assert load(tmp_path, "", environ) == expected


def test_what_is_shared_has_no_section_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = config.load(Settings, config.SHARED, environ={"SORA_SEARCH_TOP": "7"})
    assert settings.top == 7


def test_file_of_the_current_folder_and_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sora-search.toml").write_text("[query]\ntop = 5")
    Path("other.toml").write_text("[query]\ntop = 6")
    assert config.load(Settings, "query", environ={}).top == 5
    assert config.load(Settings, "query", environ={"SORA_SEARCH_CONFIG": "other.toml"}).top == 6


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("[query]\ntop = 'many'", {}, r"\[query\] top: must be a whole number, it is 'many'"),
        ("[query]\ntop = 1.5", {}, "whole number"),
        ("[query]\ntop = true", {}, "whole number"),
        ("[query]\nrate = '1'", {}, "a number"),
        ("[query]\nmode = 'three'", {}, "'one' or 'two'"),
        ("[query]\nsteps = 3", {}, "a list"),
        ("[query]\ntopp = 3", {}, "did you mean 'top'"),
        ("[query]\nzebra = 3", {}, "there are top, rate"),
        ("[query]\ntop = 0", {}, r"at least 1, it is 0 \(see .*settings.toml, \[query\] top\)"),
        ("query = 3", {}, "must be a table"),
        ("[query", {}, "not valid TOML"),
        ("", {"SORA_SEARCH_QUERY_TOP": "many"}, "QUERY_TOP: must be a whole number"),
        ("", {"SORA_SEARCH_QUERY_LOUD": "maybe"}, "QUERY_LOUD: must be true or false"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(tmp_path, text, environ, said):
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path, text, environ)
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_file_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="no such settings file"):
        config.load(Settings, "query", path=tmp_path / "none.toml", environ={})


def test_an_unknown_flag_is_a_bug_of_the_caller(tmp_path):
    with pytest.raises(TypeError, match="no field 'speed'"):
        load(tmp_path, speed=3)
