"""The frames of a video that are on screen at given times.

Files are decoded from front to back and only the frames that are looked at are
scaled: one seek a sample costs five times the decoding of everything.
"""

import itertools
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from sora_search.datatypes import FrameBatch, TimeSpan, VideoInfo, format_time
from sora_search.errors import VideoChangedError, VideoDecodeError
from sora_search.media.pictures import FrameConverter, Picture
from sora_search.media.probing import Start, is_still_picture, measured_duration_s, probe_start
from sora_search.media.sampling import SamplingConfig, endless_sample_times, sampling_rate
from sora_search.media.streams import DecodingLog, OpenVideo, open_video, quoted
from sora_search.media.timing import PresentationClock, end_of_last_frame

_SAME_TIME_S = 1e-6  # a frame that starts at the sample time is the one on screen
_MOST_BATCH_BYTES = 64 * 2**20
_SEEK_EARLIER_S = (0.0, 1.0, 5.0, 20.0)
_NEIGHBORHOOD_S = 10.0  # times closer than this are decoded in one go
_FREE_SAMPLES, _MOST_SAMPLES_A_FRAME = 10_000, 240  # beyond: a broken clock, not a slide show
_TOLERATED_MISSING_S = 0.5
_TOLERATED_MISSING_SHARE = 0.03

TimedFrame = tuple[float, VideoFrame]

SampledFrame = tuple[float, float, VideoFrame]
"""A time, when the frame that is on screen then came there, and the frame."""


