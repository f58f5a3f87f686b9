"""Views to learn from: sizes, ranges, and the same again from the same generator."""

import pytest
import torch

from sora_search.learning.augmentation import edited_view, plain_view, teaching_view, warp


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.rand(24, 3, 72, 72, generator=torch.Generator().manual_seed(0))


def made(frames: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return edited_view(frames, frames.roll(1, 0), 64, generator)


def test_edits_keep_shape_and_range_and_follow_the_generator(frames: torch.Tensor) -> None:
    view = made(frames, 1)
    assert view.shape == (24, 3, 64, 64)
    assert view.min() >= 0
    assert view.max() <= 1
    assert torch.equal(view, made(frames, 1))
    assert not torch.equal(view, made(frames, 2))


def test_edits_change_nearly_every_frame(frames: torch.Tensor) -> None:
    plain = plain_view(frames, 64, torch.Generator().manual_seed(0))
    changed = (made(frames, 1) - plain).abs().mean((1, 2, 3)) > 0.02
    assert changed.float().mean() > 0.9


def test_a_teaching_view_treats_all_frames_of_a_clip_alike(frames: torch.Tensor) -> None:
    clips = frames[:4, None].expand(4, 5, 3, 72, 72)
    view = teaching_view(clips, 64, torch.Generator().manual_seed(3))
    assert view.shape == (4, 5, 3, 64, 64)
    torch.testing.assert_close(view, view[:, :1].expand_as(view))


def test_warp_mirrors_and_crops() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 3, 8, 8) / 8
    mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    torch.testing.assert_close(warp(ramp, mirror, 8), ramp.flip(4))
    right_half = torch.tensor([[[0.5, 0, 0.5], [0, 0.5, 0]]])
    assert warp(ramp, right_half, 8).min() >= 0.45
