"""Made footage for the tests of retrieval, and a small index over it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pixel_encoder import PixelEncoder

from sora_search.datatypes import SearchAnswer, SearchResult
from sora_search.index.video_index import VideoIndex
from sora_search.media.clips import Clip
from sora_search.media.writing import write_video
from sora_search.retrieval.searching import search

RATE = 10.0


def wandering_clip(seed: int, duration_s: float, *, size: tuple[int, int] = (64, 96)) -> Clip:
    """Footage that never repeats: a coarse pattern that turns into another every second."""
    rng = np.random.default_rng(seed)
    num_frames = round(duration_s * RATE)
    anchors = rng.uniform(20, 235, (int(duration_s) + 3, 8, 8, 3))
    place = np.arange(num_frames) / RATE
    left = place.astype(int)
    share = (place - left)[:, None, None, None]
    coarse = anchors[left] * (1 - share) + anchors[left + 1] * share
    fine = coarse.repeat(size[0] // 8, axis=1).repeat(size[1] // 8, axis=2)
    return Clip(fine.astype(np.uint8), RATE)


def still_clip(seed: int, duration_s: float) -> Clip:
    """The first frame of `wandering_clip`, all the time."""
    first = wandering_clip(seed, 1.0).frames[:1]
    return Clip(first.repeat(round(duration_s * RATE), axis=0), RATE)


def written(path: Path, clip: Clip) -> Path:
    return write_video(path, clip.frames, frames_per_s=clip.frames_per_s, codec="mpeg4")


@dataclass(frozen=True)
class Library:
    """The folder, its clips by name, and the index over them."""

    folder: Path
    clips: dict[str, Clip]
    index: VideoIndex
    encoder: PixelEncoder

    def uri(self, name: str) -> str:
        return (self.folder / f"{name}.mkv").as_uri()

    def ask(self, query: Path | str, **options: object) -> SearchAnswer:
        return search(self.index, query, encoder=self.encoder, **options)  # type: ignore[arg-type]

    def result_for(self, answer: SearchAnswer, name: str) -> SearchResult:
        return next(result for result in answer.results if result.uri == self.uri(name))
