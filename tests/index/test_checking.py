"""Every kind of damage is found, and mended where it can be."""

import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_vectors import MadeEncoder, add, contents, made_index, made_uri, num_vectors_of

from sora_search.errors import IndexDamagedError, IndexSchemaError
from sora_search.index.catalog import CATALOG_NAME
from sora_search.index.manifest import MANIFEST_NAME
from sora_search.index.video_index import VideoIndex
from sora_search.media.probing import path_of

NAMES = [f"v{i}" for i in range(6)]


def execute(folder: Path, *statements: str, foreign_keys: bool = True) -> None:
    connection = sqlite3.connect(folder / CATALOG_NAME)
    connection.execute(f"PRAGMA foreign_keys = {foreign_keys}")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def faiss_file(folder: Path) -> Path:
    return next(folder.glob("vectors-*.faiss"))


def flip_bit(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def change_manifest(folder: Path, **values: object) -> None:
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


CACHE_DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "lost manifest": (lambda folder: (folder / MANIFEST_NAME).unlink(), "manifest is gone"),
    "empty manifest": (lambda folder: (folder / MANIFEST_NAME).write_text(""), "not a manifest"),
    "cut manifest": (
        lambda folder: os.truncate(folder / MANIFEST_NAME, 90),
        "not a manifest",
    ),
    "manifest that names a file outside": (
        lambda folder: change_manifest(
            folder, vectors={"name": "../x.faiss", "size_bytes": 1, "sha256": ""}
        ),
        "not a manifest",
    ),
    "manifest of another index": (
        lambda folder: change_manifest(folder, index_id="0" * 16),
        "does not belong .* index_id",
    ),
    "catalog older than the manifest": (
        lambda folder: change_manifest(folder, generation=99),
        "does not belong .* generation",
    ),
    "lost FAISS file": (lambda folder: faiss_file(folder).unlink(), "FAISS file is gone"),
    "cut FAISS file": (
        lambda folder: os.truncate(faiss_file(folder), 500),
        "has 500 of .* bytes",
    ),
    "flipped bit": (lambda folder: flip_bit(faiss_file(folder), 200), "checksum"),
}


@pytest.mark.parametrize("kind", CACHE_DAMAGE)
def test_damage_beside_the_catalog_is_found_and_mended(tmp_path, kind, caplog):
    damage, message = CACHE_DAMAGE[kind]
    made_index(tmp_path, NAMES)
    with VideoIndex.open(tmp_path) as index:
        expected = index.search(np.eye(8, dtype=np.float32), 100)
    damage(tmp_path)
    with VideoIndex.open(tmp_path) as index:
        (found,) = index.check()
        assert re.search(message, found.what)
        assert found.repairable
        assert str(tmp_path) in found.where
        assert index.check(deep=False)
        assert len(index.videos()) == 6  # what needs no vectors goes on
        if kind == "lost manifest":
            with caplog.at_level(logging.WARNING):
                hits = index.search(np.eye(8, dtype=np.float32), 100)
            assert "check --repair" in caplog.text
            np.testing.assert_array_equal(hits.vector_ids, expected.vector_ids)
        else:
            with pytest.raises(IndexDamagedError, match="check --repair"):
                index.search(np.eye(8, dtype=np.float32), 1)
    with VideoIndex.open(tmp_path, read_only=False) as index:
        if kind != "catalog older than the manifest":  # a writer has to mend that at once
            (done,) = index.repair()
            assert done == "built the FAISS file and manifest.json again from the catalog"
        assert index.repair() == []
    with VideoIndex.open(tmp_path) as index:
        assert index.check() == []
        hits = index.search(np.eye(8, dtype=np.float32), 100)
        np.testing.assert_array_equal(hits.vector_ids, expected.vector_ids)
        np.testing.assert_array_equal(hits.scores, expected.scores)


