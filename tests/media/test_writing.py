import av
import numpy as np
import pytest

from sora_search.media.writing import CODECS, generated_clip, through_h264, write_video


def moving_square(num_frames=20, height=48, width=64):
    frames = np.full((num_frames, height, width, 3), 40, np.uint8)
    for i, frame in enumerate(frames):
        frame[10:30, i : i + 20] = (220, 120, 60)
    return frames


def read(path):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        stream = container.streams.video[0]
        return np.stack(frames), stream.codec_context.name, stream.average_rate


def test_ffv1_gives_back_every_pixel(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 33, 47, 3)).astype(np.uint8)
    path = write_video(tmp_path / "a.mkv", frames, frames_per_s=25, codec="ffv1")
    again, _, rate = read(path)
    np.testing.assert_array_equal(again, frames)
    assert rate == 25


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("libx264", "a.mp4"),
        ("libx265", "a.mp4"),
        ("libvpx-vp9", "a.webm"),
        ("libsvtav1", "a.mkv"),
        ("mpeg4", "a.avi"),
    ],
)
def test_codecs_write_files_that_look_the_same(tmp_path, codec, name):
    frames = moving_square(height=64)
    again, _, rate = read(write_video(tmp_path / name, frames, frames_per_s=15, codec=codec))
    assert rate == 15
    assert again.shape == frames.shape
    assert np.abs(again.astype(int) - frames).mean() < 12


def test_every_codec_is_tried_above():
    assert set(CODECS) == {"libx264", "libx265", "libvpx-vp9", "libsvtav1", "mpeg4", "ffv1"}


def test_odd_sides_are_padded_by_one(tmp_path):
    frames = moving_square(height=49, width=65)
    again, *_ = read(write_video(tmp_path / "a.mp4", frames, frames_per_s=15))
    assert again.shape[1:3] == (50, 66)


def test_frames_are_taken_one_at_a_time(tmp_path):
    frames = (frame for frame in moving_square())
    again, *_ = read(write_video(tmp_path / "a.mp4", frames, frames_per_s=30000 / 1001))
    assert len(again) == 20


def test_a_lower_crf_is_a_larger_file(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    good, bad = (
        write_video(tmp_path / f"{crf}.mp4", frames, frames_per_s=15, crf=crf) for crf in (18, 45)
    )
    assert good.stat().st_size > 2 * bad.stat().st_size


def test_nothing_to_write_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no frame"):
        write_video(tmp_path / "a.mp4", [], frames_per_s=15)
    with pytest.raises(ValueError, match="no codec 'h266'"):
        write_video(tmp_path / "a.mp4", moving_square(), frames_per_s=15, codec="h266")


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65), (16, 17), (3, 5)])
def test_h264_in_memory_keeps_shape_and_order(height, width):
    levels = np.arange(10, 250, 6, dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (len(levels), height, width, 3))
    again = through_h264(frames, frames_per_s=15, crf=23)
    assert again.shape == frames.shape
    means = again.mean(axis=(1, 2, 3))
    assert np.abs(means - levels).max() < 4


def test_h264_of_the_same_frames_is_the_same_every_time():
    # Noise that moves: the encoder's look ahead read memory that was not its own.
    rng = np.random.default_rng(0)
    coarse = rng.integers(30, 226, (30, 6, 20, 3)).astype(np.uint8)
    frames = coarse.repeat(16, axis=1).repeat(8, axis=2)
    results = set()
    for i in range(12):
        # Fresh memory in between, with other contents each time.
        other = rng.integers(0, 255, 100_000 * (i + 1)).astype(np.uint8)
        results.add(through_h264(frames, frames_per_s=15, crf=36).tobytes())
        del other
    assert len(results) == 1


def test_h264_quality_falls_with_crf():
    frames = moving_square()
    errors = [
        np.abs(through_h264(frames, frames_per_s=15, crf=crf).astype(int) - frames).mean()
        for crf in (18, 36, 51)
    ]
    assert errors == sorted(errors)
    assert errors[2] > 2 * errors[0]


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("testsrc2", ""),
        ("mandelbrot", ""),
        ("zoneplate", "kt=8"),
        ("life", "seed=7:mold=10"),
        ("cellauto", "seed=7"),
        ("sierpinski", "seed=7"),
    ],
)
def test_generated_clips_move_and_are_the_same_each_time(source, options):
    first, again = (
        generated_clip(source, duration_s=0.5, size=(48, 64), frames_per_s=12, options=options)
        for _ in range(2)
    )
    assert first.frames.shape == (6, 48, 64, 3)
    assert first.frames_per_s == 12
    assert (first.frames[0] != first.frames[-1]).any()
    np.testing.assert_array_equal(first.frames, again.frames)


def test_generated_clip_can_begin_later():
    whole = generated_clip("testsrc2", duration_s=1.0, size=(48, 64), frames_per_s=10)
    later = generated_clip("testsrc2", duration_s=0.5, size=(48, 64), frames_per_s=10, skip_s=0.5)
    np.testing.assert_array_equal(later.frames, whole.frames[5:])


def test_unknown_sources_are_refused():
    with pytest.raises(ValueError, match="cannot make 'no_such_source'"):
        generated_clip("no_such_source", duration_s=1.0)
    with pytest.raises(ValueError, match="cannot make 'testsrc2'"):
        generated_clip("testsrc2", duration_s=1.0, options="nonsense=1")
