"""`kill -9` between any two writes: the index opens, holds what was committed, and goes on."""

import os
import subprocess
import sys
from pathlib import Path

import killed_writer
import numpy as np
import pytest
from made_vectors import (
    MadeEncoder,
    add,
    contents,
    made_content_id,
    made_uri,
    num_vectors_of,
    seed_of,
    unit_rows,
)

from sora_search.errors import IndexNotFoundError
from sora_search.index.video_index import VideoIndex

STATES = [{}, *(state for _, state in killed_writer.OPERATIONS)]


def assert_consistent(index: VideoIndex) -> None:
    assert index.check() == []
    for video in index.videos():
        stored = index.embedding(video.video_id).vectors
        content = next(c for c in ("one", "two", "three") if made_content_id(c) == video.content_id)
        np.testing.assert_array_equal(
            stored, unit_rows(num_vectors_of(content), seed=seed_of(content))
        )
        owners, ordinals = index.locate(index.search(stored, 1).vector_ids)
        assert owners.ravel().tolist() == [video.video_id] * len(stored)
        assert ordinals.ravel().tolist() == list(range(len(stored)))


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to try many runs quickly")
def test_a_writer_killed_before_any_step_leaves_an_index_that_goes_on(tmp_path, stride):
    tests = Path(killed_writer.__file__).parent
    path = os.pathsep.join(map(str, (tests, tests.parent)))  # the package beside these tests
    subprocess.run(
        [sys.executable, killed_writer.__file__, tmp_path, str(stride)],
        check=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    folders = sorted(
        (path for path in tmp_path.iterdir() if path.is_dir()), key=lambda p: int(p.name)
    )
    assert len(folders) > 60 // stride
    for folder in folders:
        operation = int(folder.with_name(f"{folder.name}.operation").read_text())
        # The operation it died in has happened or not; all before it have.
        allowed = [
            {made_uri(name): made_content_id(content) for name, content in state.items()}
            for state in STATES[max(operation - 1, 0) : operation + 1]
        ]
        try:
            with VideoIndex.open(folder) as index:
                assert contents(index) in allowed, folder
                assert_consistent(index)
        except IndexNotFoundError:
            assert operation == 0
        with VideoIndex.open_or_create(folder, encoder=MadeEncoder()) as index:
            assert contents(index) in allowed, folder
            add(index, "z", "three")
        with VideoIndex.open(folder) as index:
            assert contents(index)[made_uri("z")] == made_content_id("three")
            assert_consistent(index)
            assert {path.name.partition("-")[0] for path in folder.iterdir()} <= {
                "catalog.sqlite3",
                "manifest.json",
                "vectors",
                "lock",
            }
            assert len(list(folder.glob("vectors-*"))) == 1
