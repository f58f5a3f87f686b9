"""What fine-tuning gains on the labels it was for, and what it forgets of everything else.

    python tests/benchmarks/bench_finetuning.py --data DIR --kind sky: [--kind fight: ...]
        [--adapt train] [--test val] [--limit 200] [--copies 20] [--seed 0] [--model NAME]

Of each kind of label (the beginning of a label) `--limit` clips of the split `--adapt` are
learned from, and those of the split `--test` ask. Where both are one split, each half of the
groups is learned from once while the other asks. Vectors are those that `index` makes, and an
answer is right with the same label in another group, among all clips of the kind. Then what
was not for it: the other labels of `--test`, and `--copies` clips of it (of no kind that was
learned) in 20 edits against all clips of `--test`, by both halves of the vector. In percent,
before -> after, with the standard error of the difference when groups are drawn again.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sora_search.learning import metrics
from sora_search.learning.copies import FrameRequest, copy_queries, originals
from sora_search.learning.datasets import Clip, ClipDataset
from sora_search.learning.evaluation import ACTION_LABELS, CHOOSING_LABELS
from sora_search.learning.figures import video_vector
from sora_search.learning.finetuning import FinetuneConfig, finetune
from sora_search.media.editing import USUAL_EDITS
from sora_search.sora.adapter import Adapter
from sora_search.sora.encoder import SoraEncoder, load_encoder


class Vectors:
    """Vectors of clips by the model as it is, each made once; adapted ones are made of them."""

    def __init__(self, encoder: SoraEncoder, jobs: int) -> None:
        self.encoder = encoder
        self.jobs = jobs
        self.request = FrameRequest(encoder.frame_size, encoder.sampling)
        self._rows: dict[Clip, np.ndarray] = {}

    def need(self, clips: Iterable[Clip]) -> None:
        """Make those that are not there yet."""
        missing = [clip for clip in dict.fromkeys(clips) if clip not in self._rows]
        for one in originals(missing, self.request, jobs=self.jobs):
            self._rows[missing[one.row]] = self.encoder.encode([one.batch]).vectors

    def of(self, clips: Sequence[Clip], adapter: Adapter | None) -> np.ndarray:
        """One vector a clip, ``(N, D)``."""
        return np.stack([self.mean(self._rows[clip], adapter) for clip in clips])

    def mean(self, rows: np.ndarray, adapter: Adapter | None) -> np.ndarray:
        """One vector of all those of a video."""
        adapted = rows if adapter is None else adapter.apply(rows)
        return video_vector(adapted, self.encoder.identity_dim)


class Asked:
    """Queries before and after, of one or more adapters."""

    def __init__(self) -> None:
        self.hits: list[tuple[bool, bool]] = []
        self.precisions: list[tuple[float, float]] = []
        self.groups: list[str] = []

    def add(
        self,
        similarities: Sequence[np.ndarray],
        right: np.ndarray,
        excluded: np.ndarray | None,
        groups: Sequence[str],
    ) -> None:
        """Rank the gallery by both similarities, before and after."""
        ranks = [metrics.right_ranks(similarity, right, excluded) for similarity in similarities]
        found = [metrics.average_precisions(x, right, excluded) for x in similarities]
        for i in np.flatnonzero(ranks[0]):
            self.hits.append((ranks[0][i] == 1, ranks[1][i] == 1))
            self.precisions.append((found[0][i], found[1][i]))
            self.groups.append(groups[i])

    def line(self) -> str:
        """Rank 1 and mAP."""
        if not self.groups:
            return "nothing to ask"
        parts = []
        for name, values in (("rank 1", self.hits), ("mAP", self.precisions)):
            before, after = 100 * np.array(values, np.float64).T
            error = metrics.paired_difference(after, before, self.groups).standard_error
            parts.append(
                f"{name} {before.mean():.1f} -> {after.mean():.1f} "
                f"({after.mean() - before.mean():+.1f} ± {error:.1f})"
            )
        num_groups = len(set(self.groups))
        return f"{', '.join(parts)}; {len(self.groups)} queries of {num_groups} groups"


def main() -> None:
    """Print the lines of each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kind", action="append", required=True)
    parser.add_argument("--adapt", default="train")
    parser.add_argument("--test", default="val")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--model", default="sora-small")
    arguments = parser.parse_args()
    vectors = Vectors(load_encoder(arguments.model), arguments.jobs)
    splits = {
        name: list(ClipDataset.open(arguments.data, splits=[name]))
        for name in dict.fromkeys(("train", "val", arguments.adapt, arguments.test))
    }
    for kind in arguments.kind:
        measure(kind, splits, vectors, arguments)


