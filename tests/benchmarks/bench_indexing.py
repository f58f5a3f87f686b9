"""What indexing costs beside plain decoding, and how much memory and disk it takes.

    python tests/benchmarks/bench_indexing.py --videos DIR [--model sora-small] [--keep DIR]
        [--sizes 720p,1080p,2160p]

Clips found in DIR are joined and scaled up to H.264 videos of a minute or more, at 720p
and 1080p where nothing else is said (kept in `--keep`, so that the next run starts at once). Then:

- CPU ratio: CPU seconds of `index_videos` (hash, decode, embed, store, save; one process,
  one thread, the encoder loaded before) over CPU seconds of decoding every frame of the
  same file with one thread and no conversion. Both take turns; medians, so that what else
  the machine does falls on both.
- Threads: wall and CPU seconds of indexing one file alone with one and with two jobs.
- Memory: the peak of a worker process on a video of each size, and on a long one of the first.
- Disk: bytes of the index folder a minute of video.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.index.discovery import find_videos
from sora_search.index.indexing import index_videos
from sora_search.index.video_index import VideoIndex
from sora_search.media.writing import write_video

SIZES = {"720p": (720, 1280), "1080p": (1080, 1920), "2160p": (2160, 3840)}
FRAMES_PER_S = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, required=True, help="folder with clips to join")
    parser.add_argument("--model", default="sora-small", help="`pixels` measures the rest alone")
    parser.add_argument("--keep", type=Path, help="where the joined videos are kept")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the joined videos")
    parser.add_argument("--long-minutes", type=float, default=30.0, help="of the memory test")
    parser.add_argument("--sizes", default="720p,1080p", help=", ".join(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        measure_worker(options.model, options.worker[0], int(options.worker[1]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        encoder = load(options.model)
        paths = [folder / f"{name}.mp4" for name in options.sizes.split(",")]
        for path in paths:
            joined(options.videos, path, SIZES[path.stem], options.seconds)
            measure_cpu(path, encoder, options.rounds)
        measure_threads(paths[0], options)
        measure_memory(paths, options)


def load(model: str):
    if model == "pixels":
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from pixel_encoder import PixelEncoder

        return PixelEncoder()
    from sora_search.sora.encoder import load_encoder

    return load_encoder(model)


def measure_cpu(path: Path, encoder, rounds: int) -> None:
    decoding, indexing, num_bytes = [], [], 0
    for _ in range(rounds):
        started = time.process_time()
        num_frames = decode(path)
        decoding.append(time.process_time() - started)
        with tempfile.TemporaryDirectory() as index_path:
            started = time.process_time()
            index_once(path, index_path, encoder, jobs=1)
            indexing.append(time.process_time() - started)
            num_bytes = sum(file.stat().st_size for file in Path(index_path).iterdir())
    minutes = num_frames / FRAMES_PER_S / 60
    decode_s, index_s = statistics.median(decoding), statistics.median(indexing)
    ratios = [a / b for a, b in zip(indexing, decoding, strict=True)]
    print(
        f"{path.stem}: {minutes:.2f} min, decode {decode_s / minutes:.2f} CPU-s/min, "
        f"index {index_s / minutes:.2f} CPU-s/min, ratio {index_s / decode_s:.3f} "
        f"(rounds {', '.join(f'{ratio:.3f}' for ratio in ratios)}), "
        f"{num_bytes / minutes / 1000:.0f} kB/min on disk, empty index included",
        flush=True,
    )


def measure_threads(path: Path, options: argparse.Namespace) -> None:
    for jobs in (1, 2):
        runs = [in_worker(options, path, jobs) for _ in range(options.rounds)]
        wall_s = statistics.median(run["wall_s"] for run in runs)
        cpu_s = statistics.median(run["cpu_s"] for run in runs)
        print(f"one file, {jobs} jobs: {wall_s:.1f} s wall, {cpu_s:.1f} s CPU, start included")


def measure_memory(paths: list[Path], options: argparse.Namespace) -> None:
    long = paths[0].with_name(f"long-{paths[0].stem}.mkv")
    repeated(paths[0], long, options.long_minutes * 60)
    for path in [*paths, long]:
        run = in_worker(options, path, 2)
        print(
            f"{path.stem}: video of {run['duration_s'] / 60:.1f} min: worker peak "
            f"{run['worker_mib']:.0f} MiB, writer peak {run['writer_mib']:.0f} MiB, "
            f"{run['duration_s'] / run['wall_s']:.1f} x real time, "
            f"{run['num_bytes'] / run['duration_s'] * 60 / 1000:.0f} kB/min on disk",
            flush=True,
        )


def in_worker(options: argparse.Namespace, path: Path, jobs: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--videos", str(options.videos), "--model", options.model]
    done = subprocess.run(
        [*command, "--worker", str(path), str(jobs)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def measure_worker(model: str, path: str, jobs: int) -> None:
    """In a process of its own, so that peaks are those of this run alone."""
    with tempfile.TemporaryDirectory() as index_path:
        encoder = load(model)
        started = time.monotonic()
        duration_s = index_once(Path(path), index_path, encoder, jobs=jobs)
        wall_s = time.monotonic() - started
        own = resource.getrusage(resource.RUSAGE_SELF)
        workers = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            json.dumps(
                {
                    "wall_s": wall_s,
                    "cpu_s": sum(u.ru_utime + u.ru_stime for u in (own, workers)),
                    "worker_mib": workers.ru_maxrss / 1024 if jobs > 1 else own_peak_mib(),
                    "writer_mib": own_peak_mib(),
                    "duration_s": duration_s,
                    "num_bytes": sum(f.stat().st_size for f in Path(index_path).iterdir()),
                }
            )
        )


def own_peak_mib() -> float:
    """Of this program alone; `ru_maxrss` holds what its parent had when it was started."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def index_once(path: Path, index_path: str, encoder, *, jobs: int) -> float:
    """Index one file into a new index; its duration."""
    with VideoIndex.open_or_create(index_path, encoder=encoder) as index:
        report = index_videos(index, path, encoder=encoder, jobs=jobs)
        if report.num_added != 1:
            raise SystemExit(f"not indexed: {report}")
        return index.find(path).info.duration_s or 0.0