class VideoReader:
    """Read the frames of one file; a context manager.

    Attributes:
        path: The file.
        info: What it is.
        end_s: After reading: where the last frame left the screen, at most the end of
            the span. None before, and for a still picture.
        damage: After reading: what could not be decoded, in one line, or None.
    """

    def __init__(self, path: Path, start: Start, *, threads: int) -> None:
        """Use `open` instead."""
        self.path = path
        self.info: VideoInfo = start.info
        self.end_s: float | None = None
        self.damage: str | None = None
        self._start = start
        self._threads = threads
        self._state = _file_state(path)
        self._reading: Generator[FrameBatch] | None = None

    @classmethod
    def open(cls, path: Path | str, *, threads: int = 1) -> Self:
        """Find out what a file is, ready to read it with so many decoder threads.

        Raises:
            NotAVideoError: If there is no picture in it (empty, text, sound only).
            VideoDecodeError: If not one frame can be decoded.
            OSError: If it is not there or may not be read.
        """
        if threads < 1:
            raise ValueError(f"need threads >= 1, got {threads=}")
        path = Path(os.path.abspath(path))
        return cls(path, probe_start(path), threads=threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading and close the file. Closing twice does nothing."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def read(
        self,
        sampling: SamplingConfig,
        *,
        frame_size: tuple[int, int] | None,
        span: TimeSpan | None = None,
        is_gray: bool = False,
        batch_size: int = 32,
    ) -> Iterator[FrameBatch]:
        """Read the frame on screen at each sample time, in memory that does not grow.

        Args:
            sampling: How densely; the times are those of `sampling.sample_times`.
            frame_size: (H, W) of the pictures, the whole upright picture squashed into
                it; None keeps its own size.
            span: Read this part alone; times still count from the start of the file.
            is_gray: Pictures of one channel, brightness, which take less time.
            batch_size: Most frames of a batch; large pictures come in smaller batches.

        Returns:
            Batches whose `pts_s` are the sample times (`began_s` those of the frames). A
            still picture gives one frame at 0.0.

        Raises:
            ValueError: If an argument is out of range, or while reading, if the video
                ends before `span` starts.
            VideoDecodeError: While reading, if nothing of the span can be decoded, also
                where only the header says that the video lasts so long.
            VideoChangedError: At the end, if the file is not what it was at the start.
        """
        if batch_size < 1:
            raise ValueError(f"need batch_size >= 1, got {batch_size=}")
        if frame_size is not None and min(frame_size) < 1:
            raise ValueError(f"need a positive frame_size (H, W), got {frame_size=}")
        self.close()
        self.end_s = self.damage = None
        size = frame_size or (self.info.height, self.info.width)
        samples = self._samples(sampling, span, FrameConverter(size, is_gray=is_gray))
        self._reading = reading = _batches(samples, size, batch_size)
        return reading

    def _samples(
        self, sampling: SamplingConfig, span: TimeSpan | None, converter: FrameConverter
    ) -> Iterator[tuple[float, float, Picture]]:
        if is_still_picture(self.info):
            yield 0.0, 0.0, _still_picture(self.path, converter)
            return
        start_s = span.start_s if span else 0.0
        times = endless_sample_times(start_s, self._rate(sampling, span))
        if span is not None:
            times = itertools.takewhile(lambda time_s: time_s < span.end_s, times)
        with _Pass(self.path, self._start, start_s=start_s, threads=self._threads) as decoding:
            num_samples = 0
            convert = _Converter(converter, self.path)
            shown = _on_screen(decoding.timed_frames(), times, decoding.end_of)
            for time_s, began_s, frame in shown:
                num_samples += 1
                if num_samples > _FREE_SAMPLES + _MOST_SAMPLES_A_FRAME * decoding.num_frames:
                    raise VideoDecodeError(
                        f"the times in {quoted(self.path)} cannot be right"
                        f" ({decoding.num_frames} frames up to {time_s:.0f} s): convert it"
                    )
                yield time_s, began_s, convert(frame)
            self._finish(decoding, span)
            if num_samples == 0:
                time_s, frame = self._only_sample(decoding, span)
                yield time_s, time_s, convert(frame)

    def _rate(self, sampling: SamplingConfig, span: TimeSpan | None) -> float:
        duration_s = self.info.duration_s
        is_short = duration_s is None or duration_s < 2 * sampling.long_enough_s
        if is_short and not self._start.is_measured:
            duration_s = measured_duration_s(self.path, self._start) or duration_s
        if span is not None:
            inside_s = min(span.end_s, duration_s or span.end_s) - span.start_s
            duration_s = inside_s if inside_s > 0 else span.duration_s
        return sampling_rate(duration_s, sampling)

    def _finish(self, decoding: "_Pass", span: TimeSpan | None) -> None:
        """Say where the reading ended and what was damaged."""
        if _file_state(self.path) != self._state:
            raise VideoChangedError(
                f"{quoted(self.path)} changed while it was read: try again when it is complete"
            )
        if decoding.end_s is None and span is not None:  # the span ended before the video
            self.end_s = span.end_s
            self.damage = describe_damage(decoding.log)
            return
        self.end_s = decoding.end_s
        if span is not None and self.end_s is not None:
            self.end_s = min(self.end_s, span.end_s)
        self.damage = describe_damage(
            decoding.log, end_s=decoding.end_s, claimed_s=self._claimed_s(decoding.log)
        )

    def _claimed_s(self, log: DecodingLog) -> float | None:
        """The duration to hold the decoded one against.

        That of the whole file may be that of its sound; it counts if the file ends
        right behind the last picture, as one does that was cut off.
        """
        if self._start.stream_duration_s is not None or not self._start.has_clock:
            return self._start.stream_duration_s if self._start.has_clock else None
        was_cut = log.last_byte is not None and log.last_byte > 0.98 * self._state[0]
        return self._start.container_duration_s if was_cut else None

    def _only_sample(self, decoding: "_Pass", span: TimeSpan | None) -> tuple[float, VideoFrame]:
        """The one sample of what is too short for a sample time."""
        if decoding.last_frame is None or self.end_s is None:
            raise VideoDecodeError(
                f"nothing can be decoded in {span or 'any part'} of {quoted(self.path)}"
                f" ({decoding.log.first_reason or 'no frames'}): copy or record it again"
            )
        start_s = span.start_s if span else 0.0
        end_s = decoding.end_s if decoding.end_s is not None else self.end_s
        if start_s >= end_s:
            if start_s < (self.info.duration_s or 0.0):
                raise VideoDecodeError(
                    f"{quoted(self.path)} ends at {format_time(end_s)}, before {span}, although"
                    f" its header says {self.info.duration_s:.1f} s: copy or record it again"
                )
            raise ValueError(
                f"{quoted(self.path)} ends at {format_time(end_s)}: {span} starts after it"
            )
        return (start_s + self.end_s) / 2, decoding.last_frame


