"""Made footage with texture at every scale, as a camera sees it, and as verification does."""

import cv2
import numpy as np

from sora_search.media.clips import Pictures
from sora_search.retrieval.footage import Footage, Frame

HEIGHT, WIDTH, NUM = 160, 240, 16


def footage(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH), num_frames: int = NUM) -> Pictures:
    """A camera that wanders over a surface with coarse and fine texture."""
    rng = np.random.default_rng(seed)
    height, width = size[0] + 80, size[1] + 80
    surface = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((5, 60), (16, 45), (60, 25)):
        coarse = rng.normal(0, strength, (cells, cells * width // height, 3)).astype(np.float32)
        surface += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    surface = np.clip(surface + rng.uniform(90, 160, 3), 0, 255)
    steps = rng.normal(0, 7, (num_frames, 2)) + rng.normal(0, 3, 2)
    place = np.abs((np.cumsum(steps, axis=0) + 40) % 160 - 80).astype(int)  # back at the rim
    crops = [surface[y : y + size[0], x : x + size[1]] for y, x in place]
    return np.stack(crops).astype(np.uint8)


def seen_frames(frames: Pictures, times_s: np.ndarray) -> Footage:
    """What verification reads of a file that shows these frames at these times."""
    grays = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    return Footage([Frame(*pair) for pair in zip(grays, times_s.tolist(), strict=True)])
