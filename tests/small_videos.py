"""Small video files for tests that are about files rather than about pictures."""

import shutil
from pathlib import Path

import numpy as np

from sora_search.media.writing import write_video


def write_small_video(
    path: Path | str,
    seed: int = 0,
    *,
    seconds: float = 2.0,
    color: tuple[int, int, int] | None = None,
    side: int = 64,
) -> Path:
    """A blocky picture of random colours that drifts, or one plain colour; 10 frames a second."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((side // 8, side // 8, 1), dtype=np.uint8))
    if color is not None:
        picture[:] = color
    num_frames = round(seconds * 10)
    frames = (np.roll(picture, i, axis=1) for i in range(num_frames))
    # PyAV writes only to names that are text: move it to where it belongs.
    plain = Path(path).parent / "being-written.mkv"
    write_video(plain, frames, frames_per_s=10, codec="mpeg4")
    return Path(shutil.move(plain, path))
