"""Files to vectors in processes that may die."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from pixel_encoder import PixelEncoder, PixelEncoderSpec
from small_videos import write_small_video
from troubled_encoder import BLUE, GREEN, MAGENTA, RED, TroubledEncoder, TroubledEncoderSpec

from sora_search.errors import WorkerError
from sora_search.index.discovery import content_id, find_videos
from sora_search.index.workers import (
    Embedded,
    EmbedTask,
    Failed,
    Recognized,
    embed_here,
    embed_in_workers,
)


def tasks_of(*paths):
    return [
        EmbedTask(str(file.path), file.uri, file.size_bytes) for file in find_videos(paths).files
    ]


def run(tasks, spec, *, jobs=2, timeout_s=60.0, wanted=lambda task, content: True, positions=None):
    told = [] if positions is None else positions
    outcomes = embed_in_workers(
        tasks, spec, jobs=jobs, timeout_s=timeout_s, wanted=wanted, on_position=told.append
    )
    return {os.path.basename(outcome.task.path): outcome for outcome in outcomes}


def ignore(position):
    pass


@pytest.fixture
def videos(tmp_path):
    for seed in range(4):
        write_small_video(tmp_path / f"{seed}.mkv", seed)
    return tmp_path


def test_workers_and_this_process_agree(videos):
    tasks = tasks_of(videos)
    positions = []
    there = run(tasks, PixelEncoderSpec(), positions=positions)
    here = embed_here(tasks, PixelEncoder(), wanted=lambda task, content: True, on_position=ignore)
    for outcome in here:
        other = there.pop(os.path.basename(outcome.task.path))
        assert isinstance(other, Embedded)
        assert isinstance(outcome, Embedded)
        np.testing.assert_array_equal(other.embedding.vectors, outcome.embedding.vectors)
        assert other.embedding.spans == outcome.embedding.spans
        assert other.info == outcome.info
        assert other.content_id == outcome.content_id == content_id(outcome.task.path)
        assert (other.size_bytes, other.mtime_ns) == (
            os.stat(outcome.task.path).st_size,
            os.stat(outcome.task.path).st_mtime_ns,
        )
    assert not there
    assert {position.task for position in positions} <= set(tasks)
    assert all(2 > position.position_s >= 0 for position in positions)
    assert positions[0].duration_s == pytest.approx(2, abs=0.1)


def test_what_is_not_wanted_is_not_decoded(videos):
    (videos / "text.mkv").write_text("not a video")
    asked = []

    def wanted(task, content):
        asked.append(content)
        return False

    outcomes = run(tasks_of(videos), PixelEncoderSpec(), wanted=wanted)
    assert all(isinstance(outcome, Recognized) for outcome in outcomes.values())
    assert sorted(asked) == sorted(outcome.content_id for outcome in outcomes.values())


def test_each_kind_of_trouble_costs_one_video(videos):
    write_small_video(videos / "kills.mkv", color=RED)
    write_small_video(videos / "hangs.mkv", color=GREEN)
    write_small_video(videos / "eats.mkv", color=BLUE)
    (videos / "text.mkv").write_text("not a video")
    (videos / "empty.mkv").touch()
    outcomes = run(tasks_of(videos), TroubledEncoderSpec(), timeout_s=3.0)
    good = {name for name, outcome in outcomes.items() if isinstance(outcome, Embedded)}
    assert good == {"0.mkv", "1.mkv", "2.mkv", "3.mkv"}
    reasons = {
        name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, Failed)
    }
    assert "killed" in reasons["kills.mkv"]
    assert "no progress for 3 s" in reasons["hangs.mkv"]
    assert "memory" in reasons["eats.mkv"]
    assert set(reasons) == {"kills.mkv", "hangs.mkv", "eats.mkv", "text.mkv", "empty.mkv"}
    for name, reason in reasons.items():
        assert name in reason
        assert "\n" not in reason
    assert multiprocessing.active_children() == []


def test_a_bug_in_a_worker_is_raised_here(videos):
    write_small_video(videos / "bug.mkv", color=MAGENTA, seconds=4)
    with pytest.raises(RuntimeError, match="a bug") as caught:
        run(tasks_of(videos), TroubledEncoderSpec())
    assert "troubled_encoder.py" in "".join(caught.value.__notes__)
    assert multiprocessing.active_children() == []


def test_workers_that_cannot_start_are_reported(videos):
    with pytest.raises(WorkerError, match=r"exit code 7.*jobs=1"):
        run(tasks_of(videos), TroubledEncoderSpec(can_load=False))


def test_leaving_the_loop_ends_the_workers_at_once(videos):
    write_small_video(videos / "hangs.mkv", color=GREEN, seconds=4)
    outcomes = embed_in_workers(
        tasks_of(videos),
        TroubledEncoderSpec(),
        jobs=2,
        timeout_s=600,
        wanted=lambda task, content: True,
        on_position=ignore,
    )
    next(outcomes)
    assert len(multiprocessing.active_children()) == 2
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 2
    assert multiprocessing.active_children() == []


def test_few_files_get_the_spare_threads(videos):
    recipe = TroubledEncoderSpec(model="threads", tell_threads=True)
    (alone,) = run(tasks_of(videos / "0.mkv"), recipe, jobs=4).values()
    assert alone.embedding.model_id == "threads-4"
    all_four = run(tasks_of(videos), recipe, jobs=4)
    assert all_four["0.mkv"].embedding.model_id == "threads-1"


def test_a_file_that_grows_while_read_is_a_failure(videos):
    path = videos / "0.mkv"
    encoder = TroubledEncoder(TroubledEncoderSpec(delay_s=0.5))

    def grow():
        time.sleep(0.25)
        with open(path, "ab") as file:
            file.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    (outcome,) = embed_here(
        tasks_of(path), encoder, wanted=lambda task, content: True, on_position=ignore
    )
    thread.join()
    assert isinstance(outcome, Failed)
    assert "changed while it was read" in outcome.reason
    assert "run again" in outcome.reason


def test_a_file_that_vanishes_is_a_failure(videos):
    path = videos / "0.mkv"
    tasks = tasks_of(path, videos / "1.mkv")

    def wanted(task, content):
        path.unlink(missing_ok=True)
        return True

    first, second = embed_here(tasks, PixelEncoder(), wanted=wanted, on_position=ignore)
    assert isinstance(first, Failed)
    assert "vanished while it was read" in first.reason
    assert isinstance(second, Embedded)
    (again,) = embed_here(tasks[:1], PixelEncoder(), wanted=wanted, on_position=ignore)
    assert isinstance(again, Failed)
    assert "vanished before it was read" in again.reason


def test_a_script_without_a_guard_is_told(videos, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pixel_encoder import PixelEncoderSpec\n"
        "from sora_search.index.workers import EmbedTask, embed_in_workers\n"
        f"tasks = [EmbedTask({str(videos / '0.mkv')!r}, 'file:///x', 1)] * 2\n"
        "print(list(embed_in_workers(tasks, PixelEncoderSpec(), jobs=2, timeout_s=60,\n"
        "    wanted=lambda task, content: True, on_position=print)))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "needs an `if __name__ == '__main__':` guard, or use jobs=1" in done.stderr
