"""The query as it is looked at: whole, by its windows, and if need be turned and magnified.

Each view is a picture of its own with vectors of its own, searched for itself: footage
that fills a corner of the query would drown in the vectors of the whole picture. The
whole picture is embedded by `sora.encoder.embed_video`; the other views come from here.
A long query is read in pieces, so memory stays flat.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FrameBatch, TimeSpan, VideoEmbedding
from sora_search.media.clips import resize_frames
from sora_search.media.decoding import VideoReader
from sora_search.media.probing import is_still_picture
from sora_search.retrieval.circles import find_circles
from sora_search.retrieval.drifting import find_drifting
from sora_search.retrieval.rectangles import find_rectangles
from sora_search.retrieval.windows import Rectangle, cut_window, pyramid
from sora_search.sora.encoder import FileEncoder

VIEW_SIDE = 288
"""Short side of the pictures that windows are cut from: a quarter of it is still half of what
the model sees of a whole picture."""

FINDING_SIDE = 208
"""Short side of the pictures in which rectangles are looked for: at 288 px fewer are found."""

PIECE_FRAMES = 64
"""Frames of a query looked at together (32 s at two a second): 30 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One way to look at the query.

    Attributes:
        embedding: Its vectors; their spans are seconds of the query file.
        window: The part of the picture it shows; None is all of it.
    """

    embedding: VideoEmbedding
    window: Rectangle | None = None


def window_views(
    path: Path | str, encoder: FileEncoder, *, span: TimeSpan | None = None
) -> Iterator[View]:
    """The rectangles and circles in which other footage may stand, or move, each as a view.

    Raises:
        MediaError: If nothing of the query can be decoded.
        ValueError: If `span` starts after the end.
    """
    for piece in _pieces(path, encoder, span):
        frames = piece.batch.frames
        size = _scaled_size(frames.shape[1], frames.shape[2], FINDING_SIDE)
        small = resize_frames(frames, size)
        moments_s = piece.batch.moments_s
        for window in (
            *find_rectangles(small),
            *find_drifting(small, moments_s),
            *find_circles(small),
        ):
            yield piece.view(encoder, window)


def part_views(
    path: Path | str,
    encoder: FileEncoder,
    parts: Sequence[Rectangle],
    *,
    span: TimeSpan | None = None,
) -> Iterator[View]:
    """Some parts of the picture, each as a view.

    Raises:
        MediaError: If nothing of the query can be decoded.
        ValueError: If `span` starts after the end.
    """
    for piece in _pieces(path, encoder, span):
        for part in parts:
            yield piece.view(encoder, part)


def closer_views(
    path: Path | str, encoder: FileEncoder, *, span: TimeSpan | None = None
) -> Iterator[View]:
    """Windows all over the picture and quarter turns, for when nothing else finds anything.

    They cost twelve times a view of the whole, so a query longer than a piece has none.

    Raises:
        MediaError: If nothing of the query can be decoded.
        ValueError: If `span` starts after the end.
    """
    pieces = list(islice(_pieces(path, encoder, span), 2))
    if len(pieces) != 1:
        return
    for turns in (1, 2, 3):
        yield pieces[0].view(encoder, quarter_turns=turns)
    for rectangle in pyramid():
        yield pieces[0].view(encoder, rectangle)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Some frames of the query, and where the last one leaves the screen (None: unknown)."""

    batch: FrameBatch
    end_s: float | None

    def view(
        self, encoder: FileEncoder, window: Rectangle | None = None, *, quarter_turns: int = 0
    ) -> View:
        whole = window or Rectangle(0.0, 0.0, 1.0, 1.0)
        frames = cut_window(self.batch.frames, self.batch.moments_s, whole, encoder.frame_size)
        frames = np.ascontiguousarray(np.rot90(frames, quarter_turns, axes=(1, 2)))
        batch = FrameBatch(frames, self.batch.pts_s)
        return View(encoder.encode([batch], end_s=self.end_s), window)


def _pieces(path: Path | str, encoder: FileEncoder, span: TimeSpan | None) -> Iterator[_Piece]:
    with VideoReader.open(path, threads=encoder.spec.threads) as reader:
        held: list[FrameBatch] = []
        for batch in reader.read(
            encoder.sampling,
            frame_size=_scaled_size(reader.info.height, reader.info.width, VIEW_SIDE),
            span=span,
            batch_size=PIECE_FRAMES // 4,
        ):
            held.append(batch)
            if sum(map(len, held)) >= PIECE_FRAMES:
                yield _Piece(_joined(held), None)
                held = []
        if held:
            is_picture = is_still_picture(reader.info)
            yield _Piece(_joined(held), None if is_picture else reader.end_s)


def _scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(H, W) with that short side, or as it is where it is smaller."""
    scale = min(1.0, short_side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _joined(batches: list[FrameBatch]) -> FrameBatch:
    frames: NDArray[np.uint8] = np.concatenate([batch.frames for batch in batches])
    times_s = np.concatenate([batch.pts_s for batch in batches])
    return FrameBatch(frames, times_s, np.concatenate([batch.moments_s for batch in batches]))
