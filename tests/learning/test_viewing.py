"""Views of clips: which pieces of a file are looked at, and what comes of it."""

from pathlib import Path

import numpy as np
import pytest
from small_videos import write_small_video
from video_files import cut_file

from sora_search.learning.datasets import Clip
from sora_search.learning.viewing import MAX_PIECES, Lesson, look
from sora_search.sora.encoder import EncoderSpec


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_small_video(folder / "short.mkv", 1)
    write_small_video(folder / "long.mkv", 2, seconds=30)
    (folder / "bad.mp4").write_text("text")
    return folder


@pytest.mark.parametrize("lesson", ["labels", "edits"])
def test_of_a_long_video_some_pieces_are_seen_and_what_is_unreadable_is_named(
    files: Path, lesson: Lesson
) -> None:
    names = ("short.mkv", "bad.mp4", "long.mkv")
    clips = [Clip(files / name, "label", name) for name in names]
    seen = look(clips, EncoderSpec(), lesson, 1)
    assert [clip.path.name for clip in seen.clips] == ["short.mkv", "long.mkv"]
    assert len(seen.failures) == 1
    assert "bad.mp4" in seen.failures[0]
    assert seen.views.rows.shape == (1 + MAX_PIECES, 2, 256)
    assert seen.views.groups == ["short.mkv"] + ["long.mkv"] * MAX_PIECES
    assert set(seen.views.labels) == ({"label"} if lesson == "labels" else {*names} - {"bad.mp4"})
    np.testing.assert_allclose(np.linalg.norm(seen.views.rows, axis=2), 1, rtol=1e-5)
    # A view is another one, but of the same clip.
    plain, changed = seen.views.meaning[:, 0], seen.views.meaning[:, 1]
    assert ((plain * changed).sum(axis=1) < 0.9999).all()
    again = look(clips, EncoderSpec(), lesson, 1)
    np.testing.assert_array_equal(seen.views.rows, again.views.rows)


def test_of_a_video_that_was_cut_off_what_is_there_is_seen(files: Path, tmp_path: Path) -> None:
    path = cut_file(files / "long.mkv", tmp_path / "cut.mkv", share=0.2)
    seen = look([Clip(path, group="cut")], EncoderSpec(), "edits", 1)
    assert seen.failures == ()
    assert 1 <= len(seen.views) < MAX_PIECES
