"""The index as a whole: what readers see while a writer works, and what survives."""

import shutil
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from made_vectors import (
    DIM,
    MadeEncoder,
    add,
    contents,
    made_content_id,
    made_embedding,
    made_index,
    made_info,
    made_uri,
    num_vectors_of,
    seed_of,
    unit_rows,
)

from sora_search.datatypes import VideoEmbedding, VideoInfo
from sora_search.errors import (
    IndexDamagedError,
    IndexIncompatibleError,
    IndexLockedError,
    IndexNotFoundError,
    VideoNotIndexedError,
)
from sora_search.index.catalog import CATALOG_NAME
from sora_search.index.locking import LOCK_NAME
from sora_search.index.manifest import MANIFEST_NAME, read_manifest
from sora_search.index.migration import current, upgrade
from sora_search.index.vector_index import BruteForceIndex
from sora_search.index.video_index import VideoIndex
from sora_search.sora.adapter import Adapter


def opened(path: Path) -> VideoIndex:
    return VideoIndex.open_or_create(path, encoder=MadeEncoder())


def vectors_files(path: Path) -> list[Path]:
    return sorted(path.glob("vectors-*.faiss"))


def rows_of(content: str) -> np.ndarray:
    return unit_rows(num_vectors_of(content), seed=seed_of(content))


def found(index: VideoIndex, content: str, k: int = 1) -> set[int]:
    """The videos that the vectors of a content find."""
    video_ids, _ = index.locate(index.search(rows_of(content), k).vector_ids)
    return set(video_ids.ravel().tolist()) - {-1}


# What is stored comes back


def test_a_video_comes_back_as_it_was_added(tmp_path):
    embedding = made_embedding(9, seed=3)
    info = VideoInfo(made_uri("a%20b"), None, 16, 9, "av1", Fraction(24000, 1001))
    with opened(tmp_path) as index:
        video_id = index.add_video(
            info.uri, 5, 7, "sha256:1", info, embedding, "stops at 2.0 of 9.0 s \udce9"
        )
    with VideoIndex.open(tmp_path) as index:
        video = index.video(video_id)
        assert index.videos() == [video]
        assert video.info == info
        assert video.uris == (info.uri,)
        assert (video.content_id, video.num_vectors, video.missing) == ("sha256:1", 9, False)
        assert video.damage == "stops at 2.0 of 9.0 s \\udce9"
        assert video.indexed_at.endswith("+00:00")
        stored = index.embedding(video_id)
        assert stored.spans == embedding.spans
        assert stored.model_id == "made@1"
        np.testing.assert_array_equal(stored.vectors, embedding.vectors)
        assert (index.model_id, index.dim, index.structure) == ("made@1", DIM, "IDMap2,Flat")


def test_a_still_picture_has_no_span(tmp_path):
    with opened(tmp_path) as index:
        embedding = VideoEmbedding((None,), unit_rows(1), "made@1")
        video_id = index.add_video("file:///p", 1, 1, "sha256:1", made_info("p"), embedding)
        assert index.embedding(video_id).spans == (None,)


