"""The network: frames of a video to one unit vector a frame.

    frames ─┬─ appearance pathway ──── multi-scale pooling ── fully connected ── identity half
            │  (each frame alone)      (space)
            └─ motion pathway ──────── multi-scale pooling ── fully connected ── meaning half
               ((2+1)D, across frames) (time)

The user's document asks for convolution layers, multi-scale pooling over space and
time, and fully connected layers. Two pathways share that plan, as in two-stream and
SlowFast networks (Simonyan & Zisserman, NeurIPS 2014; Feichtenhofer et al., ICCV
2019), because the halves of the vector need opposite things: *which footage is this*
must not depend on what comes before or after (a two-second excerpt inside another
video must give the same vectors as in its source), while *what happens* lives in the
change between frames. Both are made of inverted bottlenecks (Sandler et al., CVPR
2018); those of the motion pathway are (2+1)D with causal depthwise convolutions over
time, in the proportions of MoViNet-A0 (Kondratyuk et al., CVPR 2021), so that it can
be distilled from it stage by stage.

Pure torch: no files, no devices, no settings but `ModelConfig`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class BlockConfig:
    """One inverted bottleneck: widen, filter over space (and time), narrow again."""

    expanded: int
    """Channels inside the block."""
    out: int
    """Channels it gives out."""
    space: int = 3
    """Side of the depthwise kernel over space."""
    time: int = 1
    """Frames the depthwise kernel over time looks at; 1 means none."""
    stride: int = 1
    """Step over space."""


MOTION_STAGES: tuple[tuple[BlockConfig, ...], ...] = (
    (BlockConfig(24, 8, 5, 1, 2),),
    (BlockConfig(80, 32, 3, 3, 2), BlockConfig(80, 32, 3, 3), BlockConfig(80, 32, 3, 3)),
    (BlockConfig(184, 56, 3, 5, 2), BlockConfig(128, 56, 3, 3), BlockConfig(184, 56, 3, 3)),
    (
        BlockConfig(184, 56, 3, 5),
        BlockConfig(184, 56, 3, 3),
        BlockConfig(184, 56, 3, 3),
        BlockConfig(184, 56, 3, 3),
    ),
    (
        BlockConfig(384, 104, 3, 5, 2),
        BlockConfig(320, 104, 5),
        BlockConfig(320, 104, 5),
        BlockConfig(384, 104, 5),
    ),
)

APPEARANCE_STAGES: tuple[tuple[BlockConfig, ...], ...] = (
    (BlockConfig(32, 24, 3, 1, 2), BlockConfig(48, 24)),
    (BlockConfig(72, 40, 5, 1, 2), BlockConfig(120, 40), BlockConfig(120, 40)),
    (
        BlockConfig(160, 88, 5, 1, 2),
        BlockConfig(264, 88),
        BlockConfig(264, 88),
        BlockConfig(264, 88),
    ),
)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What every network has to say of itself."""

    name: str
    """Name under which it ships or is listed."""
    frame_size: int = 128
    """Side in pixels of the square each whole frame is scaled to."""
    clip_frames: int = 16
    """Frames it sees at once."""
    identity_dim: int = 128
    """Length of the half that says which footage it is."""
    meaning_dim: int = 128
    """Length of the half that says what happens."""

    @property
    def dim(self) -> int:
        """D, the length of a whole vector."""
        return self.identity_dim + self.meaning_dim


@dataclass(frozen=True, slots=True)
class ModelConfig(NetworkConfig):
    """Everything that fixes the shape of Sora (not its weights)."""

    name: str = "sora-small"
    """Name under which it ships or is listed."""
    motion_size: int = 160
    """Side in pixels to which frames are enlarged for the motion pathway. It learned at 128, but of
    crops, which show things larger than whole frames do (Touvron et al., NeurIPS 2019)."""
    motion_stem: int = 8
    """Channels of the first convolution of the motion pathway."""
    motion_stages: tuple[tuple[BlockConfig, ...], ...] = MOTION_STAGES
    """Stages of the motion pathway."""
    motion_out: int = 480
    """Channels of its last map."""
    appearance_stem: int = 16
    """Channels of the first convolution of the appearance pathway."""
    appearance_stages: tuple[tuple[BlockConfig, ...], ...] = APPEARANCE_STAGES
    """Stages of the appearance pathway."""
    appearance_out: int = 288
    """Channels of its last map."""
    pooled_stages: bool = True
    """Pool the maps of all stages, not of the last alone."""
    space_grid: int = 2
    """Windows a side that pooling adds to the whole picture; 1 switches the windows off."""
    time_scales: tuple[int, ...] = (4, 16)
    """Frames over which pooling averages, beside the moment itself; () switches it off."""
    identity_hidden: int = 256
    """Width of the fully connected layer before the identity half."""
    meaning_hidden: int = 768
    """Width of the fully connected layer before the meaning half, for each scale of time."""
    least_light: float = 0.35
    """Level (of 1) that the light parts of a frame are brought to where they are darker, see `lit`;
    0 leaves all frames as they are."""


