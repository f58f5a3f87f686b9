"""Frames to a video file, through a codec and back, and moving pictures made from nothing.

What tests, the demo and the edits need to make videos; sound is never written.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sora_search.media.clips import Clip, Pictures

#: Codec name -> pixel format and options that suit tests and small files.
CODECS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    # Without `mbtree=0` the same frames gave up to five different files in forty runs.
    "libx264": ("yuv420p", {"preset": "veryfast", "x264-params": "mbtree=0"}),
    "libx265": ("yuv420p", {"preset": "ultrafast", "x265-params": "log-level=error"}),
    "libvpx-vp9": ("yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "libsvtav1": ("yuv420p", {"preset": "12"}),
    "mpeg4": ("yuv420p", {}),
    "ffv1": ("bgr0", {}),
}


def write_video(
    path: Path | str,
    frames: Iterable[NDArray[np.uint8]],
    *,
    frames_per_s: Fraction | float,
    codec: str = "libx264",
    crf: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write RGB frames ``(H, W, 3)`` to a file, one at a time.

    Odd sides are padded to even ones where the pixel format needs it (the last row or
    column is repeated). `ffv1` in `.mkv` gives back every pixel as it was.

    Args:
        path: Where to; its ending says the container. An existing file is replaced.
        frames: All of one size; taken as they come, never held together.
        frames_per_s: Their constant rate.
        codec: A key of `CODECS`.
        crf: Quality, lower is better; the encoder's own default if None.
        options: Further options of the encoder.

    Returns:
        The path.

    Raises:
        ValueError: If there is no frame, or the codec is not in `CODECS`.
    """
    pixel_format, defaults = _codec(codec)
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError(f"no frame to write to {str(path)!r}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=_rate(frames_per_s))
        assert isinstance(stream, VideoStream)
        stream.codec_context.time_base = 1 / _rate(frames_per_s)
        _set_up(
            stream.codec_context, first.shape, pixel_format, {**defaults, **(options or {})}, crf
        )
        for pts, frame in enumerate(chain((first,), remaining)):
            container.mux(stream.encode(_to_av(frame, pixel_format, pts)))
        container.mux(stream.encode(None))
    return Path(path)


def through_h264(frames: Pictures, *, frames_per_s: float, crf: int) -> Pictures:
    """The frames ``(T, H, W, 3)`` after H.264 of quality `crf` and back, in memory, same shape.

    The same frames give the same result every time. Two by two pixels share their
    chroma (4:2:0), as in nearly all real files.
    """
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    pixel_format, options = CODECS["libx264"]
    _set_up(encoder, frames.shape[1:], pixel_format, options, crf)
    encoder.time_base = 1 / _rate(frames_per_s)
    encoder.framerate = _rate(frames_per_s)
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    result = np.empty(frames.shape, np.uint8)
    height, width = frames.shape[1:3]
    row = 0
    sources = [*(_to_av(frame, pixel_format, pts) for pts, frame in enumerate(frames)), None]
    packets = chain((packet for frame in sources for packet in encoder.encode(frame)), (None,))
    for packet in packets:
        for decoded in decoder.decode(packet):
            result[row] = decoded.to_ndarray(format="rgb24")[:height, :width]
            row += 1
    assert row == len(frames), f"{row} of {len(frames)} frames came back from the encoder"
    return result


def generated_clip(
    source: str,
    *,
    duration_s: float,
    size: tuple[int, int] = (240, 320),
    frames_per_s: float = 25.0,
    options: str = "",
    skip_s: float = 0.0,
) -> Clip:
    """A moving picture out of one of FFmpeg's sources.

    The same every time for `testsrc2`, `mandelbrot`, `zoneplate` (moves with
    ``kt=8`` only), and for `life`, `cellauto`, `sierpinski`, `perlin` when `options`
    holds a seed; never for `gradients`.

    Args:
        source: The filter's name.
        duration_s: How long.
        size: Height and width.
        frames_per_s: Rate of the frames.
        options: More of the filter's options, as FFmpeg writes them (``"seed=7:mold=10"``).
        skip_s: Leave out so much at the start (`life` needs a moment to look like something).

    Raises:
        ValueError: If FFmpeg has no such source or does not know an option.
    """
    rate = _rate(frames_per_s)
    graph = Graph()
    settings = f"size={size[1]}x{size[0]}:rate={rate}" + (f":{options}" if options else "")
    try:
        nodes = [
            graph.add(source, settings),
            graph.add("format", "pix_fmts=rgb24"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
    except (ValueError, av.FFmpegError) as error:
        raise ValueError(f"FFmpeg cannot make {source!r} with {settings!r}: {error}") from error
    first = round(skip_s * rate)
    count = max(1, round(duration_s * rate))
    stream = (graph.vpull() for _ in range(first + count))
    frames = [frame.to_ndarray(format="rgb24") for frame in islice(stream, first, None)]
    return Clip(np.stack(frames), float(rate))


def _codec(name: str) -> tuple[str, Mapping[str, str]]:
    if name not in CODECS:
        raise ValueError(f"no codec {name!r}; there are {', '.join(CODECS)}")
    return CODECS[name]


def _rate(frames_per_s: Fraction | float) -> Fraction:
    return Fraction(frames_per_s).limit_denominator(60_000)


def _set_up(
    context: VideoCodecContext,
    shape: tuple[int, ...],
    pixel_format: str,
    options: Mapping[str, str],
    crf: int | None,
) -> None:
    even = pixel_format == "yuv420p"
    context.height = shape[0] + (shape[0] % 2 if even else 0)
    context.width = shape[1] + (shape[1] % 2 if even else 0)
    context.pix_fmt = pixel_format
    # Threads split a frame and change the result: one keeps it the same on every machine.
    context.thread_count = 1
    context.options = {**options, **({} if crf is None else {"crf": str(crf)})}


def _to_av(frame: NDArray[np.uint8], pixel_format: str, pts: int) -> av.VideoFrame:
    height, width = frame.shape[:2]
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        frame = cv2.copyMakeBorder(  # type: ignore[assignment]
            frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
        )
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture = picture.reformat(format=pixel_format)
    picture.pts = pts
    return picture
