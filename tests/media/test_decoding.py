import gc
import itertools
import os
from fractions import Fraction

import av
import numpy as np
import pytest
from video_files import (
    cut_file,
    moving_frames,
    numbered_frames,
    numbers_of,
    spoil,
    write_picture,
    write_video,
)

from sora_search.datatypes import TimeSpan
from sora_search.errors import VideoChangedError, VideoDecodeError
from sora_search.media.decoding import VideoReader, read_at
from sora_search.media.sampling import SamplingConfig, sample_times

H264 = {
    "codec": "libx264",
    "options": {"bf": "3", "b-pyramid": "normal", "g": "25", "preset": "ultrafast"},
}
EVERY_FRAME = SamplingConfig(frames_per_s=25.0, min_frames=1)
TWO_A_SECOND = SamplingConfig(frames_per_s=2.0, min_frames=1)


class Read:
    """All that came out of one reading."""

    def __init__(self, path, sampling=EVERY_FRAME, *, threads=1, frame_size=None, **options):
        with VideoReader.open(path, threads=threads) as reader:
            self.batches = list(reader.read(sampling, frame_size=frame_size, **options))
            self.end_s, self.damage, self.info = reader.end_s, reader.damage, reader.info
        self.frames = np.concatenate([batch.frames for batch in self.batches])
        self.times = np.concatenate([batch.pts_s for batch in self.batches])

    @property
    def numbers(self):
        return numbers_of(self.frames)


