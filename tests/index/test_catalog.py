"""The catalog: odd paths, schemas, damage, and the rules of its tables."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from made_vectors import (
    MadeEncoder,
    add,
    contents,
    made_content_id,
    made_embedding,
    made_index,
    made_info,
    made_uri,
)
from sqlalchemy import create_engine

from sora_search.errors import (
    IndexDamagedError,
    IndexLockedError,
    IndexNotFoundError,
    IndexSchemaError,
    VideoNotIndexedError,
)
from sora_search.index.catalog import CATALOG_NAME, Catalog
from sora_search.index.connecting import REVISIONS, read_only_mode, sqlite_url
from sora_search.index.migration import (
    SchemaState,
    current,
    migrate,
    migrations_folder,
    upgrade,
)
from sora_search.index.tables import Table
from sora_search.index.video_index import VideoIndex


def execute(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / CATALOG_NAME)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


# Schema


def test_models_and_migrations_do_not_differ(tmp_path):
    made_index(tmp_path)
    engine = create_engine(sqlite_url(tmp_path / CATALOG_NAME, mode="ro"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_revisions_are_those_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == REVISIONS


def test_migrating_again_changes_nothing(tmp_path):
    made_index(tmp_path, ["a"])
    assert upgrade(tmp_path).is_current
    with VideoIndex.open(tmp_path) as index:
        assert len(index.videos()) == 1


def test_a_newer_schema_asks_for_a_newer_program(tmp_path):
    made_index(tmp_path, ["a"])
    execute(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    before = (tmp_path / CATALOG_NAME).read_bytes()
    for opening in (
        lambda: VideoIndex.open(tmp_path),
        lambda: VideoIndex.open(tmp_path, read_only=False),
        lambda: upgrade(tmp_path),
    ):
        with pytest.raises(IndexSchemaError, match=r"newer .* upgrade sora-search"):
            opening()
    assert current(tmp_path).revision == "9999"
    assert not current(tmp_path).is_current
    assert (tmp_path / CATALOG_NAME).read_bytes() == before


def test_an_older_schema_asks_readers_for_an_upgrade(tmp_path, monkeypatch):
    made_index(tmp_path, ["a"])
    monkeypatch.setattr("sora_search.index.connecting.REVISIONS", (*REVISIONS, "9999"))
    said = f"older schema {REVISIONS[-1]}: run `sora-search db upgrade`"
    with pytest.raises(IndexSchemaError, match=said):
        VideoIndex.open(tmp_path)


def made_index_of_schema(folder: Path, revision: str, names: list[str]) -> Path:
    """An index as a program of that schema left it."""
    folder.mkdir()
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    with Catalog(folder / CATALOG_NAME, writable=True, create=True) as catalog:
        with catalog.changing_schema() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        catalog.initialize(model_id="made@1", dim=8, sampling={}, structure="IDMap2,Flat")
        for name in names:
            catalog.add_video(
                made_uri(name),
                1000,
                1,
                made_content_id(name),
                made_info(name),
                made_embedding(3).spans,
                made_embedding(3).vectors.astype(np.float16),
                None,
            )
    return folder


def test_an_index_before_verdicts_is_refused_until_it_is_upgraded_and_keeps_all(tmp_path):
    folder = made_index_of_schema(tmp_path / "old", "0001", ["a", "b"])
    with pytest.raises(IndexSchemaError, match="older schema 0001: run `sora-search db upgrade`"):
        VideoIndex.open(folder)
    assert upgrade(folder) == SchemaState(revision="0001", newest=REVISIONS[-1])
    assert current(folder).is_current
    engine = create_engine(sqlite_url(folder / CATALOG_NAME, mode="ro"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()
    with VideoIndex.open(folder, read_only=False) as index:
        assert contents(index) == {made_uri(name): made_content_id(name) for name in ("a", "b")}
        expected = made_embedding(3)
        assert index.embedding(2).spans == expected.spans
        np.testing.assert_array_equal(index.embedding(2).vectors, expected.vectors)
        assert index.verdicts() == []
        index.add_verdict(__file__, "1", "no-match", by="ann")
    with VideoIndex.open(folder) as index:
        assert index.decisions(__file__) == {1: "no-match"}
        assert index.check() == []


def test_a_writer_upgrades_an_index_before_verdicts_by_itself(tmp_path):
    folder = made_index_of_schema(tmp_path / "old", "0001", ["a"])
    with VideoIndex.open(folder, read_only=False) as index:
        index.add_verdict(__file__, 1, "match", by="ann")
    with VideoIndex.open(folder) as index:
        assert index.decisions(__file__) == {1: "match"}


def test_a_migration_that_fails_leaves_the_catalog_as_it_was(tmp_path):
    path = tmp_path / CATALOG_NAME
    catalog = Catalog(path, writable=True, create=True)

    def change_half() -> None:
        with catalog.changing_schema() as connection:
            connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        change_half()
    assert catalog.revision() is None
    migrate(catalog)
    assert catalog.revision() == REVISIONS[-1]
    catalog.close()


def test_a_catalog_that_was_never_finished_is_no_index_yet(tmp_path):
    (tmp_path / CATALOG_NAME).touch()
    with pytest.raises(IndexNotFoundError, match="never finished"):
        VideoIndex.open(tmp_path)
    made_index(tmp_path, ["a"])
    with VideoIndex.open(tmp_path) as index:
        assert len(index.videos()) == 1


# Damage


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_is_no_catalog_is_damaged(tmp_path, read_only):
    made_index(tmp_path, ["a"])
    (tmp_path / CATALOG_NAME).write_bytes(b"text, not a catalog\n" * 100)
    with pytest.raises(IndexDamagedError, match=r"is damaged .* put back a copy"):
        VideoIndex.open(tmp_path, read_only=read_only)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_schema_that_is_not_text_is_damage(tmp_path, read_only):
    path = made_index(tmp_path, ["a"]) / CATALOG_NAME
    content = path.read_bytes()
    # SQLite quotes the name of a table whose entry in the schema it cannot use.
    start = content.index(b"tableverdict", 0, 4096) + len("tablever")
    path.write_bytes(content[:start] + b"\xff" * 4 + content[start + 4 :])
    with pytest.raises(IndexDamagedError, match=r"is damaged \(malformed .* put back a copy"):
        VideoIndex.open(tmp_path, read_only=read_only)


def test_a_truncated_catalog_is_damaged(tmp_path):
    made_index(tmp_path, [f"video {i}" for i in range(40)])
    path = tmp_path / CATALOG_NAME
    os.truncate(path, path.stat().st_size // 2)

    def read() -> None:
        with VideoIndex.open(tmp_path) as index:
            assert any(not damage.repairable for damage in index.check())
            index.videos()
            index.search(np.eye(8, dtype=np.float32), 100)

    with pytest.raises(IndexDamagedError):
        read()
    with (
        pytest.raises(IndexDamagedError, match="put back a copy of the"),
        VideoIndex.open(tmp_path, read_only=False) as index,
    ):
        index.repair()


# Connections


@pytest.mark.parametrize(
    "name",
    ["plain", "a#b?c=d&e", "100%25 %", 'quote\'s "and"', "new\nline", "\N{SLICE OF PIZZA}"],
)
def test_any_folder_name_will_do(tmp_path, name):
    made_index(tmp_path / name, ["a"])
    assert (tmp_path / name / CATALOG_NAME).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with VideoIndex.open(tmp_path / name) as index:
        assert len(index.videos()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_folder_name_that_is_not_utf8_will_do(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    made_index(folder, ["a"])
    with VideoIndex.open(folder) as index:
        assert index.check() == []
        assert index.search(np.eye(8, dtype=np.float32), 1).vector_ids.min() >= 0


def test_how_a_reader_opens_the_catalog():
    assert read_only_mode(can_write=True, has_wal=True) == "rw"
    assert read_only_mode(can_write=True, has_wal=False) == "rw"
    assert read_only_mode(can_write=False, has_wal=True) == "ro"
    assert read_only_mode(can_write=False, has_wal=False) == "immutable"


def test_an_immutable_catalog_is_read_without_files_beside_it(tmp_path):
    made_index(tmp_path, ["a"])
    engine = create_engine(sqlite_url(tmp_path / CATALOG_NAME, mode="immutable"))
    before = sorted(path.name for path in tmp_path.iterdir())
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM content").scalar() == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    engine.dispose()


# Reads indexes as a user who may not write them; root may do all, so it stops being root.
READ_AS_NOBODY = """
import os, sys
import numpy as np
from sora_search.index.video_index import VideoIndex
import sora_search.index.migration
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    with VideoIndex.open(path) as index:
        hits = index.search(np.eye(8, dtype=np.float32), 1)
        print(sorted(video.uris[0] for video in index.videos()), hits.vector_ids.min() >= 0)
    for opened in (VideoIndex.open, VideoIndex.open_or_create):
        how = {"read_only": False} if opened == VideoIndex.open else {"encoder": None}
        try:
            opened(path, **how)
        except PermissionError as error:
            print(error.strerror, error.filename == path)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs permissions of folders")