def read_at(
    path: Path | str,
    times_s: Sequence[float],
    *,
    frame_size: tuple[int, int] | None = None,
    max_side: int | None = None,
) -> list[Picture]:
    """The pictures on screen at some times of a file, for people to look at.

    Each neighborhood of times is decoded once, from the sync frame before it. A time
    after the end gives the last picture, any time of a still picture that picture.

    Args:
        path: The file.
        times_s: Seconds from the first shown frame, in any order, repeats allowed.
        frame_size: (H, W) of the pictures; None keeps the upright picture's own.
        max_side: Without `frame_size`: scale down to at most so many pixels a side.

    Returns:
        One picture a time, uint8, shape ``(H, W, 3)``, in the order of `times_s`.

    Raises:
        ValueError: If a time is negative or not finite.
        NotAVideoError, VideoDecodeError, OSError: As `VideoReader.open`.
    """
    if not all(0 <= time_s < math.inf for time_s in times_s):
        raise ValueError(f"need times >= 0 and finite, got {times_s=}")
    path = Path(os.path.abspath(path))
    start = probe_start(path)
    size = frame_size or _fitting(start.info, max_side)
    if is_still_picture(start.info):
        return [_still_picture(path, FrameConverter(size))] * len(times_s)
    pictures: dict[float, Picture] = {}
    for times in _neighborhoods(sorted(set(times_s))):
        pictures.update(_pictures_at(path, start, times, size))
    if any(time_s not in pictures for time_s in times_s):
        raise VideoDecodeError(f"nothing can be decoded near some of {times_s} of {quoted(path)}")
    return [pictures[time_s] for time_s in times_s]


def describe_damage(
    log: DecodingLog, *, end_s: float | None = None, claimed_s: float | None = None
) -> str | None:
    """One line saying what of a video could not be decoded; None if nothing is missing."""
    parts = []
    if end_s is not None and claimed_s is not None:
        tolerance_s = max(_TOLERATED_MISSING_S, _TOLERATED_MISSING_SHARE * claimed_s)
        if end_s < claimed_s - tolerance_s:
            parts.append(f"stops at {end_s:.1f} of {claimed_s:.1f} s")
    if log.num_bad_packets:
        parts.append(
            f"{log.num_bad_packets} of {log.num_packets} packets cannot be decoded"
            f" ({log.first_reason})"
        )
    if log.num_corrupt_packets:
        parts.append(f"packets incomplete: {log.num_corrupt_packets} of {log.num_packets}")
    if log.num_corrupt_frames:
        parts.append(f"frames damaged: {log.num_corrupt_frames}")
    if log.read_error:
        parts.append(f"the file cannot be read on ({log.read_error})")
    return "; ".join(parts) or None


