"""A made place in which things move: the same place with another action is another take."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sora_search.media.clips import Clip

RATE = 20.0
SIZE = (192, 256)


def texture(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Colored blots of several sizes, as plants or crowds have them."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((*size, 3), np.float32)
    for step in (4, 9, 24):
        coarse = rng.uniform(-1, 1, (size[0] // step + 2, size[1] // step + 2, 3))
        picture += cv2.resize(
            coarse.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC
        ) * np.sqrt(step)
    return np.clip(picture * 14 + 128, 0, 255).astype(np.uint8)


def scene(place: int, action: int, *, duration_s: float = 6.0, num_bodies: int = 4) -> Clip:
    """A place where things move: the same place with another action is another take."""
    rng = np.random.default_rng([9, action])
    num_frames = round(duration_s * RATE)
    frames = np.repeat(texture(place, SIZE)[None], num_frames, axis=0)
    side = 40
    for number in range(num_bodies):
        body = texture(100 * place + number, (side, side))
        stops = rng.uniform(0, 1, (round(duration_s * 1.5) + 3, 2)) * (
            SIZE[0] - side,
            SIZE[1] - side,
        )
        at = np.arange(num_frames) / RATE * 1.5
        path = np.stack([np.interp(at, np.arange(len(stops)), stops[:, k]) for k in (0, 1)], axis=1)
        for row, (top, left) in enumerate(path.round().astype(int)):
            frames[row, top : top + side, left : left + side] = body
    return Clip(frames, RATE)
