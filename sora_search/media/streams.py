"""Opened files and their decoded frames: the border where FFmpeg's errors become ours.

Packets that cannot be decoded are counted, not raised: what can be seen of a damaged
file is worth more than an error. An empty packet means that the picture before it stays
(Theora writes them for repeated frames); the decoder must not get it, because it would
take it for the end.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sora_search.errors import NotAVideoError, VideoDecodeError

_NOT_FILES_OF_FRAMES = {"concat", "dash", "hls", "rtsp", "sdp", "tty", "tedcaptions"}
_MOST_READ_ERRORS = 64
_VIDEO_SIGNATURES = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV",
    b"OggS",
    b"RIFF",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"0&\xb2u",  # ASF, WMV
)
_MOV_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"moof", b"styp"}


@dataclass(slots=True)
class DecodingLog:
    """What went wrong while a file was decoded.

    Attributes:
        num_packets: Packets that hold a frame or a part of one.
        num_bad_packets: Those that the decoder refused.
        num_corrupt_packets: Those that the file itself marks as incomplete.
        num_corrupt_frames: Frames that came out, but not whole.
        first_reason: What FFmpeg said of the first bad one, or None.
        read_error: Why the file could not be read on, or None.
        last_byte: Where the last packet ends in the file, or None.
    """

    num_packets: int = 0
    num_bad_packets: int = 0
    num_corrupt_packets: int = 0
    num_corrupt_frames: int = 0
    first_reason: str | None = None
    read_error: str | None = None
    last_byte: int | None = None


@dataclass(slots=True)
class OpenVideo:
    """A file, its one stream of moving pictures, and what went wrong so far.

    Attributes:
        path: The file.
        container: It, opened.
        stream: Its moving pictures.
        tick_s: The unit of the stream's time stamps; None if it has no clock.
        log: What went wrong.
    """

    path: Path
    container: InputContainer
    stream: VideoStream
    tick_s: float | None
    log: DecodingLog = field(default_factory=DecodingLog)

    def frames(self) -> Iterator[VideoFrame]:
        """Decode from here to the end, in order of presentation."""
        decoder = self.stream.codec_context
        for packet in self._packets():
            if packet.size == 0:
                continue
            self.log.num_packets += 1
            self.log.num_corrupt_packets += packet.is_corrupt
            if packet.pos is not None:
                self.log.last_byte = packet.pos + packet.size
            yield from self._decoded(packet)
        decoder_has_run = self.log.num_packets > self.log.num_bad_packets
        if decoder_has_run and decoder.is_open:
            yield from self._decoded(None)

    def frames_from(self, stamp_s: float) -> Iterator[VideoFrame]:
        """Decode from the sync frame at or before a time stamp; nothing if it cannot seek."""
        if self.tick_s is None:
            return
        try:
            self.container.seek(int(stamp_s / self.tick_s), stream=self.stream)
        except (FFmpegError, OverflowError):
            return
        frames = self.frames()
        for frame in frames:  # the first ones may lack what they refer to
            if not frame.is_corrupt:
                self.log = DecodingLog()
                yield frame
                break
        yield from frames

    def packet_times(self) -> Iterator[tuple[float | None, float]]:
        """Time stamp and duration (0.0: unknown) in seconds of each packet, undecoded."""
        tick_s = self.tick_s or 0.0
        for packet in self._packets():
            if packet.is_discard or (packet.size == 0 and packet.dts is None):
                continue
            stamp = packet.pts if packet.pts is not None else packet.dts
            stamp_s = stamp * tick_s if stamp is not None and tick_s else None
            yield stamp_s, (packet.duration or 0) * tick_s

    def stamp_s(self, frame: VideoFrame) -> float | None:
        """The time stamp of a frame in seconds, as the file has it."""
        stamp = frame.pts if frame.pts is not None else frame.dts
        return None if stamp is None or self.tick_s is None else stamp * self.tick_s

    def _packets(self) -> Iterator["av.Packet[VideoStream]"]:
        num_errors = 0
        while num_errors < _MOST_READ_ERRORS:
            try:
                yield from self.container.demux(self.stream)
            except FFmpegError as error:
                num_errors += 1
                self.log.read_error = _reason(error)
            except IndexError:  # PyAV's own, at the end of a file in which streams appeared late
                return
            else:
                return

    def _decoded(self, packet: "av.Packet[VideoStream] | None") -> list[VideoFrame]:
        try:
            frames = self.stream.codec_context.decode(packet)
        except FFmpegError as error:
            self.log.num_bad_packets += 1
            self.log.first_reason = self.log.first_reason or _reason(error)
            return []
        self.log.num_corrupt_frames += sum(frame.is_corrupt for frame in frames)
        return frames


@contextmanager
def open_video(path: Path | str, *, threads: int = 1) -> Iterator[OpenVideo]:
    """Open a file for decoding its moving pictures with so many threads.

    Raises:
        NotAVideoError: If it holds none (empty, text, sound only, not a file).
        VideoDecodeError: If it looks like a video that cannot be opened.
        OSError: If it is not there or may not be read.
    """
    path = Path(os.path.abspath(path))
    head = _read_head(path)
    with _open_container(path, head) as container:
        stream = _find_video_stream(path, container)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "FRAME" if threads > 1 else "NONE"
        # A raw stream has no clock: its time stamps are guesses of FFmpeg's.
        has_clock = stream.start_time is not None
        tick_s = float(stream.time_base) if stream.time_base and has_clock else None
        yield OpenVideo(path, container, stream, tick_s)


def _read_head(path: Path) -> bytes:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise NotAVideoError(f"{quoted(path)} is {kind}: give a video or a picture")
    with open(path, "rb") as file:
        head = file.read(4096)
    if not head:
        raise NotAVideoError(f"{quoted(path)} is empty: copy or download it again")
    return head


def _open_container(path: Path, head: bytes) -> InputContainer:
    try:
        container = _opened(os.fspath(path))
        if container.format.name == "image2":  # believes the name, not the content
            container.close()
            container = _opened(io.BytesIO(path.read_bytes()))
    except FFmpegError as error:
        if _looks_like_text(head):
            raise NotAVideoError(f"{quoted(path)} holds text: give a video or a picture") from error
        if _looks_like_video(head):
            raise VideoDecodeError(
                f"{quoted(path)} cannot be opened, its header is damaged or was never written "
                f"({_reason(error)}): copy or record it again"
            ) from error
        raise NotAVideoError(
            f"{quoted(path)} is in no known video format ({_reason(error)}): "
            "copy it again if it should be a video"
        ) from error
    if container.format.name in _NOT_FILES_OF_FRAMES:
        container.close()
        raise NotAVideoError(f"{quoted(path)} holds text or a play list: give a video or a picture")
    return container


def _opened(source: str | io.BytesIO) -> InputContainer:
    return av.open(
        source,
        mode="r",
        container_options={"protocol_whitelist": "file"},  # a play list must not fetch anything
        metadata_errors="replace",  # titles are often not UTF-8
    )


def _find_video_stream(path: Path, container: InputContainer) -> VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not _is_cover_art(stream)
    ]
    if not streams:
        has_video = any(not _is_cover_art(s) for s in container.streams.video)
        if has_video:
            raise VideoDecodeError(
                f"{quoted(path)} is coded in a way that this FFmpeg cannot decode: convert it"
            )
        what = "sound only" if container.streams.audio else "no moving pictures"
        raise NotAVideoError(f"{quoted(path)} holds {what}: give a video or a picture")
    best = container.streams.best("video")
    return next((stream for stream in streams if best and stream.index == best.index), streams[0])


def _is_cover_art(stream: VideoStream) -> bool:
    return Disposition.attached_pic in stream.disposition


def _looks_like_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    text = head[: head.rfind(b" ") + 1] or head
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _looks_like_video(head: bytes) -> bool:
    is_transport_stream = len(head) > 376 and head[0] == head[188] == head[376] == 0x47
    return head.startswith(_VIDEO_SIGNATURES) or head[4:8] in _MOV_BOXES or is_transport_stream


def _reason(error: FFmpegError) -> str:
    return (error.strerror or type(error).__name__).rstrip(".")


def quoted(path: Path | str) -> str:
    """A file's name for a message: in quotes, on one line, printable whatever its bytes."""
    return repr(os.fspath(path))