def test_indexes_in_folders_that_cannot_be_written():
    with tempfile.TemporaryDirectory() as name:  # that of pytest is closed to other users
        tmp_path = Path(name)
        tmp_path.chmod(0o755)
        writer = VideoIndex.open_or_create(
            made_index(tmp_path / "index", ["a"]), encoder=MadeEncoder()
        )
        add(writer, "b")  # as long as `writer` is open, in the -wal alone
        hurried = Path(shutil.copytree(tmp_path / "index", tmp_path / "hurried"))
        writer.close()
        closed = Path(shutil.copytree(tmp_path / "index", tmp_path / "closed"))
        assert len(list(hurried.glob(f"{CATALOG_NAME}-*"))) == 2
        assert len(list(closed.glob(f"{CATALOG_NAME}-*"))) == 0
        for folder in (hurried, closed):
            for path in folder.iterdir():
                path.chmod(0o444)
            folder.chmod(0o555)
        run = subprocess.run(
            [sys.executable, "-c", READ_AS_NOBODY, hurried, closed],
            capture_output=True,
            text=True,
            check=False,
        )
        for folder in (hurried, closed):
            folder.chmod(0o755)
    assert run.returncode == 0, run.stderr
    refused = "the index cannot be written: make its folder writable"
    elsewhere = f"{refused}, or choose another with --index DIR True"
    both = f"{[made_uri('a'), made_uri('b')]} True"
    assert run.stdout.splitlines() == 2 * [both, f"{refused} True", elsewhere]


