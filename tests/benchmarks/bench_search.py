"""How well and how fast search finds edited pieces of videos again, on the suites of a data folder.

    python tests/benchmarks/bench_search.py --data DIR [--suite choose|report]
        [--edits usual|hard|all|NAME,NAME] [--queries 24] [--negatives 100] [--model sora-small]
        [--frames-per-s 2] [--without windows,closer,frames,edges] [--keep DIR] [--jsonl FILE]

What is counted, and printed, is that of `sora-search evaluate`, which does the same on any folder.
Here the folder has `suite/`, `train/` and `trial/`, each with a manifest; what is chosen and
calibrated is chosen on the suite `choose`, what is reported on `report`:

    choose   indexed: its longer videos, one val clip a cluster; negatives: other val clips
    report   indexed: its longer videos, one eval clip a cluster, all val clips; negatives:
             other eval clips

Carriers are train and trial clips of recordings of which nothing is indexed. Half of the negatives
are hard, if there are that many: other moments of an indexed cluster. Videos of a cluster that show
the same footage, decided by their frames, are right answers.

`--without` leaves out steps of the search, to see what they add: the rectangles of the query
(windows), the second look that magnifies and turns it (closer), the look at decoded frames
(frames) and the ends found frame by frame (edges). `--frames-per-s` makes other vectors a second.
Constants of `retrieval.scoring` are chosen with this, on the suite `choose` alone.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from sora_search.applications.benchmarking import (
    NEGATIVE,
    Suite,
    edits_named,
    index_corpus,
    run_queries,
)
from sora_search.applications.tallies import Outcome, tally
from sora_search.cli.evaluation import benchmark_lines
from sora_search.index.video_index import VideoIndex
from sora_search.learning.copies import FrameRequest, originals, same_footage
from sora_search.learning.datasets import Clip
from sora_search.retrieval import looking, searching, verification


@dataclass(frozen=True)
class Video:
    path: Path
    cluster: str


Videos = dict[str, list[Video]]

ONE_RECORDING = (
    {"robopen:media/clean_kitchen/wipe_towel.mp4", "robopen:media/skills/wipe.mp4"},
    {"open-mmlab:demo/demo.mp4", "open-mmlab:demo/demo_spatiotemporal_det.mp4"},
    {"robopen:media/serve_souo/pick_bowl.mp4", "robopen:media/skills/slide_out.mp4"},
)
"""Clusters of the data that show the same recording, cropped, in other colors or with boxes drawn
on it, as looking at them shows. Clips of one number are cut out of the same seconds of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--suite", choices=sorted(SUITES), default="choose")
    parser.add_argument("--edits", default="usual", help="usual, hard, all, or names")
    parser.add_argument("--queries", type=int, default=24, help="videos edited in each way")
    parser.add_argument("--negatives", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="sora-small", help="`pixels` needs no model")
    parser.add_argument("--frames-per-s", type=float, help="frames, and vectors, a second")
    parser.add_argument("--without", default="", help=", ".join(LEFT_OUT))
    parser.add_argument("--keep", type=Path, help="where the index is kept")
    parser.add_argument("--jsonl", type=Path, help="add every outcome, as it comes")
    options = parser.parse_args()
    if options.keep and options.frames_per_s:
        parser.error("--keep would mix vectors of several rates: leave one out")
    for step in filter(None, options.without.split(",")):
        LEFT_OUT[step]()
    rng = np.random.default_rng(options.seed)
    suite = SUITES[options.suite](read_manifests(options.data), rng, options.negatives)
    encoder = load(options.model, options.frames_per_s)
    outcomes = []
    with tempfile.TemporaryDirectory() as scratch:
        place = (options.keep or Path(scratch)) / "index"
        # Workers load the model anew, with the rate that it has.
        index_corpus(suite, encoder, place, jobs=1 if options.frames_per_s else 2)
        with VideoIndex.open(place, read_only=True) as index:
            num_videos = index.num_videos
            print(f"{num_videos} videos indexed")
            for outcome in run_queries(
                index,
                encoder,
                suite,
                edits=edits_named(options.edits),
                num_queries=options.queries,
                num_negatives=options.negatives,
                seed=options.seed,
                on_progress=lambda done: print(
                    f"\r{done.num_done} of {done.num_total}", end="", file=sys.stderr, flush=True
                ),
            ):
                outcomes.append(outcome)
                if options.jsonl:
                    with options.jsonl.open("a") as file:
                        file.write(json.dumps(facts_of(outcome)) + "\n")
    print(file=sys.stderr)
    for line in benchmark_lines(tally(outcomes, num_videos=num_videos, negative=NEGATIVE)):
        print(line)
    for verified in (True, None, False):
        answers = [a for one in outcomes for a in one.answers if a.has_ranges]
        said = [answer.is_right for answer in answers if answer.verified is verified]
        print(f"verified {verified}: {sum(said)} right of {len(said)}")


def facts_of(outcome: Outcome) -> dict[str, object]:
    """An outcome as a line of `--jsonl` has it: with what follows from its answers."""
    told = {"rank": outcome.rank, "score": outcome.score, "is_copy": outcome.is_copy}
    return {**asdict(outcome), **told}


