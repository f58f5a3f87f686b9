"""The values that travel between the stations.

Conventions, stated here and nowhere else:

- Time is presentation time in seconds; the first shown frame of a file is at 0.0.
- Spans are half-open: a frame at `end_s` is not inside.
- A picture is RGB, uint8, upright, with square pixels.
- A vector is a unit row of float32 (stored as float16, rounded before any use).
- The score of a hit is a cosine in [-1, 1], that of a result lies in [0, 1];
  higher is better everywhere.
- Shapes use one alphabet: N segments or clips, T frames, H W 3, D dimensions,
  Q query vectors, K neighbours, Lq x Lv similarity matrix.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

ResultKind = Literal["copy", "similar"]
Decision = Literal["match", "no-match"]  # what a person says of a query and a video


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A half-open range of presentation time, `0 <= start_s < end_s`, in seconds."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s < float("inf"):
            raise ValueError(f"need 0 <= start_s < end_s, got {self.start_s=} {self.end_s=}")

    @property
    def duration_s(self) -> float:
        """Length in seconds, always positive."""
        return self.end_s - self.start_s

    @property
    def middle_s(self) -> float:
        """Half way from the start to the end."""
        return (self.start_s + self.end_s) / 2

    def overlap_s(self, other: "TimeSpan") -> float:
        """Seconds that both spans share; 0.0 when they only touch."""
        return max(0.0, min(self.end_s, other.end_s) - max(self.start_s, other.start_s))

    def __str__(self) -> str:
        # Of one frame, or two: a range of tenths of a second would look empty.
        if self.duration_s < 0.1:
            return format_time(self.start_s)
        return f"{format_time(self.start_s)}-{format_time(self.end_s)}"


def format_time(seconds: float) -> str:
    """A time as people read it: `0:03.0`, `12:41.5`, `1:02:03.4`.

    Example:
        >>> format_time(761.04)
        '12:41.0'
    """
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{clock}:{tenths // 10:02}.{tenths % 10}"


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file is. A still picture has `duration_s` None and no frame rate.

    `width` and `height` are those of the shown picture: upright, square pixels.
    """

    uri: str
    duration_s: float | None
    width: int
    height: int
    codec: str
    average_frame_rate: Fraction | None


