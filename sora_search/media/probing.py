"""What a file is: video, still picture or neither; and how files are named."""

import os
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from sora_search.datatypes import VideoInfo
from sora_search.errors import VideoDecodeError
from sora_search.media.pictures import orientation_of, upright_size
from sora_search.media.streams import OpenVideo, open_video, quoted
from sora_search.media.timing import FALLBACK_INTERVAL_S, PresentationClock, end_of_last_frame

MEASURED_BELOW_S = 16.0
"""Shorter durations are measured, not believed: the sampling of short videos needs them."""

# fmt: off
_VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".av1", ".avi", ".avs", ".bik",
    ".dat", ".dav", ".divx", ".dv", ".evo", ".f4v", ".flv", ".gif", ".gxf", ".h264", ".h265",
    ".hevc", ".ivf", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg",
    ".mk3d", ".mkv", ".mod", ".mov", ".mp2v", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg",
    ".mpv", ".mts", ".mxf", ".nsv", ".nut", ".obu", ".ogm", ".ogv", ".ogx", ".qt", ".rm",
    ".rmvb", ".swf", ".tod", ".tp", ".trp", ".ts", ".vob", ".vp8", ".vp9", ".webm", ".wmv",
    ".wtv", ".xvid", ".y4m",
})
# fmt: on
_ALWAYS_STILL = {"image2", "ico", "psd_pipe", "image2pipe"}
_STILL_IF_ONE_PACKET = {"gif", "apng", "mjpeg", "jpegxl_anim", "mpjpeg"}
_PICTURE_BRANDS = {"avif", "avis", "heic", "heix", "heif", "mif1", "msf1"}
_MOST_FRAMES_PER_S = 1000


def uri_of(path: Path | str) -> str:
    """The name under which an index knows a file; survives names that are not UTF-8.

    Example:
        >>> uri_of("/videos/a b.mp4")
        'file:///videos/a%20b.mp4'
    """
    return Path(os.path.abspath(path)).as_uri()


def path_of(uri: str) -> Path:
    """The inverse of `uri_of`.

    Raises:
        ValueError: If it is not the URI of a file.
    """
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise ValueError(f"need the URI of a file (file:///...), got {uri!r}")
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if os.name == "nt":
        path = f"//{parts.netloc}{path}" if parts.netloc else path.lstrip("/")
    return Path(path)


def is_gone(uri: str) -> bool:
    """Whether there is no file any more under a name of `uri_of`, or none that can be reached."""
    # A folder that may not be entered is an answer here, and to `Path.is_file` an error.
    return not os.path.isfile(path_of(uri))


def has_video_name(path: Path | str) -> bool:
    """Whether a file of that name is tried when a folder is indexed."""
    return os.path.splitext(os.fspath(path))[1].lower() in _VIDEO_SUFFIXES


def probe(path: Path | str) -> VideoInfo:
    """Find out what a file is from its header and its first frame that can be decoded.

    The duration is that of the header; where it says nothing or less than
    `MEASURED_BELOW_S`, it is measured on the time stamps of all packets. Of a damaged
    file it may be longer than what can be decoded.

    Raises:
        NotAVideoError: If there is no picture in it (empty, text, sound only).
        VideoDecodeError: If not one frame can be decoded.
        OSError: If it is not there or may not be read.
    """
    return probe_start(path).info


