"""Views to learn from: what happens to video on its way, a whole batch at once.

Cheap relatives of the edits of `media.editing`, which measures them: one warp (crop, mirror,
stretch, turn, bars, picture in picture), then light, detail, and things drawn on top. All
functions take and give float32 RGB in [0, 1] and a `torch.Generator`, from which every random
choice comes; shapes are ``(B, 3, H, W)`` where a docstring says nothing else.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def as_pixels(frames: NDArray[np.uint8]) -> Tensor:
    """Frames ``(..., H, W, 3)`` as float32 ``(..., 3, H, W)`` in [0, 1]."""
    return torch.from_numpy(frames).movedim(-1, -3).float().div_(255)


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Uniform random numbers in [low, high)."""
    return torch.rand(shape, generator=generator) * (high - low) + low


def chance(generator: torch.Generator, num: int, probability: float) -> Tensor:
    """`num` booleans, each True with `probability`."""
    return torch.rand(num, generator=generator) < probability


def teaching_view(clips: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A mild view, the same for teacher and student: crop, flip, a little light.

    ``(B, T, 3, H, W)`` to ``(B, T, 3, size, size)``. Stronger light was seen to teach nothing.
    """
    num = len(clips)
    scale = uniform(generator, (num, 2), 0.7, 1.0)
    shift = (1 - scale) * uniform(generator, (num, 2), -1.0, 1.0)
    scale[:, 0] *= 1 - 2 * chance(generator, num, 0.5).float()
    theta = torch.zeros(num, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale[:, 0], scale[:, 1]
    theta[:, :, 2] = shift
    view = warp(clips, theta, size)
    gain = uniform(generator, (num, 1, 1, 1, 1), 0.8, 1.2)
    return (view * gain).clamp(0, 1)


def warp(clips: Tensor, theta: Tensor, size: int) -> Tensor:
    """Sample each clip ``(B, T, 3, H, W)`` through one affine map ``(B, 2, 3)``, black outside.

    `theta` takes places of the view to places of the clip, both in [-1, 1].
    """
    num, frames = clips.shape[:2]
    grid = functional.affine_grid(theta.to(clips.device), [num, 3, size, size], align_corners=False)
    # Frames of a clip share the map: as channels they are sampled in one go.
    view: Tensor = functional.grid_sample(clips.flatten(1, 2), grid, align_corners=False)
    clip_views: Tensor = view.unflatten(1, (frames, 3))
    return clip_views


def edited_view(frames: Tensor, others: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Strong edits of single frames, as copies undergo them.

    Args:
        frames: The frames to edit, ``(B, 3, H, W)``.
        others: Frames of other videos, of the same shape: what a picture is pasted into or
            blended with.
        size: Side of the view.
        generator: Source of every choice.
    """
    view = _framed(frames, others, size, generator)
    for probability, edit in (
        (0.35, _drawn_on),
        (0.6, _relit),
        (0.35, _coarsened),
        (0.35, _compressed),
        (0.25, _noisy),
    ):
        chosen = chance(generator, len(view), probability).nonzero()[:, 0]
        if len(chosen):
            view = view.index_copy(0, chosen, edit(view[chosen], generator))
    return view.clamp(0, 1)


def edited_clip_view(
    clips: Tensor, others: Tensor, size: int, generator: torch.Generator
) -> Tensor:
    """Strong edits of whole clips, ``(B, T, 3, H, W)``: the same one for all frames of a clip.

    Args as those of `edited_view`, of clips instead of frames.
    """
    start = generator.get_state()
    views = []
    for moment in range(clips.shape[1]):
        generator.set_state(start)
        views.append(edited_view(clips[:, moment], others[:, moment], size, generator))
    return torch.stack(views, 1)


def plain_view(frames: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Frames as the index sees them, but for a trace of cropping."""
    num = len(frames)
    scale = uniform(generator, (num, 2), 0.95, 1.0)
    theta = torch.diag_embed(torch.cat([scale, torch.ones(num, 1)], 1))[:, :2]
    return warp(frames[:, None], theta, size)[:, 0]


def _some(generator: torch.Generator, num: int, probability: float) -> Tensor:
    return chance(generator, num, probability).view(num, 1, 1, 1)


def _framed(frames: Tensor, others: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crop, mirror, stretch, turn; or shrink into bars, a blurred surround, another video."""
    num = len(frames)
    crop = uniform(generator, (num, 1), 0.5, 1.0)
    crop = torch.where(chance(generator, num, 0.1)[:, None], crop * 0.6, crop)
    crop = torch.where(chance(generator, num, 0.25)[:, None], torch.ones(1), crop)
    # Squeezing to a square changes the shape of what was cropped to another aspect ratio.
    scale = crop * torch.exp(uniform(generator, (num, 2), -0.15, 0.15))
    place = uniform(generator, (num, 2), -1, 1) * (1 - scale).clamp(min=0)
    scale = scale.clamp(max=1.0)
    # Bars: one axis looks beyond the picture. Picture in picture: both do, and far.
    bars = chance(generator, num, 0.25)
    axis = chance(generator, num, 0.35).long()
    widened = scale.scatter(1, axis[:, None], uniform(generator, (num, 1), 1.15, 2.2))
    scale = torch.where(bars[:, None], widened, scale)
    inset = chance(generator, num, 0.12)
    shrunk = 1 / uniform(generator, (num, 1), 0.35, 0.7)
    scale = torch.where(inset[:, None], shrunk.expand(num, 2), scale)
    place = torch.where(scale > 1, uniform(generator, (num, 2), -1, 1) * (scale - 1), place)
    place = torch.where((bars & ~inset)[:, None] & (scale > 1), place * 0, place)

    angle = uniform(generator, (num,), -0.45, 0.45) * chance(generator, num, 0.3)
    quarter = torch.randint(1, 4, (num,), generator=generator) * (math.pi / 2)
    angle = torch.where(chance(generator, num, 0.06), quarter, angle)
    flip = 1 - 2 * chance(generator, num, 0.4).float()
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([scale[:, 0] * cos * flip, -scale[:, 0] * sin * flip, place[:, 0]], 1),
            torch.stack([scale[:, 1] * sin, scale[:, 1] * cos, place[:, 1]], 1),
        ],
        1,
    )
    inside = torch.ones_like(frames[:, :1])
    view = warp(torch.cat([frames, inside, inside, inside], 1).unflatten(1, (2, 3)), theta, size)
    view, inside = view[:, 0], view[:, 1]
    other = functional.interpolate(others, (size, size), mode="bilinear")
    coarse = functional.adaptive_avg_pool2d(frames, 9)
    blurred = functional.interpolate(coarse, (size, size), mode="bilinear")
    black = uniform(generator, (num, 1, 1, 1), 0, 1) * _some(generator, num, 0.15)
    ground = torch.where(_some(generator, num, 0.35), blurred, black.expand_as(view))
    ground = torch.where(inset.view(num, 1, 1, 1), other, ground)
    view = view + ground * (1 - inside)
    share = uniform(generator, (num, 1, 1, 1), 0.2, 0.5)
    blended = view * (1 - share) + other * share
    return torch.where(_some(generator, num, 0.06), blended, view)


