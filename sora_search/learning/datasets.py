"""Clips to learn from: which there are, how often each is drawn, and their frames at hand.

A data set is a folder with a `manifest.csv` (columns `path`, and where known `label`,
`group`, `cluster`, `source`, and `split` or `use`), a CSV file of that kind, or any folder of
videos. Frames are decoded once into one array on disk and mapped from there: decoding again for
every step would take longer than learning from it.
"""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import OnProgress, Progress, TimeSpan
from sora_search.errors import ConfigError, MediaError
from sora_search.media.decoding import VideoReader
from sora_search.media.probing import has_video_name
from sora_search.media.sampling import SamplingConfig

STORED_SIZE = 144
"""Side of a stored frame: an eighth more than the network sees, so that crops stay sharp."""

STORED_FRAMES = 22
"""Frames stored of a clip: every other one of a three-second clip at 15 a second."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One training clip: a whole short video file, or a piece of a longer one."""

    path: Path
    label: str = ""
    group: str = ""
    """Clips of one recording; a fair test never has both sides of a pair in one group."""
    cluster: str = ""
    """Sources merged where they are near-duplicates; splits never cut through one."""
    source: str = ""
    """Where it comes from; large sources are drawn less often."""
    split: str = ""
    """What it is for: `train`, `val`, `eval`, or another name of its manifest."""
    span: TimeSpan | None = None


