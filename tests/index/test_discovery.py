"""Which files a run looks at."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from sora_search.errors import ConfigError
from sora_search.index.discovery import content_id, find_videos
from sora_search.media.probing import path_of


def names(found, root):
    return [os.fsencode(os.path.relpath(file.path, root)) for file in found.files]


@pytest.fixture
def tree(tmp_path):
    """A folder with files of all kinds; nothing is opened, so none is a real video."""
    for name in ["b.mp4", "a.MKV", "sub/c.webm", "sub/deep/d.mov", "notes.txt", "sub/cover.jpg"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_folders_are_walked_in_a_fixed_order(tree):
    assert names(find_videos(tree), tree) == [b"a.MKV", b"b.mp4", b"sub/c.webm", b"sub/deep/d.mov"]


def test_files_not_named_like_videos_are_counted(tree):
    (tree / ".hidden").write_bytes(b"")
    assert find_videos(tree).num_skipped == 2  # notes.txt and cover.jpg
    assert find_videos(tree / "notes.txt").num_skipped == 0


def test_a_found_file_tells_size_and_time(tree):
    file = find_videos([tree]).files[1]
    status = os.stat(tree / "b.mp4")
    assert (file.size_bytes, file.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert path_of(file.uri) == file.path == tree / "b.mp4"


def test_a_file_given_by_name_is_taken_whatever_its_name(tree):
    found = find_videos([tree / "notes.txt"])
    assert names(found, tree) == [b"notes.txt"]
    assert not found.roots[0].is_folder


def test_overlapping_paths_give_each_name_once(tree):
    found = find_videos([tree / "sub", tree, tree / "b.mp4", tree])
    assert len(found.files) == 4
    assert all(root.is_complete and not root.is_empty for root in found.roots)


def test_hidden_and_system_folders_and_the_index_are_skipped(tree):
    for name in [".trash/x.mp4", "lost+found/x.mp4", "index_data/x.mp4", "._b.mp4"]:
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x")
    found = find_videos(tree, skip=[tree / "index_data"])
    assert len(found.files) == 4


def test_a_hidden_folder_given_by_name_is_searched(tree):
    (tree / ".cache").mkdir()
    (tree / ".cache" / "x.mp4").write_bytes(b"x")
    assert names(find_videos(tree / ".cache"), tree) == [b".cache/x.mp4"]


def test_odd_names_survive(tree):
    odd = [
        b"new\nline.mp4",
        "\N{CLAPPER BOARD}.mp4".encode(),
        b"not-\xff-utf8.mp4",
        b"q \"'#?%.mp4",
    ]
    for name in odd:
        with open(os.fsencode(tree) + b"/sub/deep/" + name, "wb") as file:
            file.write(b"x")
    found = find_videos(tree / "sub" / "deep")
    assert names(found, tree / "sub" / "deep") == sorted([*odd, b"d.mov"])
    assert all(path_of(file.uri) == file.path for file in found.files)


def test_two_names_of_one_file_share_their_identity(tree):
    (tree / "link.mp4").symlink_to(tree / "b.mp4")
    os.link(tree / "b.mp4", tree / "sub" / "hard.mp4")
    found = find_videos(tree)
    same = [file for file in found.files if file.identity == found.files[1].identity]
    assert [file.path.name for file in same] == ["b.mp4", "link.mp4", "hard.mp4"]


def test_loops_of_links_end(tree):
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "sub" / "self").symlink_to(tree / "sub" / "self")
    (tree / "self.mp4").symlink_to(tree / "self.mp4")
    found = find_videos(tree)
    assert len(found.files) == 4
    assert [path_of(failure.uri).name for failure in found.failures] == ["self.mp4"]
    assert found.roots[0].is_complete


def test_linked_folders_are_followed_and_real_ones_come_first(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "e.mp4").write_bytes(b"e")
    (tree / "aa-link").symlink_to(other)
    (tree / "ab-link").symlink_to(tree / "sub")
    assert names(find_videos(tree), tree) == [
        b"a.MKV",
        b"aa-link/e.mp4",
        b"b.mp4",
        b"sub/c.webm",
        b"sub/deep/d.mov",
    ]


def test_a_link_to_nothing_is_named(tree):
    (tree / "gone.mp4").symlink_to(tree / "nowhere.mp4")
    found = find_videos(tree)
    assert len(found.files) == 4
    (failure,) = found.failures
    assert "gone.mp4" in failure.reason
    assert "\n" not in failure.reason
    assert found.roots[0].is_complete


def test_what_is_no_regular_file_is_named_and_not_opened(tree):
    os.mkfifo(tree / "pipe.mp4")
    found = find_videos([tree, "/dev/null"])
    assert len(found.files) == 4
    assert {path_of(failure.uri).name for failure in found.failures} == {"pipe.mp4", "null"}


def test_a_missing_path_is_wrong_usage(tree):
    for path in [tree / "nowhere", tree / "b.mp4" / "below"]:
        with pytest.raises(ConfigError, match="no file or folder at"):
            find_videos([tree, path])


def test_an_empty_folder_is_told_from_one_without_videos(tree):
    (tree / "empty").mkdir()
    (tree / "hidden").mkdir()
    (tree / "hidden" / ".DS_Store").write_bytes(b"x")
    (tree / "text").mkdir()
    (tree / "text" / "notes.txt").write_bytes(b"x")
    roots = find_videos([tree / "empty", tree / "hidden", tree / "text"]).roots
    assert [root.is_empty for root in roots] == [True, True, False]


def test_is_above_goes_by_whole_names(tree):
    (root,) = find_videos(tree / "sub").roots
    assert root.is_above(root.uri + "/c.webm")
    assert not root.is_above(root.uri)
    assert not root.is_above(root.uri + "way/c.webm")


@pytest.fixture
def as_nobody():
    """Act as a user who is not root; root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked_tree():
    """A folder that anyone may read, but not its part `locked`."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    (root / "open").mkdir()
    (root / "open" / "a.mp4").write_bytes(b"a")
    (root / "locked").mkdir(mode=0)
    yield root
    (root / "locked").chmod(0o755)
    shutil.rmtree(root)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_an_unreadable_folder_is_named_and_its_roots_incomplete(locked_tree, as_nobody):
    paths = [locked_tree, locked_tree / "open", locked_tree / "locked"]
    found = find_videos(paths)
    assert names(found, locked_tree) == [b"open/a.mp4"]
    assert [root.is_complete for root in found.roots] == [False, True, False]
    assert {path_of(failure.uri).name for failure in found.failures} == {"locked"}
    assert "Permission denied" in found.failures[0].reason


def test_content_id_is_the_digest_of_the_whole_file(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "x").write_bytes(data)
    read = []
    assert content_id(tmp_path / "x", on_read=read.append) == (
        "sha256:" + hashlib.sha256(data).hexdigest()
    )
    assert read[-1] == len(data)
    assert len(read) > 1
