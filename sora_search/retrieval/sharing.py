"""Shared matter: intros, credits, logos and test cards that occur in many indexed videos.

That a query shows them says little about where it comes from. The index itself knows them:
the seconds in question have near-identical vectors in other videos, while the rest of those
videos is different. Nothing is kept for this, so it is as up to date as the index.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import TimeSpan, VideoEmbedding
from sora_search.index.video_index import VideoIndex
from sora_search.retrieval.scoring import WEIGHTS, weigh

SAME_SIMILARITY = 0.94
"""Weighted cosine from which on two moments count as the same matter. Of 598 moments of 16 videos
that were encoded again at CRF 40 or a quarter of the size 93 in 100 had more; other takes of the
same scene may have as much, but they have it in the rest of the video too."""

MAX_MOMENTS = 12
"""Moments asked inside of the range, and as many outside of it."""

NUM_NEIGHBORS = 256
"""Stored vectors looked at for each moment; more videos than these are not counted."""

MIN_SHARE = 0.5
"""Of the moments that another video must have too."""


def shared_with(
    index: VideoIndex,
    video: VideoEmbedding,
    video_id: int,
    span: TimeSpan,
    *,
    exclude_video_ids: Collection[int] = (),
) -> int:
    """How many other videos show these seconds of a video too, but not the rest of it.

    Copies of the whole video are not counted: they are no shared matter, but the same video.

    Args:
        index: Where both are.
        video: The vectors of the video.
        video_id: Its id.
        span: The seconds.
        exclude_video_ids: Further videos that are not counted.

    Returns:
        0 where next to nothing is outside of the span: there is no telling then.
    """
    middles = [span.middle_s if span else 0.0 for span in video.spans]
    inside = np.array([span.start_s <= middle < span.end_s for middle in middles])
    if not inside.any() or inside.mean() > 0.8:
        return 0
    uncounted = {video_id, *exclude_video_ids}
    same = _videos_with(index, video.vectors[inside], uncounted)
    if not same:
        return 0
    return len(same - _videos_with(index, video.vectors[~inside], uncounted))


def _videos_with(
    index: VideoIndex, vectors: NDArray[np.float32], exclude_video_ids: Collection[int]
) -> set[int]:
    """The videos that have most of these moments."""
    chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), MAX_MOMENTS)).round().astype(int)
    moments = weigh(vectors[chosen], WEIGHTS["copies"])
    hits = index.search(moments, NUM_NEIGHBORS, exclude_video_ids=exclude_video_ids)
    video_ids, _ = index.locate(hits.vector_ids)
    counts: dict[int, int] = {}
    for row, scores in zip(video_ids, hits.scores, strict=True):
        for other in set(row[(row >= 0) & (scores >= SAME_SIMILARITY)].tolist()):
            counts[other] = counts.get(other, 0) + 1
    return {other for other, count in counts.items() if count >= MIN_SHARE * len(moments)}
