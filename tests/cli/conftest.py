"""Small real videos, and an index of them."""

import shutil
from pathlib import Path

import pytest
from command_line import make_videos, sora_search


@pytest.fixture(scope="session")
def made_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `videos/`, `clip.mp4` and `picture.png`; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    make_videos(folder)
    return folder


@pytest.fixture(scope="session")
def made_index(made_videos: Path) -> Path:
    """The same folder with an index of its videos in `index_data`; not to be changed."""
    result = sora_search(
        "index", made_videos / "videos", "--index", made_videos / "index_data", "-j1"
    )
    assert result.exit_code == 0, result.stderr
    return made_videos


@pytest.fixture
def place(made_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with videos and a clip that a test may change; no index yet."""
    shutil.copytree(made_videos, tmp_path / "here", ignore=shutil.ignore_patterns("index_data"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def indexed(made_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an index of its own videos that a test may change."""
    # The index knows the files where they were indexed, so only the index is a copy.
    shutil.copytree(made_index / "index_data", tmp_path / "index_data")
    monkeypatch.chdir(made_index)
    monkeypatch.setenv("SORA_SEARCH_INDEX", str(tmp_path / "index_data"))
    return made_index
