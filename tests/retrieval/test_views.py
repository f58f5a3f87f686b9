"""The views of a query: windows in which footage stands, and the closer look."""

from pathlib import Path

import numpy as np
from made_footage import footage
from made_library import RATE, still_clip, wandering_clip, written
from numpy.typing import NDArray
from PIL import Image
from pixel_encoder import PixelEncoder

from sora_search.media.clips import Clip, resize_frames
from sora_search.retrieval import views
from sora_search.retrieval.views import closer_views, window_views
from sora_search.retrieval.windows import pyramid
from sora_search.sora.encoder import embed_video


def vectors_of(path: Path, clip: Clip) -> NDArray[np.float32]:
    return embed_video(written(path, clip), PixelEncoder())[1].vectors


def inset_clip(duration_s: float = 10.0) -> tuple[Clip, Clip]:
    """A clip, and another one that shows it in a corner."""
    num_frames = round(2 * duration_s)
    inner = footage(1, (144, 192), num_frames)
    frames = footage(2, (288, 384), num_frames)
    frames[:, 120:264, 160:352] = inner
    return Clip(inner, 2.0), Clip(frames, 2.0)


def test_footage_in_a_corner_gets_a_view_with_vectors_of_its_own(tmp_path: Path) -> None:
    encoder = PixelEncoder()
    inner, outer = inset_clip()
    found = list(window_views(written(tmp_path / "outer.mkv", outer), encoder))
    alone = vectors_of(tmp_path / "inner.mkv", inner)
    likenesses = [float((view.embedding.vectors * alone).sum(axis=1).mean()) for view in found]
    assert max(likenesses) > 0.9
    best = found[int(np.argmax(likenesses))].window
    assert best is not None
    assert abs(best.left - 160 / 384) < 0.03
    assert abs(best.top - 120 / 288) < 0.03


def test_views_of_a_long_query_come_in_pieces_whose_times_go_on(tmp_path: Path) -> None:
    _, outer = inset_clip(70.0)
    found = list(window_views(written(tmp_path / "outer.mkv", outer), PixelEncoder()))
    spans = [view.embedding.spans for view in found]
    starts = {part[0].start_s for part in spans if part[0]}
    ends = {part[-1].end_s for part in spans if part[-1]}
    assert starts == {0.0, views.PIECE_FRAMES / 2, views.PIECE_FRAMES}
    assert max(ends) == 70.0


def test_a_closer_look_turns_and_magnifies_a_short_query_only(tmp_path: Path) -> None:
    encoder = PixelEncoder()
    clip = wandering_clip(3, 4.0)
    found = list(closer_views(written(tmp_path / "short.mkv", clip), encoder))
    assert len(found) == 3 + len(pyramid())
    turned = Clip(np.ascontiguousarray(np.rot90(clip.frames, 1, axes=(1, 2))), RATE)
    plain = vectors_of(tmp_path / "plain.mkv", clip)
    back = list(closer_views(written(tmp_path / "turned.mkv", turned), encoder))[:3]
    likenesses = [float((view.embedding.vectors * plain).sum(axis=1).mean()) for view in back]
    assert max(likenesses) > 0.9
    long_path = written(tmp_path / "long.mkv", still_clip(4, 80.0))
    assert list(closer_views(long_path, encoder)) == []


def test_a_still_picture_has_views_without_times(tmp_path: Path) -> None:
    picture = resize_frames(wandering_clip(5, 1.0).frames[:1], (120, 160))[0]
    Image.fromarray(picture).save(tmp_path / "still.png")
    found = list(closer_views(tmp_path / "still.png", PixelEncoder()))
    assert found
    assert all(view.embedding.spans == (None,) for view in found)
