"""From similarity and evidence to what the user reads: a score in [0, 1] and a kind. Pure numpy.

Similarity is a cosine in which the two halves of a vector are weighed: one says
which footage this is, the other what happens (`WEIGHTS`). What two unrelated
videos reach is the zero point, measured against the index itself; only what
exceeds it is evidence. The score of a copy is the probability that both show the same
footage. From `COPY_SCORE` on a result is a `copy`, below it `similar`, so one number
orders the whole answer.

Nothing is subtracted for a background that resembles the query everywhere: score
normalization in the manner of VSC2022 lowered recall at zero false reports in the
prototype (.35 to .10).
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import ResultKind

Weights = Literal["copies", "meaning", "both"]

WEIGHTS: dict[Weights, tuple[float, float]] = {
    "copies": (1.8, 0.2),
    "meaning": (0.2, 1.8),
    "both": (1.0, 1.0),
}
"""Weight of the identity half and of the meaning half; they sum up to 2."""

COPY_SCORE = 0.5
"""From this score on a result is a `copy`."""

BACKGROUND_QUANTILE = 0.95
"""The zero point is this quantile of the similarities to stored vectors at large."""

ZERO_POINT_RANGE = (0.25, 0.55)
"""Bounds of the zero point: an index of three videos, one of them the answer, says little
about what is usual. In an index of 164 videos the 95 % quantile was .31 to .41."""

LEAST_STRENGTH = 0.1
"""Ranges below this strength are not looked at."""

MATCH_STRENGTH = 0.33
"""Ranges below this strength are not told where frames do not confirm them."""

Sight = Literal[
    "moving", "partial", "picture", "static", "scene", "other", "featureless", "unseen", "behind"
]
"""What there is to go by: pictures that fit over one another, with something that moves alike, or
only in part; one of them a still picture, with something in the other that moves, or nothing; two
videos in neither of which anything moves; pictures that do not fit; pictures that hold too little
to tell; vectors alone; or vectors alone where stronger ones turned out wrong."""

CALIBRATION: dict[Sight, tuple[float, float, float, float]] = {
    "moving": (-11.2, 0.0, 1.0, 17.0),
    "partial": (-16.6, 1.2, 1.0, 20.0),
    "picture": (-39.4, 0.0, 4.0, 40.0),
    "static": (-22.8, 2.0, 22.0, 0.0),
    "scene": (-24.6, 2.0, 22.0, 0.0),
    "other": (-10.0, 7.0, 0.0, 0.0),
    "featureless": (-6.0, 5.0, 0.0, 0.0),
    "unseen": (-6.0, 8.5, 0.0, 0.0),
    "behind": (-5.0, 2.0, 0.0, 0.0),
}
"""Log odds of being the same footage: constant, and what strength, appearance and motion add when
they are 1. Chosen by eye on 2,000 looks at the suite `choose` (210 queries, 75 of them negatives,
`tests/benchmarks/bench_search.py`). Where something moves strength says nothing more: of 20 looks
with a motion of .5 to .6 one was right, of those that frames confirmed, from .65 on, all; of 6 with
.6 to .75 that did not stand out 2. Of 24 pairs of static scenes one was right; others had a
strength up to .97 and an appearance up to 1.0. Frames cut out of indexed videos had an appearance
of .97 to 1.0, of .9 with a caption, those of other takes up to .9. Stills of later repetitions of
what an indexed video shows had a motion of up to .96, one in fifty .9 or more; of 144 edited stills
with .9 to .97, half of all of indexed seconds, 140 were right. Of 1,300 whose pictures do not fit 6
were right, of 41 without features (empty skies) none, up to a strength of .99. Of 93 that were not
looked at, after what frames refuted, one was right."""

FEW_OTHERS = 2
"""What so many other videos show too may still be told apart by a person; an intro of 14 says a
seventh as much."""

LIKENESS_RANGE = (0.3, 0.8)
"""Bounds of the zero point for whole videos."""

LIKENESS_SCORE = 0.1
"""Score of a video that is as alike as can be, as a whole, and of which no range is confirmed. Of
550 such answers, at the suite `choose`, 12 were right."""


def weigh(vectors: NDArray[np.float32], weights: tuple[float, float]) -> NDArray[np.float32]:
    """Query vectors whose product with stored vectors is the weighted cosine.

    Args:
        vectors: Unit rows of two halves of norm 1/sqrt(2), shape ``(N, D)``.
        weights: Of the identity half and the meaning half, not negative, sum 2.

    Raises:
        ValueError: If the weights do not sum up to 2, or one is negative.

    Example:
        >>> weigh(np.full((1, 4), 0.5, np.float32), (1.5, 0.5))
        array([[0.75, 0.75, 0.25, 0.25]], dtype=float32)
    """
    if min(weights) < 0 or abs(sum(weights) - 2) > 1e-6:
        raise ValueError(f"need two weights that sum up to 2, got {weights=}")
    half = vectors.shape[1] // 2
    scale = np.repeat(np.array(weights, np.float32), [half, vectors.shape[1] - half])
    return np.asarray(vectors * scale, np.float32)


def mean_vector(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """One vector for a whole video: the mean of ``(N, D)``, each half brought back to 1/sqrt(2)."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    halves = np.split(mean, [len(mean) // 2])
    units = [half / max(float(np.linalg.norm(half)), 1e-6) for half in halves]
    return np.asarray(np.concatenate(units) / np.sqrt(2), np.float32)