def test_every_frame_comes_back_exactly(tmp_path):
    frames = moving_frames(40)
    read = Read(write_video(tmp_path / "a.mkv", frames))
    assert np.array_equal(read.frames, frames)
    assert read.times == pytest.approx(np.arange(40) / 25 + 0.02)
    assert read.end_s == pytest.approx(1.6)
    assert read.damage is None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("b-frames.mp4", H264),
        ("b-frames.ts", H264),
        ("b-frames.mkv", H264),
        ("no-stamps.h264", H264),
        ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("a.flv", {"codec": "flv"}),
        ("a.m1v", {"codec": "mpeg1video", "container": "mpeg1video"}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
        ("ten-bit.mkv", {"codec": "ffv1", "pix_fmt": "yuv420p10le"}),
        ("a.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    ],
)
def test_frames_come_in_order_whatever_the_format(tmp_path, name, settings):
    path = write_video(tmp_path / name, numbered_frames(50), **settings)
    read = Read(path)
    assert read.numbers[:49] == list(range(49))
    assert read.end_s == pytest.approx(2.0, abs=0.05)
    assert read.damage is None


def test_h264_in_avi_is_at_most_two_frames_off(tmp_path):
    # AVI knows no time of presentation: with B-frames its stamps are those of decoding.
    path = write_video(tmp_path / "a.avi", numbered_frames(50), **H264)
    read = Read(path)
    shift = np.arange(50) - read.numbers[:50]
    assert shift.min() >= 0
    assert shift.max() <= 2
    assert read.numbers[:50] == sorted(read.numbers[:50])


def test_two_decoder_threads_give_the_same(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(50), **H264)
    assert np.array_equal(Read(path, threads=2).frames, Read(path).frames)


def test_the_first_frame_is_at_zero_when_the_file_starts_late(tmp_path):
    frames = numbered_frames(50)
    late = write_video(
        tmp_path / "late.ts", frames, times_ms=[7000 + 40 * i for i in range(50)], **H264
    )
    read = Read(late)
    assert read.numbers == list(range(50))
    assert read.end_s == pytest.approx(2.0, abs=0.01)


def test_variable_rate_shows_the_frame_that_is_on_screen(tmp_path):
    times_ms = [0, 40, 80, 3000, 3040, 9000]
    path = write_video(tmp_path / "a.mkv", numbered_frames(6), times_ms=times_ms)
    read = Read(path, TWO_A_SECOND)
    on_screen = [
        max(i for i, time_ms in enumerate(times_ms) if time_ms <= time_s * 1000)
        for time_s in read.times
    ]
    assert read.numbers == on_screen
    assert read.times[:18] == pytest.approx(np.arange(18) / 2 + 0.25)
    began_s = np.concatenate([batch.moments_s for batch in read.batches])
    assert began_s == pytest.approx([times_ms[number] / 1000 for number in on_screen], abs=1e-3)


def test_a_frame_that_starts_at_the_sample_time_is_the_one_shown(tmp_path):
    times_ms = [0, 250, 750, 1250, 1750]
    path = write_video(tmp_path / "a.mkv", numbered_frames(5), times_ms=times_ms)
    assert Read(path, TWO_A_SECOND).numbers == [1, 2, 3, 4]


def test_short_videos_are_looked_at_more_densely(tmp_path):
    read = Read(write_video(tmp_path / "a.mp4", numbered_frames(25), **H264), SamplingConfig())
    assert len(read.times) == 16
    assert read.times == pytest.approx(sample_times(TimeSpan(0, 1), 16))


def test_the_rate_is_right_when_the_header_has_no_duration(tmp_path):
    settings = {"codec": "mpeg1video", "container": "mpeg1video"}
    path = write_video(tmp_path / "a.m1v", numbered_frames(25), **settings)
    assert len(Read(path, SamplingConfig()).times) == 16


def test_one_frame_is_seen_as_often_as_asked(tmp_path):
    path = write_video(tmp_path / "one.mkv", numbered_frames(1))
    read = Read(path, SamplingConfig(min_frames=4))
    assert read.numbers == [0, 0, 0, 0]
    assert read.end_s == pytest.approx(0.04)
    assert len(Read(path, TWO_A_SECOND).times) == 1


def test_rotation_is_applied(tmp_path):
    frames = moving_frames(3, height=96, width=128)
    plain = Read(write_video(tmp_path / "plain.mp4", frames, **H264)).frames
    for turn in (90, 180, 270):
        path = write_video(tmp_path / f"{turn}.mp4", frames, rotation=turn, **H264)
        assert np.array_equal(Read(path).frames, np.rot90(plain, turn // 90, axes=(1, 2)))


def test_a_turned_video_is_scaled_as_it_is_shown(tmp_path):
    frames = moving_frames(3, height=96, width=128)
    path = write_video(tmp_path / "a.mp4", frames, rotation=90, **H264)
    small, full = Read(path, frame_size=(64, 48)).frames, Read(path).frames
    assert small.shape[1:] == (64, 48, 3)
    halves = full.reshape(3, 64, 2, 48, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - halves).mean() < 8  # any other turn: above 60


def test_sample_aspect_ratio_is_applied(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_frames(3), aspect=Fraction(3, 2), **H264)
    assert Read(path).frames.shape[1:] == (96, 192, 3)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (16, 16), (17, 15), (5, 333), (64, 1)])
def test_odd_sizes(tmp_path, size):
    frames = numbered_frames(3, height=size[0], width=size[1])
    path = write_video(tmp_path / "a.mov", frames, codec="png", pix_fmt="rgb24")
    assert np.array_equal(Read(path).frames, frames)
    scaled = Read(path, frame_size=(128, 128))
    assert scaled.frames.shape == (3, 128, 128, 3)
    assert scaled.numbers == [0, 1, 2]


def test_four_k_is_read_in_smaller_batches(tmp_path):
    frames = numbered_frames(3, height=2160, width=3840)
    path = write_video(tmp_path / "a.mkv", frames, **H264)
    assert Read(path, frame_size=(128, 128)).numbers == [0, 1, 2]
    read = Read(path)
    assert read.numbers == [0, 1, 2]
    assert max(batch.frames.nbytes for batch in read.batches) <= 64 * 2**20


def test_interlaced_frames_are_read(tmp_path):
    settings = {"codec": "mpeg2video", "options": {"flags": "+ilme+ildct", "top": "1"}}
    path = write_video(tmp_path / "a.mkv", numbered_frames(20), **settings)
    assert Read(path).numbers == list(range(20))


def test_a_still_picture_is_one_frame_at_zero(tmp_path):
    pixels = moving_frames(1)[0]
    read = Read(write_picture(tmp_path / "a.png", pixels))
    assert np.array_equal(read.frames, pixels[None])
    assert read.times.tolist() == [0.0]
    assert read.end_s is None
    assert read.damage is None


def test_batches_have_the_size_asked_for(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(10))
    assert [len(batch) for batch in Read(path, batch_size=4).batches] == [4, 4, 2]


def test_a_reader_reads_again_from_the_start(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(10))
    with VideoReader.open(path) as reader:
        first = next(reader.read(EVERY_FRAME, frame_size=None, batch_size=2))
        again = next(reader.read(EVERY_FRAME, frame_size=None, batch_size=2))
    assert numbers_of(first.frames) == numbers_of(again.frames) == [0, 1]


@pytest.mark.parametrize(
    ("options", "word"),
    [({"batch_size": 0}, "batch_size"), ({"frame_size": (0, 8)}, "frame_size")],
)
def test_wrong_arguments(tmp_path, options, word):
    path = write_video(tmp_path / "a.mkv", numbered_frames(2))
    with VideoReader.open(path) as reader, pytest.raises(ValueError, match=word):
        reader.read(EVERY_FRAME, **({"frame_size": None} | options))
    with pytest.raises(ValueError, match="threads"):
        VideoReader.open(path, threads=0)


SPANS = [TimeSpan(0.0, 0.5), TimeSpan(1.0, 2.0), TimeSpan(1.9, 2.3), TimeSpan(3.01, 3.98)]
SEEKABLE = {
    "a.mp4": H264,
    "open-gop.mp4": H264 | {"options": H264["options"] | {"x264-params": "open-gop=1"}},
    "a.ts": H264,
    "a.mkv": {},
    "a.h264": H264,  # cannot seek
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "15"}},
}


