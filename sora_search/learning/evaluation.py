"""How well a model knows what happens, and copies of what it has seen, in figures.

Main metric everywhere: rank 1, higher is better, with the number of queries, what
chance would score, and the standard error when whole groups (actions) or clusters
(copies) are drawn again. One vector stands for a video: the mean of its vectors, each
half scaled to its norm again. A half of it alone, and both, are *views* of one encoding.

    actions      UCF clips outside of train against all of them, own group left out
    labels       labelled val clips against val and train: for choosing between models
    copies       the 20 usual edits of val and eval clips against these clips
    hard         the same with the 16 hard edits
    disturbances the same with 5 disturbances at 5 strengths, and actions under each

A manifest without these splits, or a plain folder of videos, is measured as a whole.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import OnProgress, Progress, VideoEncoder
from sora_search.errors import ConfigError
from sora_search.learning import metrics
from sora_search.learning.copies import (
    FrameRequest,
    SameFootage,
    copy_queries,
    originals,
    same_footage,
)
from sora_search.learning.datasets import Clip, ClipDataset
from sora_search.media.editing import (
    DISTURBANCES,
    EDITS,
    HARD_EDITS,
    USUAL_EDITS,
    generator_of,
)
from sora_search.media.sampling import SamplingConfig

#: Query weights of the two halves (they add up to 2), by the name of the view.
VIEWS: Mapping[str, tuple[float, float]] = {
    "both": (1.0, 1.0),
    "identity": (2.0, 0.0),
    "meaning": (0.0, 2.0),
}
#: Suite of copies -> its edits.
COPY_SUITES: Mapping[str, tuple[str, ...]] = {
    "copies": USUAL_EDITS,
    "hard": HARD_EDITS,
    "disturbances": tuple(name for names in DISTURBANCES.values() for name in names),
}
SUITES = ("actions", "labels", *COPY_SUITES)
#: Labels of the two probes begin with one of these.
ACTION_LABELS = ("ucf:",)
CHOOSING_LABELS = ("ucf:", "fight:", "golf", "sky:")


class ClipEncoder(VideoEncoder, Protocol):
    """A `VideoEncoder` that says which frames it wants and where its halves meet."""

    @property
    def sampling(self) -> SamplingConfig:
        """How densely a video is looked at."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames it takes."""
        ...

    @property
    def identity_dim(self) -> int:
        """Columns before this one are the identity half; `dim` where there are no halves."""
        ...


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
        rank_1_by_kind: `rank_1` for each kind of label (what stands before the colon).
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
        view: A key of `VIEWS`, or `weighted` for weights that were asked for.
        by_edit: One row an edit.
        num_queries: Copies in all.
        num_gallery: Clips they are compared with.
        rank_1: Mean over the edits.
        standard_error: Of `rank_1`, clusters drawn again.
        chance: What `rank_1` would be by chance.
        auc_hard: Chance that a right pair scores above one of another moment of the same
            cluster; NaN without such pairs.
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
    auc_hard: float
    auc_easy: float
    recall_at_zero_false_hard: float
    recall_at_zero_false_easy: float

    @property
    def worst(self) -> EditFigures:
        """The edit that is found least."""
        return min(self.by_edit, key=lambda row: row.rank_1)


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What `evaluate` measured.

    Attributes:
        model_id: Of which model.
        seed: Of the edits.
        probes: Name of a probe (`actions`, `labels`, `actions under noise-3`) -> one row a view.
        copies: Suite -> one row a view, the one for copies first.
        same_footage: Pairs of files that count as right answers for one another.
        failures: Files that could not be read, a line each.
        seconds: How long it took.
    """

    model_id: str
    seed: int
    probes: Mapping[str, tuple[ProbeFigures, ...]]
    copies: Mapping[str, tuple[CopyFigures, ...]]
    same_footage: tuple[tuple[str, str], ...]
    failures: tuple[str, ...]
    seconds: float

    def tables(self) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
        """Title, column names and rows of each table, as text for people."""
        columns = ("view", "queries", "gallery", "rank 1", "±", "R@5", "mAP", "chance")
        for name, probe in self.probes.items():
            yield (
                name,
                columns,
                [
                    (
                        row.view,
                        str(row.num_queries),
                        str(row.num_gallery),
                        *_percent(row.rank_1, row.standard_error, row.recall_5, row.mean_ap),
                        *_percent(row.chance),
                    )
                    for row in probe
                ],
            )
        for name, views in self.copies.items():
            rows = [
                (edit.edit, str(edit.num_queries))
                + _percent(edit.rank_1, edit.standard_error, edit.recall_5)
                for edit in views[0].by_edit
            ]
            title = f"{name}: {views[0].view}, {views[0].num_gallery} in the gallery"
            yield title, ("edit", "copies", "rank 1", "±", "R@5"), rows
            columns = ("view", "copies", "rank 1", "±", "worst", "chance", "AUC hard", "AUC easy")
            zero = ("R@0 false hard", "R@0 false easy")
            yield f"{name}: all", columns + zero, [_summary_row(row) for row in views]


def evaluate(
    encoder: ClipEncoder,
    data_dir: Path | str,
    *,
    suites: Sequence[str] = ("actions", "labels", "copies"),
    limit: int | None = None,
    copy_weights: tuple[float, float] = VIEWS["identity"],
    seed: int = 0,
    jobs: int = 1,
    cache_dir: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> EvaluationReport:
    """Measure a model on the clips of a manifest that it was not trained on.

    Args:
        encoder: The model.
        data_dir: A folder with a `manifest.csv`, or any folder of videos.
        suites: Of `SUITES`.
        limit: Make copies of so many clips only, spread over the clusters; the gallery
            stays whole.
        copy_weights: Weights of the identity and the meaning half for copies.
        seed: Of the edits, and of what `limit` draws.
        jobs: Processes that read and edit beside this one, which encodes; with 1 this
            one does all.
        cache_dir: Keep edited copies here; the same ones are not made again.
        on_progress: Told after each clip.

    Raises:
        ConfigError: If there is nothing to measure on.
        ValueError: If a suite is unknown or the weights do not add up to 2.
    """
    if unknown := set(suites) - set(SUITES):
        raise ValueError(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if not np.isclose(sum(copy_weights), 2.0) or min(copy_weights) < 0:
        raise ValueError(f"weights must add up to 2, got {copy_weights=}")
    began_s = time.monotonic()
    split = _Splits.of(data_dir)
    failures: dict[str, None] = {}
    wanted = _wanted_clips(split, suites)
    request = FrameRequest(encoder.frame_size, encoder.sampling)

    def progress(phase: str, done: int, total: int, clip: Clip) -> None:
        if on_progress is not None:
            on_progress(Progress(phase, done, total, uri=clip.path.as_uri()))

    vectors: dict[Clip, NDArray[np.float32]] = {}
    thumbnails: dict[Clip, NDArray[np.uint8]] = {}
    for original in originals(wanted, request, jobs=jobs, on_failure=failures.setdefault):
        clip = wanted[original.row]
        embedding = encoder.encode([original.batch], end_s=original.end_s)
        vectors[clip] = video_vector(embedding.vectors, encoder.identity_dim)
        thumbnails[clip] = original.thumbnails
        progress("encoding", original.row + 1, len(wanted), clip)
    halves = _Halves(encoder.identity_dim, encoder.dim)

    probes: dict[str, tuple[ProbeFigures, ...]] = {}
    if "actions" in suites:
        clips = _labelled([*split.held_out, *split.train], ACTION_LABELS, vectors)
        probes["actions"] = _probe(clips, vectors, set(split.held_out), halves)
    if "labels" in suites:
        clips = _labelled([*split.val, *split.train], CHOOSING_LABELS, vectors)
        probes["labels"] = _probe(clips, vectors, set(split.val), halves)

    gallery = [clip for clip in split.held_out if clip in vectors]
    copy_suites = [suite for suite in suites if suite in COPY_SUITES]
    copies: dict[str, tuple[CopyFigures, ...]] = {}
    pairs: list[SameFootage] = []
    if copy_suites:
        pairs = same_footage([thumbnails[c] for c in gallery], [c.cluster for c in gallery])
    chosen = _spread(gallery, limit, seed)
    for suite in copy_suites:
        edits = [e for e in COPY_SUITES[suite] if split.train or not EDITS[e].needs_carrier]
        queries: list[NDArray[np.float32]] = []
        rows: list[int] = []
        names: list[str] = []
        last = -1
        for copy in copy_queries(
            gallery,
            edits,
            request,
            carriers=split.train,
            rows=chosen,
            seed=seed,
            jobs=jobs,
            cache_dir=cache_dir,
            on_failure=failures.setdefault,
        ):
            if copy.row != last:
                last = copy.row
                progress(f"{suite}", chosen.index(last) + 1, len(chosen), gallery[last])
            embedding = encoder.encode([copy.batch], end_s=copy.end_s)
            queries.append(video_vector(embedding.vectors, encoder.identity_dim))
            rows.append(copy.row)
            names.append(copy.edit)
        if not queries:
            raise ConfigError(f"no copies could be made of the clips of {str(data_dir)!r}")
        weights = {"weighted": copy_weights}
        weights = {n: w for n, w in VIEWS.items() if w == tuple(copy_weights)} or weights
        weights = {**weights, **VIEWS} if halves.are_two else {"both": VIEWS["both"]}
        copies[suite] = tuple(
            copy_figures(
                halves.weighted(np.stack([vectors[c] for c in gallery]), weight),
                halves.weighted(np.stack(queries), weight),
                rows=np.array(rows),
                edits=names,
                clusters=[clip.cluster for clip in gallery],
                same=pairs,
                view=view,
            )
            for view, weight in weights.items()
        )
        if suite == "disturbances":
            probes |= _disturbed_probes(
                split, vectors, gallery, queries, rows, names, halves
            )
    names_of = [(str(gallery[p.first].path), str(gallery[p.second].path)) for p in pairs]
    return EvaluationReport(
        model_id=encoder.model_id,
        seed=seed,
        probes=probes,
        copies=copies,
        same_footage=tuple(names_of),
        failures=tuple(failures),
        seconds=time.monotonic() - began_s,
    )
