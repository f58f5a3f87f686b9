"""How well and how fast search finds edited pieces of a folder's videos again.

    python tests/benchmarks/bench_search.py --videos DIR [--manifest FILE --where split=val]
        [--edits usual|hard|NAME,NAME] [--queries 24] [--model sora-small] [--jsonl FILE]

Half of the videos (by cluster, where a manifest with the columns `path` and `cluster` says
so, else by name) are indexed, the others are carriers and negatives. Each edit is applied
to `--queries` indexed videos, written to a file and searched. Printed a line an edit:

    n        queries
    rank 1   the right video first
    copy     the right video first and called `copy`
    IoU      median overlap of the ranges found with the true ones: query side, video side
    start    median error of the start of the best range on the video side, in seconds
    wrong    queries for which a video of another cluster was called `copy`

then the same of the negatives, what a threshold between them would give, and the time.
Constants of `retrieval.scoring` are chosen with this on footage that nothing is reported on.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sora_search.datatypes import SearchAnswer, TimeSpan
from sora_search.index.discovery import find_videos
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.learning.metrics import recall_at_zero_false, temporal_iou
from sora_search.media.clips import EditedClip, joined_carrier
from sora_search.media.editing import EDITS, HARD_EDITS, USUAL_EDITS, edit_clip, read_clip
from sora_search.media.probing import path_of
from sora_search.media.writing import write_video
from sora_search.retrieval.searching import search


@dataclass(frozen=True)
class Video:
    path: Path
    cluster: str


@dataclass(frozen=True)
class Outcome:
    """What one search gave, reduced to what is counted."""

    edit: str
    name: str
    rank: int
    score: float
    kind: str
    query_iou: float
    video_iou: float
    start_error_s: float
    best_wrong: float
    best_related: float
    wrong_name: str
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--where", default="", help="column=value: rows of the manifest to take")
    parser.add_argument("--edits", default="usual", help="usual, hard, all, or names")
    parser.add_argument("--queries", type=int, default=24, help="videos edited in each way")
    parser.add_argument("--negatives", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="sora-small", help="`pixels` needs no model")
    parser.add_argument("--keep", type=Path, help="where the index and queries are kept")
    parser.add_argument("--jsonl", type=Path, help="write every outcome")
    options = parser.parse_args()
    videos = chosen_videos(options)
    rng = np.random.default_rng(options.seed)
    clusters = sorted({video.cluster for video in videos})
    indexed_clusters = set(rng.permutation(clusters)[: (len(clusters) + 1) // 2].tolist())
    corpus = [video for video in videos if video.cluster in indexed_clusters]
    others = [video for video in videos if video.cluster not in indexed_clusters]
    print(f"{len(corpus)} videos indexed, {len(others)} carriers and negatives")
    encoder = load(options.model)
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        with VideoIndex.open_or_create(place / "index", encoder=encoder) as index:
            index_videos(index, [video.path for video in corpus], encoder=encoder)
        with VideoIndex.open(place / "index", read_only=True) as index:
            outcomes = run_queries(index, encoder, corpus, others, options, place)
            outcomes += run_negatives(index, encoder, others, options, rng)
    if options.jsonl:
        lines = [json.dumps(outcome.__dict__) for outcome in outcomes]
        options.jsonl.write_text("\n".join(lines) + "\n")
    report(outcomes)


def load(model: str):
    if model == "pixels":
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from pixel_encoder import PixelEncoder

        return PixelEncoder()
    from sora_search.sora.encoder import load_encoder

    return load_encoder(model)


def chosen_videos(options: argparse.Namespace) -> list[Video]:
    if options.manifest is None:
        paths = [Path(file.path) for file in find_videos([options.videos]).files]
        return [Video(path, path.name) for path in sorted(paths)]
    column, _, value = options.where.partition("=")
    with open(options.manifest, newline="") as file:
        rows = [row for row in csv.DictReader(file) if not column or row[column] == value]
    return [Video(options.videos / row["path"], row["cluster"]) for row in rows]


def run_queries(index, encoder, corpus, others, options, place) -> list[Outcome]:
    named = {"usual": USUAL_EDITS, "hard": HARD_EDITS, "all": USUAL_EDITS + HARD_EDITS}
    edits = named.get(options.edits) or options.edits.split(",")
    rng = np.random.default_rng(options.seed + 1)
    cluster_of = {str(video.path.resolve()): video.cluster for video in corpus}
    picked = one_a_cluster(corpus, rng)[: options.queries]
    outcomes = []
    for i, video in enumerate(picked):
        clip = read_clip(video.path)
        carriers = [others[j] for j in rng.permutation(len(others))[:12]]
        carrier = None
        for name in edits:
            edit = EDITS[name]
            if clip.duration_s < edit.min_duration_s:
                continue
            if edit.needs_carrier and carrier is None:
                carrier = joined_carrier([read_clip(c.path) for c in carriers], like=clip)
            edited = edit_clip(
                name,
                clip,
                seed=options.seed,
                video_hash=video.path.name,
                carrier=carrier if edit.needs_carrier else None,
            )
            path = place / "query.mp4"
            write_video(path, edited.frames, frames_per_s=edited.frames_per_s, crf=23)
            started = time.perf_counter()
            answer = search(index, path, encoder=encoder, k=20)
            seconds = time.perf_counter() - started
            outcomes.append(judged(name, video, edited, answer, cluster_of, seconds))
        print(f"\r{i + 1} of {len(picked)} videos", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return outcomes


def one_a_cluster(videos: list[Video], rng: np.random.Generator) -> list[Video]:
    """All videos in random order, the first of each cluster ahead of the second ones."""
    shuffled = [videos[i] for i in rng.permutation(len(videos))]
    seen: dict[str, int] = defaultdict(int)
    order = []
    for video in shuffled:
        order.append((seen[video.cluster], video))
        seen[video.cluster] += 1
    return [video for _, video in sorted(order, key=lambda item: item[0])]


def judged(
    name: str,
    video: Video,
    edited: EditedClip | None,
    answer: SearchAnswer,
    cluster_of: dict[str, str],
    seconds: float,
) -> Outcome:
    rank, result = 0, None
    best_wrong = best_related = 0.0
    wrong_name = ""
    for place, found in enumerate(answer.results, 1):
        path = path_of(found.uri).resolve()
        if edited is not None and path == video.path.resolve():
            rank, result = place, found
        elif cluster_of.get(str(path)) == video.cluster:
            best_related = max(best_related, found.score)
        elif found.score > best_wrong:
            best_wrong, wrong_name = found.score, path.name
    query_iou = video_iou = start_error_s = float("nan")
    if edited is not None and result is not None:
        query_iou = temporal_iou(spans(result, "query_span"), spans(edited, "query_span"))
        video_iou = temporal_iou(spans(result, "video_span"), spans(edited, "video_span"))
        if result.matches and result.matches[0].video_span:
            start_s = result.matches[0].video_span.start_s
            true = [match.video_span.start_s for match in edited.matches]
            start_error_s = min(abs(start_s - start) for start in true)
    return Outcome(
        name,
        video.path.name,
        rank,
        result.score if result else 0.0,
        result.kind if result else "",
        query_iou,
        video_iou,
        start_error_s,
        best_wrong,
        best_related,
        wrong_name,
        seconds,
    )


def spans(holder, side: str) -> list[TimeSpan]:
    return [getattr(match, side) for match in holder.matches if getattr(match, side)]


def run_negatives(index, encoder, others, options, rng) -> list[Outcome]:
    outcomes = []
    for video in one_a_cluster(others, rng)[: options.negatives]:
        started = time.perf_counter()
        answer = search(index, video.path, encoder=encoder, k=20)
        seconds = time.perf_counter() - started
        outcomes.append(judged("negative", video, None, answer, {}, seconds))
    return outcomes


def report(outcomes: list[Outcome]) -> None:
    print(f"{'edit':16} {'n':>4} {'rank 1':>7} {'copy':>6} {'IoU q':>6} {'IoU v':>6}", end=" ")
    print(f"{'start':>6} {'wrong':>6}")
    by_edit = defaultdict(list)
    for outcome in outcomes:
        by_edit[outcome.edit].append(outcome)
    negatives = by_edit.pop("negative", [])
    queries = [outcome for group in by_edit.values() for outcome in group]
    for name, group in [*by_edit.items(), ("all", queries)]:
        first = [outcome.rank == 1 for outcome in group]
        copy = [outcome.rank == 1 and outcome.kind == "copy" for outcome in group]
        # What was not found has no range: it counts as an overlap of 0.
        ious = np.nan_to_num([(outcome.query_iou, outcome.video_iou) for outcome in group])
        start = np.nanmedian([outcome.start_error_s for outcome in group] or [np.nan])
        wrong = sum(outcome.best_wrong >= 0.5 for outcome in group)
        print(f"{name:16} {len(group):4} {np.mean(first):7.3f} {np.mean(copy):6.3f}", end=" ")
        print(f"{np.median(ious[:, 0]):6.2f} {np.median(ious[:, 1]):6.2f} {start:6.2f} {wrong:6}")
    false = [outcome.best_wrong for outcome in [*negatives, *queries]]
    true = [outcome.score if outcome.rank == 1 else 0.0 for outcome in queries]
    called = sum(outcome.best_wrong >= 0.5 for outcome in negatives)
    print(f"negatives called copy: {called} of {len(negatives)}")
    highest = np.round(np.sort(false)[::-1][:8], 3).tolist()
    print(f"highest scores of wrong videos: {highest}")
    for outcome in sorted([*negatives, *queries], key=lambda o: -o.best_wrong)[:5]:
        print(f"    {outcome.best_wrong:.3f} {outcome.edit} {outcome.name} {outcome.wrong_name}")
    related = np.round(np.sort([o.best_related for o in queries])[::-1][:8], 3).tolist()
    print(f"highest scores of others of the same cluster: {related}")
    print(f"recall at zero false reports: {recall_at_zero_false(true, false):.3f}")
    for share in (0.001, 0.01):
        threshold = float(np.quantile(false, 1 - share))
        recall = float(np.mean(np.array(true) > threshold))
        print(f"recall at {share:.1%} false: {recall:.3f} (score above {threshold:.3f})")
    times = [outcome.seconds for outcome in [*queries, *negatives]]
    print(f"a search took {np.median(times):.3f} s (median), {np.max(times):.3f} s at most")


if __name__ == "__main__":
    main()