@pytest.mark.parametrize("kind", CACHE_DAMAGE)
def test_the_next_writer_puts_the_cache_right_by_itself(tmp_path, kind, caplog):
    made_index(tmp_path, NAMES)
    CACHE_DAMAGE[kind][0](tmp_path)
    with caplog.at_level(logging.WARNING), VideoIndex.open(tmp_path, read_only=False) as index:
        add(index, "another")
    if kind not in ("lost manifest", "catalog older than the manifest"):
        assert "building the FAISS file again" in caplog.text
    with VideoIndex.open(tmp_path) as index:
        assert index.check() == []
        assert len(index.background(100)) == sum(map(num_vectors_of, [*NAMES, "another"]))


def test_a_writer_that_changes_nothing_puts_damaged_vectors_right_too(tmp_path, caplog):
    made_index(tmp_path, NAMES)
    content = faiss_file(tmp_path).read_bytes()
    middle = len(content) // 2
    faiss_file(tmp_path).write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    with caplog.at_level(logging.WARNING), VideoIndex.open(tmp_path, read_only=False):
        pass
    assert "building the FAISS file again" in caplog.text
    with VideoIndex.open(tmp_path) as index:
        assert index.check() == []


@pytest.mark.parametrize("change", ["copied without its times", "written by an older version"])
def test_a_file_of_another_time_is_compared_until_a_writer_saw_it(tmp_path, change):
    made_index(tmp_path, NAMES)
    if change == "copied without its times":
        os.utime(faiss_file(tmp_path), ns=(1, 1))
    else:
        vectors = json.loads((tmp_path / MANIFEST_NAME).read_text())["vectors"]
        del vectors["mtime_ns"]
        change_manifest(tmp_path, vectors=vectors)
    with VideoIndex.open(tmp_path) as index:
        assert index.search(np.eye(8, dtype=np.float32), 1).vector_ids.min() >= 0
        assert index.check() == []
    name = faiss_file(tmp_path).name
    with VideoIndex.open(tmp_path, read_only=False):
        pass
    vectors = json.loads((tmp_path / MANIFEST_NAME).read_text())["vectors"]
    assert (vectors["name"], vectors["mtime_ns"]) == (name, (tmp_path / name).stat().st_mtime_ns)


def test_a_catalog_put_back_from_a_copy_is_never_mixed_with_newer_vectors(tmp_path):
    made_index(tmp_path, ["a"])
    copy = (tmp_path / CATALOG_NAME).read_bytes()
    made_index(tmp_path, ["b", "c", "d"])
    (tmp_path / CATALOG_NAME).write_bytes(copy)
    index = VideoIndex.open(tmp_path, read_only=False)
    for name in ("w", "x", "y", "z"):  # the ids of b, c and d, and a generation beyond theirs
        add(index, name)
    index.close()  # as if killed: nothing was saved
    with VideoIndex.open(tmp_path) as reader:
        assert reader.check() == []
        for video in reader.videos():
            rows = reader.embedding(video.video_id).vectors
            owners, _ = reader.locate(reader.search(rows, 1).vector_ids)
            assert owners.ravel().tolist() == [video.video_id] * len(rows)


def test_a_newer_manifest_asks_for_a_newer_program(tmp_path):
    made_index(tmp_path, NAMES)
    change_manifest(tmp_path, format=2)
    with VideoIndex.open(tmp_path) as index:
        with pytest.raises(IndexSchemaError, match="upgrade sora-search"):
            index.search(np.eye(8, dtype=np.float32), 1)
        (damage,) = index.check()
        assert not damage.repairable