def decode(path: Path) -> int:
    """Decode every frame with one thread and do nothing with it; how many."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def joined(folder: Path, path: Path, size: tuple[int, int], seconds: float) -> Path:
    """The clips of a folder one after the other, as one H.264 video of at least `seconds`."""
    if not path.exists():
        print(f"making {path.name} ...", file=sys.stderr, flush=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        frames = pictures(folder, size, round(seconds * FRAMES_PER_S))
        write_video(unfinished, frames, frames_per_s=FRAMES_PER_S, crf=23)
        unfinished.rename(path)
    return path


def pictures(folder: Path, size: tuple[int, int], num: int) -> Iterator[NDArray[np.uint8]]:
    height, width = size
    files = find_videos(folder).files
    if not files:
        raise SystemExit(f"no videos in {folder}")
    while num > 0:  # round again where the clips are short of it
        for file in files:
            with av.open(str(file.path)) as container:
                for frame in container.decode(video=0):
                    if num > 0:
                        picture = frame.to_ndarray(format="rgb24")
                        yield cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
                        num -= 1


def repeated(path: Path, to: Path, seconds: float) -> Path:
    """The packets of a video again and again, without encoding, for at least `seconds`."""
    if to.exists():
        return to
    unfinished = to.with_name(f"unfinished-{to.name}")
    with av.open(str(unfinished), "w") as output, av.open(str(path)) as first:
        template = first.streams.video[0]
        assert template.time_base is not None
        assert template.duration is not None
        target = output.add_stream_from_template(template)
        num_rounds = int(seconds / (template.duration * template.time_base)) + 1
        for i in range(num_rounds):
            with av.open(str(path)) as source:
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.pts += i * template.duration
                        packet.dts += i * template.duration
                        packet.stream = target
                        output.mux(packet)
    unfinished.rename(to)
    return to


if __name__ == "__main__":
    main()
