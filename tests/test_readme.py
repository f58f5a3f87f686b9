"""The README is true: its Python blocks and its `sora-search` lines run, in their order."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest
from command_line import make_videos, sora_search
from small_videos import write_small_video

README = (Path(__file__).parents[1] / "README.md").read_text()

# Enough to see that a training runs; the lines of the README train for hours.
SHORT_TRAINING = """
[train]
copies_steps = 1
frames_per_step = 4
meaning_steps = 1
meaning_clips = 2

[finetune]
views = 1
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    make_videos(folder)
    for old, new in {"mixed": "one", "card": "two"}.items():
        (folder / f"videos/{old}.mp4").rename(folder / f"videos/{new}.mp4")
    shutil.copytree(folder / "videos", folder / "clips")
    shutil.copyfile(folder / "clip.mp4", folder / "clips/three.mp4")
    (folder / "labeled").mkdir()
    rows = [f"{i}.mkv,{'ab'[i % 2]}" for i in range(8)]
    for i in range(8):
        write_small_video(folder / f"labeled/{i}.mkv", i)
    (folder / "labeled/manifest.csv").write_text("\n".join(["path,label", *rows]))
    (folder / "sora-search.toml").write_text(SHORT_TRAINING)
    return folder


@pytest.mark.parametrize(
    "block", blocks("console"), ids=lambda block: block.split(" #")[0].split("\n")[0]
)
def test_the_command_lines_run_in_their_order(place, monkeypatch, block):
    monkeypatch.chdir(place)
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "sora-search"
        result = sora_search(*words[1:])
        assert result.exit_code == 0, f"{line}: {result.stderr}"


def test_the_python_blocks_run(place, monkeypatch):
    monkeypatch.chdir(place)
    python = "".join(blocks("python"))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(python, "README.md", "exec"), {"__name__": "readme"})
    assert "copy  file://" in printed.getvalue()
    assert Path("answer.jpg").stat().st_size > 1000


def test_the_settings_file_can_be_used(place, monkeypatch):
    monkeypatch.chdir(place)
    (block,) = blocks("toml")
    Path("shown.toml").write_text(block)
    assert sora_search("query", "clip.mp4", "--config", "shown.toml").exit_code == 0


def test_the_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    for target in targets:
        assert (Path(__file__).parents[1] / target).exists(), target


def test_the_make_targets_exist():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)\b", README))
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_table_of_edits_shows_those_of_the_command_above_it():
    pattern = r"^sora-search evaluate .*--edits (\S+) --queries (\d+)"
    [(edits, num)] = re.findall(pattern, README, re.MULTILINE)
    _, table = README.split("\nedit      n  rank 1 ")
    rows = [line.split()[:2] for line in table.split("```")[0].splitlines()[1:]]
    assert rows == [[edit, num] for edit in edits.split(",")]