ROW_DAMAGE: dict[str, tuple[list[str], str, list[str]]] = {
    "flipped bit in a vector": (
        ["UPDATE vectors SET data = CAST(X'00' || substr(data, 2) AS BLOB) WHERE content = 2"],
        "checksum",
        ["v1"],
    ),
    "cut vector": (
        ["UPDATE vectors SET data = substr(data, 1, 10) WHERE content = 3"],
        "have 10 bytes",
        ["v2"],
    ),
    "cut times": (["UPDATE vectors SET times = X'00' WHERE content = 3"], "times", ["v2"]),
    "content without vectors": (["DELETE FROM vectors WHERE content = 1"], "belong", ["v0"]),
    "content without a file": (["DELETE FROM file WHERE content = 1"], "belong", ["v0"]),
    "vectors without a content": (
        ["UPDATE vectors SET content = 77 WHERE content = 4"],
        "1 of vectors, 1 of content",
        ["v3"],
    ),
    "ids of another video": (
        ["UPDATE vectors SET first_vector_id = 1 WHERE content = 5"],
        "vector ids of another",
        [],
    ),
    "counter put back": (["UPDATE index_state SET next_vector_id = 0"], "in use", []),
}


@pytest.mark.parametrize("kind", ROW_DAMAGE)
def test_damage_in_the_catalog_costs_only_the_videos_it_hit(tmp_path, kind):
    statements, message, lost = ROW_DAMAGE[kind]
    made_index(tmp_path, NAMES)
    execute(tmp_path, *statements, foreign_keys=False)
    with VideoIndex.open(tmp_path) as index:
        found = index.check()
        assert any(re.search(message, damage.what) for damage in found), found
        assert all(damage.repairable for damage in found)
    with VideoIndex.open(tmp_path, read_only=False) as index:
        done = index.repair()
        assert done
        left = contents(index)
        if lost:
            assert set(left) == {made_uri(name) for name in NAMES if name not in lost}
        if kind in ("flipped bit in a vector", "cut vector", "cut times"):
            assert f"dropped {str(path_of(made_uri(lost[0])))!r}: the next" in done[0]
        for name in NAMES:  # as the next `index` would
            if made_uri(name) not in left:
                add(index, name)
    with VideoIndex.open(tmp_path) as index:
        assert index.check() == []
        assert len(contents(index)) == 6
        assert len(index.background(100)) == sum(map(num_vectors_of, NAMES))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE content SET codec = CAST(X'FFFE' AS TEXT)",
        "DROP TABLE file",
        "ALTER TABLE content DROP COLUMN codec",
    ],
)
def test_tables_that_cannot_be_read_are_damage(tmp_path, statement):
    made_index(tmp_path, NAMES)
    execute(tmp_path, statement, foreign_keys=False)
    with VideoIndex.open(tmp_path) as index, pytest.raises(IndexDamagedError, match="is damaged"):
        index.videos()


def verdict_index(folder: Path) -> Path:
    made_index(folder, NAMES)
    with VideoIndex.open(folder, read_only=False) as index:
        index.add_verdict(__file__, 2, "match", by="ann")
        index.add_verdict(__file__, 3, "no-match", by="ann")
        index.undo_verdict(2, by="ann")
    return folder


def test_an_undo_of_nothing_is_found_and_deleted(tmp_path):
    execute(verdict_index(tmp_path), "DELETE FROM verdict WHERE id = 2", foreign_keys=False)
    with VideoIndex.open(tmp_path, read_only=False) as index:
        (damage,) = index.check()
        assert damage.what == "rows belong to nothing (1 of verdict)"
        assert damage.repairable
        assert "deleted rows that belong to nothing (1 of verdict)" in index.repair()
        assert index.check() == []
        assert [verdict.verdict_id for verdict in index.verdicts()] == [1]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE verdict SET decided_by = CAST(X'FFFE' AS TEXT)", "is damaged"),
        ("DROP TABLE verdict", "is damaged"),
        ("UPDATE verdict SET decision = 'perhaps' WHERE id = 1", "CHECK constraint failed"),
    ],
)
def test_a_log_of_verdicts_that_cannot_be_read_is_damage(tmp_path, statement, said):
    verdict_index(tmp_path)
    execute(tmp_path, "PRAGMA ignore_check_constraints = 1", statement, foreign_keys=False)
    with VideoIndex.open(tmp_path) as index:
        (damage,) = index.check()
        assert said in damage.what
        assert not damage.repairable