def test_a_catalog_that_is_busy_says_so(tmp_path, monkeypatch):
    made_index(tmp_path, ["a"])
    monkeypatch.setattr("sora_search.index.connecting._BUSY_TIMEOUT_S", 0.05)
    other = sqlite3.connect(tmp_path / CATALOG_NAME, isolation_level=None)
    with VideoIndex.open(tmp_path, read_only=False) as index:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexLockedError, match="busy"):
            add(index, "b")
        other.execute("ROLLBACK")
        add(index, "b")
        assert len(index.videos()) == 2
    other.close()


def test_a_full_disk_loses_nothing(tmp_path):
    made_index(tmp_path, ["a"])
    with VideoIndex.open(tmp_path, read_only=False) as index:
        connection = index._catalog._engine.connect()
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
        connection.close()  # back to the pool, whose only connection it is
        generation = index.generation

        def fill() -> None:
            for i in range(200):
                add(index, f"b{i}")

        with pytest.raises(OSError, match="the disk is full; all that was stored") as raised:
            fill()
        assert raised.value.filename == str(tmp_path / CATALOG_NAME)
        num_stored = len(index.videos())
        assert index.generation == generation + num_stored - 1
        assert index.check() == []
    with VideoIndex.open(tmp_path) as index:
        assert len(index.videos()) == num_stored
        assert index.check() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_what_is_stored_can_be_read_where_nothing_can_be_written(tmp_path):
    import resource

    made_index(tmp_path, ["a"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # no file may grow: as on a full disk
    try:
        with VideoIndex.open(tmp_path) as index:
            assert len(index.videos()) == 1
            assert index.search(np.eye(8, dtype=np.float32), 1).vector_ids.min() >= 0
            assert index.check() == []
        with pytest.raises(OSError, match="the disk is full; all that was stored"):
            VideoIndex.open(tmp_path, read_only=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_what_is_in_the_wal_alone_is_never_left_out(tmp_path):
    import resource

    writer = VideoIndex.open_or_create(made_index(tmp_path / "a", ["a"]), encoder=MadeEncoder())
    add(writer, "b")  # as long as `writer` is open, in the -wal alone
    killed = Path(shutil.copytree(tmp_path / "a", tmp_path / "killed"))
    writer.close()
    (killed / f"{CATALOG_NAME}-shm").unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="the disk is full; all that was stored"):
            VideoIndex.open(killed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with VideoIndex.open(killed) as index:
        assert len(index.videos()) == 2


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB, where one can be had."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("needs a disk to fill, which only root can mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_is_read_and_says_that_all_is_kept(small_disk):
    made_index(small_disk / "index", ["a"])
    writer = VideoIndex.open(small_disk / "index", read_only=False)
    add(writer, "b")
    with (small_disk / "rest").open("wb", buffering=0) as rest, suppress(OSError):
        while rest.write(bytes(512)):
            pass
    with pytest.raises(OSError, match="the disk is full; all that was stored") as raised:
        writer.save()
    writer.close()
    assert raised.value.errno == errno.ENOSPC
    with VideoIndex.open(small_disk / "index") as reader:
        assert len(reader.videos()) == 2
        assert reader.check() == []


def test_foreign_keys_are_followed(tmp_path):
    made_index(tmp_path, ["a"])
    with (
        VideoIndex.open(tmp_path, read_only=False) as index,
        index._catalog._engine.connect() as connection,
    ):
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_reader_cannot_write(tmp_path):
    made_index(tmp_path, ["a"])
    with VideoIndex.open(tmp_path) as index:
        with pytest.raises(ValueError, match="read-only"):
            add(index, "b")
        with pytest.raises(ValueError, match="read-only"):
            index.remove([1])
        with pytest.raises(ValueError, match="read-only"):
            index.save()
        with pytest.raises(ValueError, match="read-only"):
            index.repair()
        with pytest.raises(ValueError, match="read-only"):
            index.add_verdict(__file__, 1, "match", by="ann")
        with pytest.raises(ValueError, match="read-only"):
            index.undo_verdict(1, by="ann")
        with pytest.raises(VideoNotIndexedError):
            index.video(2)
