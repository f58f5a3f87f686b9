import os
import struct
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_files import (
    cut_file,
    moving_frames,
    numbered_frames,
    write_picture,
    write_sound,
    write_video,
)

from sora_search.errors import MediaError, NotAVideoError, VideoDecodeError
from sora_search.media.probing import has_video_name, is_still_picture, path_of, probe, uri_of

H264 = {"codec": "libx264", "options": {"bf": "2", "g": "12", "preset": "ultrafast"}}


def test_what_a_video_is(tmp_path):
    path = write_video(tmp_path / "a.mkv", numbered_frames(10), fps=5)
    info = probe(path)
    assert (info.width, info.height, info.codec) == (64, 48, "ffv1")
    assert info.duration_s == pytest.approx(2.0)
    assert info.average_frame_rate == 5
    assert path_of(info.uri) == path
    assert not is_still_picture(info)


def test_a_path_may_be_text_and_relative(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mkv", numbered_frames(2))
    monkeypatch.chdir(tmp_path)
    assert path_of(probe("a.mkv").uri) == tmp_path / "a.mkv"


def test_size_is_that_of_the_shown_picture(tmp_path):
    frames = moving_frames(3, height=48, width=64)
    turned = probe(write_video(tmp_path / "turned.mp4", frames, rotation=90, **H264))
    assert (turned.width, turned.height) == (48, 64)
    wide = probe(write_video(tmp_path / "wide.mp4", frames, aspect=Fraction(4, 3), **H264))
    assert (wide.width, wide.height) == (85, 48)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("a.mp4", H264),
        ("a.h264", H264),  # no time stamps at all
        ("a.ts", H264),  # no duration in the header
        ("a.flv", {"codec": "flv"}),
        ("a.m1v", {"codec": "mpeg1video", "container": "mpeg1video"}),  # guessed from the bit rate
        ("a.avi", {"codec": "mpeg4"}),
        ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    ],
)
def test_duration_of_every_kind_of_file(tmp_path, name, settings):
    info = probe(write_video(tmp_path / name, moving_frames(50, height=48, width=64), **settings))
    assert info.duration_s == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("name", ["late.ts", "late.mp4", "late.mkv"])
@pytest.mark.parametrize("num_frames", [25, 100])  # the duration of the longer is the header's
def test_a_late_start_is_not_part_of_the_duration(tmp_path, name, num_frames):
    interval_ms = 1000 if num_frames == 100 else 40
    times_ms = [9000 + interval_ms * i for i in range(num_frames)]
    fps = Fraction(1000, interval_ms)
    frames = numbered_frames(num_frames)
    path = write_video(tmp_path / name, frames, fps=fps, times_ms=times_ms, **H264)
    duration_s = num_frames * interval_ms / 1000
    assert probe(path).duration_s == pytest.approx(duration_s, abs=0.05)


def test_a_late_start_that_mkvmerge_left_out_is_not_left_out_again(tmp_path):
    times_ms = [9000 + 1000 * i for i in range(100)]
    path = write_video(tmp_path / "a.mkv", numbered_frames(100), fps=1, times_ms=times_ms, **H264)
    content = path.read_bytes()
    for by_ffmpeg, by_mkvmerge in [
        (b"Lavf", b"libe"),
        (b"00:01:49.0", b"00:01:40.0"),
        (struct.pack(">d", 109_000.0), struct.pack(">d", 100_000.0)),
    ]:
        assert by_ffmpeg in content
        content = content.replace(by_ffmpeg, by_mkvmerge)
    path.write_bytes(content)
    assert probe(path).duration_s == pytest.approx(100.0)


def test_one_frame_is_a_video_of_one_interval(tmp_path):
    info = probe(write_video(tmp_path / "one.mp4", numbered_frames(1), **H264))
    assert info.duration_s == pytest.approx(0.04)
    assert not is_still_picture(info)


@pytest.mark.parametrize("codec", ["png", "mjpeg", "bmp"])
@pytest.mark.parametrize("name", ["picture.mp4", "picture.jpg", "50%03d.png"])
def test_a_still_picture_is_one_whatever_its_name(tmp_path, name, codec):
    info = probe(write_picture(tmp_path / name, numbered_frames(1)[0], codec=codec))
    assert is_still_picture(info)
    assert (info.width, info.height) == (64, 48)