MAX_GAIN = 16.0
"""Most that a frame is made lighter: what is darker still is the grain of a black frame."""


def lit(frames: Tensor, least_light: float) -> Tensor:
    """Frames ``(N, 3, H, W)`` in [0, 1], each of the darker ones made lighter as a whole.

    How light a frame is says its mean of order 4, which black bars and a night around a lamp
    hardly lower. Exposure is then the same to the pathways, whatever they have learned of it.
    """
    squares = frames * frames  # not `square`: as a power it takes the runtime twice as long
    light = (squares * squares).mean((1, 2, 3), keepdim=True).sqrt().sqrt()
    gain = least_light / light.clamp(min=max(least_light, 1e-6) / MAX_GAIN)
    return frames * gain.clamp(min=1.0)


class ConvUnit(nn.Sequential):
    """Convolution, batch normalisation, and ReLU6 unless it is linear."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        padding = kernel // 2
        if stride == 2:
            # Windows start at even pixels: on even sides all padding is after the last one. It is
            # how the teacher is padded; a window off by one pixel could not learn its targets.
            before = (kernel - 2) // 2
            self.pad = nn.ZeroPad2d((before, kernel - 2 - before) * 2)
            padding = 0
        # Named by hand, so that the keys of a checkpoint say what a tensor is.
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out)
        if not linear:
            self.act = nn.ReLU6()


class TemporalConv(nn.Module):
    """Causal depthwise convolution over time: each channel mixes its last frames.

    Input and output ``(B * T, C, H, W)``; before the first frame there is nothing (zeros).
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        weight = torch.zeros(kernel, channels)
        weight[-1] = 1.0  # starts as the frame itself: a 2D network
        self.weight = nn.Parameter(weight + 0.02 * torch.randn(kernel, channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Mix maps ``(B * T, C, H, W)`` over time; `frames` is T."""
        kernel, channels = self.weight.shape
        # Time becomes the rows of a picture, and positions its columns: the runtime has a fast
        # depthwise convolution for pictures, and none for time.
        rows = x.unflatten(0, (-1, frames)).flatten(3).transpose(1, 2)
        rows = functional.pad(rows, (0, 0, kernel - 1, 0))
        weight = self.weight.t().reshape(channels, 1, kernel, 1)
        mixed = functional.conv2d(rows, weight, self.bias, groups=channels)
        mixed = mixed.transpose(1, 2).unflatten(3, x.shape[2:]).flatten(0, 1)
        return functional.relu6(mixed)


class InvertedBottleneck(nn.Module):
    """Widen by 1x1, filter each channel over space and then time, narrow by 1x1, add the input."""

    def __init__(self, channels: int, config: BlockConfig, *, shortcut_window: int = 2) -> None:
        super().__init__()
        self.shortcut_window = shortcut_window
        self.widen = ConvUnit(channels, config.expanded)
        self.space = ConvUnit(
            config.expanded,
            config.expanded,
            config.space,
            stride=config.stride,
            groups=config.expanded,
        )
        self.time = TemporalConv(config.expanded, config.time) if config.time > 1 else None
        self.narrow = ConvUnit(config.expanded, config.out, linear=True)
        self.stride = config.stride
        same = config.stride == 1 and channels == config.out
        self.shortcut = None if same else ConvUnit(channels, config.out, linear=True)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Maps ``(B * T, C, H, W)`` of clips of `frames` frames; the side may halve."""
        y: Tensor = self.space(self.widen(x))
        if self.time is not None:
            y = self.time(y, frames)
        y = self.narrow(y)
        kept = x
        if self.shortcut is not None:
            if self.stride > 1:
                # Of a window that reaches over the edge, what is inside counts.
                window, wide = self.shortcut_window, self.shortcut_window > 2
                kept = functional.avg_pool2d(
                    kept, window, 2, ceil_mode=wide, count_include_pad=False
                )
            kept = self.shortcut(kept)
        return kept + y


class Pathway(nn.Module):
    """A trunk: stem, stages of inverted bottlenecks, and a last widening 1x1 convolution."""

    def __init__(
        self,
        stem: int,
        stages: tuple[tuple[BlockConfig, ...], ...],
        out: int,
        *,
        shortcut_window: int = 2,
    ) -> None:
        super().__init__()
        self.stem = ConvUnit(3, stem, 3, stride=2)
        self.stages = nn.ModuleList()
        channels = stem
        self.widths: list[int] = []
        for stage in stages:
            blocks = nn.ModuleList()
            for config in stage:
                blocks.append(InvertedBottleneck(channels, config, shortcut_window=shortcut_window))
                channels = config.out
            self.stages.append(blocks)
            self.widths.append(channels)
        self.last = ConvUnit(channels, out)
        self.widths.append(out)

    def forward(self, frames: Tensor, clip_frames: int) -> list[Tensor]:
        """Maps of every stage and of the last convolution, ``(B * T, C, H, W)`` each."""
        x = self.stem(frames)
        maps = []
        for stage in self.stages:
            for block in cast(nn.ModuleList, stage):
                x = block(x, clip_frames)
            maps.append(x)
        maps.append(self.last(x))
        return maps


class SpacePooling(nn.Module):
    """Multi-scale pooling over space: every map as a whole, one of them also by windows.

    The maps of the stages are signed and pooled by mean and by root mean square (how much of a
    pattern there is, whatever its sign); the last one is not negative and pooled by generalised
    mean (GeM with p = 3, Radenovic et al., TPAMI 2019), which favours what stands out. The windows
    of a grid are pooled by their mean, which keeps *where*.
    Maps ``(N, C, H, W)`` become ``(N, width)``.

    Args:
        widths: Channels of each map.
        windowed: Which map is pooled by windows too.
        grid: Windows a side; 1 switches them off.
        stages: Whether to pool all maps; False pools the last one only.
    """

    def __init__(self, widths: list[int], *, windowed: int, grid: int, stages: bool = True) -> None:
        super().__init__()
        self.grid = grid
        self.windowed = windowed
        self.stages = stages
        windows = grid * grid * widths[windowed] if grid > 1 else 0
        self.width = (2 * sum(widths[:-1]) if stages else 0) + widths[-1] + windows

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps ``(N, C, H, W)`` of every level to ``(N, width)``."""
        last = maps[-1]
        stages = maps[:-1] if self.stages else []
        pooled = [functional.adaptive_avg_pool2d(x, 1).flatten(1) for x in stages]
        pooled += [((x * x).mean((2, 3)) + 1e-6).sqrt() for x in stages]
        pooled.append(((last * last * last).mean((2, 3)) + 1e-6).pow(1 / 3))
        if self.grid > 1:
            x = maps[self.windowed]
            pooled.append(functional.avg_pool2d(x, x.shape[-1] // self.grid).flatten(1))
        return torch.cat(pooled, 1)


class TimePooling(nn.Module):
    """Multi-scale pooling over time: the moment, and means over the last frames of the clip.

    ``(B, T, C)`` maps to ``(B, T, C * (1 + len(scales)))``. A scale of at least T is the mean of
    the whole clip; a shorter one the mean of the window of that many frames around the moment,
    cut off at the ends of the clip.
    """

    def __init__(self, scales: tuple[int, ...], clip_frames: int) -> None:
        super().__init__()
        moments = torch.arange(clip_frames)
        windows = []
        for scale in scales:
            lead = moments[None] - moments[:, None] + (scale - 1) // 2
            inside = (lead >= 0) & (lead < scale) if scale < clip_frames else lead == lead
            windows.append(inside.float() / inside.sum(1, keepdim=True))
        self.register_buffer("windows", torch.stack(windows) if windows else torch.empty(0), False)
        self.windows: Tensor
        self.num_scales = len(scales)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C)`` to ``(B, T, C * (1 + scales))``."""
        means = [self.windows[i] @ x for i in range(self.num_scales)]
        return torch.cat([x, *means], 2)


class HalvedNetwork(nn.Module, ABC):
    """A clip of frames to one vector a frame, of an identity half and a meaning half.

    Input: float32 ``(B, T, 3, S, S)`` in [0, 1]; T is `clip_frames`, S is `frame_size`.
    Output: float32 ``(B, T, D)``, unit rows: the identity half, then the meaning half, each of
    norm 1/sqrt(2).

    Parameters of the appearance pathway and of the identity half are named `appearance` and
    `identity_...`, those of the meaning half `meaning_...`; the layers of `identity` alone are
    `identity_hidden` and `identity_out`. Training goes by these names.
    """

    config: NetworkConfig
    appearance: nn.Module
    appearance_width: int
    """Channels of the last map of the appearance pathway."""

    def prepared(self, frames: Tensor) -> Tensor:
        """Frames ``(B * T, 3, S, S)`` in [0, 1] as the pathways are shown them."""
        return frames

    def for_motion(self, frames: Tensor) -> Tensor:
        """Frames ``(B * T, 3, S, S)`` at the size at which what happens is looked for in them."""
        return frames

    @abstractmethod
    def looks(self, appearance: list[Tensor]) -> Tensor:
        """What the identity half is made of: maps pooled over space, ``(B * T, W)``."""

    @abstractmethod
    def identity(self, looks: Tensor) -> Tensor:
        """Which footage each frame is, ``(B * T, identity_dim)``, unit rows."""

    @abstractmethod
    def moments(self, frames: Tensor, appearance: list[Tensor] | None = None) -> Tensor:
        """What the meaning half is made of, pooled over space alone, ``(B * T, W)``.

        Args:
            frames: ``(B * T, 3, S, S)``, prepared.
            appearance: Maps of the appearance pathway, where they are there already.
        """

    @abstractmethod
    def meaning(self, moments: Tensor) -> Tensor:
        """What happens around each moment ``(B, T, W)``: unit rows ``(B, T, meaning_dim)``."""

    def forward(self, clips: Tensor) -> Tensor:
        """Clips ``(B, T, 3, S, S)`` in [0, 1] to vectors ``(B, T, D)``."""
        frames, clip_shape = self.prepared(clips.flatten(0, 1)), (-1, self.config.clip_frames)
        appearance = self.appearance(frames, self.config.clip_frames)
        identity = self.identity(self.looks(appearance)).unflatten(0, clip_shape)
        moments = self.moments(frames, appearance).unflatten(0, clip_shape)
        return torch.cat([identity, self.meaning(moments)], 2) * math.sqrt(0.5)


class SoraNetwork(HalvedNetwork):
    """Sora: two pathways, pooled over space, time and stages, and two fully connected heads."""

    config: ModelConfig

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(seed)
        self.appearance = Pathway(
            config.appearance_stem,
            config.appearance_stages,
            config.appearance_out,
        )
        self.appearance_width = config.appearance_out
        # Its shortcuts look at as much as those of its teacher: they cannot learn to.
        self.motion = Pathway(
            config.motion_stem,
            config.motion_stages,
            config.motion_out,
            shortcut_window=3,
        )
        self.identity_pooling = SpacePooling(
            self.appearance.widths,
            windowed=-1,
            grid=config.space_grid,
            stages=config.pooled_stages,
        )
        self.identity_hidden = FullyConnected(self.identity_pooling.width, config.identity_hidden)
        self.identity_out = nn.Linear(config.identity_hidden, config.identity_dim)
        self.time_pooling = TimePooling(config.time_scales, config.clip_frames)
        self.meaning_hidden = FullyConnected(config.motion_out, config.meaning_hidden)
        self.meaning_out = nn.Linear(
            config.meaning_hidden * (1 + len(config.time_scales)), config.meaning_dim
        )

    def prepared(self, frames: Tensor) -> Tensor:
        """Dark frames made lighter, see `lit`."""
        return lit(frames, self.config.least_light) if self.config.least_light else frames

    def for_motion(self, frames: Tensor) -> Tensor:
        """Frames enlarged to `motion_size`."""
        size = (self.config.motion_size,) * 2
        if frames.shape[2:] == size:
            return frames
        return functional.interpolate(frames, size, mode="bilinear")

    def looks(self, appearance: list[Tensor]) -> Tensor:
        """All maps of the appearance pathway, pooled."""
        looks: Tensor = self.identity_pooling(appearance)
        return looks

    def identity(self, looks: Tensor) -> Tensor:
        """Which footage each frame is: the moment alone decides it."""
        half: Tensor = self.identity_out(self.identity_hidden(looks))
        return functional.normalize(half, dim=1)

    def moments(self, frames: Tensor, appearance: list[Tensor] | None = None) -> Tensor:
        """The mean of the last map of the motion pathway.

        Its other stages, and those of the appearance pathway, told clips that were learned from
        apart, and taught less about others (mAP of actions 67.8 with all stages, 71.8 without).
        """
        del appearance
        last: Tensor = self.motion(self.for_motion(frames), self.config.clip_frames)[-1]
        return last.mean((2, 3))

    def meaning(self, moments: Tensor) -> Tensor:
        """What happens around each moment: every scale of time through the same layer."""
        scales = self.time_pooling(moments).unflatten(2, (-1, moments.shape[2]))
        half: Tensor = self.meaning_out(self.meaning_hidden(scales).flatten(2))
        return functional.normalize(half, dim=2)


def to_channels_last(module: nn.Module) -> None:
    """Lay tensors out so that a step of depthwise convolutions takes a quarter less on a CPU."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class FullyConnected(nn.Sequential):
    """A fully connected layer on standardised features, with ReLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU())
