"""From hits to candidates: the videos worth aligning with the query.

Every query vector asks for its nearest stored vectors. A video collects the evidence
of its hits: for each query vector the best one counts, and of these the strongest
`POOLED_VECTORS`, so that two seconds of the same footage weigh more than a long
vague likeness, and a video with thousands of vectors gains nothing by their number.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Hits
from sora_search.index.video_index import VideoIndex

HITS_PER_VECTOR = 128
"""Neighbors asked for each query vector: with a flat index more cost next to nothing."""

POOLED_VECTORS = 8
"""Query vectors whose evidence counts for a video: four seconds at two a second."""

MAX_ROUNDS = 3
"""How often query vectors are asked again without the videos that took all their places."""

ASKED_AGAIN = 64
"""At most so many query vectors are asked again, evenly spread."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A video worth a look, with the evidence of its hits."""

    video_id: int
    evidence: float


def find_candidates(
    index: VideoIndex,
    weighted_query: NDArray[np.float32],
    *,
    zero_point: float,
    limit: int,
    exclude_video_ids: Collection[int] = (),
) -> list[Candidate]:
    """The videos whose vectors come nearest to those of the query.

    Where videos already found hold all the places of a query vector (hours of one scene,
    many near-identical files), it is asked again without them until `limit` is reached.

    Args:
        index: Where to look.
        weighted_query: Rows from `scoring.weigh`, shape ``(Q, D)``.
        zero_point: Similarity from which on a hit is evidence.
        limit: Most candidates given.
        exclude_video_ids: Videos that are not wanted.

    Returns:
        Candidates with some evidence, the most promising first; ties by id.
    """
    evidence: dict[int, float] = {}
    excluded = set(exclude_video_ids)
    for _ in range(MAX_ROUNDS):
        hits = index.search(weighted_query, HITS_PER_VECTOR, exclude_video_ids=excluded)
        found = pool_hits(hits, _videos_of(index, hits), zero_point)
        evidence.update(found)
        crowded = np.flatnonzero((hits.vector_ids[:, -1] >= 0) & (hits.scores[:, -1] > zero_point))
        if len(crowded) == 0 or len(evidence) >= limit:
            break
        excluded |= found.keys()
        asked = np.linspace(0, len(crowded) - 1, min(len(crowded), ASKED_AGAIN)).astype(int)
        weighted_query = weighted_query[crowded[asked]]
    ranked = sorted(evidence.items(), key=lambda item: (-item[1], item[0]))
    return [Candidate(video_id, value) for video_id, value in ranked[:limit]]


def _videos_of(index: VideoIndex, hits: Hits) -> NDArray[np.int64]:
    """The video of each hit, shape ``(Q, K)``; -1 where there is none (any more)."""
    video_ids, _ = index.locate(hits.vector_ids.ravel())
    return np.where(hits.vector_ids >= 0, video_ids.reshape(hits.vector_ids.shape), -1)


def pool_hits(hits: Hits, video_ids: NDArray[np.int64], zero_point: float) -> dict[int, float]:
    """Evidence of each video that has a hit above the zero point.

    Args:
        hits: Q query vectors with K neighbours each.
        video_ids: The video of each hit, shape ``(Q, K)``, -1 for none.
        zero_point: Similarity from which on a hit is evidence.

    Returns:
        For each video, the sum of its `POOLED_VECTORS` strongest best hits.

    Example:
        >>> hits = Hits(np.array([[5, 6], [5, 9]]), np.array([[0.9, 0.8], [0.7, 0.2]], np.float32))
        >>> pool_hits(hits, np.array([[1, 1], [1, 2]]), 0.5)
        {1: 0.6}
    """
    excess = hits.scores.astype(np.float64) - zero_point
    query, neighbor = np.nonzero((video_ids >= 0) & (excess > 0))
    if len(query) == 0:
        return {}
    video, value = video_ids[query, neighbor], excess[query, neighbor]
    # The best hit of each (video, query vector), then the strongest of each video.
    order = np.lexsort((-value, query, video))
    video, query, value = video[order], query[order], value[order]
    is_best = np.r_[True, (np.diff(video) != 0) | (np.diff(query) != 0)]
    video, value = video[is_best], value[is_best]
    order = np.lexsort((-value, video))
    video, value = video[order], value[order]
    first = np.flatnonzero(np.r_[True, np.diff(video) != 0])
    place = np.arange(len(video)) - np.repeat(first, np.diff(np.r_[first, len(video)]))
    sums = np.add.reduceat(np.where(place < POOLED_VECTORS, value, 0.0), first)
    return {int(i): round(float(s), 6) for i, s in zip(video[first], sums, strict=True)}
