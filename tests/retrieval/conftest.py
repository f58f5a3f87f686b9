"""A small library of made footage, indexed once with the pixel encoder."""

from collections.abc import Iterator

import numpy as np
import pytest
from made_library import RATE, Library, still_clip, wandering_clip, written
from pixel_encoder import PixelEncoder

from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.media.clips import Clip


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("library")
    clips = {f"long-{i}": wandering_clip(i, 40) for i in range(6)}
    clips |= {f"short-{i}": wandering_clip(100 + i, 3) for i in range(4)}
    clips["still"] = still_clip(200, 12)
    repeated = clips["long-5"].frames[100:150]
    clips["twice"] = Clip(
        np.concatenate(
            [
                wandering_clip(300, 8).frames,
                repeated,
                wandering_clip(301, 8).frames,
                repeated,
                wandering_clip(302, 4).frames,
            ]
        ),
        RATE,
    )
    for name, clip in clips.items():
        written(folder / f"{name}.mkv", clip)
    encoder = PixelEncoder()
    place = tmp_path_factory.mktemp("index")
    with VideoIndex.open_or_create(place / "index", encoder=encoder) as index:
        index_videos(index, [folder], encoder=encoder)
    with VideoIndex.open(place / "index") as index:
        yield Library(folder, clips, index, encoder)