@dataclass(frozen=True, slots=True)
class Segment:
    """What one vector stands for: a span of a video and its place in the order of vectors."""

    video_id: int
    ordinal: int
    span: TimeSpan | None


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Frames of one video in order of presentation.

    Attributes:
        frames: uint8, shape ``(T, H, W, 3)`` in RGB or ``(T, H, W, 1)`` in gray, T >= 1.
        pts_s: float64 seconds, shape ``(T,)``, strictly increasing: when they are looked at.
        began_s: When each came on screen, up to a frame earlier, shape ``(T,)``; None where
            nothing but `pts_s` is known.
    """

    frames: NDArray[np.uint8]
    pts_s: NDArray[np.float64]
    began_s: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.frames.shape, self.frames.dtype
        if len(shape) != 4 or shape[3] not in (1, 3) or dtype != np.uint8:
            raise ValueError(f"need uint8 (T, H, W, 3) or (T, H, W, 1), got {dtype} {shape}")
        if self.pts_s.shape != (len(self.frames),) or len(self.frames) == 0:
            raise ValueError(f"need one time a frame, got {self.pts_s.shape=} {self.frames.shape=}")
        if len(self.pts_s) > 1 and not (np.diff(self.pts_s) > 0).all():
            raise ValueError("need strictly increasing pts_s")
        if self.began_s is not None and self.began_s.shape != self.pts_s.shape:
            raise ValueError(f"need one time a frame, got {self.began_s.shape=}")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def moments_s(self) -> NDArray[np.float64]:
        """The moments that the frames show: when they came on screen, as far as it is known."""
        return self.pts_s if self.began_s is None else self.began_s

    def __repr__(self) -> str:
        return f"FrameBatch({self.frames.shape}, {self.pts_s[0]:.3f}-{self.pts_s[-1]:.3f} s)"


@dataclass(frozen=True, slots=True, eq=False)
class VideoEmbedding:
    """All vectors of one video, with the span each stands for.

    Attributes:
        spans: One span a vector, in order of time; a still picture has one None.
        vectors: float32 unit rows, shape ``(N, D)``, N >= 1.
        model_id: The model that made them; vectors of different models never meet.
    """

    spans: tuple[TimeSpan | None, ...]
    vectors: NDArray[np.float32]
    model_id: str

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            raise ValueError(f"need float32 (N, D), got {self.vectors.dtype} {self.vectors.shape}")
        if len(self.spans) != len(self.vectors) or len(self.spans) == 0:
            raise ValueError(f"need one span a vector, got {len(self.spans)} {self.vectors.shape=}")

    def __len__(self) -> int:
        return len(self.spans)

    def __repr__(self) -> str:
        return f"VideoEmbedding({self.vectors.shape}, model_id={self.model_id!r})"


@dataclass(frozen=True, slots=True)
class Hit:
    """One near neighbour of a query vector."""

    vector_id: int
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Nearest neighbours of Q query vectors, best first.

    Attributes:
        vector_ids: int64, shape ``(Q, K)``, -1 where there is no neighbour.
        scores: float32 cosine, shape ``(Q, K)``.

    Iterating yields one list of `Hit` a query, absent neighbours left out.
    """

    vector_ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.vector_ids.shape != self.scores.shape or self.scores.ndim != 2:
            raise ValueError(f"need (Q, K) twice, got {self.vector_ids.shape} {self.scores.shape}")

    def __len__(self) -> int:
        return len(self.vector_ids)

    def __iter__(self) -> Iterator[list[Hit]]:
        for ids, scores in zip(self.vector_ids, self.scores, strict=True):
            yield [Hit(int(i), float(s)) for i, s in zip(ids, scores, strict=True) if i >= 0]

    def __repr__(self) -> str:
        return f"Hits{self.vector_ids.shape}"


