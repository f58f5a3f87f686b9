"""The package as it is built and installed, and its public names."""

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import sora_search

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_public_name_loads_and_is_listed():
    assert set(sora_search.__all__) <= set(dir(sora_search))
    assert len(set(sora_search.__all__)) == len(sora_search.__all__)
    for name in sora_search.__all__:
        value = getattr(sora_search, name)
        assert value.__doc__, name


def test_public_names_are_the_same_for_readers_and_type_checkers():
    source = (ROOT / "sora_search/__init__.py").read_text()
    for name, module in sora_search._MODULE_OF.items():
        assert f"from sora_search.{module} import {name} as {name}\n" in source


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'serch'"):
        _ = sora_search.serch


def test_every_dependency_is_pinned_as_it_was_tested():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    demo = (ROOT / "demo-requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["train"], *extras["dev"]]
    wanted += [line for line in demo if not line.startswith("#")]
    for requirement in wanted:
        name = requirement.split(">")[0].split("[")[0].lower()
        assert name in pinned or name == "sora-search", requirement
    assert not any("+" in line for line in lines), "a pin must hold for every build"


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_registry_is_named(name):
    text = (ROOT / name).read_text()
    assert "index-url" not in text
    assert "://" not in text


def test_version_is_that_of_the_project():
    assert version("sora-search") == PROJECT["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(folder), str(ROOT)], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_carries_all_it_needs_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "sora_search", "migrations"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    if not tracked:
        pytest.skip("not a clone")
    expected = {name.replace("migrations/", "sora_search/_migrations/", 1) for name in tracked}
    packaged = {name for name in names if name.startswith("sora_search/")}
    assert packaged >= expected
    assert "sora_search/py.typed" in packaged
    assert any(name.endswith(".onnx") for name in packaged)
    assert wheel.stat().st_size < 20_000_000


def test_wheel_alone_indexes_and_queries(wheel, tmp_path):
    from command_line import make_videos

    make_videos(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    for command in (["index", "videos", "-j1"], ["query", "clip.mp4"], ["check"]):
        run = subprocess.run(
            [sys.executable, "-P", "-c", "import sora_search.cli as c; c.main()", *command],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        if command[0] == "query":
            assert "copy" in run.stdout
            assert "videos/mixed.mp4" in run.stdout
