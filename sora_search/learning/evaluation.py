"""How well a model knows what happens, and copies of what it has seen, in figures.

Main metric everywhere: rank 1, higher is better, with the number of queries, what
chance would score, and the standard error when whole groups (probes) or clusters
(copies) are drawn again. The suites:

    actions       UCF clips outside of train against all of them, own group left out
    labels        labelled val clips against val and train: for choosing between models; of
                  labels that are none of those it was made for, all
    copies        the 20 usual edits of val and eval clips against these and those of train
    hard          the 16 hard edits, without train in the gallery: carriers come from it
    disturbances  the same with 5 disturbances at 5 strengths, and actions under each

In a plain folder of videos, or a manifest without splits, all clips are measured.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import FrameBatch, OnProgress, Progress
from sora_search.errors import ConfigError
from sora_search.learning.copies import FrameRequest, copy_queries, originals, same_footage
from sora_search.learning.datasets import Clip, ClipDataset
from sora_search.learning.figures import (
    VIEWS,
    CopyFigures,
    CopyRows,
    LabelledRows,
    ProbeFigures,
    copy_figures,
    probe_figures,
    video_vector,
    weighted,
)
from sora_search.media.editing import DISTURBANCES, EDITS, HARD_EDITS, USUAL_EDITS, generator_of
from sora_search.media.rendering import PictureRow, draw_bars
from sora_search.sora.encoder import FileEncoder

#: Suite of copies -> its edits.
COPY_SUITES: Mapping[str, tuple[str, ...]] = {
    "copies": USUAL_EDITS,
    "hard": HARD_EDITS,
    "disturbances": tuple(name for names in DISTURBANCES.values() for name in names),
}
SUITES: tuple[str, ...] = ("actions", "labels", *COPY_SUITES)
#: Splits that nothing is learned from.
HELD_OUT: tuple[str, ...] = ("val", "eval")
#: What the labels of the two probes begin with.
ACTION_LABELS = ("ucf:",)
CHOOSING_LABELS = ("ucf:", "fight:", "golf", "sky:")

#: Labels that a refusal names, for an example.
_MAX_NAMED = 5

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
Embed = Callable[[FrameBatch, float], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What `evaluate` measured.

    Attributes:
        model_id: Of which model.
        seed: Of the edits.
        probes: Probe (`actions`, `labels`, `actions under noise-3`) -> one row a view.
        copies: Suite -> one row a view, the one with the weights for copies first.
        same_footage: Pairs of files that count as right answers for one another.
        failures: Files that could not be read, a line each.
        duration_s: How long measuring took.
    """

    model_id: str
    seed: int
    probes: Mapping[str, tuple[ProbeFigures, ...]]
    copies: Mapping[str, tuple[CopyFigures, ...]]
    same_footage: tuple[tuple[str, str], ...]
    failures: tuple[str, ...]
    duration_s: float

    def tables(self) -> Iterator[Table]:
        """Title, column names and rows of each table, as text for people; shares in percent."""
        for name, probe in self.probes.items():
            columns = ("view", "queries", "gallery", "rank 1", "±", "R@5", "mAP", "chance")
            yield name, columns, [_probe_row(row) for row in probe]
        for name, views in self.copies.items():
            first = views[0]
            title = f"{name}, {first.view}, {first.num_gallery} clips in the gallery"
            rows = [
                (
                    row.edit,
                    str(row.num_queries),
                    *_percents(row.rank_1, row.standard_error, row.recall_5),
                )
                for row in first.by_edit
            ]
            yield title, ("edit", "copies", "rank 1", "±", "R@5"), rows
            yield f"{name}, all edits", _COPY_COLUMNS, [_copy_row(row) for row in views]

    def pictures(self) -> list[PictureRow]:
        """Rank 1 drawn: of the probes by view, of each suite of copies by edit."""
        drawn = [
            (name, [(row.view, row.rank_1, row.standard_error) for row in views])
            for name, views in self.probes.items()
        ]
        for name, copies in self.copies.items():
            best = copies[0]
            by_edit = [(row.edit, row.rank_1, row.standard_error) for row in best.by_edit]
            whole = ("all edits", best.rank_1, best.standard_error)
            drawn.append((f"{name}, {best.num_gallery} clips", [whole, *by_edit]))
        return [
            PictureRow(f"rank 1: {title}", [("percent, +- standard error", draw_bars(bars))])
            for title, bars in drawn
        ]


_COPY_COLUMNS = (
    "view", "copies", "rank 1", "±", "chance", "worst edit", "AUC hard", "AUC easy",
    "no false hard", "no false easy",
)  # fmt: skip


