"""An index follows its files, whatever happens to them and to the run."""

import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from interrupting import heed_interrupts
from pixel_encoder import PixelEncoder
from small_videos import write_small_video
from troubled_encoder import BLUE, GREEN, MAGENTA, RED, TroubledEncoder, TroubledEncoderSpec

from sora_search.datatypes import IndexReport
from sora_search.errors import ConfigError, IndexIncompatibleError, IndexLockedError
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.media.probing import path_of, uri_of


@pytest.fixture
def videos(tmp_path):
    """Three videos in two folders."""
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(["a.mkv", "b.mkv", "sub/c.mkv"]):
        write_small_video(folder / name, seed)
    return folder


@pytest.fixture
def bring_up_to_date(tmp_path):
    """Run `index_videos` on the index of this test, opened and closed each time."""

    def run(*paths, encoder=None, **options) -> IndexReport:
        encoder = encoder or PixelEncoder()
        with VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index:
            return index_videos(index, paths, encoder=encoder, **options)

    return run


@pytest.fixture
def contents(tmp_path):
    """What the index holds: names of each content, with an `!` where the content is missing."""

    def read():
        with VideoIndex.open(tmp_path / "index") as index:
            return {
                ("!" if video.missing else "")
                + "+".join(sorted(path_of(uri).name for uri in video.uris))
                for video in index.videos()
            }

    return read


def num_vectors(tmp_path):
    with VideoIndex.open(tmp_path / "index") as index:
        return sum(video.num_vectors for video in index.videos())


# What happens to files


def test_new_files_are_added(videos, bring_up_to_date, contents, tmp_path):
    report = bring_up_to_date(videos)
    assert report == IndexReport(num_added=3, num_vectors=num_vectors(tmp_path))
    assert report.num_vectors >= 3 * 16
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


def test_unchanged_files_are_not_even_opened(videos, bring_up_to_date):
    bring_up_to_date(videos)
    for path in videos.rglob("*.mkv"):  # same size and time, but nothing that could be decoded
        status = os.stat(path)
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert bring_up_to_date(videos) == IndexReport(num_unchanged=3)


def test_a_touched_file_is_recognized_by_its_content(videos, bring_up_to_date):
    bring_up_to_date(videos)
    os.utime(videos / "a.mkv", (1, 1))
    assert bring_up_to_date(videos) == IndexReport(num_unchanged=3)
    (videos / "a.mkv").write_bytes(bytes(os.stat(videos / "a.mkv").st_size))
    os.utime(videos / "a.mkv", (1, 1))  # the new time was remembered: not opened again
    assert bring_up_to_date(videos) == IndexReport(num_unchanged=3)