def _drawn_on(view: Tensor, generator: torch.Generator) -> Tensor:
    """A logo-like patch anywhere, and often a line of letter-like strokes near an edge."""
    num, _, size, _ = view.shape
    rows = torch.arange(size).view(1, 1, size, 1)
    columns = torch.arange(size).view(1, 1, 1, size)

    def box(width: Tensor, height: Tensor, left: Tensor, top: Tensor) -> Tensor:
        across = (columns >= left * size) & (columns < (left + width) * size)
        return across & (rows >= top * size) & (rows < (top + height) * size)

    shape = (num, 1, 1, 1)
    width, height = uniform(generator, shape, 0.1, 0.3), uniform(generator, shape, 0.06, 0.25)
    left, top = uniform(generator, shape, 0, 0.9), uniform(generator, shape, 0, 0.9)
    color = torch.rand((num, 3, 1, 1), generator=generator)
    texture = torch.rand((num, 3, 8, 8), generator=generator)
    texture = functional.interpolate(texture, (size, size))
    patch = torch.where(_some(generator, num, 0.5), texture, color.expand_as(view))
    view = torch.where(box(width, height, left, top), patch, view)
    strokes = torch.rand((num, 1, size // 2, size // 2), generator=generator) < 0.5
    strokes = functional.interpolate(strokes.float(), (size, size)) > 0
    width, top = uniform(generator, shape, 0.4, 0.9), uniform(generator, shape, 0.78, 0.92)
    top = torch.where(_some(generator, num, 0.2), 1 - top, top)
    line = box(width, uniform(generator, shape, 0.04, 0.09), (1 - width) / 2, top) & strokes
    line = line & _some(generator, num, 0.6)
    return torch.where(line, _some(generator, num, 0.8).float().expand_as(view), view)


def _relit(view: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, gamma, hue and saturation, down to gray."""
    num = len(view)
    shape = (num, 1, 1, 1)
    contrast, light = uniform(generator, shape, 0.6, 1.45), uniform(generator, shape, -0.22, 0.22)
    view = ((view - 0.5) * contrast + 0.5 + light).clamp(1e-4, 1)
    view = view ** torch.exp(uniform(generator, shape, -0.4, 0.4))
    luma = (view * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    # Hue turns the color around the gray axis; saturation shortens it (Rodrigues).
    angle = uniform(generator, (num,), -0.75, 0.75)
    cos, sin = torch.cos(angle).view(shape), torch.sin(angle).view(shape) / 3**0.5
    color = view - luma
    turned = color * cos + (color.roll(1, 1) - color.roll(-1, 1)) * sin
    saturation = uniform(generator, shape, 0.5, 1.5)
    saturation = torch.where(_some(generator, num, 0.45), torch.zeros(1), saturation)
    return (luma + turned * saturation).clamp(0, 1)


def _noisy(view: Tensor, generator: torch.Generator) -> Tensor:
    """Grain of one strength over the whole picture."""
    strength = uniform(generator, (len(view), 1, 1, 1), 0, 0.1)
    return view + torch.randn(view.shape, generator=generator) * strength


def _coarsened(view: Tensor, generator: torch.Generator) -> Tensor:
    """Scaled down and up again, or blurred."""
    size = view.shape[-1]
    small = int(size / uniform(generator, (1,), 1.5, 5.0).item())
    coarse = functional.interpolate(view, (small, small), mode="area")
    return functional.interpolate(coarse, (size, size), mode="bilinear")


def _compressed(view: Tensor, generator: torch.Generator) -> Tensor:
    """Quantised in 8x8 blocks of cosines, as every common codec does."""
    num, _, size, _ = view.shape
    order = torch.arange(8.0)
    basis = torch.cos((2 * order[None] + 1) * order[:, None] * math.pi / 16) * 0.5
    basis[0] /= 2**0.5
    blocks = view.unflatten(2, (size // 8, 8)).unflatten(4, (size // 8, 8)).transpose(3, 4)
    cosines: Tensor = basis @ blocks @ basis.T
    finest = uniform(generator, (num, 1, 1, 1, 1, 1), 0.04, 0.35)
    step = finest * (1 + order[:, None] + order[None]) / 4
    blocks = basis.T @ ((cosines / step).round() * step) @ basis
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)