class _Pass:
    """One run through a file from a time on; a context manager.

    Attributes:
        end_s: Where the last frame of the file left the screen; None until it was reached.
        last_frame: The last one that came out of the decoder.
    """

    def __init__(self, path: Path, start: Start, *, start_s: float, threads: int) -> None:
        self.end_s: float | None = None
        self.last_frame: VideoFrame | None = None
        self._start = start
        self._stack = ExitStack()
        self._video, self._frames = _open_at(
            self._stack, path, start, start_s=start_s, threads=threads
        )
        duration_s = start.info.duration_s
        self._clock = PresentationClock(
            zero_s=start.zero_s,
            interval_s=start.interval_s,
            longest_gap_s=None if duration_s is None else duration_s + 10.0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def log(self) -> DecodingLog:
        return self._video.log

    @property
    def num_frames(self) -> int:
        return self._clock.num_frames

    def timed_frames(self) -> Iterator[TimedFrame]:
        for frame in self._frames:
            self.last_frame = frame
            yield self._clock.time_of(self._video.stamp_s(frame)), frame

    def end_of(self, frame: VideoFrame) -> float:
        """Where this frame, the last of the file, leaves the screen."""
        tick_s = self._video.tick_s
        self.end_s = end_of_last_frame(
            self._clock,
            stated_duration_s=frame.duration * tick_s if tick_s else None,
            stated_end_s=self._start.stream_duration_s,
        )
        return self.end_s


class _Converter:
    """Convert frames, one that stays on screen for several samples only once."""

    def __init__(self, converter: FrameConverter, path: Path) -> None:
        self._converter = converter
        self._path = path
        self._frame: VideoFrame | None = None
        self._picture: Picture | None = None

    def __call__(self, frame: VideoFrame) -> Picture:
        if self._picture is None or frame is not self._frame:
            try:
                self._picture = self._converter.convert(frame)
            except FFmpegError as error:
                raise VideoDecodeError(
                    f"the pictures of {quoted(self._path)} cannot be converted ({error}):"
                    " convert it"
                ) from error
            self._frame = frame
        return self._picture


def _on_screen(
    frames: Iterable[TimedFrame], times: Iterator[float], end_of: Callable[[VideoFrame], float]
) -> Iterator[SampledFrame]:
    """For each increasing time, the frame that is on screen then, until the video ends."""
    wanted_s = next(times, None)
    shown: TimedFrame | None = None
    for time_s, frame in frames:
        while shown is not None and wanted_s is not None and wanted_s < time_s - _SAME_TIME_S:
            yield wanted_s, *shown
            wanted_s = next(times, None)
        if wanted_s is None:
            return
        shown = time_s, frame
    if shown is None:
        return
    end_s = end_of(shown[1])
    while wanted_s is not None and wanted_s < end_s:
        yield wanted_s, *shown
        wanted_s = next(times, None)


def _open_at(
    stack: ExitStack, path: Path, start: Start, *, start_s: float, threads: int
) -> tuple[OpenVideo, Iterator[VideoFrame]]:
    """Open a file so that the next frames begin with the one on screen at `start_s`, or before."""
    if start_s > 0 and start.zero_s is not None and start.has_clock:
        for earlier_s in _SEEK_EARLIER_S:
            target_s = start_s - earlier_s
            if target_s <= 0:
                break
            video = stack.enter_context(open_video(path, threads=threads))
            frames = video.frames_from(start.zero_s + target_s)
            first = next(frames, None)
            stamp_s = video.stamp_s(first) if first is not None else None
            if first is not None and stamp_s is not None and stamp_s <= start.zero_s + start_s:
                return video, itertools.chain([first], frames)
            stack.close()
    video = stack.enter_context(open_video(path, threads=threads))
    return video, video.frames()


def _batches(
    samples: Iterator[tuple[float, float, Picture]], size: tuple[int, int], batch_size: int
) -> Generator[FrameBatch]:
    batch_size = max(1, min(batch_size, _MOST_BATCH_BYTES // (size[0] * size[1] * 3)))
    while batch := list(itertools.islice(samples, batch_size)):
        yield FrameBatch(
            frames=np.stack([picture for _, _, picture in batch]),
            pts_s=np.array([time_s for time_s, _, _ in batch], dtype=np.float64),
            began_s=np.array([began_s for _, began_s, _ in batch], dtype=np.float64),
        )


def _still_picture(path: Path, converter: FrameConverter) -> Picture:
    with open_video(path) as video:
        frame = next(video.frames(), None)
        if frame is None:
            raise VideoChangedError(f"{quoted(path)} changed while it was read: try again")
        return _Converter(converter, path)(frame)


def _pictures_at(
    path: Path, start: Start, times: Sequence[float], size: tuple[int, int]
) -> dict[float, Picture]:
    with _Pass(path, start, start_s=times[0], threads=1) as decoding:
        convert = _Converter(FrameConverter(size), path)
        shown = _on_screen(decoding.timed_frames(), iter(times), lambda _: math.inf)
        return {time_s: convert(frame) for time_s, _, frame in shown}


def _neighborhoods(times: Sequence[float]) -> list[list[float]]:
    groups: list[list[float]] = []
    for time_s in times:
        if groups and time_s - groups[-1][-1] <= _NEIGHBORHOOD_S:
            groups[-1].append(time_s)
        else:
            groups.append([time_s])
    return groups


def _fitting(info: VideoInfo, max_side: int | None) -> tuple[int, int]:
    scale = 1.0 if max_side is None else min(1.0, max_side / max(info.width, info.height))
    return max(1, round(info.height * scale)), max(1, round(info.width * scale))


def _file_state(path: Path) -> tuple[int, int, int]:
    try:
        state = os.stat(path)
    except FileNotFoundError as error:
        raise VideoChangedError(f"{quoted(path)} vanished while it was read") from error
    return state.st_size, state.st_mtime_ns, state.st_ino
