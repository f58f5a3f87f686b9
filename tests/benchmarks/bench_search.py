"""How well and how fast search finds edited pieces of videos again.

    python tests/benchmarks/bench_search.py --videos DIR | --data DIR --suite choose|report
        [--edits usual|hard|all|NAME,NAME] [--queries 24] [--model sora-small] [--jsonl FILE]

`--videos`: half of the videos of a folder (by name) are indexed, the others are carriers and
negatives. `--data`: a folder with `suite/`, `train/` and `trial/`, each with a manifest; what is
chosen and calibrated is chosen on the suite `choose`, what is reported on `report`:

    choose   indexed: its longer videos, one val clip a cluster; negatives: other val clips
    report   indexed: its longer videos, one eval clip a cluster, all val clips; negatives:
             other eval clips

Each edit is applied to `--queries` indexed videos, written to a file and searched. Carriers are
train and trial clips. Printed a line an edit:

    n        queries
    rank 1   a right video first: the original, or one that shows the same footage
    copy     the right video first and called `copy`
    IoU      mean overlap of the ranges found with the true ones: query side, video side
    start    median error of the start of the best range on the video side, in seconds
    wrong    queries for which a wrong video was called `copy`, another take of the scene too
    ms       median CPU milliseconds

then the same of the negatives, what a threshold between them would give, calibration and time.
Constants of `retrieval.scoring` are chosen with this, on the suite `choose` alone.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from sora_search.datatypes import SearchAnswer, TimeSpan
from sora_search.index.discovery import find_videos
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.learning.copies import FrameRequest, originals, same_footage
from sora_search.learning.datasets import Clip
from sora_search.learning.metrics import recall_at_zero_false, temporal_iou
from sora_search.media.clips import EditedClip, joined_carrier
from sora_search.media.editing import EDITS, HARD_EDITS, USUAL_EDITS, edit_clip, read_clip
from sora_search.media.probing import path_of
from sora_search.media.writing import write_video
from sora_search.retrieval.scoring import COPY_SCORE
from sora_search.retrieval.searching import search


@dataclass(frozen=True)
class Video:
    path: Path
    cluster: str
    is_asked: bool = True
    """Whether queries are made of it; a mere distractor is only indexed."""


@dataclass(frozen=True)
class Suite:
    """What is indexed, what queries are pasted into, and what is in no indexed video."""

    corpus: list[Video]
    carriers: list[Video]
    negatives: list[Video]

    def same_footage(self) -> dict[Path, set[Path]]:
        """The videos of one cluster that show the same footage, decided by their frames."""
        members = defaultdict(list)
        for video in [*self.corpus, *self.negatives]:
            members[video.cluster].append(video)
        rows = [video for group in members.values() if len(group) > 1 for video in group]
        clips = [Clip(video.path, cluster=video.cluster) for video in rows]
        found = {one.row: one.thumbnails for one in originals(clips, FrameRequest((32, 32)))}
        pairs = same_footage([found[i] for i in range(len(rows))], [c.cluster for c in clips])
        same: dict[Path, set[Path]] = defaultdict(set)
        for pair in pairs:
            same[rows[pair.first].path].add(rows[pair.second].path)
            same[rows[pair.second].path].add(rows[pair.first].path)
        return same


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
    wrong_name: str
    answers: list[tuple[float, bool | None, bool]]
    """Score, verified and rightness of every video with a range."""
    cpu_s: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--suite", choices=["choose", "report"], default="choose")
    parser.add_argument("--edits", default="usual", help="usual, hard, all, or names")
    parser.add_argument("--queries", type=int, default=24, help="videos edited in each way")
    parser.add_argument("--negatives", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="sora-small", help="`pixels` needs no model")
    parser.add_argument("--keep", type=Path, help="where the index and queries are kept")
    parser.add_argument("--jsonl", type=Path, help="write every outcome")
    options = parser.parse_args()
    if (options.videos is None) == (options.data is None):
        parser.error("give one of --videos and --data")
    rng = np.random.default_rng(options.seed)
    suite = (
        halved(options.videos, rng)
        if options.videos
        else SUITES[options.suite](read_manifests(options.data), rng)
    )
    sizes = len(suite.corpus), len(suite.negatives), len(suite.carriers)
    print("{} videos indexed, {} negatives, {} carriers".format(*sizes))
    encoder = load(options.model)
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        with VideoIndex.open_or_create(place / "index", encoder=encoder) as index:
            index_videos(index, [video.path for video in suite.corpus], encoder=encoder)
        same = suite.same_footage()
        with VideoIndex.open(place / "index", read_only=True) as index:
            outcomes = run_queries(index, encoder, suite, same, options, place)
            outcomes += run_negatives(index, encoder, suite, same, options, rng)
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


def halved(folder: Path, rng: np.random.Generator) -> Suite:
    """A folder without a manifest: every other video is indexed."""
    paths = sorted(Path(file.path) for file in find_videos([folder]).files)
    videos = [Video(paths[i], paths[i].name) for i in rng.permutation(len(paths))]
    half = (len(videos) + 1) // 2
    return Suite(videos[:half], videos[half:], videos[half:])


def read_manifests(data: Path) -> dict[str, list[Video]]:
    """Videos by split (`train`, `val`, `eval`), use (`choose`, `report`), and `trial`."""
    videos = defaultdict(list)
    for folder, column in (("suite", "use"), ("train", "split"), ("trial", "")):
        with open(data / folder / "manifest.csv", newline="") as file:
            for row in csv.DictReader(file):
                video = Video((data / folder / row["path"]).resolve(), row.get("cluster", ""))
                videos[row[column] if column else folder].append(video)
    return videos


def choose_suite(videos: dict[str, list[Video]], rng: np.random.Generator) -> Suite:
    """Val clips are cut out of the longer videos: never both of one cluster."""
    longer = one_a_cluster(videos["choose"], rng)
    clusters = {video.cluster for video in longer}
    kept, others = first_of_each_cluster(longer)
    val = [video for video in videos["val"] if video.cluster not in clusters]
    first, rest = first_of_each_cluster(one_a_cluster(val, rng))
    # Half of the clusters of val are not indexed at all: easy negatives.
    half = len(first) // 2
    corpus = [*kept, *first[:half]]
    return Suite(corpus, videos["train"] + videos["trial"], [*others, *rest, *first[half:]])


def report_suite(videos: dict[str, list[Video]], rng: np.random.Generator) -> Suite:
    first, rest = first_of_each_cluster(one_a_cluster(videos["eval"], rng))
    distractors = [Video(video.path, video.cluster, is_asked=False) for video in videos["val"]]
    corpus = [*videos["report"], *first, *distractors]
    return Suite(corpus, videos["train"] + videos["trial"], rest)


SUITES = {"choose": choose_suite, "report": report_suite}


def first_of_each_cluster(videos: list[Video]) -> tuple[list[Video], list[Video]]:
    first = {video.cluster: video for video in reversed(videos)}
    return list(first.values()), [video for video in videos if first[video.cluster] != video]


def run_queries(index, encoder, suite, same, options, place) -> list[Outcome]:
    named = {"usual": USUAL_EDITS, "hard": HARD_EDITS, "all": USUAL_EDITS + HARD_EDITS}
    edits = named.get(options.edits) or options.edits.split(",")
    rng = np.random.default_rng(options.seed + 1)
    asked = [video for video in suite.corpus if video.is_asked]
    outcomes = []
    for i, video in enumerate(one_a_cluster(asked, rng)[: options.queries]):
        clip = read_clip(video.path)
        carriers = [suite.carriers[j] for j in rng.permutation(len(suite.carriers))[:12]]
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
            outcomes.append(asked_of(index, encoder, path, name, video, edited, same))
        print(f"\r{i + 1} of {options.queries} videos", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return outcomes


def asked_of(index, encoder, path, name, video, edited, same) -> Outcome:
    started, cpu_started = time.perf_counter(), time.process_time()
    answer = search(index, path, encoder=encoder, k=20)
    cpu_s, seconds = time.process_time() - cpu_started, time.perf_counter() - started
    return judged(name, video, edited, answer, same, cpu_s, seconds)


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
    same: dict[Path, set[Path]],
    cpu_s: float,
    seconds: float,
) -> Outcome:
    rank, result = 0, None
    best_wrong, wrong_name, answers = 0.0, "", []
    for place, found in enumerate(answer.results, 1):
        path = path_of(found.uri)
        itself = edited is not None and path == video.path
        right = itself or path in same.get(video.path, ())
        if found.matches:
            answers.append((found.score, found.verified, right))
        if right and not rank:
            rank = place
        if itself:
            result = found
        elif not right and found.score > best_wrong:
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
        wrong_name,
        answers,
        cpu_s,
        seconds,
    )


def spans(holder, side: str) -> list[TimeSpan]:
    return [getattr(match, side) for match in holder.matches if getattr(match, side)]


def run_negatives(index, encoder, suite, same, options, rng) -> list[Outcome]:
    """Hard ones first: other moments of an indexed cluster."""
    indexed = {video.cluster for video in suite.corpus}
    order = [suite.negatives[i] for i in rng.permutation(len(suite.negatives))]
    order.sort(key=lambda video: video.cluster not in indexed)
    hard = [video for video in order if video.cluster in indexed][: options.negatives // 2]
    easy = [video for video in order if video.cluster not in indexed]
    chosen = [*hard, *easy[: options.negatives - len(hard)]]
    return [asked_of(index, encoder, video.path, "negative", video, None, same) for video in chosen]


def report(outcomes: list[Outcome]) -> None:
    print(f"{'edit':16} {'n':>4} {'rank 1':>7} {'copy':>6} {'IoU q':>6} {'IoU v':>6}", end=" ")
    print(f"{'start':>6} {'wrong':>6} {'ms':>6}")
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
        wrong = sum(outcome.best_wrong >= COPY_SCORE for outcome in group)
        cpu_ms = 1000 * np.median([outcome.cpu_s for outcome in group])
        print(f"{name:16} {len(group):4} {np.mean(first):7.3f} {np.mean(copy):6.3f}", end=" ")
        print(f"{np.mean(ious[:, 0]):6.2f} {np.mean(ious[:, 1]):6.2f} {start:6.2f}", end=" ")
        print(f"{wrong:6} {cpu_ms:6.0f}")
    called = sum(outcome.best_wrong >= COPY_SCORE for outcome in negatives)
    print(f"negatives called copy: {called} of {len(negatives)}")
    false = [outcome.best_wrong for outcome in [*negatives, *queries]]
    true = [outcome.score if outcome.rank == 1 else 0.0 for outcome in queries]
    for outcome in sorted([*negatives, *queries], key=lambda o: -o.best_wrong)[:8]:
        print(f"    {outcome.best_wrong:.3f} {outcome.edit} {outcome.name} {outcome.wrong_name}")
    print(f"recall at zero false reports: {recall_at_zero_false(true, false):.3f}")
    for share in (0.001, 0.01):
        threshold = float(np.quantile(false, 1 - share))
        recall = float(np.mean(np.array(true) > threshold))
        print(f"recall at {share:.1%} false: {recall:.3f} (score above {threshold:.3f})")
    report_calibration([answer for outcome in outcomes for answer in outcome.answers])
    times = [outcome.seconds for outcome in outcomes]
    print(f"a search took {np.median(times):.3f} s (median), {np.max(times):.3f} s at most")


def report_calibration(answers: list[tuple[float, bool | None, bool]]) -> None:
    """How often answers of a score are right: expected error, and precision of `copy`."""
    scores = np.array([score for score, _, _ in answers])
    right = np.array([is_right for _, _, is_right in answers])
    error = 0.0
    print("score        answers  mean score  right")
    for low, high in pairwise(np.linspace(0, 1, 11)):
        inside = (scores >= low) & ((scores < high) | (high == 1))
        if inside.any():
            gap = abs(scores[inside].mean() - right[inside].mean())
            error += gap * inside.mean()
            print(f"{low:.1f} - {high:.1f}  {inside.sum():9}", end=" ")
            print(f"{scores[inside].mean():11.3f} {right[inside].mean():6.3f}")
    copies = scores >= COPY_SCORE
    print(f"expected calibration error {error:.4f} over {len(answers)} answers;", end=" ")
    print(f"precision of `copy` {right[copies].mean():.4f} of {copies.sum()}")
    for verdict in (True, None, False):
        inside = np.array([verified is verdict for _, verified, _ in answers])
        print(f"    verified {verdict}: {right[inside].sum()} right of {inside.sum()}")


if __name__ == "__main__":
    main()