@pytest.mark.parametrize("name", SEEKABLE)
def test_a_span_shows_what_the_whole_shows_then(tmp_path, name):
    frames = moving_frames(100, height=48, width=64)
    path = write_video(tmp_path / name, frames, **SEEKABLE[name])
    whole = Read(path)
    for span in SPANS:
        part = Read(path, span=span)
        assert part.times == pytest.approx(sample_times(span, 25.0))
        assert part.times[0] >= span.start_s
        assert part.times[-1] < span.end_s
        expected = whole.frames[(part.times * 25 + 1e-6).astype(int)]
        assert np.array_equal(part.frames, expected)
        assert part.end_s == pytest.approx(span.end_s)
        assert part.damage is None


def test_a_span_may_end_after_the_video(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(50))
    read = Read(path, SamplingConfig(), span=TimeSpan(1.5, 99.0))
    assert len(read.times) == 16
    assert read.times[-1] < 2.0
    assert read.end_s == pytest.approx(2.0)


def test_a_span_after_the_end_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(50))
    for span in (TimeSpan(2.5, 3.0), TimeSpan(1e15, 1e16)):
        with pytest.raises(ValueError, match=r"ends at 0:02\.0"):
            Read(path, span=span)


def test_a_span_that_only_the_header_knows_is_the_fault_of_the_file(tmp_path):
    # The duration of shorter files is measured.
    whole = write_video(tmp_path / "a.mkv", moving_frames(100), fps=5)
    with pytest.raises(VideoDecodeError, match=r"before 0:18\.0-0:19\.0, although .* 20\.0 s"):
        Read(cut_file(whole, tmp_path / "cut.mkv", share=0.5), span=TimeSpan(18, 19))


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.flv"])
def test_a_file_cut_off_is_read_as_far_as_it_goes(tmp_path, name):
    settings = {"a.mkv": {}, "a.ts": H264, "a.flv": {"codec": "flv"}}[name]
    whole = write_video(tmp_path / name, moving_frames(100), **settings)
    read = Read(cut_file(whole, tmp_path / f"cut-{name}", share=0.6))
    assert 1.5 < read.end_s < 3.5
    assert read.times[-1] < read.end_s
    if name != "a.ts":  # whose header tells no duration
        assert f"stops at {read.end_s:.1f} of 4.0 s" in read.damage


def test_a_late_start_is_no_damage_and_what_was_cut_off_is_told_without_it(tmp_path):
    frames = moving_frames(100)
    times_ms = [60_000 + 40 * i for i in range(100)]
    whole = write_video(tmp_path / "a.mkv", frames, times_ms=times_ms)
    assert Read(whole).damage is None
    read = Read(cut_file(whole, tmp_path / "cut.mkv", share=0.6))
    assert f"stops at {read.end_s:.1f} of 4.0 s" in read.damage


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.mpg"])
def test_noise_in_the_middle_costs_only_what_it_hit(tmp_path, name):
    settings = {"a.mkv": {}, "a.mpg": {"codec": "mpeg2video"}}.get(name, H264)
    frames = moving_frames(100)
    whole = write_video(tmp_path / name, frames, **settings)
    before = Read(whole)
    read = Read(spoil(whole, tmp_path / f"spoilt-{name}", share=0.4, num_bytes=1500))
    assert read.damage
    assert "\n" not in read.damage
    assert read.end_s == pytest.approx(4.0, abs=0.5)
    assert np.array_equal(read.frames[:20], before.frames[:20])
    assert np.array_equal(read.frames[-5:], before.frames[-5:])


