"""Videos made for the tests with PyAV: exact pixels, chosen time stamps, and files gone bad.

FFV1 in Matroska gives back every pixel, so that frames are compared exactly; Matroska
keeps times in milliseconds. Numbered frames carry their number in their color.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]

_MILLISECOND = Fraction(1, 1000)


def numbered_frames(num_frames: int, *, height: int = 48, width: int = 64) -> Frames:
    """Frames of one color each, all different for up to 64; shape ``(T, H, W, 3)``."""
    number = np.arange(num_frames)
    colors = np.stack([number % 4 * 64 + 32, number // 4 % 4 * 64 + 32, number // 16 % 4 * 64 + 32])
    colors = colors.T.astype(np.uint8)
    return np.broadcast_to(colors[:, None, None], (num_frames, height, width, 3)).copy()


def numbers_of(frames: Frames) -> list[int]:
    """The numbers that `numbered_frames` wrote, also after lossy coding."""
    middle = frames.reshape(len(frames), -1, 3).mean(axis=1)
    digits = np.clip(np.round((middle - 32) / 64), 0, 3).astype(int)
    return [int(number) for number in digits @ [1, 4, 16]]


def moving_frames(num_frames: int, *, height: int = 96, width: int = 128, seed: int = 0) -> Frames:
    """A textured picture over which a bright square moves; shape ``(T, H, W, 3)``."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    ground = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    frames = np.repeat(ground[None], num_frames, axis=0)
    side = max(2, height // 4)
    for i, frame in enumerate(frames):
        left = (i * max(1, width // 48)) % (width - side)
        top = (height - side) * i // max(1, num_frames - 1)
        frame[top : top + side, left : left + side] = 255 - ground[0, 0]
    return frames


def write_video(
    path: Path,
    frames: Frames,
    *,
    fps: Fraction | int = 25,
    times_ms: Sequence[int] | None = None,
    codec: str = "ffv1",
    pix_fmt: str | None = None,
    container: str | None = None,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    rotation: int | None = None,
    with_sound: bool = False,
    title: str | None = None,
    **frame_attributes: Any,
) -> Path:
    """Write a video file; its format follows from the suffix unless `container` says it.

    Args:
        path: Where to.
        frames: RGB, shape ``(T, H, W, 3)``.
        fps: Frames a second, of the header and, without `times_ms`, of the time stamps.
        times_ms: The time stamp of each frame.
        codec: The encoder; `ffv1` is lossless.
        pix_fmt: Pixel format; `bgr0` for FFV1 and `yuv420p` for others.
        container: Name of the FFmpeg format.
        options: Options of the encoder.
        aspect: Sample aspect ratio.
        rotation: Counterclockwise degrees by which a player turns the picture.
        with_sound: Add a second of a tone.
        title: Metadata of the file.
        frame_attributes: Set on each frame (`color_trc=...`).
    """
    pix_fmt = pix_fmt or ("bgr0" if codec == "ffv1" else "yuv420p")
    time_base = _MILLISECOND if times_ms is not None else 1 / Fraction(fps)
    stamps = times_ms if times_ms is not None else range(len(frames))
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        if title is not None:
            output.metadata["title"] = title
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = time_base
        if aspect is not None:
            stream.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        sound = output.add_stream("aac", rate=16000, layout="mono") if with_sound else None
        for pixels, stamp in zip(frames, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            for name, value in frame_attributes.items():
                setattr(frame, name, value)
            frame.pts, frame.time_base = int(stamp), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            _write_tone(output, sound)
    return path


def write_sound(path: Path, *, codec: str = "aac") -> Path:
    """Write a file that holds a second of a tone and no picture."""
    with av.open(str(path), "w") as output:
        _write_tone(output, output.add_stream(codec, rate=16000, layout="mono"))
    return path


def _write_tone(output: Any, stream: Any) -> None:
    tone = np.sin(np.arange(16000) * 440 * 2 * np.pi / 16000).astype(np.float32)[None]
    for start in range(0, 15360, 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(tone[:, start : start + 1024]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def write_picture(path: Path, pixels: NDArray[np.uint8], *, codec: str = "png") -> Path:
    """Write a still picture under any name."""
    pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p", "bmp": "bgr24"}[codec]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width, encoder.pix_fmt = *pixels.shape[:2], pix_fmt
    encoder.time_base = Fraction(1, 25)
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def cut_file(source: Path, target: Path, *, share: float) -> Path:
    """Copy the first part of a file, as an interrupted download leaves it."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


def spoil(source: Path, target: Path, *, share: float = 0.5, num_bytes: int = 4000) -> Path:
    """Copy a file and overwrite a run of bytes in it with noise."""
    content = bytearray(source.read_bytes())
    start = int(len(content) * share)
    noise = np.random.default_rng(0).bytes(min(num_bytes, len(content) - start))
    content[start : start + len(noise)] = noise
    target.write_bytes(content)
    return target