def measure(
    kind: str, splits: dict[str, list[Clip]], vectors: Vectors, arguments: argparse.Namespace
) -> None:
    """Adapt to one kind of label, and ask before and after."""
    every = [clip for clips in splits.values() for clip in clips if clip.label.startswith(kind)]
    learned = [clip for clip in splits[arguments.adapt] if clip.label.startswith(kind)]
    asked = [clip for clip in splits[arguments.test] if clip.label.startswith(kind)]
    drawn = np.random.default_rng(arguments.seed).permutation(len(learned))[: arguments.limit]
    learned = [learned[i] for i in sorted(drawn)]
    turns = [(learned, asked)]
    if arguments.adapt == arguments.test:
        first, second = halves(learned, arguments.seed)
        turns = [(first, second), (second, first)]
    beside = [
        clip
        for name in dict.fromkeys(("train", "val", arguments.test))
        for clip in splits[name]
        if clip.label.startswith((*ACTION_LABELS, *CHOOSING_LABELS))
        and not clip.label.startswith(kind)
    ]
    asking_beside = [clip for clip in beside if clip in set(splits[arguments.test])]
    gallery = splits[arguments.test]
    strange = [clip for clip in gallery if not clip.label.startswith(kind)]
    strange = strange[:: max(1, len(strange) // max(1, arguments.copies))][: arguments.copies]
    vectors.need([*every, *beside, *(gallery if strange else [])])
    seen = {clip.label for clip in splits["train"]}
    own, new, other, copies = Asked(), Asked(), Asked(), Asked()
    for adapt, ask in turns:
        tuned = finetune(
            ClipDataset(tuple(adapt)),
            model=arguments.model,
            config=FinetuneConfig(seed=arguments.seed),
            jobs=arguments.jobs,
        )
        report = tuned.report
        print(f"{kind} {report.num_videos} clips in {report.duration_s:.0f} s", flush=True)
        for line in report.lines():
            print(f"    {line}")
        ask_labels(own, vectors, tuned.adapter, ask, every)
        unseen = [clip for clip in ask if clip.label not in seen]
        ask_labels(new, vectors, tuned.adapter, unseen, every)
        ask_labels(other, vectors, tuned.adapter, asking_beside, beside)
        ask_copies(copies, vectors, tuned.adapter, strange, gallery)
    print(f"    {arguments.test}, the labels it is for: {own.line()}")
    print(f"    of these, labels without a clip in train: {new.line()}")
    print(f"    {arguments.test}, other labels: {other.line()}")
    print(f"    {arguments.test}, copies: {copies.line()}", flush=True)


def halves(clips: Sequence[Clip], seed: int) -> tuple[list[Clip], list[Clip]]:
    """Two halves of the groups of each label."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[str]] = {}
    for group, label in {clip.group: clip.label for clip in clips}.items():
        groups.setdefault(label, []).append(group)
    dealt = [name for names in groups.values() for name in rng.permutation(names).tolist()]
    half = {name: i % 2 for i, name in enumerate(dealt)}
    return tuple([clip for clip in clips if half[clip.group] == i] for i in (0, 1))


def ask_labels(
    asked: Asked,
    vectors: Vectors,
    adapter: Adapter,
    queries: Sequence[Clip],
    gallery: Sequence[Clip],
) -> None:
    """The meaning half of the queries among that of the gallery, own group left out."""
    if not queries:
        return
    width = vectors.encoder.identity_dim
    similarities = [
        vectors.of(queries, one)[:, width:] @ vectors.of(gallery, one)[:, width:].T
        for one in (None, adapter)
    ]
    right, excluded = (
        np.array([[getattr(q, name) == getattr(g, name) for g in gallery] for q in queries])
        for name in ("label", "group")
    )
    asked.add(similarities, right, excluded, [clip.group for clip in queries])


def ask_copies(
    asked: Asked,
    vectors: Vectors,
    adapter: Adapter,
    clips: Sequence[Clip],
    gallery: Sequence[Clip],
) -> None:
    """Edited copies of some clips of the gallery, by whole vectors."""
    if not clips:
        return
    rows = [gallery.index(clip) for clip in clips]
    copies = [
        (gallery[copy.row], vectors.encoder.encode([copy.batch]).vectors)
        for copy in copy_queries(
            gallery, USUAL_EDITS, vectors.request, rows=rows, jobs=vectors.jobs
        )
    ]
    similarities = [
        np.stack([vectors.mean(x, one) for _, x in copies]) @ vectors.of(gallery, one).T
        for one in (None, adapter)
    ]
    right = np.array([[clip == other for other in gallery] for clip, _ in copies])
    asked.add(similarities, right, None, [clip.cluster for clip, _ in copies])


if __name__ == "__main__":
    main()
