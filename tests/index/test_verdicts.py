"""The log of verdicts: what stands, what survives, and that lines are only added."""

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_vectors import add, made_content_id, made_index, made_uri

from sora_search.datatypes import Decision
from sora_search.errors import VerdictNotFoundError, VideoNotIndexedError
from sora_search.index.discovery import content_id
from sora_search.index.manifest import read_manifest
from sora_search.index.rows import to_verdicts
from sora_search.index.tables import VerdictRow
from sora_search.index.video_index import VideoIndex
from sora_search.media.probing import uri_of


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A query file; a verdict looks at nothing but its bytes."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the bytes of a clip")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of three videos, with the ids 1 to 3."""
    return made_index(tmp_path / "index", ["a", "b", "c"])


def written(folder: Path) -> VideoIndex:
    return VideoIndex.open(folder, read_only=False)


def test_a_verdict_says_who_decided_what_and_when(folder, clip):
    before = datetime.now(UTC)
    with written(folder) as index:
        added = index.add_verdict(clip, made_uri("b"), "no-match", by="ann")
    with VideoIndex.open(folder) as index:
        assert index.verdicts() == [added]
        assert index.decisions(clip) == {2: "no-match"}
    assert (added.verdict_id, added.undoes) == (1, None)
    assert (added.decision, added.state) == ("no-match", "stands")
    assert (added.query_content_id, added.query_uri) == (content_id(clip), uri_of(clip))
    assert (added.video_content_id, added.video_uri) == (made_content_id("b"), made_uri("b"))
    assert (added.video_id, added.decided_by) == (2, "ann")
    decided_at = datetime.fromisoformat(added.decided_at)
    assert decided_at.utcoffset() == timedelta(0)
    assert before - timedelta(seconds=1) <= decided_at <= datetime.now(UTC)


@pytest.mark.parametrize("name", [2, "2", made_uri("b"), "/videos/b", made_content_id("b")])
def test_a_verdict_takes_the_names_of_a_video_that_all_take(folder, clip, name):
    with written(folder) as index:
        assert index.add_verdict(clip, name, "match", by="ann").video_id == 2


def test_the_name_is_that_of_the_user(folder, clip, monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "beth")
    with written(folder) as index:
        index.add_verdict(clip, 1, "match")
        index.undo_verdict(1)
        assert [verdict.decided_by for verdict in index.verdicts()] == ["beth", "beth"]


def test_a_name_that_is_not_utf8_is_kept_in_letters_that_are(folder, clip):
    with written(folder) as index:
        index.add_verdict(clip, 1, "match", by=os.fsdecode(b"ren\xe9"))
        assert [verdict.decided_by for verdict in index.verdicts()] == ["ren\\udce9"]


def test_wrong_arguments_are_named(folder, clip):
    with written(folder) as index:
        with pytest.raises(ValueError, match="match, no-match, got decision='maybe'"):
            index.add_verdict(clip, 1, "maybe", by="ann")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="need a name, got by=' '"):
            index.add_verdict(clip, 1, "match", by=" ")
        with pytest.raises(VideoNotIndexedError, match="'/videos/z' is not in the index"):
            index.add_verdict(clip, "/videos/z", "match", by="ann")
        with pytest.raises(FileNotFoundError):
            index.add_verdict(clip.with_name("none.mp4"), 1, "match", by="ann")
        assert index.verdicts() == []


# What stands


def test_the_newest_of_contradictory_verdicts_stands(folder, clip):
    with written(folder) as index:
        index.add_verdict(clip, 1, "match", by="ann")
        index.add_verdict(clip, 2, "no-match", by="ann")
        index.add_verdict(clip, 1, "no-match", by="bob")
        assert [verdict.state for verdict in index.verdicts()] == ["replaced", "stands", "stands"]
        assert index.decisions(clip) == {1: "no-match", 2: "no-match"}


def test_an_undo_is_a_line_of_its_own_and_brings_back_what_stood_before(folder, clip):
    with written(folder) as index:
        index.add_verdict(clip, 1, "match", by="ann")
        index.add_verdict(clip, 1, "no-match", by="bob")
        before = index.verdicts()
        undo = index.undo_verdict(2, by="cid")
        assert (undo.verdict_id, undo.decision, undo.undoes, undo.state) == (3, None, 2, None)
        assert (undo.decided_by, undo.video_id, undo.query_uri) == ("cid", 1, uri_of(clip))
        assert index.decisions(clip) == {1: "match"}
        log = index.verdicts()
        assert [verdict.state for verdict in log] == ["stands", "undone", None]
        assert [(v.decided_by, v.decided_at, v.decision) for v in log[:2]] == [
            (v.decided_by, v.decided_at, v.decision) for v in before
        ]
        index.undo_verdict(1, by="cid")
        assert index.decisions(clip) == {}
        assert len(index.verdicts()) == 4


def test_only_a_verdict_that_is_not_undone_can_be_undone(folder, clip):
    with written(folder) as index:
        index.add_verdict(clip, 1, "match", by="ann")
        index.undo_verdict(1, by="ann")
        for verdict_id, said in {
            1: "verdict 1 is undone already",
            2: "2 is no verdict, it undoes 1: decide again",
            3: "no verdict has the id 3: `sora-search verdict list`",
        }.items():
            with pytest.raises(VerdictNotFoundError, match=said):
                index.undo_verdict(verdict_id, by="ann")
        assert len(index.verdicts()) == 2


def test_verdicts_of_one_query_say_nothing_about_another(folder, clip):
    other = clip.with_name("other.mp4")
    other.write_bytes(b"other bytes")
    with written(folder) as index:
        index.add_verdict(clip, 1, "match", by="ann")
        index.add_verdict(other, 1, "no-match", by="ann")
        assert [verdict.verdict_id for verdict in index.verdicts(other)] == [2]
        assert index.decisions(clip) == {1: "match"}
        assert index.decisions(other) == {1: "no-match"}
        clip.write_bytes(b"changed")
        assert index.decisions(clip) == {}


class _Log:
    """The simplest thing that knows what stands: for each query a stack of its verdicts."""

    def __init__(self) -> None:
        self.rows: list[VerdictRow] = []
        self.standing: dict[str, list[int]] = {"q": [], "r": []}

    def add(self, query: str, decision: Decision) -> None:
        self._append(query, decision, None)
        self.standing[query].append(len(self.rows))

    def undo(self, verdict_id: int) -> None:
        query = self.rows[verdict_id - 1].query_content_id
        self._append(query, None, verdict_id)
        self.standing[query].remove(verdict_id)

    def _append(self, query: str, decision: Decision | None, undoes: int | None) -> None:
        row = VerdictRow(id=len(self.rows) + 1, query_content_id=query, video_content_id="v")
        row.query_uri = row.video_uri = row.decided_by = row.decided_at = ""
        row.decision, row.undoes = decision, undoes
        self.rows.append(row)


@given(steps=st.lists(st.tuples(st.sampled_from("qr"), st.integers(0, 9)), max_size=20))
def test_what_stands_is_the_newest_that_was_not_undone(steps):
    log = _Log()
    for query, number in steps:
        alive = log.standing[query]
        if number >= 6 and alive:
            log.undo(alive[number % len(alive)])
        else:
            log.add(query, "match" if number % 2 else "no-match")
    verdicts = to_verdicts([(row, None, None) for row in log.rows])
    stands = [verdict.verdict_id for verdict in verdicts if verdict.state == "stands"]
    assert stands == sorted(ids[-1] for ids in log.standing.values() if ids)
    replaced = [verdict.verdict_id for verdict in verdicts if verdict.state == "replaced"]
    assert replaced == sorted(i for ids in log.standing.values() for i in ids[:-1])


# What survives


def test_a_verdict_goes_with_the_contents_not_with_the_names(folder, clip):
    with written(folder) as index:
        index.add_verdict(clip, 1, "match", by="ann")
        index.touch_file(made_uri("moved"), 1, 1, made_content_id("a"))
        index.forget_files([made_uri("a")])
        add(index, "a", "what is there now")
        moved = clip.rename(clip.with_name("renamed.mp4"))
        assert index.decisions(moved) == {1: "match"}
        (verdict,) = index.verdicts()
        assert (verdict.video_uri, verdict.query_uri) == (made_uri("moved"), uri_of(clip))


def test_a_verdict_comes_back_to_life_with_its_video(folder, clip):
    with written(folder) as index:
        index.add_verdict(clip, 1, "no-match", by="ann")
        index.remove([1])
        assert index.decisions(clip) == {}
        (verdict,) = index.verdicts()
        assert (verdict.video_id, verdict.video_uri) == (None, made_uri("a"))
        assert (verdict.video_content_id, verdict.state) == (made_content_id("a"), "stands")
    with written(folder) as index:
        video_id = add(index, "elsewhere", "a")
        assert video_id != 1
        assert index.decisions(clip) == {video_id: "no-match"}
        assert [verdict.video_uri for verdict in index.verdicts()] == [made_uri("elsewhere")]


def test_a_verdict_on_a_removed_video_can_be_undone(folder, clip):
    with written(folder) as index:
        index.add_verdict(clip, 1, "match", by="ann")
        index.remove([1])
        index.undo_verdict(1, by="ann")
        video_id = add(index, "a")
        assert index.decisions(clip) == {}
        assert [verdict.video_id for verdict in index.verdicts()] == [video_id] * 2


def test_a_verdict_leaves_vectors_and_their_files_alone(folder, clip):
    before = {path.name: path.read_bytes() for path in folder.glob("vectors-*")}
    manifest = read_manifest(folder)
    with written(folder) as index:
        generation = index.generation
        index.add_verdict(clip, 1, "match", by="ann")
        assert index.generation == generation
    assert {path.name: path.read_bytes() for path in folder.glob("vectors-*")} == before
    assert read_manifest(folder) == manifest
    with VideoIndex.open(folder) as index:
        assert index.check() == []


def test_a_reader_that_is_open_sees_new_verdicts(folder, clip):
    with VideoIndex.open(folder) as reader, written(folder) as index:
        assert reader.decisions(clip) == {}
        index.add_verdict(clip, 1, "match", by="ann")
        assert reader.decisions(clip) == {1: "match"}
        index.undo_verdict(1, by="ann")
        assert reader.decisions(clip) == {}


# Reads and writes as a user without a name, who may not write the folder.
AS_NOBODY = """
import os, sys
from sora_search.errors import SoraSearchError
from sora_search.index.video_index import VideoIndex
import sora_search.index.migration
clip, closed, open_to_all = sys.argv[1:]
os.environ.clear()
os.setgroups([]); os.setgid(54321); os.setuid(54321)
with VideoIndex.open(closed) as index:
    print(index.decisions(clip), [verdict.decided_by for verdict in index.verdicts()])
try:
    VideoIndex.open(closed, read_only=False)
except PermissionError as error:
    print(error.strerror)
with VideoIndex.open(open_to_all, read_only=False) as index:
    try:
        index.add_verdict(clip, 1, "match")
    except SoraSearchError as error:
        print(int(error.exit_code), error)
    print(index.add_verdict(clip, 1, "match", by="ann").verdict_id)
"""


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can become a user without name"
)
def test_verdicts_in_a_folder_that_cannot_be_written_and_by_a_user_without_a_name():
    with tempfile.TemporaryDirectory() as name:  # that of pytest is closed to other users
        place = Path(name)
        place.chmod(0o755)
        clip = place / "clip.mp4"
        clip.write_bytes(b"the bytes of a clip")
        closed = made_index(place / "closed", ["a"])
        with written(closed) as index:
            index.add_verdict(clip, 1, "no-match", by="ann")
        open_to_all = made_index(place / "open", ["a"])
        open_to_all.chmod(0o777)
        for path in open_to_all.iterdir():
            path.chmod(0o666)
        run = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, clip, closed, open_to_all],
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "{1: 'no-match'} ['ann']",
        "the index cannot be written: make its folder writable",
        "2 your user has no name: say who decides with --by NAME",
        "1",
    ]