def test_vectors_are_rounded_before_either_store_has_them(tmp_path):
    rows = np.random.default_rng(0).standard_normal((50, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    half = rows.astype(np.float16).astype(np.float32)
    embedding = VideoEmbedding(made_embedding(50).spans, rows, "made@1")
    with opened(tmp_path) as index:
        video_id = index.add_video("file:///p", 1, 1, "sha256:1", made_info("p"), embedding)
        np.testing.assert_array_equal(index.embedding(video_id).vectors, half)
        expected = (rows @ half.T).max(axis=1)
        np.testing.assert_allclose(index.search(rows, 1).scores[:, 0], expected, atol=1e-6)
        assert sorted(map(tuple, index.background(50))) == sorted(map(tuple, half))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((2, DIM), np.nan, np.float32), "unit rows"),
        (np.zeros((2, DIM), np.float32), "unit rows"),
        (np.eye(2, DIM + 1, dtype=np.float32), "vectors"),
        (2 * np.eye(2, DIM, dtype=np.float32), "unit rows"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(tmp_path, rows, message):
    embedding = VideoEmbedding(made_embedding(2).spans, rows, "made@1")
    with opened(tmp_path) as index:
        with pytest.raises(ValueError, match=message):
            index.add_video("file:///p", 1, 1, "sha256:1", made_info("p"), embedding)
        assert index.generation == 0


def test_vectors_of_another_model_are_refused(tmp_path):
    with opened(tmp_path) as index, pytest.raises(IndexIncompatibleError, match="other@1"):
        index.add_video(
            "file:///p", 1, 1, "c", made_info("p"), made_embedding(1, model_id="other@1")
        )


# Files and contents


def test_a_changed_file_takes_its_old_content_with_it(tmp_path):
    with opened(tmp_path) as index:
        old = add(index, "a", "before")
        new = add(index, "a", "after")
        assert new != old
        assert contents(index) == {made_uri("a"): made_content_id("after")}
        assert found(index, "before", 50) == {new}
        with pytest.raises(VideoNotIndexedError):
            index.embedding(old)


def test_a_content_stays_as_long_as_a_file_has_it(tmp_path):
    with opened(tmp_path) as index:
        shared = add(index, "a", "same")
        assert add(index, "b", "same") == shared
        index.touch_file(made_uri("c"), 1, 1, made_content_id("same"))
        assert index.video(shared).uris == (made_uri("a"), made_uri("b"), made_uri("c"))
        assert index.video(shared).num_vectors == num_vectors_of("same")
        add(index, "a", "other")
        assert index.forget_files([made_uri("b"), made_uri("nowhere")]) == 1
        assert index.video(shared).uris == (made_uri("c"),)
        assert index.forget_files([made_uri("c")]) == 1
        with pytest.raises(VideoNotIndexedError):
            index.video(shared)


def test_missing_files_stand_last_and_come_back(tmp_path):
    with opened(tmp_path) as index:
        video_id = add(index, "a", "same")
        add(index, "b", "same")
        assert index.mark_missing([made_uri("a")]) == 1
        assert index.mark_missing([made_uri("a")]) == 0
        assert index.video(video_id).uris == (made_uri("b"), made_uri("a"))
        assert index.video(video_id).info.uri == made_uri("b")
        assert not index.video(video_id).missing
        index.mark_missing([made_uri("b")])
        assert index.video(video_id).missing
        assert found(index, "same") == {video_id}
        index.touch_file(made_uri("b"), 2, 3, made_content_id("same"))
        state = index.file_state(made_uri("b"))
        assert state is not None
        assert (state.size_bytes, state.mtime_ns, state.missing) == (2, 3, False)
        assert state.content_id == made_content_id("same")
        assert not index.video(video_id).missing
        assert set(index.file_states()) == {made_uri("a"), made_uri("b")}
        assert index.file_state(made_uri("nowhere")) is None


def test_an_unknown_content_cannot_be_touched(tmp_path):
    with opened(tmp_path) as index, pytest.raises(VideoNotIndexedError, match="sha256:9"):
        index.touch_file(made_uri("a"), 1, 1, "sha256:9")


def test_ids_are_never_used_again(tmp_path):
    with opened(tmp_path) as index:
        first = add(index, "a")
        second = add(index, "b")
        end = index.video(second).first_vector_id + index.video(second).num_vectors
        assert index.remove([first, second, 999]) == 2
    with opened(tmp_path) as index:
        third = add(index, "a")
        assert third > second
        assert index.video(third).first_vector_id == end


def test_every_change_raises_the_generation_and_nothing_else_does(tmp_path):
    with opened(tmp_path) as index:
        seen = [index.generation]
        video_id = add(index, "a")
        seen.append(index.generation)
        index.touch_file(made_uri("a"), 1, 1, made_content_id("a"))
        seen.append(index.generation)
        index.mark_missing([made_uri("a")])
        seen.append(index.generation)
        index.remove([video_id])
        seen.append(index.generation)
        assert seen == [0, 1, 2, 3, 4]
        index.remove([video_id])
        index.mark_missing([made_uri("a")])
        index.forget_files([made_uri("a")])
        index.save()
        assert index.generation == 4


def test_a_video_is_found_by_every_name_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with opened(tmp_path / "index") as index:
        video_id = add(index, "a")
        index.touch_file((tmp_path / "7").as_uri(), 1, 1, made_content_id("a"))
        other = add(index, "b")
        for name in (video_id, str(video_id), "/videos/a", Path("/videos/a"), made_uri("a"),
                     made_content_id("a"), "7", "./7", tmp_path / "7"):  # fmt: skip
            assert index.find(name).video_id == video_id, name
        assert index.find(str(other)).video_id == other
        for name in ("nothing", "99", 99, "/videos/c", "file:///videos/c"):
            with pytest.raises(VideoNotIndexedError):
                index.find(name)


# Search


def test_excluded_videos_are_as_if_not_there(tmp_path):
    names = [f"v{i}" for i in range(30)]
    with opened(tmp_path) as index:
        ids = {name: add(index, name) for name in names}
        everything = index.search(rows_of("v0"), 500)
        excluded = [ids["v0"], ids["v7"], 12345]
        hits = index.search(rows_of("v0"), 500, exclude_video_ids=excluded)
        for row, (all_ids, left_ids) in enumerate(
            zip(everything.vector_ids, hits.vector_ids, strict=True)
        ):
            owners, _ = index.locate(all_ids)
            keep = (all_ids >= 0) & ~np.isin(owners, excluded)
            np.testing.assert_array_equal(left_ids[: keep.sum()], all_ids[keep])
            assert (left_ids[keep.sum() :] == -1).all()
            np.testing.assert_array_equal(
                hits.scores[row, : keep.sum()], everything.scores[row][keep]
            )
        nothing = index.search(rows_of("v0"), 3, exclude_video_ids=ids.values())
        assert (nothing.vector_ids == -1).all()


def test_excluding_asks_for_more_until_enough_are_left(tmp_path):
    with opened(tmp_path) as index:
        # 300 vectors that are all nearer to the query than the one that may be found.
        near = np.tile(np.eye(1, DIM, dtype=np.float32), (300, 1))
        spans = made_embedding(300).spans
        crowd = index.add_video(
            "file:///crowd", 1, 1, "c1", made_info("crowd"), VideoEmbedding(spans, near, "made@1")
        )
        lone = VideoEmbedding((None,), np.eye(2, DIM, dtype=np.float32)[1:], "made@1")
        wanted = index.add_video("file:///lone", 1, 1, "c2", made_info("lone"), lone)
        hits = index.search(near[:2], 2, exclude_video_ids=[crowd])
        owners, ordinals = index.locate(hits.vector_ids)
        assert owners.tolist() == [[wanted, -1]] * 2
        assert ordinals.tolist() == [[0, -1]] * 2


def test_wrong_queries_are_refused(tmp_path):
    made_index(tmp_path, ["a"])
    with VideoIndex.open(tmp_path) as index:
        with pytest.raises(ValueError, match="k=0"):
            index.search(unit_rows(1), 0)
        with pytest.raises(ValueError, match="queries"):
            index.search(unit_rows(1, dim=DIM + 1), 1)
        assert index.search(np.empty((0, DIM), np.float32), 3).vector_ids.shape == (0, 3)


def test_an_empty_index_answers(tmp_path):
    made_index(tmp_path)
    with VideoIndex.open(tmp_path) as index:
        assert index.videos() == []
        assert (index.search(unit_rows(2), 3).vector_ids == -1).all()
        assert index.locate(np.array([[0, -1]]))[0].tolist() == [[-1, -1]]
        assert index.background(5).shape == (0, DIM)
        assert index.check() == []


def test_ids_are_located_at_the_borders(tmp_path):
    with opened(tmp_path) as index:
        ids = [add(index, name) for name in "abc"]
        index.remove([ids[1]])
        videos = {video.video_id: video for video in index.videos()}
        end = sum(num_vectors_of(name) for name in "abc")
        owners, ordinals = index.locate(np.arange(-2, end + 2))
        for vector_id, owner, ordinal in zip(
            range(-2, end + 2), owners.tolist(), ordinals.tolist(), strict=True
        ):
            here = [
                video
                for video in videos.values()
                if 0 <= vector_id - video.first_vector_id < video.num_vectors
            ]
            if here:
                assert (owner, ordinal) == (
                    here[0].video_id,
                    vector_id - here[0].first_vector_id,
                )
            else:
                assert (owner, ordinal) == (-1, -1)


def test_the_background_is_spread_over_the_videos(tmp_path):
    with opened(tmp_path) as index:
        for i, num in enumerate([500, 3, 3, 3]):
            embedding = made_embedding(num, seed=i)
            index.add_video(f"file:///{i}", 1, 1, f"c{i}", made_info(str(i)), embedding)
        rows = index.background(12)
        assert rows.shape == (12, DIM)
        owners, _ = index.locate(index.search(rows, 1).vector_ids)
        assert sorted(np.unique(owners, return_counts=True)[1].tolist()) == [3, 3, 3, 3]
        np.testing.assert_array_equal(rows, index.background(12))
        assert not np.array_equal(rows, index.background(12, seed=1))
        assert len(index.background(2)) == 2
        assert len(index.background(10_000)) == 509


# Readers beside a writer


def test_a_reader_sees_each_change_at_once(tmp_path):
    with opened(tmp_path) as writer, VideoIndex.open(tmp_path) as reader:
        assert found(reader, "a") == set()
        ids = {name: add(writer, name) for name in "abc"}
        assert found(reader, "b") == {ids["b"]}
        writer.save()
        assert found(reader, "b") == {ids["b"]}
        writer.remove([ids["b"]])
        ids["d"] = add(writer, "d")
        assert found(reader, "b", 100) == {ids["a"], ids["c"], ids["d"]}
        assert found(reader, "d") == {ids["d"]}
        assert len(reader.background(1000)) == sum(num_vectors_of(name) for name in "acd")
        old = vectors_files(tmp_path)
        writer.save()
        assert vectors_files(tmp_path) != old
        assert found(reader, "d") == {ids["d"]}
        add(writer, "e")
        assert reader.embedding(ids["d"]).vectors.shape == (num_vectors_of("d"), DIM)


def test_a_reader_catches_up_with_what_was_never_saved(tmp_path):
    made_index(tmp_path, "ab")
    writer = opened(tmp_path)
    new = add(writer, "c")
    gone = writer.find("/videos/a").video_id
    writer.remove([gone])
    writer.close()  # as if killed: nothing was saved
    with VideoIndex.open(tmp_path) as reader:
        assert found(reader, "c") == {new}
        assert gone not in found(reader, "a", 100)
        assert reader.check() == []
    before = vectors_files(tmp_path)
    with opened(tmp_path) as writer:
        pass
    assert vectors_files(tmp_path) != before
    with VideoIndex.open(tmp_path) as reader:
        assert found(reader, "c") == {new}
        assert reader._cache._added is not None
        assert len(reader._cache._added) == 0


def test_saving_again_writes_nothing(tmp_path):
    made_index(tmp_path, "ab")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with opened(tmp_path) as index:
        index.save()
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after[MANIFEST_NAME] == before[MANIFEST_NAME]


def test_a_change_of_files_alone_keeps_the_faiss_file(tmp_path):
    made_index(tmp_path, "ab")
    before = vectors_files(tmp_path)
    with opened(tmp_path) as index:
        index.mark_missing([made_uri("a")])
    assert vectors_files(tmp_path) == before
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.generation == 3


def test_only_the_named_file_is_kept(tmp_path):
    made_index(tmp_path, "ab")
    for name in ("vectors-1-00ff.faiss", "manifest.json.12ab.tmp"):
        (tmp_path / name).write_bytes(b"left behind")
    (tmp_path / "vectors-mine.txt").write_bytes(b"kept")
    with opened(tmp_path) as index:
        add(index, "c")
        index.save()
        add(index, "d")
    assert len(vectors_files(tmp_path)) == 1
    assert not list(tmp_path.glob("*.tmp"))
    assert (tmp_path / "vectors-mine.txt").exists()


def test_a_run_that_fails_does_not_save_but_loses_nothing(tmp_path):
    made_index(tmp_path, "a")
    before = vectors_files(tmp_path)

    def add_and_be_interrupted() -> None:
        with opened(tmp_path) as index:
            add(index, "b")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_and_be_interrupted()
    assert vectors_files(tmp_path) == before
    with VideoIndex.open(tmp_path) as index:
        assert found(index, "b") == {index.find("/videos/b").video_id}
    opened(tmp_path).close()  # the lock is free


def test_many_threads_may_search_while_the_index_grows(tmp_path):
    failures: list[BaseException] = []
    with opened(tmp_path) as writer, VideoIndex.open(tmp_path) as reader:
        first = add(writer, "v0")
        done = threading.Event()

        def search() -> None:
            try:
                while not done.is_set():
                    assert found(reader, "v0") == {first}
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for i in range(1, 15):
            add(writer, f"v{i}")
            if i % 5 == 0:
                writer.save()
        done.set()
        for thread in threads:
            thread.join()
    assert not failures


# One writer

HOLD = """
import sys
from sora_search.index.video_index import VideoIndex
with VideoIndex.open(sys.argv[1], read_only=False):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_hears_who_holds_the_lock_or_waits(tmp_path):
    made_index(tmp_path, "a")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for opening in (
            lambda: opened(tmp_path),
            lambda: VideoIndex.open(tmp_path, read_only=False),
        ):
            with pytest.raises(IndexLockedError, match=rf"process {holder.pid} on .*--wait"):
                opening()
        with VideoIndex.open(tmp_path) as reader:
            assert len(reader.videos()) == 1
        timer = threading.Timer(0.2, holder.kill)
        timer.start()
        with VideoIndex.open(tmp_path, read_only=False, wait=True) as index:
            assert holder.wait(10) != 0
            add(index, "b")
        timer.join()


# What cannot be opened


def test_no_index_here(tmp_path):
    for read_only in (True, False):
        with pytest.raises(IndexNotFoundError, match="sora-search index PATH"):
            VideoIndex.open(tmp_path / "nowhere", read_only=read_only)
    assert not (tmp_path / "nowhere").exists()


def test_an_index_must_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        opened(tmp_path / "file")
    with pytest.raises(IndexNotFoundError):
        VideoIndex.open(tmp_path / "file")


def test_an_index_of_another_model_says_what_to_do(tmp_path):
    made_index(tmp_path, "a")
    other = MadeEncoder("other@2")
    for opening in (
        lambda: VideoIndex.open_or_create(tmp_path, encoder=other),
        lambda: VideoIndex.open(tmp_path, encoder=other),
        lambda: VideoIndex.open(tmp_path, encoder=MadeEncoder(dim=4)),
        lambda: VideoIndex.open(tmp_path, read_only=False, encoder=other),
    ):
        with pytest.raises(IndexIncompatibleError, match="sora-search index PATH --rebuild"):
            opening()
    opened(tmp_path).close()  # the lock is free


def test_an_index_of_an_adapted_model_says_that_its_file_is_needed(tmp_path):
    adapter = Adapter("made", "made-000000000000", np.zeros((4, 4), np.float16))
    VideoIndex.open_or_create(tmp_path, encoder=MadeEncoder(adapter.model_id)).close()
    said = rf"{adapter.model_id}.* \(an adapter of made\) with --model FILE.safetensors"
    with pytest.raises(IndexIncompatibleError, match=said):
        VideoIndex.open(tmp_path, encoder=MadeEncoder())


def test_an_index_rebuilt_for_another_model_keeps_ids_names_and_verdicts(tmp_path):
    query = tmp_path / "query.mp4"
    query.write_bytes(b"some bytes")
    folder = tmp_path / "index"
    with opened(folder) as index:
        before = {name: add(index, name) for name in "ab"}
        index.add_verdict(query, before["b"], "match", by="me")
    other = MadeEncoder("other@2", dim=4)
    # Killed before anything is embedded again: the next run goes on.
    VideoIndex.open_or_create(folder, encoder=other, rebuild=True).close()
    with VideoIndex.open_or_create(folder, encoder=other, rebuild=True) as index:
        assert (index.model_id, index.dim, index.num_videos) == ("other@2", 4, 0)
        assert index.file_states() == {}  # all must be read again
        assert len(index.search(unit_rows(1, dim=4), 3).vector_ids[0]) == 3
        again = index.add_video(
            made_uri("b"),
            1000,
            1,
            made_content_id("b"),
            made_info("b"),
            made_embedding(3, dim=4, model_id="other@2"),
        )
        assert again == before["b"]
        assert [video.video_id for video in index.videos()] == [before["b"]]
        assert index.decisions(query) == {before["b"]: "match"}
        assert index.check() == []
    with VideoIndex.open(folder) as index:
        nearest = index.search(unit_rows(3, dim=4), 1)
        np.testing.assert_allclose(nearest.scores[:, 0], 1, atol=1e-3)
        assert set(index.locate(nearest.vector_ids)[0].ravel()) == {before["b"]}
    # The same model again changes nothing.
    with VideoIndex.open_or_create(folder, encoder=other, rebuild=True) as index:
        assert index.num_videos == 1


@pytest.mark.parametrize("state", ["gone", "empty"])
def test_a_lost_catalog_is_never_made_anew(tmp_path, state):
    made_index(tmp_path, "a")
    catalog = tmp_path / CATALOG_NAME
    catalog.unlink()
    if state == "empty":
        catalog.touch()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != LOCK_NAME}
    for opening in (
        lambda: opened(tmp_path),
        lambda: VideoIndex.open(tmp_path),
        lambda: VideoIndex.open(tmp_path, read_only=False),
        lambda: current(tmp_path),
        lambda: upgrade(tmp_path),
    ):
        with pytest.raises(IndexDamagedError, match=rf"is {state}, but manifest\.json is there"):
            opening()
    after = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != LOCK_NAME}
    assert after == before


# The rules, together


class IndexMachine(RuleBasedStateMachine):
    """Any order of changes, saves and reopenings, beside a dictionary and brute force."""

    folder: Path  # set by the test
    names = st.sampled_from("abcde")
    made_contents = st.sampled_from([f"c{i}" for i in range(8)])

    @initialize()
    def create(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.writer = opened(self.folder)
        self.reader = VideoIndex.open(self.folder)
        self.files: dict[str, str] = {}

    @rule(name=names, content=made_contents)
    def add(self, name: str, content: str) -> None:
        add(self.writer, name, content)
        self.files[name] = content

    @rule(name=names, content=made_contents)
    def touch(self, name: str, content: str) -> None:
        if content in self.files.values():
            self.writer.touch_file(made_uri(name), 1, 1, made_content_id(content))
            self.files[name] = content

    @rule(chosen=st.sets(names))
    def forget(self, chosen: set[str]) -> None:
        assert self.writer.forget_files([made_uri(name) for name in chosen]) == len(
            chosen & self.files.keys()
        )
        self.files = {name: c for name, c in self.files.items() if name not in chosen}

    @rule(chosen=st.sets(made_contents, max_size=3))
    def remove(self, chosen: set[str]) -> None:
        ids = [
            video.video_id
            for video in self.writer.videos()
            if video.content_id in {made_content_id(content) for content in chosen}
        ]
        assert self.writer.remove(ids) == len(set(self.files.values()) & chosen)
        self.files = {name: c for name, c in self.files.items() if c not in chosen}

    @rule()
    def save(self) -> None:
        self.writer.save()

    @rule()
    def reopen_reader(self) -> None:
        self.reader.close()
        self.reader = VideoIndex.open(self.folder)

    @rule()
    def reopen_writer(self) -> None:
        self.writer.close()
        self.writer = opened(self.folder)

    @invariant()
    def holds_what_was_put_in(self) -> None:
        expected = {made_uri(n): made_content_id(c) for n, c in self.files.items()}
        assert contents(self.reader) == expected
        reference = BruteForceIndex(DIM)
        for video in self.reader.videos():
            content = next(c for c in self.files.values() if made_content_id(c) == video.content_id)
            first = video.first_vector_id
            reference.add(np.arange(first, first + video.num_vectors), rows_of(content))
        queries = unit_rows(3, seed=1)
        wanted = reference.search(queries, 4)
        hits = self.reader.search(queries, 4)
        np.testing.assert_array_equal(hits.vector_ids, wanted.vector_ids)
        np.testing.assert_allclose(hits.scores, wanted.scores, atol=1e-6)

    def teardown(self) -> None:
        assert self.reader.check() == []
        self.reader.close()
        self.writer.close()


def test_any_order_of_changes_keeps_both_stores_together(tmp_path):
    IndexMachine.folder = tmp_path / "index"
    run_state_machine_as_test(
        IndexMachine,
        settings=settings(max_examples=8, stateful_step_count=12, deadline=None, database=None),
    )
