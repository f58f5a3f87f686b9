"""What the storage costs: `python tests/benchmarks/bench_index.py [--videos 1000] [--vectors 100]`.

Fills an index with made-up vectors of 256 dimensions (random walks, as the vectors of
a video are) and reports what it takes to add, save, open and search them, and the bytes
on disk. Times are CPU time, which says the same on a busy machine (set OMP_NUM_THREADS=1),
but for the wall time of adding and saving. Opening is timed in processes of their own,
with the FAISS file and without it (`catch-up`: everything comes from the catalog).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from sora_search.datatypes import TimeSpan, VideoEmbedding, VideoInfo
from sora_search.index.video_index import VideoIndex

DIM = 256
VECTORS_A_MINUTE = 120

COLD = """
import json, sys, time
start = time.process_time()
import numpy as np
from sora_search.index.video_index import VideoIndex
imported = time.process_time()
with VideoIndex.open(sys.argv[1]) as index:
    opened = time.process_time()
    index.search(np.eye(60, index.dim, dtype=np.float32), 50)
    searched = time.process_time()
print(json.dumps([imported - start, opened - imported, searched - opened]))
"""


class Encoder:
    """Has a name and a dimension."""

    model_id = "bench@1"
    dim = DIM

    def encode(self, batches: object, *, end_s: float | None = None) -> VideoEmbedding:
        raise NotImplementedError


def walk(num: int, rng: np.random.Generator) -> np.ndarray:
    """Unit rows of which neighbors are alike, float32 ``(num, DIM)``."""
    steps = 0.15 * rng.standard_normal((num, DIM))
    rows = rng.standard_normal(DIM) + np.cumsum(steps, axis=0)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32)


def fill(index: VideoIndex, num_videos: int, num_vectors: int) -> None:
    rng = np.random.default_rng(0)
    spans = tuple(TimeSpan(i / 2, (i + 1) / 2) for i in range(num_vectors))
    for i in range(num_videos):
        uri = f"file:///home/someone/videos/a folder of clips/clip number {i:06}.mp4"
        info = VideoInfo(uri, num_vectors / 2, 1280, 720, "h264", Fraction(30000, 1001))
        embedding = VideoEmbedding(spans, walk(num_vectors, rng), index.model_id)
        index.add_video(uri, 10_000_000, 1, f"sha256:{i:064x}", info, embedding)


def median_ms(call: Callable[[], object], times: int = 15) -> float:
    seconds = []
    for _ in range(times):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return 1000 * statistics.median(seconds)


def cold(folder: Path) -> str:
    """Medians over five processes, whose first run warms the disk cache."""
    runs = []
    for _ in range(5):
        run = subprocess.run(
            [sys.executable, "-c", COLD, folder], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(run.stdout))
    imported, opened, searched = (
        1000 * statistics.median(column) for column in zip(*runs, strict=True)
    )
    return f"import {imported:.0f} ms, open {opened:.0f} ms, first search {searched:.0f} ms"


def measure(folder: Path, num_videos: int, num_vectors: int) -> None:
    total = num_videos * num_vectors
    start, start_cpu = time.perf_counter(), time.process_time()
    with VideoIndex.open_or_create(folder, encoder=Encoder()) as index:
        fill(index, num_videos, num_vectors)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        print(
            f"add       {total} vectors in {num_videos} videos: {seconds:.1f} s, "
            f"CPU {cpu:.1f} s, {1000 * cpu / num_videos:.1f} ms a video"
        )
        start, start_cpu = time.perf_counter(), time.process_time()
        index.save()
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        print(f"save      {seconds:.1f} s, CPU {cpu:.1f} s")
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    for name, size in sizes.items():
        print(f"disk      {size / total:7.1f} bytes a vector  {name}")
    a_vector = sum(sizes.values()) / total
    print(
        f"disk      {a_vector:.0f} bytes a vector, "
        f"{a_vector * VECTORS_A_MINUTE / 1000:.0f} KB a minute at 2 vectors a second"
    )
    print(f"cold      {cold(folder)}")
    measure_search(folder)
    for path in folder.glob("vectors-*.faiss"):
        path.unlink()
    (folder / "manifest.json").unlink()
    print(f"catch-up  {cold(folder)}")


def measure_search(folder: Path) -> None:
    rng = np.random.default_rng(1)
    with VideoIndex.open(folder) as index:
        video_id = index.videos()[0].video_id
        for num_queries in (1, 10, 60, 240):
            queries = walk(num_queries, rng)
            plain = median_ms(lambda q=queries: index.search(q, 50))
            without = median_ms(lambda q=queries: index.search(q, 50, exclude_video_ids=[video_id]))
            print(
                f"search    {num_queries:3} queries, k 50: p50 {plain:.1f} ms; "
                f"one video excluded {without:.1f} ms"
            )
        ids = index.search(walk(60, rng), 50).vector_ids
        print(f"locate    {ids.size} ids: {median_ms(lambda: index.locate(ids)):.2f} ms")
        print(f"embedding {median_ms(lambda: index.embedding(video_id)):.2f} ms")
        print(f"background(1000) {median_ms(lambda: index.background(1000)):.1f} ms")
        print(f"videos()  {median_ms(index.videos, 3):.0f} ms")
        start = time.process_time()
        assert index.check() == []
        print(f"check     {time.process_time() - start:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--vectors", type=int, default=100, help="of each video")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name) / "index", arguments.videos, arguments.vectors)