@dataclass(frozen=True, slots=True)
class ClipDataset:
    """Clips in a fixed order."""

    clips: tuple[Clip, ...]
    root: Path = field(default=Path())

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    @classmethod
    def open(cls, path: Path | str, *, splits: Sequence[str] = ()) -> "ClipDataset":
        """A manifest (a CSV file, or a folder that holds `manifest.csv`) or a folder of videos.

        Raises:
            ConfigError: If there is no such place, or nothing in it to learn from.
        """
        place = Path(path)
        if place.is_dir() and (place / "manifest.csv").is_file():
            place = place / "manifest.csv"
        if place.is_file():
            return cls.from_csv(place, splits=splits)
        if place.is_dir():
            return cls.from_folder(place)
        raise ConfigError(f"no data at {str(path)!r}: give a folder of videos or a manifest.csv")

    @classmethod
    def from_csv(cls, path: Path | str, *, splits: Sequence[str] = ()) -> "ClipDataset":
        """The rows of a manifest, only those of `splits` where it is not empty.

        Where no row says its split all are of `train`.

        Raises:
            ConfigError: If the file has no column `path`, or no row is left.
        """
        path = Path(path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or "path" not in rows[0]:
            raise ConfigError(f"{str(path)!r} has no column 'path' or no rows: see the README")
        every = tuple(
            Clip(
                path=path.parent / row["path"],
                label=row.get("label") or "",
                group=row.get("group") or row["path"],
                cluster=row.get("cluster") or row.get("group") or row["path"],
                source=row.get("source") or "",
                split=row.get("split") or row.get("use") or "",
            )
            for row in rows
        )
        if not any(clip.split for clip in every) and "train" in splits:
            splits = ()
        clips = tuple(clip for clip in every if not splits or clip.split in splits)
        if not clips:
            raise ConfigError(f"no row of {str(path)!r} is in split {' or '.join(splits)}")
        return cls(clips, path.parent)

    @classmethod
    def open_apart(cls, path: Path | str, *, splits: Sequence[str]) -> "ClipDataset":
        """The same as `open`, if none of its files is also in a split that is left out.

        What is learned from must not be measured on. Files are compared by content.

        Raises:
            ConfigError: If one is, or as those of `open`.
        """
        dataset, every = cls.open(path, splits=splits), cls.open(path)
        # In a folder of videos, or a manifest without splits, nothing is left out.
        others = [clip for clip in every if clip.split and clip.split not in splits]
        seen = _contents([clip.path for clip in dataset], {_size(clip.path) for clip in others})
        for clip in others:
            for content in _contents([clip.path], {size for size, _ in seen}):
                if content in seen:
                    raise ConfigError(
                        f"{str(seen[content])!r} is to be learned from, and {str(clip.path)!r} of "
                        f"split {clip.split!r} is the same file: take one out of the manifest"
                    )
        return dataset

    @classmethod
    def from_folder(cls, path: Path | str) -> "ClipDataset":
        """Every video below a folder, each its own source, without labels.

        Raises:
            ConfigError: If there is no video.
        """
        root = Path(path)
        found = sorted(p for p in root.rglob("*") if p.is_file() and has_video_name(p))
        if not found:
            raise ConfigError(f"no videos below {str(root)!r}")
        clips = (Clip(p, group=str(p), cluster=str(p), source=str(p.parent)) for p in found)
        return cls(tuple(clips), root)

    def weights(self) -> NDArray[np.float64]:
        """How often each clip is drawn, ``(N,)``, summing to 1.

        A clip counts one over the root of the sizes of its source and of its cluster: a corpus
        that is a quarter robot arms and a tenth empty sky must not become a model of those.
        """
        sources = Counter(clip.source for clip in self.clips)
        clusters = Counter(clip.cluster for clip in self.clips)
        weights: NDArray[np.float64] = np.array(
            [(sources[clip.source] * clusters[clip.cluster]) ** -0.5 for clip in self.clips]
        )
        return np.asarray(weights / weights.sum())


@dataclass(frozen=True, slots=True, eq=False)
class FrameStore:
    """The decoded frames of a data set.

    Attributes:
        dataset: The clips that could be decoded.
        frames: uint8 RGB, shape ``(N, T, S, S, 3)``, mapped from disk; whole frames, squeezed
            to a square, T of them evenly spread over each clip.
        failures: What could not be decoded, a line each.
        cache_dir: Where it lies, and what is made of it may; None if it lies nowhere.
    """

    dataset: ClipDataset
    frames: NDArray[np.uint8]
    failures: tuple[str, ...] = ()
    cache_dir: Path | None = None

    @classmethod
    def build(
        cls,
        dataset: ClipDataset,
        cache_dir: Path | str,
        *,
        jobs: int = 1,
        on_progress: OnProgress | None = None,
    ) -> "FrameStore":
        """Decode a data set, or map what an earlier call has decoded of the same files."""
        cache_dir = Path(cache_dir)
        cache_dir.mkdir(parents=True, exist_ok=True)
        array_path = cache_dir / f"frames-{fingerprint(dataset)}.npy"
        notes_path = array_path.with_suffix(".json")
        if not notes_path.exists():
            failures = _decode_all(dataset, array_path, jobs, on_progress)
            notes_path.write_text(json.dumps(failures))
        failures = json.loads(notes_path.read_text())
        frames = np.load(array_path, mmap_mode="r")
        if not failures:
            return cls(dataset, frames, cache_dir=cache_dir)
        kept = [i for i in range(len(dataset)) if str(i) not in failures]
        if not kept:
            raise ConfigError(f"none of {len(dataset)} clips can be decoded: {failures['0']}")
        clips = tuple(dataset.clips[i] for i in kept)
        left = ClipDataset(clips, dataset.root)
        return cls(left, frames[kept], tuple(failures.values()), cache_dir)

    def load(self, clips: NDArray[np.int64], moments: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames `moments` ``(B, T)`` of `clips` ``(B,)``, as ``(B, T, S, S, 3)``."""
        return np.stack([self.frames[c][m] for c, m in zip(clips, moments, strict=True)])


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _contents(
    paths: Sequence[Path], sizes: Collection[int | None]
) -> dict[tuple[int | None, str], Path]:
    """Size and digest of the files that have one of the sizes; the others are not read."""
    found: dict[tuple[int | None, str], Path] = {}
    for path in paths:
        size = _size(path)
        if size is not None and size in sizes:
            with path.open("rb") as file:
                found[size, hashlib.file_digest(file, "sha256").hexdigest()] = path
    return found


def fingerprint(dataset: ClipDataset) -> str:
    """Of what `FrameStore.build` makes of a data set: which files, spans and sizes."""
    digest = hashlib.sha256(f"{STORED_FRAMES} {STORED_SIZE}".encode())
    for clip in dataset:
        stat = clip.path.stat() if clip.path.exists() else None
        digest.update(f"{clip.path.absolute()}\0{clip.span}\0{stat and stat.st_size}\0".encode())
    return digest.hexdigest()[:16]


def _decode_all(
    dataset: ClipDataset, array_path: Path, jobs: int, on_progress: OnProgress | None
) -> dict[str, str]:
    shape = (len(dataset), STORED_FRAMES, STORED_SIZE, STORED_SIZE, 3)
    partial_path = array_path.with_suffix(".partial")
    frames = np.lib.format.open_memmap(partial_path, "w+", np.uint8, shape)
    failures: dict[str, str] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        decoded = pool.map(partial(decode_clip, num_frames=STORED_FRAMES), dataset, chunksize=4)
        for i, result in enumerate(decoded):
            if isinstance(result, str):
                failures[str(i)] = result
            else:
                frames[i] = result
            if on_progress is not None:
                on_progress(Progress("decoding", i + 1, len(dataset)))
    frames.flush()
    del frames
    os.replace(partial_path, array_path)
    return failures


def decode_clip(clip: Clip, num_frames: int) -> NDArray[np.uint8] | str:
    """Frames ``(T, S, S, 3)`` spread over the clip, or why there are none."""
    sampling = SamplingConfig(frames_per_s=0.01, min_frames=num_frames)
    try:
        with VideoReader.open(clip.path) as reader:
            size = (STORED_SIZE, STORED_SIZE)
            batches = list(reader.read(sampling, frame_size=size, span=clip.span))
    except (MediaError, OSError) as error:
        return f"{clip.path}: {error}"
    frames = np.concatenate([batch.frames for batch in batches])
    # A picture, or a clip shorter than it said, has fewer: show its frames longer.
    return frames[np.arange(num_frames) * len(frames) // num_frames]