@dataclass(frozen=True, slots=True, eq=False)
class FoundEdit:
    """How the indexed footage was changed to become the query, as far as it can be seen.

    Attributes:
        matrix: float64, shape ``(3, 3)``: takes places of the indexed picture to places of
            the query picture, both in shares of width and height. Of a picture that moves
            about in the query it is that of the middle of the range.
        mirrored: Whether left and right are swapped.
        speed: Seconds of the indexed video for each second of the query.
        rectangle: Left, top, width and height of the part of the query picture that shows
            it, in shares.
        crop: Shares of the indexed picture's width and height that are visible.
        rotation_degrees: How far it is turned against the clock, in (-180, 180].
        stretch: How much wider it became against its height; 1.0 is unchanged.
        is_moving: Whether it moves about in the query picture.
        is_tilted: Whether it is seen at an angle, as a filmed screen is.
    """

    matrix: NDArray[np.float64]
    mirrored: bool
    speed: float
    rectangle: tuple[float, float, float, float]
    crop: tuple[float, float]
    rotation_degrees: float
    stretch: float
    is_moving: bool = False
    is_tilted: bool = False

    def __post_init__(self) -> None:
        if self.matrix.shape != (3, 3):
            raise ValueError(f"need (3, 3), got {self.matrix.shape=}")

    def describe(self) -> str:
        """What was done to the picture's place, shape and speed, in words; colors are not told.

        Example:
            >>> matrix, half = np.diag([0.5, 0.5, 1]), (0.0, 0.0, 0.5, 0.5)
            >>> FoundEdit(matrix, False, 1.25, half, (1.0, 1.0), 0.0, 1.0).describe()
            '1.25 x faster, inside a rectangle at 0 %, 0 % of 50 % x 50 % size'
        """
        words = []
        if self.mirrored:
            words.append("mirrored")
        if abs(self.rotation_degrees) >= 2:
            side = "left" if self.rotation_degrees > 0 else "right"
            words.append(f"turned {side} by {abs(self.rotation_degrees):.0f} degrees")
        if self.is_tilted:
            words.append("seen at an angle")
        if min(self.crop) < 0.95:
            words.append(f"cropped to {self.crop[0]:.0%} x {self.crop[1]:.0%}".replace("%", " %"))
        if abs(math.log(self.stretch)) > math.log(1.06):
            words.append(f"stretched to {self.stretch:.2f} x the width")
        if abs(math.log(self.speed)) > math.log(1.03):
            faster = self.speed > 1
            pace = f"{self.speed if faster else 1 / self.speed:.2f} x"
            words.append(f"{pace} {'faster' if faster else 'slower'}")
        left, top, width, height = self.rectangle
        if min(width, height) < 0.95:
            moves = "moving " if self.is_moving else ""
            place = f"at {left:.0%}, {top:.0%} of {width:.0%} x {height:.0%} size"
            words.append(f"inside a {moves}rectangle {place}".replace("%", " %"))
        return ", ".join(words) or "same framing"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a range is told, or is not.

    Attributes:
        reason: What decided, in words.
        strength: How much of what identical footage would have the vectors show, in [0, 1].
        num_cells: Places in which both pictures agree in geometry; 0 where nobody looked, and
            where the whole picture was compared as it is (then there is an `edit`).
        appearance: Share of the textured blocks that look the same, in [0, 1].
        motion: Correlation of the changes from frame to frame; None where nothing moves.
        edit: How the picture was changed; None without a geometry.
    """

    reason: str
    strength: float
    num_cells: int = 0
    appearance: float = 0.0
    motion: float | None = None
    edit: FoundEdit | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """One range that both sides show. A still picture has no span.

    Attributes:
        query_span: Where in the query.
        video_span: Where in the indexed video.
        score: In [0, 1], higher is better.
        verified: Whether decoded frames confirm it; None where they could not be looked at,
            or show the same scene without anything that moves.
        edit: How the picture was changed, in words; empty where frames do not confirm it.
        shared_with: How many other indexed videos show these seconds too, but not the rest of
            the video: an intro, say. The more, the lower the score.
        evidence: Why it is told; None where no search found it.
    """

    query_span: TimeSpan | None
    video_span: TimeSpan | None
    score: float
    verified: bool | None = None
    edit: str = ""
    shared_with: int = 0
    evidence: Evidence | None = field(default=None, compare=False)

    def describe(self) -> str:
        """How far it can be trusted, in words.

        Example:
            >>> Match(None, None, 0.9, True, "mirrored").describe()
            'verified: mirrored'
            >>> Match(None, None, 0.9, shared_with=2).describe()
            'not verified  (shared with 2 other videos)'
            >>> Match(None, None, 0.9, evidence=Evidence("its file is gone", 0.8)).describe()
            'not verified: its file is gone'
        """
        told = {True: f"verified: {self.edit}", None: "not verified", False: "frames differ"}
        text = told[self.verified]
        if self.verified is None and self.evidence is not None and self.evidence.edit is None:
            text += f": {self.evidence.reason}"  # why nothing was compared
        if self.shared_with:
            videos = f"{self.shared_with} other video{'s' if self.shared_with > 1 else ''}"
            text += f"  (shared with {videos})"
        return text


def in_order(matches: Iterable[Match]) -> list[Match]:
    """Ranges as people read them: those confirmed first, each kind as it follows in the query."""

    def place(match: Match) -> tuple[bool, float]:
        return not match.verified, match.query_span.start_s if match.query_span else 0.0

    return sorted(matches, key=place)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One video of the answer.

    Attributes:
        video_id: Its id in this index.
        uri: A file that holds this content (one that is not missing where there is one).
        other_uris: Further files with the same content.
        missing: True when none of its files is there.
        score: In [0, 1], higher is better.
        kind: `copy` (the same footage) or `similar` (looks like it).
        coverage: Share of the query that the matches cover, those that frames refute left
            out, in [0, 1].
        verified: That of its best range; see `Match`.
        matches: Every range that both share, best first; a `similar` one may have none.
        verdict: What a person decided about the query and this video, and what the score and
            the kind heed; None if nobody did.
    """

    video_id: int
    uri: str
    other_uris: tuple[str, ...]
    missing: bool
    score: float
    kind: ResultKind
    coverage: float
    verified: bool | None
    matches: tuple[Match, ...]
    verdict: Decision | None = None

    def describe(self, match: Match) -> str:
        """How far one of its ranges can be trusted, in words.

        Whoever decided that both match did not say when: the seconds stay as sure as they were.
        """
        text = match.describe()
        if self.verdict == "match" and match.verified is None:
            text += f"  ({match.score:.3f} without the verdict)"
        return text