def test_a_video_that_repair_drops_keeps_its_verdicts(tmp_path):
    execute(verdict_index(tmp_path), ROW_DAMAGE["flipped bit in a vector"][0][0])
    with VideoIndex.open(tmp_path, read_only=False) as index:
        assert any("dropped" in line for line in index.repair())
        assert index.decisions(__file__) == {}
        assert [verdict.state for verdict in index.verdicts()] == ["stands", "undone", None]
        again = add(index, "v1")  # as the next `index` would
        assert index.decisions(__file__) == {again: "match"}


def test_reading_damaged_vectors_says_so(tmp_path):
    made_index(tmp_path, NAMES)
    execute(tmp_path, ROW_DAMAGE["flipped bit in a vector"][0][0])
    with VideoIndex.open(tmp_path) as index:
        with pytest.raises(IndexDamagedError, match=r"video 2 .* checksum .* check --repair"):
            index.embedding(2)
        assert len(index.embedding(1).vectors) == num_vectors_of("v0")


def test_vectors_that_are_no_vectors_are_found(tmp_path):
    made_index(tmp_path, NAMES)
    with VideoIndex.open(tmp_path, read_only=False) as index, index._catalog.writing() as session:
        from sora_search.index.rows import to_vectors_row
        from sora_search.index.tables import VectorsRow

        bad = np.full((num_vectors_of("v0"), 8), np.nan, np.float16)
        row = session.get_one(VectorsRow, (1, "made@1"))
        made = to_vectors_row(1, "made@1", 0, [None] * len(bad), bad)
        row.data, row.times, row.checksum = made.data, None, made.checksum
    with VideoIndex.open(tmp_path) as index:
        assert [damage.what for damage in index.check()] == ["its vectors hold NaN or infinity"]


def test_a_faiss_file_with_other_vectors_is_found(tmp_path):
    made_index(tmp_path / "a", NAMES)
    with VideoIndex.open(tmp_path / "a", read_only=False) as index:
        cache = index._cache
        cache.refresh()
        assert cache._file is not None
        cache._file.remove(np.array([0]))
        cache._file.add(np.array([0]), np.eye(1, 8, dtype=np.float32))
        cache._file_is_saved = False
        cache.save()
        (damage,) = index.check()
        assert damage.what == "the FAISS file has other vectors than the catalog for 1 videos"
        assert index.repair()
        assert index.check() == []


def test_a_broken_look_up_structure_is_built_again(tmp_path):
    made_index(tmp_path, NAMES)
    # Take an index out of the schema, add a row that it does not hear of, put it back.
    execute(
        tmp_path,
        "PRAGMA writable_schema = 1",
        "CREATE TABLE kept AS SELECT * FROM sqlite_master WHERE name = 'ix_file_content'",
        "DELETE FROM sqlite_master WHERE name = 'ix_file_content'",
    )
    execute(
        tmp_path,
        "INSERT INTO file (uri, size_bytes, mtime_ns, missing, content)"
        " VALUES ('file:///videos/more', 1, 1, 0, 1)",
        "PRAGMA writable_schema = 1",
        "INSERT INTO sqlite_master SELECT * FROM kept",
    )
    with VideoIndex.open(tmp_path) as index:
        damages = index.check()
        assert damages
        assert all(damage.repairable for damage in damages)
        assert "index ix_file_content" in damages[0].what
    with VideoIndex.open(tmp_path, read_only=False) as index:
        assert index.repair()[0] == "built the look-up structures of the catalog again"
        assert index.check() == []


def test_an_index_that_was_only_interrupted_is_not_damaged(tmp_path):
    index = VideoIndex.open_or_create(tmp_path, encoder=MadeEncoder())
    assert index.check() == []
    add(index, "a")
    assert index.check() == []
    index.close()
    with VideoIndex.open(tmp_path) as reader:
        assert reader.check() == []