def test_a_changed_file_gets_new_vectors(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    write_small_video(videos / "a.mkv", seed=9, seconds=3)
    report = bring_up_to_date(videos)
    assert (report.num_changed, report.num_unchanged, report.num_added) == (1, 2, 0)
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


def test_a_changed_file_that_cannot_be_read_keeps_its_old_vectors(
    videos, bring_up_to_date, contents
):
    bring_up_to_date(videos)
    (videos / "a.mkv").write_text("no video any more")
    report = bring_up_to_date(videos)
    assert (len(report.failures), report.num_unchanged, report.num_missing) == (1, 2, 0)
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


def test_a_moved_file_is_not_computed_again(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    (videos / "a.mkv").rename(videos / "sub" / "renamed.mkv")
    assert bring_up_to_date(videos) == IndexReport(num_moved=1, num_unchanged=2)
    assert contents() == {"renamed.mkv", "b.mkv", "c.mkv"}
    assert bring_up_to_date(videos) == IndexReport(num_unchanged=3)


def test_a_file_moved_out_of_a_folder_that_was_not_given(videos, bring_up_to_date, tmp_path):
    bring_up_to_date(videos)
    (tmp_path / "elsewhere").mkdir()
    new = (videos / "a.mkv").rename(tmp_path / "elsewhere" / "a.mkv")
    assert bring_up_to_date(tmp_path / "elsewhere") == IndexReport(num_moved=1)
    with VideoIndex.open(tmp_path / "index") as index:
        video = index.find(uri_of(new))
        assert video.uris[0] == uri_of(new)
        assert not video.missing


def test_a_copy_is_one_more_name(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    shutil.copy(videos / "a.mkv", videos / "copy.mkv")
    assert bring_up_to_date(videos) == IndexReport(num_other_names=1, num_unchanged=3)
    assert contents() == {"a.mkv+copy.mkv", "b.mkv", "c.mkv"}


def test_a_name_that_is_gone_is_dropped_while_another_is_there(videos, bring_up_to_date, contents):
    for name in ["copy.mkv", "third.mkv"]:
        shutil.copy(videos / "a.mkv", videos / name)
    (videos / "link.mkv").symlink_to(videos / "a.mkv")
    bring_up_to_date(videos)
    (videos / "copy.mkv").unlink()
    report = bring_up_to_date(videos)
    assert report == IndexReport(num_unchanged=5, num_missing=1, num_dropped=1)
    assert contents() == {"a.mkv+link.mkv+third.mkv", "b.mkv", "c.mkv"}
    assert bring_up_to_date(videos) == IndexReport(num_unchanged=5)
    (videos / "a.mkv").unlink()  # the link leads nowhere now
    (videos / "third.mkv").unlink()
    report = bring_up_to_date(videos)
    assert (report.num_missing, report.num_dropped, len(report.failures)) == (2, 0, 1)


def test_a_name_outside_of_the_given_folders_stays(videos, bring_up_to_date, contents):
    shutil.copy(videos / "a.mkv", videos / "copy.mkv")
    bring_up_to_date(videos)
    (videos / "a.mkv").unlink()
    assert bring_up_to_date(videos / "sub") == IndexReport(num_unchanged=1)
    assert "a.mkv+copy.mkv" in contents()


@pytest.mark.parametrize("jobs", [1, 2])
def test_names_of_one_content_are_embedded_once(jobs, videos, bring_up_to_date, contents, tmp_path):
    shutil.copy(videos / "a.mkv", videos / "copy.mkv")
    os.link(videos / "a.mkv", videos / "hard.mkv")
    (videos / "soft.mkv").symlink_to(videos / "a.mkv")
    report = bring_up_to_date(videos, jobs=jobs)
    assert report == IndexReport(num_added=3, num_other_names=3, num_vectors=num_vectors(tmp_path))
    assert contents() == {"a.mkv+copy.mkv+hard.mkv+soft.mkv", "b.mkv", "c.mkv"}
    assert bring_up_to_date(videos, jobs=jobs) == IndexReport(num_unchanged=6)


def test_a_new_link_to_a_known_file_costs_nothing(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    (videos / "link.mkv").symlink_to(videos / "a.mkv")
    assert bring_up_to_date(videos) == IndexReport(num_other_names=1, num_unchanged=3)
    assert "a.mkv+link.mkv" in contents()


def test_files_that_swap_names(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    (videos / "a.mkv").rename(videos / "x")
    (videos / "b.mkv").rename(videos / "a.mkv")
    (videos / "x").rename(videos / "b.mkv")
    for name in ["a.mkv", "b.mkv"]:
        os.utime(videos / name, (1, 1))
    report = bring_up_to_date(videos)
    assert (report.num_changed, report.num_unchanged, report.failures) == (2, 1, ())
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


def test_gone_files_are_missing_until_they_are_back(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    (videos / "a.mkv").rename(videos / "a.bak")
    assert bring_up_to_date(videos) == IndexReport(num_missing=1, num_unchanged=2, num_skipped=1)
    assert contents() == {"!a.mkv", "b.mkv", "c.mkv"}
    (videos / "a.bak").rename(videos / "a.mkv")
    assert bring_up_to_date(videos) == IndexReport(num_unchanged=3)
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


def test_only_the_given_folders_are_looked_at(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    (videos / "a.mkv").unlink()
    assert bring_up_to_date(videos / "sub") == IndexReport(num_unchanged=1)
    assert bring_up_to_date(videos / "b.mkv") == IndexReport(num_unchanged=1)
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


def test_prune_forgets_what_is_gone(videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    (videos / "a.mkv").unlink()
    bring_up_to_date(videos)
    (videos / "b.mkv").unlink()
    report = bring_up_to_date(videos, prune=True)
    assert report == IndexReport(num_missing=2, num_dropped=2, num_unchanged=1)
    assert contents() == {"c.mkv"}
    assert bring_up_to_date(videos, prune=True) == IndexReport(num_unchanged=1)


@pytest.mark.parametrize("prune", [False, True])
def test_an_empty_root_is_taken_for_an_unmounted_drive(prune, videos, bring_up_to_date, contents):
    bring_up_to_date(videos)
    videos.rename(videos.with_name("drive"))
    videos.mkdir()
    warnings = []
    assert bring_up_to_date(videos, prune=prune, on_warning=warnings.append) == IndexReport()
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}
    (warning,) = warnings
    assert "not mounted" in warning.reason
    assert str(videos) in warning.reason
    videos.rmdir()
    videos.with_name("drive").rename(videos)
    assert bring_up_to_date(videos) == IndexReport(num_unchanged=3)


def test_an_incomplete_root_marks_nothing_missing(videos, bring_up_to_date, contents, monkeypatch):
    bring_up_to_date(videos)
    (videos / "a.mkv").unlink()
    real_scandir = os.scandir

    def scandir(path):  # what a failing disk answers; root may read every folder
        if os.path.basename(path) == "sub":
            raise OSError(5, "Input/output error")
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = bring_up_to_date(videos, prune=True)
    assert (report.num_missing, report.num_unchanged) == (0, 1)
    assert [path_of(failure.uri).name for failure in report.failures] == ["sub"]
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


def test_a_file_that_is_there_but_was_not_found_is_not_missing(videos, bring_up_to_date, contents):
    odd = (videos / "a.mkv").rename(videos / "a.bin")
    bring_up_to_date(videos, odd)
    assert bring_up_to_date(videos, prune=True) == IndexReport(num_unchanged=2, num_skipped=1)
    assert contents() == {"a.bin", "b.mkv", "c.mkv"}


def test_a_folder_without_videos_and_a_missing_path(videos, bring_up_to_date, contents, tmp_path):
    (tmp_path / "empty").mkdir()
    assert bring_up_to_date(tmp_path / "empty") == IndexReport()
    bring_up_to_date(videos)
    with pytest.raises(ConfigError):
        bring_up_to_date(videos, tmp_path / "nowhere")
    assert len(contents()) == 3


def test_odd_names(videos, bring_up_to_date, tmp_path):
    odd = [
        b"new\nline.mkv",
        "\N{CLAPPER BOARD}.mkv".encode(),
        b"not-\xff-utf8.mkv",
        b"q '\"#?%.mkv",
    ]
    for seed, name in enumerate(odd, start=10):
        write_small_video(tmp_path / "made.mkv", seed)
        os.rename(tmp_path / "made.mkv", os.fsencode(videos) + b"/" + name)
    (videos / "sub" / "loop").symlink_to(videos)
    assert bring_up_to_date(videos, jobs=2).num_added == 3 + len(odd)
    assert bring_up_to_date(videos, jobs=2) == IndexReport(num_unchanged=3 + len(odd))
    with VideoIndex.open(tmp_path / "index") as index:
        names = {os.fsencode(path_of(v.uris[0]).name) for v in index.videos()}
    assert names >= set(odd)


# What happens to a run


def test_one_bad_file_of_each_kind_stops_nothing(videos, bring_up_to_date, contents):
    write_small_video(videos / "kills.mkv", color=RED)
    write_small_video(videos / "hangs.mkv", color=GREEN)
    write_small_video(videos / "eats.mkv", color=BLUE)
    shutil.copy(videos / "eats.mkv", videos / "sub" / "eats too.mkv")
    (videos / "text.mp4").write_text("not a video")
    (videos / "empty.mp4").touch()
    (videos / "random.mp4").write_bytes(os.urandom(5000))
    long = write_small_video(videos / "cut.mkv", seed=5, seconds=20, side=128)
    os.truncate(long, os.stat(long).st_size * 6 // 10)
    (videos / "dangling.mkv").symlink_to(videos / "nowhere")
    told, warnings = [], []
    report = bring_up_to_date(
        videos,
        encoder=TroubledEncoder(),
        jobs=2,
        timeout_s=3.0,
        on_failure=told.append,
        on_warning=warnings.append,
    )
    assert contents() == {"a.mkv", "b.mkv", "c.mkv", "cut.mkv"}
    assert (report.num_added, report.num_salvaged) == (4, 1)
    assert sorted(path_of(failure.uri).name for failure in report.failures) == [
        "dangling.mkv",
        "eats too.mkv",
        "eats.mkv",
        "empty.mp4",
        "hangs.mkv",
        "kills.mkv",
        "random.mp4",
        "text.mp4",
    ]
    assert tuple(told) == report.failures
    for failure in report.failures:
        assert path_of(failure.uri).name in failure.reason
        assert "\n" not in failure.reason
    (warning,) = warnings
    assert "cut.mkv" in warning.reason


def test_a_killed_worker_costs_its_video_alone(videos, bring_up_to_date, contents):
    killed = []

    def kill_one(progress):
        if progress.phase == "embedding" and progress.num_done == 1 and not killed:
            for child in multiprocessing.active_children()[:1]:
                os.kill(child.pid, signal.SIGKILL)
                killed.append(child.pid)

    encoder = TroubledEncoder(TroubledEncoderSpec(delay_s=0.2))
    for seed in range(3, 6):
        write_small_video(videos / f"{seed}.mkv", seed)
    report = bring_up_to_date(videos, encoder=encoder, jobs=2, on_progress=kill_one)
    assert len(killed) == 1
    assert (report.num_added, len(report.failures)) == (5, 1)
    assert "killed" in report.failures[0].reason
    assert bring_up_to_date(videos, encoder=encoder, jobs=2).num_added == 1


def test_progress_counts_files_and_seconds(videos, bring_up_to_date):
    seen = []
    bring_up_to_date(videos, on_progress=seen.append)
    assert [p.phase for p in seen[:1]] == ["looking for videos"]
    assert seen[-1].phase == "saving"
    assert (seen[-1].num_done, seen[-1].num_total) == (3, 3)
    assert seen[-1].done_s == pytest.approx(6, abs=0.5)
    assert seen[-1].total_s == pytest.approx(6, abs=0.5)
    done_s = [p.done_s for p in seen]
    assert done_s == sorted(done_s)
    assert {uri_of(videos / "a.mkv"), uri_of(videos / "b.mkv")} <= {p.uri for p in seen}


def test_a_bug_stops_the_run_and_keeps_what_was_committed(videos, bring_up_to_date, contents):
    write_small_video(videos / "z.mkv", color=MAGENTA, side=16)  # the smallest: comes last
    encoder = TroubledEncoder()
    with pytest.raises(RuntimeError, match="a bug"):
        bring_up_to_date(videos, encoder=encoder)
    assert contents() == {"a.mkv", "b.mkv", "c.mkv"}


@pytest.mark.skipif(os.name == "nt", reason="needs limits of POSIX")
def test_a_full_disk_stops_the_run_and_keeps_what_was_committed(
    videos, bring_up_to_date, contents, tmp_path
):
    import resource

    bring_up_to_date(videos / "a.mkv")
    for seed in range(10, 20):
        write_small_video(videos / f"{seed}.mkv", seed, seconds=10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file of this process may grow beyond this: to SQLite and FAISS the disk is full.
    limit = os.stat(tmp_path / "index" / "catalog.sqlite3").st_size + 60_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError):  # noqa: PT011  (its text is the storage's)
            bring_up_to_date(videos)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    num_kept = len(contents())
    assert 1 < num_kept < 13
    report = bring_up_to_date(videos)
    assert (report.num_unchanged, report.num_added) == (num_kept, 13 - num_kept)


@pytest.mark.skipif(os.name == "nt", reason="needs limits of POSIX")
def test_a_full_disk_is_told_in_a_line_and_traced_for_those_who_debug(
    videos, bring_up_to_date, caplog
):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(progress):
        if progress.num_done == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))

    try:
        with caplog.at_level(logging.DEBUG, "sora_search"), pytest.raises(OSError):  # noqa: PT011
            bring_up_to_date(videos, on_progress=fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("the vector file could not be saved: ")
    assert warning.exc_info is None
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.DEBUG)


def test_another_model_is_refused(videos, bring_up_to_date, tmp_path):
    encoder = PixelEncoder()
    other = TroubledEncoder(TroubledEncoderSpec(model="other"))
    with (
        VideoIndex.open_or_create(tmp_path / "index", encoder=encoder) as index,
        pytest.raises(IndexIncompatibleError, match="other"),
    ):
        index_videos(index, videos, encoder=other)


def test_no_jobs_is_refused(videos, bring_up_to_date):
    with pytest.raises(ValueError, match="jobs=0"):
        bring_up_to_date(videos, jobs=0)


RUN = """
import sys
from troubled_encoder import TroubledEncoder, TroubledEncoderSpec
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex

if __name__ == "__main__":
    encoder = TroubledEncoder(TroubledEncoderSpec(delay_s=0.2))
    with VideoIndex.open_or_create(sys.argv[2], encoder=encoder) as index:
        index_videos(
            index, sys.argv[1], encoder=encoder, jobs=int(sys.argv[3]),
            on_progress=lambda progress: print(progress.num_done, flush=True),
        )
"""


@pytest.fixture
def begin_run(videos, tmp_path):
    """Index six videos slowly in a process of its own, with its own process group."""
    for seed in range(3, 6):
        write_small_video(videos / f"{seed}.mkv", seed)
    (tmp_path / "run.py").write_text(RUN)
    started = []

    def begin(jobs=2, until_done=2):
        run = subprocess.Popen(
            [sys.executable, tmp_path / "run.py", videos, tmp_path / "index", str(jobs)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )
        started.append(run)
        while line := run.stdout.readline():
            if int(line) >= until_done:
                return run
        raise AssertionError(run.stderr.read())

    yield begin
    for run in started:
        run.kill()
        run.communicate()


def group_is_gone(group, within_s=10.0):
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_at_once_and_keeps_what_was_committed(
    jobs, begin_run, videos, bring_up_to_date, contents
):
    run = begin_run(jobs)
    os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to the whole group
    _, errors = run.communicate(timeout=5)
    assert run.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1  # that of KeyboardInterrupt here, none of a worker
    assert group_is_gone(run.pid)
    assert 2 <= len(contents()) < 6
    report = bring_up_to_date(videos)
    assert (report.num_added + report.num_unchanged, report.failures) == (6, ())


def test_after_kill_9_the_next_run_goes_on(begin_run, videos, bring_up_to_date, contents):
    run = begin_run()
    run.kill()
    run.communicate()
    assert group_is_gone(run.pid)  # the workers notice
    num_kept = len(contents())
    assert 2 <= num_kept < 6
    report = bring_up_to_date(videos)
    assert (report.num_unchanged, report.num_added) == (num_kept, 6 - num_kept)


def test_a_second_run_is_told_who_is_writing(begin_run, videos, bring_up_to_date, contents):
    run = begin_run()
    with pytest.raises(IndexLockedError, match=str(run.pid)):
        bring_up_to_date(videos)
    run.communicate(timeout=30)
    assert run.returncode == 0
    assert len(contents()) == 6