@dataclass(frozen=True, slots=True)
class Rejection:
    """A range that was considered, and is not in the answer."""

    uri: str
    query_span: TimeSpan | None
    video_span: TimeSpan | None
    evidence: Evidence = field(compare=False)


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """What a search gives.

    Attributes:
        query: The query as it was read.
        results: The videos found, best first.
        rejected: What else was considered, the most promising first.
        damage: What of the query could not be decoded and was not searched, in one line;
            None where it is whole.
    """

    query: VideoInfo
    results: tuple[SearchResult, ...]
    rejected: tuple[Rejection, ...] = ()
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class VideoFailure:
    """A file that could not be indexed, and why, in one line that names what to do."""

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a run of indexing did, in numbers of files.

    Attributes:
        num_added: New, with a content that no other has.
        num_rebuilt: Of a content that the index knew with vectors of another model alone.
        num_changed: With another content than before.
        num_moved: With the content of a file that is gone.
        num_unchanged: As they were.
        num_other_names: New, with a content that is known already: one video, another name.
        num_missing: Gone.
        num_dropped: Those of the missing that the index forgot.
        num_salvaged: Damaged, and indexed as far as they can be decoded.
        num_skipped: Below the given folders, and not named like videos.
        num_vectors: Vectors added.
        failures: Files and folders that could not be indexed.
    """

    num_added: int = 0
    num_rebuilt: int = 0
    num_changed: int = 0
    num_moved: int = 0
    num_unchanged: int = 0
    num_other_names: int = 0
    num_missing: int = 0
    num_dropped: int = 0
    num_salvaged: int = 0
    num_skipped: int = 0
    num_vectors: int = 0
    failures: tuple[VideoFailure, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long call has come.

    Attributes:
        phase: What it does now, in a word or two (`reading`, `embedding`, `saving`).
        num_done: Things finished (files, steps).
        num_total: All of them.
        done_s: Seconds of video finished; None where the work is not video.
        total_s: Seconds of video in all; None where the work is not video.
        uri: The thing last finished, or empty.
    """

    phase: str
    num_done: int
    num_total: int
    done_s: float | None = None
    total_s: float | None = None
    uri: str = ""


OnProgress = Callable[[Progress], None]


@runtime_checkable
class VideoEncoder(Protocol):
    """Frames of one video to vectors. Implemented over ONNX Runtime and over torch."""

    @property
    def model_id(self) -> str:
        """Name and digest of weights and preprocessing."""
        ...

    @property
    def dim(self) -> int:
        """D, the length of a vector."""
        ...

    def encode(
        self, batches: Iterable[FrameBatch], *, end_s: float | None = None
    ) -> VideoEmbedding:
        """Embed one video from a stream of its frames, in memory that does not grow with it.

        `end_s` is where the last frame leaves the screen; a single frame with None
        is a still picture and gets one vector without a span.

        Raises:
            ValueError: If `batches` holds no frame.
        """
        ...


@runtime_checkable
class VectorIndex(Protocol):
    """Nearest neighbours by cosine. Implemented over FAISS and by brute force."""

    @property
    def dim(self) -> int:
        """D, the length of a vector."""
        ...

    def __len__(self) -> int: ...

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add unit rows ``(N, D)`` under new ids ``(N,)``.

        Raises:
            ValueError: If shapes disagree, or an id is negative, repeated or there already.
        """
        ...

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Remove those of `ids` that are there; how many that were."""
        ...

    def search(self, queries: NDArray[np.float32], k: int) -> Hits:
        """The `k` nearest of each row of ``(Q, D)``, best first.

        Raises:
            ValueError: If ``k < 1`` or the dimension is another.
        """
        ...

    def flush(self) -> None:
        """Make what was added or removed durable, where the index has a place on disk."""
        ...