def test_a_gif_of_one_frame_is_a_still_picture(tmp_path):
    settings = {"codec": "gif", "pix_fmt": "rgb8"}
    assert is_still_picture(probe(write_video(tmp_path / "a.gif", numbered_frames(1), **settings)))
    moving = probe(write_video(tmp_path / "b.gif", numbered_frames(9), **settings))
    assert not is_still_picture(moving)


BAD = {
    "empty.mp4": (b"", NotAVideoError, "empty"),
    "text.mp4": (b"This is no video. " * 99, NotAVideoError, "text"),
    "list.mp4": (b"ffconcat version 1.0\nfile other.mkv\n", NotAVideoError, "text"),
    "stream.mp4": (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        NotAVideoError,
        "text",
    ),
    "notes.txt": (b"This is no video. " * 99, NotAVideoError, "text"),
    "zeros.mp4": (bytes(9999), NotAVideoError, "no known video format"),
    "headless.mp4": (b"\0\0\0\x20ftypisom" + bytes(9999), VideoDecodeError, "header"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_is_named_with_what_to_do(tmp_path, name):
    content, kind, word = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=word) as caught:
        probe(tmp_path / name)
    message = str(caught.value)
    assert name in message
    assert "\n" not in message


def test_sound_only_is_no_video(tmp_path):
    with pytest.raises(NotAVideoError, match="sound only"):
        probe(write_sound(tmp_path / "song.mp4"))


def test_sound_beside_the_picture_does_no_harm(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(20), with_sound=True, **H264)
    assert probe(path).duration_s == pytest.approx(0.8)


def test_an_mp4_cut_before_its_index_cannot_be_opened(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", moving_frames(20), **H264)
    with pytest.raises(VideoDecodeError, match="never written"):
        probe(cut_file(whole, tmp_path / "cut.mp4", share=0.5))


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(NotAVideoError, match="folder"):
        probe(tmp_path)
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "nothing.mp4")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(NotAVideoError, match="not a regular file"):
        probe(tmp_path / "pipe.mp4")


NAMES = [
    "with space.mkv",
    "quote'\".mkv",
    "new\nline.mkv",
    "emoji \N{CLAPPER BOARD}.mkv",
    "12:30.mkv",
    "50%03d#a?b.mkv",
    os.fsdecode(b"latin-\xe9\xff.mkv"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_unusual_names(tmp_path, name):
    path = write_video(tmp_path / name, numbered_frames(2))
    info = probe(path)
    assert path_of(info.uri) == path
    info.uri.encode("ascii")
    bad = tmp_path / f"bad {name}"
    bad.write_bytes(b"no video " * 50)
    with pytest.raises(MediaError) as caught:
        probe(bad)
    message = str(caught.value)
    message.encode("utf-8")
    assert "\n" not in message


@given(st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & set(b"\0/")))
def test_uri_round_trip_for_any_bytes(name):
    path = Path(os.path.abspath("/videos")) / os.fsdecode(name)
    if path.name in ("", ".", ".."):
        return
    assert path_of(uri_of(path)) == path


def test_only_uris_of_files_have_a_path():
    with pytest.raises(ValueError, match="file:///"):
        path_of("https://example.org/a.mp4")


def test_names_that_are_tried():
    assert all(has_video_name(name) for name in ("a.mp4", "b/C.MKV", Path("d.e.webm"), "f.ogv"))
    assert not any(has_video_name(name) for name in ("a.jpg", "mp4", ".mp4", "a.mp4.part", "b.txt"))


def test_titles_that_are_not_utf_8_do_no_harm(tmp_path):
    path = write_video(tmp_path / "a.avi", moving_frames(5), title="Caf-- 9", **H264)
    path.write_bytes(path.read_bytes().replace(b"Caf-- 9", b"Caf\xe9\xff 9"))
    assert b"Caf\xe9\xff 9" in path.read_bytes()
    assert probe(path).codec == "h264"