class Start:
    """What opening a file tells: its info, and what its times count from.

    Attributes:
        info: What the file is.
        zero_s: The time stamp of the first shown frame; None if it has none.
        interval_s: Average distance of frames by the header.
        has_clock: Whether the container has time stamps (raw streams have none).
        is_measured: Whether the duration comes from the packets, not from the header.
        stream_duration_s: What the header says of this stream alone from its first frame
            on, or None.
        container_duration_s: What it says of the whole file, sound included, or None.
    """

    def __init__(self, video: OpenVideo) -> None:
        """Decode the first frame of `video`, and measure its duration if need be."""
        frame = next(video.frames(), None)
        if frame is None:
            raise VideoDecodeError(
                f"not one frame of {quoted(video.path)} can be decoded"
                f" ({video.log.first_reason or video.log.read_error or 'it holds no pictures'}):"
                " copy or record it again"
            )
        stream = video.stream
        rate = _header_rate(video)
        self.zero_s = video.stamp_s(frame)
        self.interval_s = float(1 / rate) if rate else FALLBACK_INTERVAL_S
        before_s = max(self.zero_s or 0.0, 0.0) if _states_ends(video) else 0.0
        self.stream_duration_s = _after(before_s, _stream_duration_s(video))
        self.container_duration_s = _after(before_s, _container_duration_s(video))
        self.has_clock = video.tick_s is not None
        self.is_measured = False
        height, width = upright_size(
            frame.width, frame.height, stream.sample_aspect_ratio, orientation_of(frame)
        )
        is_still = _is_still_picture(video)
        self.info = VideoInfo(
            uri=uri_of(video.path),
            duration_s=None if is_still else self._duration_s(video),
            width=width,
            height=height,
            codec=stream.codec_context.name,
            average_frame_rate=None if is_still else rate,
        )

    def _duration_s(self, video: OpenVideo) -> float:
        header_s = self.stream_duration_s or self.container_duration_s
        # Without a clock the duration is guessed from the bit rate.
        if header_s is not None and header_s >= MEASURED_BELOW_S and self.has_clock:
            return header_s
        self.is_measured = True
        return measured_duration_s(video.path, self) or header_s or self.interval_s


def probe_start(path: Path | str) -> Start:
    """Open a file and decode its first frame; errors as in `probe`."""
    with open_video(path) as video:
        return Start(video)


def is_still_picture(info: VideoInfo) -> bool:
    """Whether the file is one picture without a duration."""
    return info.duration_s is None and info.average_frame_rate is None


def measured_duration_s(path: Path | str, start: Start) -> float | None:
    """The duration by the time stamps of all packets, without decoding; None if there is none."""
    with open_video(path) as video:
        packets = list(video.packet_times())
    if not packets:
        return None
    stamps = sorted(stamp for stamp, _ in packets if stamp is not None)
    if len(stamps) < len(packets) / 2:
        return len(packets) * start.interval_s
    if start.zero_s is not None:  # what is before the first shown frame is not shown
        stamps = [stamp for stamp in stamps if stamp >= start.zero_s] or stamps
    clock = PresentationClock(zero_s=stamps[0], interval_s=start.interval_s)
    for stamp in stamps:
        clock.time_of(stamp)
    stated_end_s = start.stream_duration_s
    return end_of_last_frame(clock, stated_duration_s=packets[-1][1], stated_end_s=stated_end_s)


def _header_rate(video: OpenVideo) -> Fraction | None:
    stream = video.stream
    rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    if video.tick_s is None:  # nothing that an average could have been taken of
        rates.insert(0, stream.guessed_rate)
    rate = next((rate for rate in rates if rate), None)
    return rate if rate and 0 < rate <= _MOST_FRAMES_PER_S else None


def _states_ends(video: OpenVideo) -> bool:
    """Whether the durations of the header are the times at which the file ends.

    So FFmpeg writes Matroska: they include what is before the first frame. mkvmerge
    leaves that out, as most formats do.
    """
    writer = video.container.metadata.get("ENCODER", "")
    return "matroska" in video.container.format.name and writer.startswith("Lavf")


def _after(before_s: float, duration_s: float | None) -> float | None:
    """What is left of a duration after `before_s`; None if nothing is."""
    return None if duration_s is None or duration_s <= before_s else duration_s - before_s


def _stream_duration_s(video: OpenVideo) -> float | None:
    stream = video.stream
    if stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    return _seconds(stream.metadata.get("DURATION", ""))  # Matroska's statistics tag


def _seconds(clock: str) -> float | None:
    """The seconds in ``01:02:03.456``, None if it is not such a time or zero."""
    try:
        hours, minutes, seconds = (float(part) for part in clock.split(":"))
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds or None


def _container_duration_s(video: OpenVideo) -> float | None:
    duration = video.container.duration
    return duration / 1_000_000 if duration and duration > 0 else None


def _is_still_picture(video: OpenVideo) -> bool:
    name = video.container.format.name
    if name.endswith("_pipe") or name in _ALWAYS_STILL:
        return True
    brand = video.container.metadata.get("major_brand", "").strip()
    if name in _STILL_IF_ONE_PACKET or brand in _PICTURE_BRANDS:
        with open_video(video.path) as again:
            return sum(1 for _, _ in zip(again.packet_times(), range(2), strict=False)) < 2
    return False
