"""What happens to pictures that are not square: squeezed, cut, or padded.

    python tests/benchmarks/bench_framing.py --data DIR [--split val] [--limit 120] [--model NAME]

Copies of the clips of a manifest are found among the originals, one vector against one
vector, with whole frames squeezed to a square (what the shipped model does and was trained
with), their middle square alone, and frames padded to a square with black. Rank 1 in percent.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sora_search.learning.copies import FrameRequest, view_of
from sora_search.learning.datasets import ClipDataset
from sora_search.learning.figures import video_vector
from sora_search.media.clips import Clip, EditedClip, cropped, pasted, unedited
from sora_search.media.editing import edit_clip, read_clip
from sora_search.sora.encoder import SoraEncoder, load_encoder

EDITS = ("crop-60", "letterbox", "stretch", "mirror", "rotate-8", "vertical")


def squeezed(clip: Clip) -> Clip:
    """The whole picture."""
    return clip


def middle(clip: Clip) -> Clip:
    """The middle square."""
    height, width = clip.size
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return cropped(unedited(clip), left=left, top=top, width=side, height=side)


def padded(clip: Clip) -> Clip:
    """The whole picture on a black square."""
    height, width = clip.size
    side = max(height, width)
    ground = np.zeros((len(clip), side, side, 3), np.uint8)
    left, top = (side - width) // 2, (side - height) // 2
    return pasted(unedited(clip), ground, left=left, top=top)


def main() -> None:
    """Print a line an edit, a column a framing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--model", default="sora-small")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    rows = list(ClipDataset.open(arguments.data, splits=[arguments.split]))
    step = max(1, len(rows) // arguments.limit)
    clips = [read_clip(row.path) for row in rows[::step][: arguments.limit]]
    copies = {
        edit: [edit_clip(edit, clip, video_hash=str(i)) for i, clip in enumerate(clips)]
        for edit in EDITS
    }
    framings: tuple[Callable[[Clip], Clip], ...] = (squeezed, middle, padded)
    print(f"{len(clips)} clips  " + "  ".join(f"{framing.__name__:>8}" for framing in framings))
    galleries = [embed(encoder, clips, framing) for framing in framings]
    for edit, edited in copies.items():
        shares = []
        for framing, gallery in zip(framings, galleries, strict=True):
            nearest = (embed(encoder, edited, framing) @ gallery.T).argmax(axis=1)
            shares.append(float((nearest == np.arange(len(clips))).mean()))
        print(f"{edit:10}  " + "  ".join(f"{share:8.1%}" for share in shares))


def embed(
    encoder: SoraEncoder, clips: list[Clip] | list[EditedClip], framing: Callable[[Clip], Clip]
) -> np.ndarray:
    """One identity vector a clip, ``(N, identity_dim)``."""
    request = FrameRequest(encoder.frame_size, encoder.sampling)
    vectors = []
    for clip in clips:
        batch = view_of(framing(clip), request)
        rows = encoder.encode([batch]).vectors
        vectors.append(video_vector(rows, encoder.identity_dim)[: encoder.identity_dim])
    return np.stack(vectors)


if __name__ == "__main__":
    main()
