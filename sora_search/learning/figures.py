"""From vectors to figures: how a probe of labels went, and how copies were found (pure numpy).

One vector stands for a video, and its two halves are weighed when vectors are compared,
so one encoding gives the figures of every view.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sora_search.learning import metrics

Rows = NDArray[np.float32]

#: Query weights of identity and meaning (they add up to 2), by the name of the view.
VIEWS: Mapping[str, tuple[float, float]] = {
    "both": (1.0, 1.0),
    "identity": (2.0, 0.0),
    "meaning": (0.0, 2.0),
}


def video_vector(vectors: Rows, identity_dim: int) -> Rows:
    """One vector ``(D,)`` for a video: the mean of its vectors ``(N, D)``, halves renormalized.

    Each half gets norm 1/sqrt(2) again, as in a single vector; with ``identity_dim = D``
    there is one part of norm 1.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    parts = [part for part in (mean[:identity_dim], mean[identity_dim:]) if part.size]
    scaled = [part / max(float(np.linalg.norm(part)), 1e-12) for part in parts]
    return np.asarray(np.concatenate(scaled) / np.sqrt(len(parts)), np.float32)


def weighted(rows: Rows, identity_dim: int, weights: tuple[float, float]) -> Rows:
    """Rows ``(N, D)`` whose products are the cosines of the halves, weighed.

    With weights that add up to 2 the product of a row with itself is 1. Rows without
    halves (``identity_dim = D``) stay as they are.
    """
    if identity_dim >= rows.shape[1]:
        return rows
    identity, meaning = np.sqrt(np.asarray(weights, np.float32))
    return np.hstack([rows[:, :identity_dim] * identity, rows[:, identity_dim:] * meaning])


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """How one view ranks clips of the same label.

    Attributes:
        view: A key of `VIEWS`.
        num_queries: Queries with a right answer in another group; only these count.
        num_gallery: Clips they are compared with.
        num_groups: Groups the queries come from.
        rank_1: Share whose nearest clip has their label.
        standard_error: Of `rank_1`, groups drawn again.
        recall_5: Share with such a clip among the first five.
        mean_ap: Mean average precision.
        chance: What `rank_1` would be by chance.
        rank_1_by_kind: `rank_1` of each kind of label (what stands before the colon).
    """

    view: str
    num_queries: int
    num_gallery: int
    num_groups: int
    rank_1: float
    standard_error: float
    recall_5: float
    mean_ap: float
    chance: float
    rank_1_by_kind: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Vectors ``(N, D)`` with what they are; a group never answers for itself."""

    rows: Rows
    labels: Sequence[str]
    groups: Sequence[str]


def probe_figures(
    queries: LabelledRows, gallery: LabelledRows, *, view: str = "both"
) -> ProbeFigures | None:
    """Rank the gallery for each query; right is the same label in another group.

    Returns:
        The figures; None if no query has a right answer.
    """
    right = _equal(queries.labels, gallery.labels)
    excluded = _equal(queries.groups, gallery.groups)
    similarity = queries.rows @ gallery.rows.T
    ranks = metrics.right_ranks(similarity, right, excluded)
    counted: list[int] = np.flatnonzero(ranks).tolist()
    if len(counted) == 0:
        return None
    hits = ranks[counted] == 1
    groups = [queries.groups[i] for i in counted]
    kinds = np.array([queries.labels[i].partition(":")[0] for i in counted])
    return ProbeFigures(
        view=view,
        num_queries=len(counted),
        num_gallery=len(gallery.rows),
        num_groups=len(set(groups)),
        rank_1=float(hits.mean()),
        standard_error=metrics.standard_error(hits, groups),
        recall_5=metrics.recall_at(ranks, 5),
        mean_ap=float(np.nanmean(metrics.average_precisions(similarity, right, excluded))),
        chance=metrics.chance_of_rank_1(right, excluded),
        rank_1_by_kind={str(kind): float(hits[kinds == kind].mean()) for kind in np.unique(kinds)},
    )


@dataclass(frozen=True, slots=True)
class EditFigures:
    """How one view finds the originals of copies edited in one way."""

    edit: str
    num_queries: int
    rank_1: float
    standard_error: float
    recall_5: float


@dataclass(frozen=True, slots=True)
class CopyFigures:
    """How one view finds the originals of edited copies.

    Attributes:
        view: A key of `VIEWS`, or `weighted` for other weights.
        by_edit: One row an edit.
        num_queries: Copies in all.
        num_gallery: Clips they are compared with.
        rank_1: Mean over the edits.
        standard_error: Of `rank_1`, clusters drawn again.
        chance: What `rank_1` would be by chance.
        auc_hard: Chance that a right pair scores above one of another moment of the same
            cluster; None without such pairs.
        auc_easy: The same against pairs of different clusters.
        recall_at_zero_false_hard: Share of the copies whose right pair scores above every
            pair of another moment.
        recall_at_zero_false_easy: The same, above every pair of different clusters.
    """

    view: str
    by_edit: tuple[EditFigures, ...]
    num_queries: int
    num_gallery: int
    rank_1: float
    standard_error: float
    chance: float
    auc_hard: float | None
    auc_easy: float | None
    recall_at_zero_false_hard: float
    recall_at_zero_false_easy: float

    @property
    def worst(self) -> EditFigures:
        """The edit that is found least."""
        return min(self.by_edit, key=lambda row: row.rank_1)


@dataclass(frozen=True, slots=True, eq=False)
class CopyRows:
    """Vectors ``(Q, D)`` of copies, and for each the row of its original and its edit."""

    rows: Rows
    originals: NDArray[np.int64]
    edits: Sequence[str]


def copy_figures(
    queries: CopyRows,
    gallery: Rows,
    clusters: Sequence[str],
    *,
    same_footage: Iterable[tuple[int, int]] = (),
    view: str = "both",
) -> CopyFigures:
    """Rank the gallery for each copy; right is its original.

    Args:
        queries: The copies.
        gallery: The originals, ``(G, D)``.
        clusters: The cluster of each of them.
        same_footage: Pairs of gallery rows that answer for one another.
        view: What the figures are to be called.

    Raises:
        ValueError: If there is no copy.
    """
    if len(queries.rows) == 0:
        raise ValueError("need at least one copy")
    answers = np.eye(len(gallery), dtype=bool)
    for first, second in same_footage:
        answers[first, second] = answers[second, first] = True
    right = answers[queries.originals]
    similarity = queries.rows @ gallery.T
    ranks = metrics.right_ranks(similarity, right)
    hits = ranks == 1
    query_clusters = [clusters[row] for row in queries.originals]
    edits = np.array(queries.edits)
    by_edit = tuple(
        _edit_figures(edit, ranks[edits == edit], np.array(query_clusters)[edits == edit])
        for edit in dict.fromkeys(queries.edits)
    )
    # Every edit weighs the same in the mean, however many clips are long enough for it.
    weight = {row.edit: len(hits) / len(by_edit) / row.num_queries for row in by_edit}
    contributions = hits * np.array([weight[edit] for edit in queries.edits])

    positives = np.where(right, similarity, -np.inf).max(axis=1)
    related = _equal(query_clusters, clusters)
    hard, easy = similarity[related & ~right], similarity[~related]
    return CopyFigures(
        view=view,
        by_edit=by_edit,
        num_queries=len(hits),
        num_gallery=len(gallery),
        rank_1=float(contributions.mean()),
        standard_error=metrics.standard_error(contributions, query_clusters),
        chance=metrics.chance_of_rank_1(right),
        auc_hard=metrics.roc_auc(positives, hard) if hard.size else None,
        auc_easy=metrics.roc_auc(positives, easy) if easy.size else None,
        recall_at_zero_false_hard=metrics.recall_at_zero_false(positives, hard),
        recall_at_zero_false_easy=metrics.recall_at_zero_false(positives, easy),
    )


def _edit_figures(edit: str, ranks: NDArray[np.int64], clusters: NDArray[np.str_]) -> EditFigures:
    hits = ranks == 1
    error = metrics.standard_error(hits, clusters.tolist())
    return EditFigures(edit, len(ranks), float(hits.mean()), error, metrics.recall_at(ranks, 5))


def _equal(queries: Sequence[str], gallery: Sequence[str]) -> NDArray[np.bool_]:
    """Which names are the same, shape ``(Q, G)``."""
    return np.asarray(np.array(queries)[:, None] == np.array(gallery)[None, :])
