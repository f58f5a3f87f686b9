import dataclasses

import numpy as np
import pytest

from sora_search.errors import VideoDecodeError
from sora_search.learning.copies import (
    FrameRequest,
    copy_queries,
    originals,
    same_footage,
)
from sora_search.learning.datasets import ClipDataset
from sora_search.media.sampling import SamplingConfig
from sora_search.media.writing import generated_clip, write_video

REQUEST = FrameRequest((32, 32), SamplingConfig())
SOURCES = [
    ("testsrc2", ""),
    ("mandelbrot", ""),
    ("cellauto", "seed=3"),
    ("life", "seed=7:mold=10:life_color=yellow:death_color=blue"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i, (source, options) in enumerate(SOURCES):
        clip = generated_clip(
            source, duration_s=2.0, size=(48, 64), frames_per_s=15, options=options
        )
        write_video(folder / f"{i}.mkv", clip.frames, frames_per_s=15, codec="ffv1")
    return ClipDataset.open(folder).clips


def test_originals_have_the_frames_that_a_model_wants(dataset):
    found = list(originals(dataset, REQUEST))
    assert [one.row for one in found] == [0, 1, 2, 3]
    assert all(one.batch.frames.shape == (16, 32, 32, 3) for one in found)
    assert found[0].end_s == pytest.approx(2.0)
    np.testing.assert_allclose(found[0].batch.pts_s, (np.arange(16) + 0.5) / 8)
    assert found[0].thumbnails.shape == (30, 18, 32)


def same(left, right):
    return (
        (left.row, left.edit, left.end_s, left.matches)
        == (right.row, right.edit, right.end_s, right.matches)
    ) and np.array_equal(left.batch.frames, right.batch.frames)


def test_copies_are_the_same_here_in_other_processes_and_from_disk(dataset, tmp_path):
    edits = ["mirror", "noise", "speed-0.7", "reencode", "pip", "excerpt"]

    def copies(**options):
        found = copy_queries(dataset[:3], edits, REQUEST, carriers=dataset[3:], **options)
        return list(found)

    here = copies()
    assert [(c.row, c.edit) for c in here] == [(r, e) for r in range(3) for e in edits]
    others = copies(jobs=2)
    made = copies(cache_dir=tmp_path)
    kept = copies(cache_dir=tmp_path)
    for batch in (others, made, kept):
        assert len(batch) == len(here)
        assert all(map(same, batch, here))
    assert len(list(tmp_path.rglob("*.npz"))) == len(here)


def test_what_is_kept_is_what_is_used(dataset, tmp_path):
    (before,) = copy_queries(dataset[:1], ["blur"], REQUEST, cache_dir=tmp_path)
    (path,) = tmp_path.rglob("*.npz")
    with np.load(path) as stored:
        changed = {**stored, "frames": 255 - stored["frames"]}
    np.savez(path, **changed)
    (after,) = copy_queries(dataset[:1], ["blur"], REQUEST, cache_dir=tmp_path)
    np.testing.assert_array_equal(after.batch.frames, 255 - before.batch.frames)
    (other,) = copy_queries(dataset[:1], ["blur"], REQUEST, cache_dir=tmp_path, seed=1)
    np.testing.assert_array_equal(other.batch.frames, before.batch.frames)


def test_only_some_rows(dataset):
    found = list(copy_queries(dataset, ["gray"], REQUEST, rows=[2, 0]))
    assert [copy.row for copy in found] == [2, 0]


def test_clips_too_short_for_an_edit_are_left_out(dataset):
    found = copy_queries(dataset[:1], ["two-excerpts", "swapped"], REQUEST, carriers=dataset[1:])
    assert [copy.edit for copy in found] == ["swapped"]


def test_wrong_names_and_missing_carriers_are_refused(dataset):
    with pytest.raises(ValueError, match="no edit 'nonsense'"):
        next(copy_queries(dataset, ["nonsense"], REQUEST))
    with pytest.raises(ValueError, match="'pip' needs carriers"):
        next(copy_queries(dataset, ["pip"], REQUEST))


def test_unreadable_files_are_reported_or_stop_it(dataset, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("not a video")
    clips = [dataclasses.replace(dataset[0], path=broken), dataset[1]]
    told = []
    found = list(copy_queries(clips, ["gray"], REQUEST, on_failure=told.append))
    assert [copy.row for copy in found] == [1]
    assert len(told) == 1
    assert "broken.mp4" in told[0]
    with pytest.raises(VideoDecodeError, match=r"broken\.mp4"):
        list(originals(clips, REQUEST))


# The same footage


def thumbnails(source, options="", skip_s=0.0):
    clip = generated_clip(
        source, duration_s=2.0, size=(18, 32), frames_per_s=15, options=options, skip_s=skip_s
    )
    return clip.frames.mean(axis=3).astype(np.uint8)


def test_the_same_footage_is_found_with_its_offset():
    early = thumbnails("mandelbrot")
    late = thumbnails("mandelbrot", skip_s=0.8)
    brighter = np.clip(early * 0.7 + 40, 0, 255).astype(np.uint8)
    (pair, other, third) = same_footage([early, late, brighter], ["a"] * 3)
    assert (pair.first, pair.second) == (0, 1)
    assert pair.offset_s == pytest.approx(0.8)
    assert (other.first, other.second, other.offset_s) == (0, 2, 0)
    assert (third.first, third.second) == (1, 2)
    assert third.offset_s == pytest.approx(-0.8)


def test_other_moments_and_other_clusters_are_not_the_same():
    early, later = (thumbnails("cellauto", "seed=3", skip_s=s) for s in (0.0, 5.0))
    assert same_footage([early, later], ["a", "a"]) == []
    assert same_footage([early, early], ["a", "b"]) == []
    assert len(same_footage([early, early], ["a", "a"])) == 1


def test_still_pictures_are_the_same_when_they_look_the_same():
    still = np.full((30, 18, 32), 90, np.uint8)
    darker = still - 20
    assert len(same_footage([still, still.copy()], ["a", "a"])) == 1
    assert same_footage([still, darker], ["a", "a"]) == []
    moving = thumbnails("testsrc2")
    assert same_footage([still, moving], ["a", "a"]) == []
