"""From a decoded frame to an upright array of square pixels, RGB or gray.

Rotation, mirroring and sample aspect ratio are what a player would apply. Colors
without a stated matrix are taken as BT.601, as FFmpeg does for every size: a copy
that was scaled down without tags then still has the colors of its original. HDR
(PQ, HLG) is brought to the tones of an ordinary picture after scaling.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

_MOST_STRETCH = 8  # a sample aspect ratio beyond it is a broken header
_REFERENCE_WHITE_NITS = 203.0  # ITU-R BT.2408
_PEAK_NITS = 1000.0  # where the tone curve reaches white: usual mastering peak
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    dtype=np.float32,
)


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture is turned to be shown: mirrored first, then turned.

    Attributes:
        quarter_turns: Counterclockwise, 0 to 3.
        mirrored: Left and right are swapped before the turn.
    """

    quarter_turns: int = 0
    mirrored: bool = False

    def apply(self, picture: Picture) -> Picture:
        """The picture upright."""
        if self.mirrored:
            picture = picture[:, ::-1]
        return np.rot90(picture, self.quarter_turns) if self.quarter_turns else picture

    def stored_size(self, upright_size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) before turning of a picture that is `upright_size` after it."""
        height, width = upright_size
        return (width, height) if self.quarter_turns % 2 else (height, width)


def orientation_of(frame: VideoFrame) -> Orientation:
    """What the frame's display matrix asks for, rounded to quarter turns."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows not every kind of side data (EXIF); then only the turn
        return Orientation(round(frame.rotation / 90) % 4)
    if not isinstance(matrix, SideData):
        return Orientation()
    return orientation_from_matrix(np.frombuffer(bytes(matrix), dtype="<i4").reshape(3, 3))


def orientation_from_matrix(matrix: NDArray[np.int32]) -> Orientation:
    """The orientation in a display matrix ``[[a, b, u], [c, d, v], [x, y, w]]`` of MP4.

    A stored point (x, y), y downwards, is shown at ``(a x + c y, b x + d y)``.
    """
    (a, b), (c, d) = matrix[:2, :2].astype(np.float64)
    mirrored = bool(a * d - b * c < 0)
    if mirrored:  # take the swap of left and right out: x becomes -x
        a, b = -a, -b
    return Orientation(round(np.degrees(np.arctan2(-b, a)) / 90) % 4, mirrored)


def upright_size(
    width: int, height: int, aspect: Fraction | None, orientation: Orientation
) -> tuple[int, int]:
    """The (H, W) at which a stored picture is shown; the shorter way of a pixel is stretched."""
    shape = (height, width)
    if aspect is not None and 1 / _MOST_STRETCH <= aspect <= _MOST_STRETCH:
        if aspect >= 1:
            shape = (height, max(1, round(width * aspect)))
        else:
            shape = (max(1, round(height / aspect)), width)
    return orientation.stored_size(shape)


class FrameConverter:
    """Make pictures of one size from decoded frames, with one thread."""

    def __init__(self, size: tuple[int, int], *, is_gray: bool = False) -> None:
        """Convert to upright pictures of `size` (H, W), RGB or of brightness alone.

        Most files hold brightness for itself: to scale that takes an eighth of the time.
        """
        self.size = size
        self._format = "gray" if is_gray else "rgb24"
        self._reformatter = VideoReformatter()
        self._rotation: int | None = None
        self._orientation = Orientation()

    def convert(self, frame: VideoFrame) -> Picture:
        """One frame, upright, uint8, shape ``(H, W, 3)``, or ``(H, W, 1)`` in gray."""
        if frame.rotation != self._rotation:
            # Only then: looking at the side data makes a cycle of references, and the
            # frame would stay in memory until the next collection of garbage.
            self._rotation, self._orientation = frame.rotation, orientation_of(frame)
        height, width = self._orientation.stored_size(self.size)
        picture = self._scaled(frame, height, width)
        return self._orientation.apply(_without_hdr(picture, frame.color_trc))

    def _scaled(self, frame: VideoFrame, height: int, width: int) -> Picture:
        try:
            return _as_array(
                self._reformatter.reformat(
                    frame,
                    width=width,
                    height=height,
                    format=self._format,
                    interpolation=Interpolation.AREA,
                    threads=1,
                )
            )
        except FFmpegError:  # sizes that the scaler refuses: only convert, then nearest pixels
            picture = _as_array(VideoReformatter().reformat(frame, format=self._format, threads=1))
            rows = np.arange(height) * picture.shape[0] // height
            columns = np.arange(width) * picture.shape[1] // width
            return np.asarray(picture[rows[:, None], columns])


def _as_array(frame: VideoFrame) -> Picture:
    picture = np.asarray(frame.to_ndarray(), dtype=np.uint8)
    return picture if picture.ndim == 3 else picture[..., None]


def _without_hdr(picture: Picture, transfer: int) -> Picture:
    if transfer not in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67):
        return picture
    if picture.shape[-1] == 1:
        return _gray_without_hdr(transfer)[picture]
    light = _light_of_code(transfer)[picture] @ _BT2020_TO_BT709.T
    np.clip(light, 0.0, None, out=light)
    white = _PEAK_NITS / _REFERENCE_WHITE_NITS
    brightest = light.max(axis=-1, keepdims=True)
    light *= (1 + brightest / white**2) / (1 + brightest)  # extended Reinhard, keeps the hue
    codes = np.clip(light, 0.0, 1.0) ** np.float32(1 / 2.2) * 255
    return np.asarray(np.round(codes), dtype=np.uint8)


@cache
def _gray_without_hdr(transfer: int) -> Picture:
    """The level of each gray, which stays one: that of a color of three equal codes."""
    grays = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    return _without_hdr(grays, transfer)[:, 0]


@cache
def _light_of_code(transfer: int) -> NDArray[np.float32]:
    """Light of each 8-bit code, 1.0 is reference white (ITU-R BT.2100)."""
    code = np.arange(256) / 255
    if transfer == ColorTrc.SMPTE2084:
        root = code ** (1 / 78.84375)
        nits = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
            1 / 0.1593017578125
        )
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        nits = _PEAK_NITS * scene**1.2
    return (nits / _REFERENCE_WHITE_NITS).astype(np.float32)
