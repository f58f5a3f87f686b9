"""What a model makes of some views of clips: looked at once, so that learning takes seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sora_search.datatypes import FrameBatch, OnProgress, Progress, TimeSpan
from sora_search.errors import MediaError
from sora_search.learning import augmentation
from sora_search.learning.augmentation import as_pixels
from sora_search.learning.copies import mapped
from sora_search.learning.datasets import STORED_FRAMES, Clip, decode_clip
from sora_search.learning.figures import Rows, video_vector
from sora_search.learning.precomputing import spread_moments
from sora_search.media.clips import resize_frames
from sora_search.media.probing import probe
from sora_search.sora.encoder import EncoderSpec, SoraEncoder

MAX_PIECES = 3
"""Of a long video, each as long as what the network sees at once."""

Lesson = Literal["labels", "edits"]


@dataclass(frozen=True, slots=True, eq=False)
class ViewRows:
    """Vectors to learn from.

    Attributes:
        rows: ``(N, V, D)``: of each clip the plain view first, the others after it.
        labels: What each clip shows, N; where edits are learned, its group.
        groups: Its recording, N.
        identity_dim: Columns before this one are the identity half.
    """

    rows: Rows
    labels: Sequence[str]
    groups: Sequence[str]
    identity_dim: int

    @property
    def meaning(self) -> Rows:
        """The meaning halves as unit rows, ``(N, V, K)``."""
        half = self.rows[..., self.identity_dim :]
        norms = np.linalg.norm(half, axis=-1, keepdims=True)
        return np.asarray(half / np.maximum(norms, 1e-12), np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, kept: NDArray[np.bool_]) -> "ViewRows":
        places: list[int] = np.flatnonzero(kept).tolist()
        labels, groups = ([names[i] for i in places] for names in (self.labels, self.groups))
        return ViewRows(self.rows[kept], labels, groups, self.identity_dim)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What came of looking.

    Attributes:
        clips: The clips that could be read.
        views: Their vectors, and those of their pieces.
        failures: Why the others could not be read, a line each.
    """

    clips: tuple[Clip, ...]
    views: ViewRows
    failures: tuple[str, ...]


def look(
    clips: Sequence[Clip],
    spec: EncoderSpec,
    lesson: Lesson,
    num_views: int,
    *,
    seed: int = 0,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> Seen:
    """Look at each clip once plainly, and in `num_views` other ways.

    Args:
        clips: The clips; of a long video some pieces are looked at, each a clip of its group.
        spec: The encoder.
        lesson: What the views are for: mild ones for `labels`, strongly edited ones for `edits`.
        num_views: Views beside the plain one.
        seed: Of the views; those of a clip depend on its place too.
        jobs: Processes; 1 does it here.
        on_progress: Told after each clip.
    """
    tasks = [
        _Look(clip, clips[i - 1], lesson, spec, num_views, (seed, i))
        for i, clip in enumerate(clips)
    ]
    rows: list[Rows] = []
    shown: list[Clip] = []
    read: list[Clip] = []
    failures: list[str] = []
    for i, result in enumerate(mapped(_views_of, tasks, jobs)):
        if isinstance(result, str):
            failures.append(result)
        else:
            rows.append(result)
            shown += [clips[i]] * len(result)
            read.append(clips[i])
        if on_progress is not None:
            uri = clips[i].path.absolute().as_uri()
            on_progress(Progress("looking", i + 1, len(clips), uri=uri))
    groups = [clip.group for clip in shown]
    labels = [clip.label for clip in shown] if lesson == "labels" else groups
    encoder = _encoder(spec)
    views = np.concatenate(rows) if rows else np.empty((0, 1 + num_views, encoder.dim), np.float32)
    return Seen(tuple(read), ViewRows(views, labels, groups, encoder.identity_dim), tuple(failures))


@dataclass(frozen=True, slots=True)
class _Look:
    """What one process does with one video; `other` lends the ground of its edits."""

    clip: Clip
    other: Clip
    lesson: Lesson
    spec: EncoderSpec
    num_views: int
    seed: tuple[int, int]


@cache
def _encoder(spec: EncoderSpec) -> SoraEncoder:
    """One a process."""
    return spec.load()


def _views_of(task: _Look) -> Rows | str:
    """One vector a view of each piece, ``(pieces, V, D)``, or why there are none."""
    torch.set_num_threads(1)
    encoder = _encoder(task.spec)
    sampling, size = encoder.sampling, encoder.frame_size
    window_s = sampling.min_frames / sampling.frames_per_s
    pieces = _decoded_pieces(task.clip, window_s)
    if isinstance(pieces, str):
        return pieces
    other = None
    if task.lesson == "edits":
        start = _decoded_pieces(task.other, window_s, most=1)
        other = None if isinstance(start, str) else start[0]
    rng = np.random.default_rng([*task.seed])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    rows = []
    for piece in pieces:
        plain = piece[np.arange(sampling.min_frames) * len(piece) // sampling.min_frames]
        views = [resize_frames(plain, size)]
        moments = spread_moments(rng, task.num_views, sampling.min_frames, len(piece))
        frames = as_pixels(piece[moments])
        if task.lesson == "labels":
            changed = augmentation.teaching_view(frames, size[0], generator)
        else:
            ground = as_pixels((piece if other is None else other)[moments])
            changed = augmentation.edited_clip_view(frames, ground, size[0], generator)
        views += list((changed * 255).round().byte().permute(0, 1, 3, 4, 2).numpy())
        rows.append([_vector(view, encoder) for view in views])
    return np.array(rows, np.float32)


def _decoded_pieces(
    clip: Clip, window_s: float, *, most: int = MAX_PIECES
) -> list[NDArray[np.uint8]] | str:
    """Frames ``(T, S, S, 3)`` of a whole short clip, or of pieces spread over a long one."""
    try:
        duration_s = probe(clip.path).duration_s or 0.0
    except (MediaError, OSError) as error:
        return f"{clip.path}: {error}"
    spans: list[TimeSpan | None] = [clip.span]
    if clip.span is None and duration_s > window_s:
        num = max(1, min(most, int(duration_s / window_s)))
        ends = np.linspace(0.0, duration_s - window_s, num) if num > 1 else [0.0]
        spans = [TimeSpan(float(start), float(start) + window_s) for start in ends]
    pieces = []
    for span in spans:
        try:
            frames = decode_clip(Clip(clip.path, span=span), STORED_FRAMES)
        except ValueError:  # the header claimed more than there is
            continue
        if not isinstance(frames, str):
            pieces.append(frames)
    if pieces:
        return pieces
    whole = decode_clip(clip, STORED_FRAMES)
    return whole if isinstance(whole, str) else [whole]


def _vector(frames: NDArray[np.uint8], encoder: SoraEncoder) -> Rows:
    times_s = np.arange(0.5, len(frames)) / encoder.sampling.frames_per_s
    embedding = encoder.encode(
        [FrameBatch(np.ascontiguousarray(frames), np.asarray(times_s, np.float64))]
    )
    return video_vector(embedding.vectors, encoder.identity_dim)
