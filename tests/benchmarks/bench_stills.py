"""How well a still picture finds its moment, and what stills of later moments are taken for.

    python tests/benchmarks/bench_stills.py --videos DIR [--videos DIR] [--stills 3] [--limit 40]

The first half of each video is what is indexed. Stills of it, and of the second half, which no
answer is right for, are laid against it as they are, cropped to 80 %, relit by a gamma, and
both. Printed for each: how many are confirmed, at the right time within .15 s, and how many have
the score of a copy, at whatever time. Stills of the second half may show what the first half
does: a title, a gesture that is made again.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.datatypes import Match, TimeSpan
from sora_search.errors import MediaError
from sora_search.media.editing import generator_of, read_clip
from sora_search.media.probing import has_video_name
from sora_search.media.writing import write_video
from sora_search.retrieval import looking
from sora_search.retrieval.footage import FootageReader, Sides
from sora_search.retrieval.scoring import COPY_SCORE
from sora_search.retrieval.verification import verify_match

Picture = NDArray[np.uint8]

MAX_S, GAP_S, RIGHT_S = 24.0, 0.7, 0.15
"""Of each video so many seconds; between its halves so many are left out; a time is right by."""


def cropped(picture: Picture, rng: np.random.Generator) -> Picture:
    """80 % of its width and height, anywhere."""
    height, width = picture.shape[:2]
    top, left = (int(rng.uniform(0, 0.2) * side) for side in (height, width))
    return picture[top : top + int(0.8 * height), left : left + int(0.8 * width)]


def relit(picture: Picture, rng: np.random.Generator) -> Picture:
    """Brighter, most of all where it was dark."""
    gamma = rng.uniform(0.7, 0.85)
    return np.clip(((picture / 255) ** gamma * 1.1 + 0.03) * 255, 0, 255).astype(np.uint8)


def both(picture: Picture, rng: np.random.Generator) -> Picture:
    """Cropped and relit."""
    return relit(cropped(picture, rng), rng)


CHANGES: Mapping[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "none": lambda picture, rng: picture,
    "crop": cropped,
    "light": relit,
    "crop and light": both,
}


def outcomes(path: Path, num_stills: int, folder: Path) -> Iterator[tuple[str, str, bool, bool]]:
    """Of each still of a video: its half, its change, whether it is confirmed and a copy.

    One of the first half that is confirmed at a wrong time counts as not confirmed.
    """
    rng = generator_of("stills", path.name, 0)
    clip = read_clip(path, span=TimeSpan(0, MAX_S), short_side=288)
    middle, gap = len(clip) // 2, int(GAP_S * clip.frames_per_s)
    if middle < 2:
        return
    rate = clip.frames_per_s
    half = write_video(folder / "half.mkv", clip.frames[:middle], frames_per_s=rate, crf=18)
    span = TimeSpan(0, middle / rate)
    for name, rows in (("first", (0, middle)), ("second", (middle + gap, len(clip)))):
        for row in rng.integers(*rows, num_stills) if rows[1] > rows[0] else ():
            for change, edit in CHANGES.items():
                still = folder / "still.png"
                cv2.imwrite(str(still), edit(clip.frames[row], rng)[:, :, ::-1])
                match = Match(None, span, 1.0)
                seen = verify_match(Sides(FootageReader(), still, half), match)
                told = looking.match_of((None, span), 1.0, seen)
                is_right = True
                if name == "first" and seen.is_same and told.video_span is not None:
                    found, at_s = told.video_span, (row + 0.5) / rate
                    is_right = found.start_s - RIGHT_S <= at_s <= found.end_s + RIGHT_S
                yield name, change, bool(seen.is_same) and is_right, told.score >= COPY_SCORE


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, action="append", required=True)
    parser.add_argument("--stills", type=int, default=3)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    paths = [p for folder in arguments.videos for p in sorted(folder.rglob("*"))]
    paths = [p for p in paths if p.is_file() and has_video_name(p)][: arguments.limit]
    found: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            try:
                for half, change, *outcome in outcomes(path, arguments.stills, Path(folder)):
                    found.setdefault((half, change), []).append((outcome[0], outcome[1]))
            except MediaError as error:
                print(f"{path}: {error}")
    print("| half | change | stills | confirmed | told as a copy |")
    print("|---|---|---|---|---|")
    for (half, change), rows in sorted(found.items()):
        confirmed, copies = (sum(column) for column in zip(*rows, strict=True))
        print(f"| {half} | {change} | {len(rows)} | {confirmed} | {copies} |")


if __name__ == "__main__":
    main()