def test_garbage_behind_a_good_start_ends(tmp_path):
    whole = write_video(tmp_path / "a.ts", moving_frames(50), **H264)
    bad = tmp_path / "bad.ts"
    bad.write_bytes(whole.read_bytes()[:20_000] + np.random.default_rng(0).bytes(400_000))
    read = Read(bad)
    assert 0.5 < read.end_s <= 2.1
    assert len(read.times) < 60


def test_times_that_cannot_be_right_are_refused(tmp_path):
    times_ms = [3_500_000 * i for i in range(20)]  # an hour a frame
    path = write_video(tmp_path / "a.mkv", numbered_frames(20), times_ms=times_ms)
    with pytest.raises(VideoDecodeError, match="cannot be right"):
        Read(path, TWO_A_SECOND, frame_size=(8, 8))


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(50))
    with VideoReader.open(path) as reader:
        batches = reader.read(EVERY_FRAME, frame_size=None, batch_size=8)
        next(batches)
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(VideoChangedError, match=r"a\.mkv"):
            list(batches)


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_a_file_that_vanishes_while_it_is_read_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(50))
    with VideoReader.open(path) as reader:
        batches = reader.read(EVERY_FRAME, frame_size=None, batch_size=8)
        next(batches)
        path.unlink()
        with pytest.raises(VideoChangedError, match="vanished"):
            list(batches)


def test_nothing_reaches_stderr_from_damaged_files(tmp_path, capfd):
    whole = write_video(tmp_path / "a.mp4", moving_frames(50), **H264)
    capfd.readouterr()
    Read(spoil(whole, tmp_path / "b.mp4", num_bytes=800))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_files_are_closed_even_when_reading_stops_early(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(50), **H264)
    num_open = len(os.listdir("/proc/self/fd"))
    with VideoReader.open(path) as reader:
        next(reader.read(EVERY_FRAME, frame_size=None, batch_size=2))
        assert len(os.listdir("/proc/self/fd")) > num_open
    assert len(os.listdir("/proc/self/fd")) == num_open


def test_no_decoded_frame_waits_for_the_garbage_collector(tmp_path):
    # Frames of 4K in a cycle of references fill the memory before a collection comes.
    path = write_video(tmp_path / "a.mp4", numbered_frames(50), **H264)
    gc.collect()
    gc.disable()
    try:
        assert len(Read(path).times) == 50
        alive = [frame for frame in gc.get_objects() if isinstance(frame, av.VideoFrame)]
    finally:
        gc.enable()
    assert len(alive) <= 2  # the first of each opening, whose orientation was looked at


def test_pictures_at_times_in_any_order(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(60), fps=1, **H264)
    times = [55.5, 3.0, 3.2, 59.9, 0.0, 3.0, 1000.0, 30.0]
    assert numbers_of(np.stack(read_at(path, times))) == [55, 3, 3, 59, 0, 3, 59, 30]


def test_pictures_are_scaled_to_fit(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving_frames(3, height=96, width=128))
    assert read_at(path, [0.0], max_side=64)[0].shape == (48, 64, 3)
    assert read_at(path, [0.0], max_side=640)[0].shape == (96, 128, 3)
    assert read_at(path, [0.0], frame_size=(20, 30))[0].shape == (20, 30, 3)
    assert read_at(path, []) == []


def test_pictures_of_a_still_picture(tmp_path):
    pixels = moving_frames(1)[0]
    path = write_picture(tmp_path / "a.png", pixels)
    assert all(np.array_equal(picture, pixels) for picture in read_at(path, [0.0, 7.0]))


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf")])
def test_impossible_times_are_refused(tmp_path, time_s):
    path = write_video(tmp_path / "a.mkv", numbered_frames(2))
    with pytest.raises(ValueError, match="times"):
        read_at(path, [time_s])


def test_samples_do_not_depend_on_the_batch_size(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving_frames(30, height=24, width=32))
    readings = [Read(path, SamplingConfig(), batch_size=size) for size in (1, 7, 64)]
    for one, other in itertools.pairwise(readings):
        assert np.array_equal(one.frames, other.frames)
        assert np.array_equal(one.times, other.times)
