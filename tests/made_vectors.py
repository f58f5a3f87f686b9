"""Indexes full of made-up vectors: no video is decoded and no model runs."""

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from sora_search.datatypes import FrameBatch, TimeSpan, VideoEmbedding, VideoInfo
from sora_search.index.video_index import VideoIndex

DIM = 8


class MadeEncoder:
    """Has a name and a dimension, which is all that an index asks of an encoder."""

    def __init__(self, model_id: str = "made@1", dim: int = DIM) -> None:
        self.model_id = model_id
        self.dim = dim

    def encode(
        self, batches: Iterable[FrameBatch], *, end_s: float | None = None
    ) -> VideoEmbedding:
        raise AssertionError("these tests decode nothing")


def unit_rows(num: int, *, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """Random unit rows, float32, as they are after the rounding of the index."""
    rows = np.random.default_rng(seed).standard_normal((num, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16).astype(np.float32)


def made_embedding(
    num: int, *, dim: int = DIM, seed: int = 0, model_id: str = "made@1"
) -> VideoEmbedding:
    """`num` vectors, one each half second."""
    spans = tuple(TimeSpan(i / 2, (i + 1) / 2) for i in range(num))
    return VideoEmbedding(spans, unit_rows(num, dim=dim, seed=seed), model_id)


def made_info(name: str) -> VideoInfo:
    """What a video of that name might be."""
    return VideoInfo(made_uri(name), 12.5, 640, 360, "h264", Fraction(30000, 1001))


def made_uri(name: str) -> str:
    return f"file:///videos/{name}"


def made_content_id(content: str) -> str:
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def seed_of(content: str) -> int:
    return int(hashlib.sha256(content.encode()).hexdigest()[:8], 16)


def num_vectors_of(content: str) -> int:
    return 1 + seed_of(content) % 7


def add(index: VideoIndex, name: str, content: str | None = None) -> int:
    """Add a video whose vectors follow from `content`, which is the name unless said."""
    content = name if content is None else content
    return index.add_video(
        made_uri(name),
        1000,
        1_700_000_000_000_000_001,
        made_content_id(content),
        made_info(name),
        made_embedding(
            num_vectors_of(content),
            dim=index.dim,
            seed=seed_of(content),
            model_id=index.model_id,
        ),
        None,
    )


def made_index(path: Path, names: Iterable[str] = ()) -> Path:
    """An index with these videos, saved and closed."""
    with VideoIndex.open_or_create(path, encoder=MadeEncoder()) as index:
        for name in names:
            add(index, name)
    return path


def contents(index: VideoIndex) -> dict[str, str]:
    """The content id of each uri of an index."""
    return {uri: video.content_id for video in index.videos() for uri in video.uris}