def find_zero_point(
    weighted_query: NDArray[np.float32],
    background: NDArray[np.float32],
    *,
    bounds: tuple[float, float] = ZERO_POINT_RANGE,
    quantile: float = BACKGROUND_QUANTILE,
    max_rows: int = 256,
) -> float:
    """The similarity that chance reaches: from here on, two moments look like the same footage.

    Args:
        weighted_query: Rows from `weigh`, shape ``(Q, D)``.
        background: Stored vectors from all over the index, shape ``(N, D)``; N may be 0.
        bounds: Where it must lie.
        quantile: Share of the pairs that are to lie below it.
        max_rows: At most this many rows of the query are looked at, evenly spread.

    Returns:
        The quantile of all pairs, within `bounds`, to two digits (which
        vectors stand for the background must not show in an answer).
    """
    low, high = bounds
    if len(background) == 0:
        return high
    rows = np.linspace(0, len(weighted_query) - 1, min(max_rows, len(weighted_query)))
    pairs = weighted_query[np.unique(rows.astype(int))] @ background.T
    return round(float(np.clip(np.quantile(pairs, quantile), low, high)), 2)


def strength_of(evidence: float, zero_point: float) -> float:
    """Evidence as a share of what identical footage would have, in [0, 1]."""
    return float(np.clip(evidence / (1 - zero_point), 0, 1))


def score_of_match(
    strength: float, sight: Sight, *, appearance: float = 0.0, motion: float = 0.0
) -> float:
    """Probability that a range is the same footage, by its strength and by what frames say.

    Source: logistic calibration, Platt, 1999.
    """
    weights = np.array(CALIBRATION[sight])
    log_odds = float(weights @ [1.0, strength, appearance, motion])
    return round(1 / (1 + math.exp(-log_odds)), 4)


def score_of_shared(score: float, num_others: int) -> float:
    """What is left of a score when so many other videos show the same seconds."""
    return round(score * min(1.0, FEW_OTHERS / max(1, num_others)), 4)


def score_of_likeness(similarity: float, zero_point: float) -> float:
    """Score of two whole videos by the cosine of their mean vectors, at most `LIKENESS_SCORE`."""
    return round(LIKENESS_SCORE * strength_of(similarity - zero_point, zero_point), 4)


def kind_of(score: float) -> ResultKind:
    """What a score means in a word."""
    return "copy" if score >= COPY_SCORE else "similar"
