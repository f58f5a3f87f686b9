"""The network of the user's document, line by line, mended so that it runs: a baseline.

    conv1 -> ReLU -> max pooling -> conv2 -> ReLU -> max pooling      (each frame alone)
      -> max pooling at several scales -> fc1 -> ReLU -> fc2          (once for each half)

The layers, their widths and their order are those of the listing (`SoraModel`). What was
mended, and why:

- `conv2` is declared there and never called; its output is what the fully connected layers
  are sized for (128 channels).
- The pools of `max_pool_sizes` run one after the other there, so that each sees what is left
  of the one before, and few sizes leave anything. Here they stand side by side and their
  windows are joined, as the text says (several scales of one map; spatial pyramid pooling, He
  et al., ECCV 2014). So `fc1` has as many inputs as there are windows; `128 * 7 * 7` fits no
  input together with further pools.
- The last layer gave classes through a softmax under ReLU features; a search needs a vector.
  It is the fully connected output itself, scaled to unit length.
- Nothing there looks across time. Each frame gets a vector, and a clip the mean of its frames.
- Frames of 64 pixels, at which it costs about as much as the model that ships; its
  convolutions run at full size.
- One fully connected part for each half of the vector, as in `network`, so that it learns the
  same two things from the same losses.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sora_search.sora.network import FullyConnected, HalvedNetwork, NetworkConfig


@dataclass(frozen=True, slots=True)
class SeedConfig(NetworkConfig):
    """Everything that fixes the shape of the listing's network."""

    name: str = "sora-seed"
    """Name under which it ships or is listed."""
    frame_size: int = 64
    """Side in pixels of the square each whole frame is scaled to."""
    widths: tuple[int, int] = (64, 128)
    """Channels of the two convolutions."""
    max_pool_sizes: tuple[int, ...] = (8, 16)
    """Sides of the windows, on a map of a quarter of the frame's side."""
    hidden: int = 512
    """Width of the first fully connected layer."""


class SeedTrunk(nn.Module):
    """The convolution layers: one map ``(N, C, S / 4, S / 4)``."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        first, second = widths
        self.conv1 = nn.Conv2d(3, first, 3, 1, 1)
        self.conv2 = nn.Conv2d(first, second, 3, 1, 1)
        self.pool = nn.MaxPool2d(2, 2)

    def forward(self, frames: Tensor, clip_frames: int) -> list[Tensor]:
        """The map of frames ``(N, 3, S, S)``; `clip_frames` does not matter to it."""
        del clip_frames
        x = self.pool(functional.relu(self.conv1(frames)))
        return [self.pool(functional.relu(self.conv2(x)))]


class SeedNetwork(HalvedNetwork):
    """The listing's network, with a head for each half."""

    config: SeedConfig

    def __init__(self, config: SeedConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(seed)
        self.appearance = SeedTrunk(config.widths)
        self.appearance_width = config.widths[-1]
        self.pools = nn.ModuleList([nn.MaxPool2d(side, side) for side in config.max_pool_sizes])
        side = config.frame_size // 4
        windows = sum((side // size) ** 2 for size in config.max_pool_sizes)
        width = windows * config.widths[-1]
        self.identity_hidden = FullyConnected(width, config.hidden)
        self.identity_out = nn.Linear(config.hidden, config.identity_dim)
        self.meaning_hidden = FullyConnected(width, config.hidden)
        self.meaning_out = nn.Linear(config.hidden, config.meaning_dim)

    def looks(self, appearance: list[Tensor]) -> Tensor:
        """The map, pooled at all scales."""
        windows = [cast(Tensor, pool(appearance[-1])).flatten(1) for pool in self.pools]
        return torch.cat(windows, 1)

    def identity(self, looks: Tensor) -> Tensor:
        """Which footage each frame is."""
        half: Tensor = self.identity_out(self.identity_hidden(looks))
        return functional.normalize(half, dim=1)

    def moments(self, frames: Tensor, appearance: list[Tensor] | None = None) -> Tensor:
        """The same that the identity half is made of."""
        return self.looks(appearance or self.appearance(frames, self.config.clip_frames))

    def meaning(self, moments: Tensor) -> Tensor:
        """What each frame shows."""
        half: Tensor = self.meaning_out(self.meaning_hidden(moments))
        return functional.normalize(half, dim=2)