def load(model: str, frames_per_s: float | None):
    if model == "pixels":
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from pixel_encoder import PixelEncoder

        return PixelEncoder()
    from sora_search.sora.encoder import load_encoder

    encoder = load_encoder(model)
    if frames_per_s is not None:
        encoder.sampling = replace(encoder.sampling, frames_per_s=frames_per_s)
    return encoder


def read_manifests(data: Path) -> Videos:
    """Videos by split (`train`, `val`, `eval`), use (`choose`, `report`), and `trial`."""
    videos = defaultdict(list)
    for folder, column in (("suite", "use"), ("train", "split"), ("trial", "")):
        with open(data / folder / "manifest.csv", newline="") as file:
            for row in csv.DictReader(file):
                video = Video((data / folder / row["path"]).resolve(), row.get("cluster", ""))
                videos[row[column] if column else folder].append(video)
    return videos


def choose_suite(videos: Videos, rng: np.random.Generator, num_negatives: int) -> Suite:
    """Val clips are cut out of the longer videos: never both of one cluster."""
    longer = one_a_cluster(videos["choose"], rng)
    clusters = {video.cluster for video in longer}
    kept, others = first_of_each_cluster(longer)
    val = [video for video in videos["val"] if video.cluster not in clusters]
    first, rest = first_of_each_cluster(one_a_cluster(val, rng))
    # Half of the clusters of val are not indexed at all: easy negatives.
    half = len(first) // 2
    corpus = [*kept, *first[:half]]
    return suite_of(videos, corpus, corpus, [*others, *rest, *first[half:]], rng, num_negatives)


def report_suite(videos: Videos, rng: np.random.Generator, num_negatives: int) -> Suite:
    first, rest = first_of_each_cluster(one_a_cluster(videos["eval"], rng))
    asked = [*videos["report"], *first]
    return suite_of(videos, [*asked, *videos["val"]], asked, rest, rng, num_negatives)


SUITES = {"choose": choose_suite, "report": report_suite}


def suite_of(
    videos: Videos,
    corpus: list[Video],
    asked: list[Video],
    negatives: list[Video],
    rng: np.random.Generator,
    num_negatives: int,
) -> Suite:
    """Hard negatives are as many as easy ones, where there are enough."""
    indexed = {video.cluster for video in corpus}
    recordings = [group for group in ONE_RECORDING if group & indexed]
    known = set[str]().union(*recordings)
    carriers = [v for v in videos["train"] + videos["trial"] if v.cluster not in known]
    drawn = [negatives[i] for i in rng.permutation(len(negatives))]
    hard = [video for video in drawn if video.cluster in indexed][: num_negatives // 2]
    easy = [video for video in drawn if video.cluster not in indexed]
    chosen = [*hard, *easy[: num_negatives - len(hard)]]
    return Suite(
        corpus=[video.path for video in corpus],
        asked=[video.path for video in one_a_cluster(asked, rng)],
        carriers=[video.path for video in carriers],
        negatives=[video.path for video in chosen],
        same=same_as([*corpus, *chosen]),
    )


def same_as(videos: list[Video]) -> dict[Path, set[Path]]:
    """The videos of one cluster that show the same footage, decided by their frames."""
    members = defaultdict(list)
    for video in videos:
        members[video.cluster].append(video)
    rows = [video for group in members.values() if len(group) > 1 for video in group]
    clips = [Clip(video.path, cluster=video.cluster) for video in rows]
    found = {one.row: one.thumbnails for one in originals(clips, FrameRequest((32, 32)))}
    pairs = same_footage([found[i] for i in range(len(rows))], [clip.cluster for clip in clips])
    same: dict[Path, set[Path]] = defaultdict(set)
    for pair in pairs:
        same[rows[pair.first].path].add(rows[pair.second].path)
        same[rows[pair.second].path].add(rows[pair.first].path)
    for clusters in ONE_RECORDING:
        shown = [video.path for video in videos if video.cluster in clusters]
        for path in shown:
            number = path.stem.rpartition("_")[2]
            others = (p for p in shown if p.stem.rpartition("_")[2] == number)
            same[path].update(other for other in others if other != path)
    return same


def first_of_each_cluster(videos: list[Video]) -> tuple[list[Video], list[Video]]:
    first = {video.cluster: video for video in reversed(videos)}
    return list(first.values()), [video for video in videos if first[video.cluster] != video]


def one_a_cluster(videos: list[Video], rng: np.random.Generator) -> list[Video]:
    """All videos in random order, the first of each cluster ahead of the second ones."""
    seen: dict[str, int] = defaultdict(int)
    order = []
    for i in rng.permutation(len(videos)):
        order.append((seen[videos[i].cluster], videos[i]))
        seen[videos[i].cluster] += 1
    return [video for _, video in sorted(order, key=lambda item: item[0])]


def without_windows() -> None:
    searching.window_views = lambda *args, **options: iter(())


def without_closer() -> None:
    searching.closer_views = lambda *args, **options: iter(())


def without_frames() -> None:
    looking.Pair.look_at = lambda pair, ranges, *limits: looking.on_trust(
        ranges, "frames were not looked at", "unseen"
    )


def without_edges() -> None:
    verification.find_edges = lambda sides, match, *rest, **options: match


LEFT_OUT = {
    "windows": without_windows,
    "closer": without_closer,
    "frames": without_frames,
    "edges": without_edges,
}


if __name__ == "__main__":
    main()
