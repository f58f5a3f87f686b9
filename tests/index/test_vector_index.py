"""FAISS at its border: files, structures, what FAISS itself lets through."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from made_vectors import DIM, unit_rows

from sora_search.errors import IndexDamagedError
from sora_search.index.manifest import sha256_of
from sora_search.index.vector_index import FaissIndex


@pytest.fixture
def index() -> FaissIndex:
    index = FaissIndex(DIM)
    index.add(np.arange(10, 60), unit_rows(50))
    return index


def test_a_saved_index_answers_as_before(index, tmp_path):
    path = tmp_path / "a #?% \N{SLICE OF PIZZA}.faiss"
    written = index.save(path)
    assert written.size_bytes == path.stat().st_size
    assert written.sha256 == sha256_of(path)
    queries = unit_rows(30, seed=9)
    expected = index.search(queries, 7)
    for read_only in (False, True):
        loaded = FaissIndex.load(path, read_only=read_only)
        hits = loaded.search(queries, 7)
        np.testing.assert_array_equal(hits.vector_ids, expected.vector_ids)
        np.testing.assert_array_equal(hits.scores, expected.scores)
        np.testing.assert_array_equal(loaded.ids, index.ids)
        np.testing.assert_array_equal(loaded.vectors(np.array([59, 10])), unit_rows(50)[[49, 0]])


def test_a_loaded_index_still_knows_its_ids(index, tmp_path):
    index.save(tmp_path / "x.faiss")
    loaded = FaissIndex.load(tmp_path / "x.faiss")
    with pytest.raises(ValueError, match="already: 59"):
        loaded.add(np.array([59]), unit_rows(1))
    loaded.add(np.array([60]), unit_rows(1))
    assert len(loaded) == 51


def test_a_mapped_index_is_never_changed(index, tmp_path):
    index.save(tmp_path / "x.faiss")
    mapped = FaissIndex.load(tmp_path / "x.faiss", read_only=True)
    with pytest.raises(ValueError, match="read-only"):
        mapped.add(np.array([99]), unit_rows(1))
    with pytest.raises(ValueError, match="read-only"):
        mapped.remove(np.array([10]))


def test_a_mapped_index_outlives_its_name(index, tmp_path):
    index.save(tmp_path / "x.faiss")
    mapped = FaissIndex.load(tmp_path / "x.faiss", read_only=True)
    (tmp_path / "x.faiss").unlink()
    assert mapped.search(unit_rows(50)[:1], 1).vector_ids.item() == 10


def test_a_file_is_never_written_over(index, tmp_path):
    (tmp_path / "x.faiss").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        index.save(tmp_path / "x.faiss")
    assert (tmp_path / "x.faiss").read_bytes() == b"mine"


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("kept", [0, 3, 40, 1000])
def test_a_truncated_file_is_damaged(index, tmp_path, kept, read_only):
    path = tmp_path / "x.faiss"
    index.save(path)
    os.truncate(path, kept)
    with pytest.raises(IndexDamagedError, match="check --repair"):
        FaissIndex.load(path, read_only=read_only)


def test_an_index_without_ids_is_damaged(tmp_path):
    faiss.write_index(faiss.IndexFlatIP(DIM), str(tmp_path / "x.faiss"))
    with pytest.raises(IndexDamagedError, match="without ids"):
        FaissIndex.load(tmp_path / "x.faiss")


def test_a_missing_file_is_said_as_everywhere(tmp_path):
    with pytest.raises(FileNotFoundError):
        FaissIndex.load(tmp_path / "x.faiss")


def test_an_unknown_id_has_no_vector(index):
    with pytest.raises(KeyError, match="9"):
        index.vectors(np.array([10, 9]))
    assert index.vectors(np.empty(0, np.int64)).shape == (0, DIM)


@pytest.mark.parametrize("structure", ["Flat", "IDMap2,IVF4,Flat", "IVF4,SQ8", "Nonsense"])
def test_structures_that_cannot_serve_are_refused(structure):
    with pytest.raises(ValueError, match="structure"):
        FaissIndex(DIM, structure)


def test_a_dimension_below_one_is_refused():
    with pytest.raises(ValueError, match="dim=0"):
        FaissIndex(0)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from sora_search.index.vector_index import FaissIndex
index = FaissIndex(64)
index.add(np.arange(20_000), np.eye(64, dtype=np.float32)[np.arange(20_000) % 64])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    index.save(Path(sys.argv[1]))
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_file_that_does_not_fit_leaves_nothing_behind(tmp_path: Path):
    path = tmp_path / "x.faiss"
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"{errno.EFBIG} {path}\n"
    assert not path.exists()
