"""Frames as verification sees them: small, gray, with their features, each looked at once.

A query is compared with several videos, and each of them in several ranges: what was
read and seen of a file is kept for the next look. Several threads may look at once; what one
of them reads or sees the others wait for.
"""

import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FrameBatch, TimeSpan
from sora_search.errors import VideoDecodeError
from sora_search.media.decoding import VideoReader
from sora_search.media.sampling import SamplingConfig
from sora_search.media.streams import quoted
from sora_search.retrieval.placement import Features
from sora_search.retrieval.windows import Rectangle, cut_window

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Gray = NDArray[np.uint8]

SHORT_SIDE = 256
"""Pixels. Features of a frame cost 18 ms of CPU, of 11 at 192 px, which small insets need."""

LONG_SIDE = 1024
"""Most pixels of the other side: a strip must not grow to any size."""

FRAMES_PER_S = 10.0
"""Frames of an indexed video read in a second; times come out to .02 s all the same."""

QUERY_FRAMES_PER_S = 30.0
"""Frames of the query read in a second: one that belongs to each frame of the video. With 10 the
frames of a pair are up to .05 s apart: while a camera shook, motion agreed by .66, not .86."""

QUERY_FEATURES, VIDEO_FEATURES = 400, 800
"""Features a frame, the clearest. All of those of a query that was cropped lie in a part of the
indexed picture, which has few of its own there if it has no more in all: of nine crops to 30 %
that were missed on the suite `choose` two are found with 800, for 6 % more CPU of 18 others."""

MIN_CONTRAST = 0.005
"""Least contrast of a feature. At OpenCV's .04 blurred copies have hardly any; at .02 most empty
skies had none to tell them apart by, at .005 48 of 50 edited copies of such were found again, and
39 of 40 others were not."""

PIECE_S = 2.0
"""Files are read in pieces from one multiple of this to the next, so that frames are the same
whatever range is asked for."""

MAX_KEPT = 1600
"""Frames kept, .12 MB each of a widescreen picture; where features were found .2 MB more of a
query, .4 MB of an indexed video."""


@dataclass(slots=True, eq=False)
class Frame:
    """A gray picture, uint8 ``(H, W)``, when it is on screen, and how many features it may have."""

    gray: Gray
    time_s: float
    num_features: int = QUERY_FEATURES
    _features: Features | None = field(default=None, repr=False)
    _halved: list[Gray] = field(default_factory=list, repr=False)
    _looking: Lock = field(default_factory=Lock, repr=False)

    @property
    def features(self) -> Features:
        """What it can be recognized by, found when first asked for."""
        with self._looking:
            if self._features is None:
                self._features = _detect(self.gray, self.num_features)
            return self._features

    def halved(self, times: int) -> Gray:
        """The picture with half of its sides, so many times; made when first asked for."""
        if times == 0:
            return self.gray
        with self._looking:
            while len(self._halved) < times:
                picture = self._halved[-1] if self._halved else self.gray
                height, width = (max(1, round(side / 2)) for side in picture.shape)
                smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
                self._halved.append(np.asarray(smaller, np.uint8))
            return self._halved[times - 1]


class Footage:
    """Consecutive frames of one file.

    Attributes:
        frames: At least one.
        times_s: When they are on screen, float64, shape ``(T,)``, increasing.
        hidden: A part of the pictures that shows something else; None where none is known to.
    """

    def __init__(self, frames: Sequence[Frame], hidden: Rectangle | None = None) -> None:
        self.frames = tuple(frames)
        self.hidden = hidden
        self.times_s: Floats = np.array([frame.time_s for frame in frames], np.float64)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        height, width = self.frames[0].gray.shape
        return height, width

    def joined(self, other: "Footage") -> "Footage":
        """These frames and others of the same file, in their order; each time once."""
        frames = {frame.time_s: frame for frame in (*self.frames, *other.frames)}
        return Footage([frames[time_s] for time_s in sorted(frames)], self.hidden)

    def nearest(self, times_s: Floats) -> Integers:
        """Rows of the frames closest to some times."""
        middles = (self.times_s[1:] + self.times_s[:-1]) / 2
        return np.searchsorted(middles, times_s).astype(np.int64)