def _probe_row(row: ProbeFigures) -> tuple[str, ...]:
    shares = (row.rank_1, row.standard_error, row.recall_5, row.mean_ap, row.chance)
    return (row.view, str(row.num_queries), str(row.num_gallery), *_percents(*shares))


def _copy_row(row: CopyFigures) -> tuple[str, ...]:
    worst = f"{row.worst.edit} {_percents(row.worst.rank_1)[0]}"
    return (
        row.view,
        str(row.num_queries),
        *_percents(row.rank_1, row.standard_error, row.chance),
        worst,
        *("-" if auc is None else f"{auc:.4f}" for auc in (row.auc_hard, row.auc_easy)),
        *_percents(row.recall_at_zero_false_hard, row.recall_at_zero_false_easy),
    )


def _percents(*shares: float) -> tuple[str, ...]:
    return tuple(f"{100 * share:.1f}" for share in shares)


def evaluate(
    encoder: FileEncoder,
    data: Path | str | Sequence[Path | str],
    *,
    suites: Sequence[str] | None = None,
    asked: Sequence[str] = HELD_OUT,
    limit: int | None = None,
    copy_weights: tuple[float, float] = VIEWS["both"],
    seed: int = 0,
    jobs: int = 1,
    cache_dir: Path | str | None = None,
    on_progress: OnProgress | None = None,
) -> EvaluationReport:
    """Measure a model on the clips of a manifest that it was not trained on.

    Args:
        encoder: The model.
        data: A folder with a `manifest.csv`, such a file, or any folder of videos; or several.
        suites: Of `SUITES`; None takes copies, and actions and labels where there are labels
            for them.
        asked: The splits of whose clips copies are made. The gallery is these, val and train.
        limit: Make copies of so many clips only, spread over the clusters; the gallery
            stays whole.
        copy_weights: Weights of the identity and the meaning half for copies.
        seed: Of the edits, and of what `limit` draws.
        jobs: Processes that read and edit beside this one, which encodes; with 1 this
            one does all.
        cache_dir: Keep edited copies here; the next call does not make them again.
        on_progress: Told after each clip.

    Raises:
        ConfigError: If there is nothing to measure on, or no clip has labels of a suite that
            was named.
        ValueError: If a suite is unknown or the weights do not add up to 2.
    """
    if unknown := set(suites or ()) - set(SUITES):
        raise ValueError(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if not np.isclose(sum(copy_weights), 2.0) or min(copy_weights) < 0:
        raise ValueError(f"weights must not be negative and add up to 2, got {copy_weights=}")
    began_s = time.monotonic()
    corpus = _Corpus.open([data] if isinstance(data, Path | str) else data, asked)
    if suites is None:
        suites = ("actions", "labels", "copies")
    else:
        corpus.require_labels(suites)
    measuring = _Measuring(encoder, corpus, seed, jobs, cache_dir, on_progress)
    measuring.encode_originals(suites)
    probes = measuring.probes(suites)
    copies: dict[str, tuple[CopyFigures, ...]] = {}
    for suite in (suite for suite in COPY_SUITES if suite in suites):
        found = measuring.encode_copies(suite, limit)
        copies[suite] = measuring.copy_views(suite, found, copy_weights)
        if suite == "disturbances":
            probes |= measuring.probes_under(found)
    return EvaluationReport(
        model_id=encoder.model_id,
        seed=seed,
        probes=probes,
        copies=copies,
        same_footage=tuple(measuring.same_files()) if copies else (),
        failures=tuple(dict.fromkeys(measuring.failures)),
        duration_s=time.monotonic() - began_s,
    )


class _Corpus:
    """Which clips are for what."""

    def __init__(self, clips: Sequence[Clip], asked: Sequence[str]) -> None:
        if not any(clip.split in HELD_OUT for clip in clips) and set(asked) == set(HELD_OUT):
            # It knows no splits: everything is asked about.
            clips = [replace(clip, split=HELD_OUT[0]) for clip in clips]
        self._clips = clips
        self.train = [clip for clip in clips if clip.split == "train"]
        self.copied = [clip for clip in clips if clip.split in asked]
        without_train = [clip for clip in clips if clip.split in {*asked, "val"} - {"train"}]
        self.gallery = [*without_train, *self.train]

    @classmethod
    def open(cls, places: Sequence[Path | str], asked: Sequence[str]) -> "_Corpus":
        return cls([clip for place in places for clip in ClipDataset.open(place)], asked)

    def require_labels(self, suites: Sequence[str]) -> None:
        """Refuse a suite of which nothing could be measured, before the work and not after it.

        Raises:
            ConfigError: If no clip has a label of one of `suites`.
        """
        known = list(dict.fromkeys(clip.label for clip in self._clips if clip.label))
        there = ", ".join(known[:_MAX_NAMED]) + (", ..." if len(known) > _MAX_NAMED else "")
        if "labels" in suites and not self.choosing[0]:
            raise ConfigError(
                f"--suite labels: none of {len(self._clips)} clips has a label and is of split val"
                f" (labels: {there or 'none'})"
            )
        if "actions" in suites and not self.actions[0]:
            instead = "use --suite labels" if known else "use --suite copies, which needs none"
            raise ConfigError(
                f"--suite actions: none of {len(self._clips)} clips has a label of this suite,"
                f" {', '.join(ACTION_LABELS)}... (labels: {there or 'none'}): {instead}"
            )

    def _labelled(self, beginnings: tuple[str, ...], *splits: str) -> list[Clip]:
        return [c for c in self._clips if c.label.startswith(beginnings) and c.split in splits]

    @property
    def actions(self) -> tuple[list[Clip], list[Clip]]:
        """Queries and gallery."""
        return (
            self._labelled(ACTION_LABELS, *HELD_OUT),
            self._labelled(ACTION_LABELS, *HELD_OUT, "train"),
        )

    @property
    def choosing(self) -> tuple[list[Clip], list[Clip]]:
        """Queries and gallery; of clips with labels of their own, all of these."""
        own = tuple({clip.label for clip in self._clips if clip.label})
        is_known = any(label.startswith(CHOOSING_LABELS) for label in own)
        beginnings = CHOOSING_LABELS if is_known else own
        return self._labelled(beginnings, "val"), self._labelled(beginnings, "val", "train")


class _Measuring:
    """One run over one corpus: what is encoded once and used by several suites."""

    def __init__(
        self,
        encoder: FileEncoder,
        corpus: _Corpus,
        seed: int,
        jobs: int,
        cache_dir: Path | str | None,
        on_progress: OnProgress | None,
    ) -> None:
        self.failures: list[str] = []
        self._encoder = encoder
        self._corpus = corpus
        self._seed = seed
        self._jobs = jobs
        self._cache_dir = cache_dir
        self._on_progress = on_progress
        self._request = FrameRequest(encoder.frame_size, encoder.sampling)
        self._views = VIEWS if encoder.identity_dim < encoder.dim else {"both": VIEWS["both"]}
        self._vectors: dict[Clip, NDArray[np.float32]] = {}
        self._gallery: list[Clip] = []
        self._pairs: list[tuple[int, int]] = []

    def encode_originals(self, suites: Sequence[str]) -> None:
        """Every clip that one of the suites needs, once; then who shows the same footage."""
        with_copies = any(suite in COPY_SUITES for suite in suites)
        needed: list[Clip] = []
        if "actions" in suites or "disturbances" in suites:
            needed += self._corpus.actions[1]
        if "labels" in suites:
            needed += self._corpus.choosing[1]
        if with_copies:
            needed += self._corpus.gallery
        clips = list(dict.fromkeys(needed))
        thumbnails: dict[Clip, NDArray[np.uint8]] = {}
        request, failures = self._request, self.failures
        for one in originals(clips, request, jobs=self._jobs, on_failure=failures.append):
            clip = clips[one.row]
            self._vectors[clip] = self._embed(one.batch, one.end_s)
            thumbnails[clip] = one.thumbnails
            self._progress("encoding", one.row + 1, len(clips), clip)
        if with_copies:
            self._gallery = [clip for clip in self._corpus.gallery if clip in self._vectors]
            clusters = [clip.cluster for clip in self._gallery]
            found = same_footage([thumbnails[clip] for clip in self._gallery], clusters)
            self._pairs = [(pair.first, pair.second) for pair in found]

    def probes(self, suites: Sequence[str]) -> dict[str, tuple[ProbeFigures, ...]]:
        """Both probes, as far as they were asked for and there are labels for them."""
        sides = {"actions": self._corpus.actions, "labels": self._corpus.choosing}
        result = {}
        for name in (name for name in sides if name in suites):
            queries, gallery = ([c for c in side if c in self._vectors] for side in sides[name])
            views = self._probe(queries, [self._vectors[clip] for clip in queries], gallery)
            if views:
                result[name] = views
        return result

    def encode_copies(self, suite: str, limit: int | None) -> CopyRows:
        """The copies of a suite, of all clips of the gallery or of `limit` of them."""
        carriers = self._corpus.train
        edits = [name for name in COPY_SUITES[suite] if carriers or not EDITS[name].needs_carrier]
        copied = set(self._corpus.copied)
        rows = [row for row, clip in enumerate(self._gallery) if clip in copied]
        rows = _spread(self._gallery, rows, limit, self._seed)
        place = {row: i for i, row in enumerate(rows, start=1)}
        copies = copy_queries(
            self._gallery,
            edits,
            self._request,
            carriers=carriers if suite == "hard" else (),
            rows=rows,
            seed=self._seed,
            jobs=self._jobs,
            cache_dir=self._cache_dir,
            on_failure=self.failures.append,
        )
        vectors, sources, names = [], [], []
        for copy in copies:
            vectors.append(self._embed(copy.batch, copy.end_s))
            sources.append(copy.row)
            names.append(copy.edit)
            if copy.edit == edits[0]:
                self._progress(suite, place[copy.row], len(rows), self._gallery[copy.row])
        if not vectors:
            raise ConfigError("no copy could be made: there is no clip that can be read")
        return CopyRows(np.stack(vectors), np.array(sources), names)

    def copy_views(
        self, suite: str, copies: CopyRows, weights: tuple[float, float]
    ) -> tuple[CopyFigures, ...]:
        """The figures with the weights asked for, then of the other views."""
        views = {name: w for name, w in self._views.items() if w == tuple(weights)}
        if not views and len(self._views) > 1:
            views = {"weighted": weights}
        carriers = set(self._corpus.train) if suite == "hard" else ()
        clips = [clip for clip in self._gallery if clip not in carriers]  # those of train are last
        pairs = [pair for pair in self._pairs if max(pair) < len(clips)]
        gallery = np.stack([self._vectors[clip] for clip in clips])
        identity_dim = self._encoder.identity_dim
        return tuple(
            copy_figures(
                CopyRows(weighted(copies.rows, identity_dim, w), copies.originals, copies.edits),
                weighted(gallery, identity_dim, w),
                [clip.cluster for clip in clips],
                same_footage=pairs,
                view=name,
            )
            for name, w in {**views, **self._views}.items()
        )

    def probes_under(self, copies: CopyRows) -> dict[str, tuple[ProbeFigures, ...]]:
        """The probe of actions with edited queries, one an edit."""
        gallery = [clip for clip in self._corpus.actions[1] if clip in self._vectors]
        result = {}
        for edit in dict.fromkeys(copies.edits):
            rows = [
                i
                for i, name in enumerate(copies.edits)
                if name == edit
                and self._gallery[copies.originals[i]].label.startswith(ACTION_LABELS)
            ]
            queries = [self._gallery[copies.originals[i]] for i in rows]
            views = self._probe(queries, [copies.rows[i] for i in rows], gallery)
            if views:
                result[f"actions under {edit}"] = views
        return result

    def same_files(self) -> Iterator[tuple[str, str]]:
        """The pairs that show the same footage, by file."""
        for first, second in self._pairs:
            yield str(self._gallery[first].path), str(self._gallery[second].path)

    def _probe(
        self, clips: Sequence[Clip], rows: Sequence[NDArray[np.float32]], gallery: Sequence[Clip]
    ) -> tuple[ProbeFigures, ...]:
        if not clips:
            return ()
        both = np.stack(rows), np.stack([self._vectors[clip] for clip in gallery])
        result = []
        for name, weights in self._views.items():
            left, right = (weighted(side, self._encoder.identity_dim, weights) for side in both)
            figures = probe_figures(_labelled(left, clips), _labelled(right, gallery), view=name)
            if figures is not None:
                result.append(figures)
        return tuple(result)

    def _embed(self, batch: FrameBatch, end_s: float) -> NDArray[np.float32]:
        embedding = self._encoder.encode([batch], end_s=end_s)
        return video_vector(embedding.vectors, self._encoder.identity_dim)

    def _progress(self, phase: str, done: int, total: int, clip: Clip) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(phase, done, total, uri=clip.path.absolute().as_uri()))


def _labelled(rows: NDArray[np.float32], clips: Sequence[Clip]) -> LabelledRows:
    return LabelledRows(rows, [clip.label for clip in clips], [clip.group for clip in clips])


def _spread(clips: Sequence[Clip], rows: Sequence[int], limit: int | None, seed: int) -> list[int]:
    """So many of the rows, from as many clusters as there are; all without a limit."""
    if limit is None or limit >= len(rows):
        return list(rows)
    shuffled = generator_of("limit", "", seed).permutation(np.array(rows)).tolist()
    turns: dict[str, int] = {}
    turn_of = {}
    for row in shuffled:
        turn_of[row] = turns[clips[row].cluster] = turns.get(clips[row].cluster, -1) + 1
    return sorted(sorted(shuffled, key=turn_of.__getitem__)[:limit])