class FootageReader:
    """Reads footage, and keeps what was read last."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[_Piece, list[Frame]] = OrderedDict()
        self._files: dict[Path, VideoReader] = {}
        self._reading: defaultdict[Path, Lock] = defaultdict(Lock)
        self._keeping = Lock()
        self._is_interrupted = Event()

    def interrupt(self) -> None:
        """Read nothing any more: who is looking at frames in another thread is to stop."""
        self._is_interrupted.set()

    def read(
        self,
        path: Path | str,
        span: TimeSpan | None,
        window: Rectangle | None = None,
        *,
        frames_per_s: float = FRAMES_PER_S,
        num_features: int = QUERY_FEATURES,
    ) -> Footage:
        """Frames of a part of a file.

        Args:
            path: A video or a still picture.
            span: The part; None for a still picture.
            window: The part of the picture; None for all of it.
            frames_per_s: Frames of a second; of a file that has fewer some come twice.
            num_features: Most features of a frame.

        Raises:
            MediaError: If nothing of the part can be decoded.
            OSError: If the file is not there or may not be read.
            CancelledError: After `interrupt`.
        """
        if self._is_interrupted.is_set():
            raise CancelledError
        path = Path(path)
        span = span or TimeSpan(0.0, PIECE_S)
        numbers = range(int(span.start_s // PIECE_S), int(np.ceil(span.end_s / PIECE_S)))
        pieces = [_Piece(path, window, frames_per_s, num_features, number) for number in numbers]
        with self._reading_of(path):
            known = self._kept(pieces)
            missing = [piece for piece in pieces if piece not in known]
            for _, run in itertools.groupby(
                enumerate(missing), lambda pair: pair[1].number - pair[0]
            ):
                known.update(_read_run(self._file(path), [piece for _, piece in run]))
            self._keep(known)
        frames = [
            frame
            for piece in pieces
            for frame in known[piece]
            if span.start_s <= frame.time_s <= span.end_s
        ]
        if not frames:
            raise VideoDecodeError(f"{quoted(path)} shows nothing at {span}: index it again")
        return Footage(frames)

    def _reading_of(self, path: Path) -> Lock:
        with self._keeping:
            return self._reading[path]

    def _file(self, path: Path) -> VideoReader:
        """The file, opened once: what it is takes as long to find out as seconds of it to read."""
        if path not in self._files:
            self._files[path] = VideoReader.open(path)
        return self._files[path]

    def _kept(self, pieces: Iterable["_Piece"]) -> dict["_Piece", list[Frame]]:
        with self._keeping:
            return {piece: self._pieces[piece] for piece in pieces if piece in self._pieces}

    def _keep(self, pieces: Mapping["_Piece", list[Frame]]) -> None:
        """Keep what was read, or used again; forget what was not for longest."""
        with self._keeping:
            for piece in sorted(pieces, key=lambda piece: piece.number):
                self._pieces[piece] = pieces[piece]
                self._pieces.move_to_end(piece)
            num_kept = sum(map(len, self._pieces.values()))
            while num_kept > MAX_KEPT:
                num_kept -= len(self._pieces.popitem(last=False)[1])


@dataclass(frozen=True, slots=True)
class Sides:
    """The two files that are compared.

    Attributes:
        reader: Reads the frames of both.
        query_path: A video or a still picture.
        video_path: A file of the indexed video.
        window: The part of the query picture that is to show the footage; None for all of it.
        bounds: The seconds of the query that are searched; None for all of it.
        hidden: A part of the query picture, or of its window, that is left out of the comparison.
    """

    reader: FootageReader
    query_path: Path | str
    video_path: Path | str
    window: Rectangle | None = None
    bounds: TimeSpan | None = None
    hidden: Rectangle | None = None

    def query(self, span: TimeSpan | None, *, frames_per_s: float = QUERY_FRAMES_PER_S) -> Footage:
        """Frames of the query, in the window; errors as in `FootageReader.read`."""
        read = self.reader.read(self.query_path, span, self.window, frames_per_s=frames_per_s)
        return Footage(read.frames, self.hidden)

    def video(self, span: TimeSpan | None, *, frames_per_s: float = FRAMES_PER_S) -> Footage:
        """Frames of the indexed video; errors as in `FootageReader.read`."""
        return self.reader.read(
            self.video_path, span, frames_per_s=frames_per_s, num_features=VIDEO_FEATURES
        )


@dataclass(frozen=True, slots=True)
class _Piece:
    """From `number` times `PIECE_S` on, of a window of a file."""

    path: Path
    window: Rectangle | None
    frames_per_s: float
    num_features: int
    number: int


def _read_run(file: VideoReader, run: Sequence[_Piece]) -> dict[_Piece, list[Frame]]:
    """Read pieces that follow one another; those behind the last picture are empty."""
    first, last = run[0], run[-1]
    frames: dict[int, list[Frame]] = {piece.number: [] for piece in run}
    whole = TimeSpan(first.number * PIECE_S, (last.number + 1) * PIECE_S)
    # Where a file ends is known when it has been read: its header may say more.
    with suppress(ValueError, VideoDecodeError):
        for batch in _batches(file, whole, first.window, first.frames_per_s):
            for frame in _frames_of(batch, first.num_features):
                frames[min(int(frame.time_s // PIECE_S), last.number)].append(frame)
    return {piece: frames[piece.number] for piece in run}


def _batches(
    file: VideoReader, span: TimeSpan, window: Rectangle | None, frames_per_s: float
) -> Iterable[FrameBatch]:
    """Frames of a window, scaled, in gray."""
    window = window or Rectangle(0.0, 0.0, 1.0, 1.0)
    height, width = file.info.height, file.info.width
    sides = height * window.height, width * window.width
    scale = min(SHORT_SIDE / min(sides), LONG_SIDE / max(sides))
    # The picture is not made larger for a window than it is for itself.
    scale = min(scale, max(1.0, SHORT_SIDE / min(height, width)))
    size = max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))
    whole = max(1, round(height * scale)), max(1, round(width * scale))
    sampling = SamplingConfig(frames_per_s, min_frames=1)
    for batch in file.read(sampling, frame_size=whole, span=span, is_gray=True):
        part = cut_window(batch.frames, batch.moments_s, window, size)
        yield FrameBatch(part, batch.pts_s)


def _frames_of(batch: FrameBatch, num_features: int) -> list[Frame]:
    pictures = batch.frames[..., 0]
    # One that is kept does not keep the others of its batch.
    return [
        Frame(pictures[row].copy(), time_s, num_features)
        for row, time_s in enumerate(batch.pts_s.tolist())
    ]


def _detect(picture: Gray, num_features: int) -> Features:
    detector = cv2.SIFT.create(num_features, contrastThreshold=MIN_CONTRAST)
    keypoints, descriptors = detector.detectAndCompute(picture, None)
    if len(keypoints) == 0:
        descriptors = np.empty((0, 128), np.float32)
    # Places count from the corner of the first pixel, OpenCV's from its middle.
    points = np.array([keypoint.pt for keypoint in keypoints], np.float64).reshape(-1, 2) + 0.5
    sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return Features(
        points,
        np.array([keypoint.size for keypoint in keypoints], np.float64),
        np.radians(np.array([keypoint.angle for keypoint in keypoints], np.float64)),
        np.sqrt(descriptors / sums),
    )
