"""The network: shapes, unit halves, and what each half may and may not look at."""

import pytest
import torch

from sora_search.sora.network import (
    BlockConfig,
    InvertedBottleneck,
    ModelConfig,
    SoraNetwork,
    SpacePooling,
    TemporalConv,
    TimePooling,
    lit,
)


@pytest.fixture(scope="module")
def network() -> SoraNetwork:
    return SoraNetwork(ModelConfig(), seed=1).eval()


@torch.no_grad()
def test_one_vector_a_frame_with_two_halves_of_equal_weight(network: SoraNetwork) -> None:
    vectors = network(torch.rand(2, 16, 3, 128, 128))
    assert vectors.shape == (2, 16, 256)
    torch.testing.assert_close(vectors[..., :128].norm(dim=2), torch.full((2, 16), 0.5**0.5))
    torch.testing.assert_close(vectors[..., 128:].norm(dim=2), torch.full((2, 16), 0.5**0.5))


@torch.no_grad()
def test_identity_looks_at_the_moment_alone_and_meaning_does_not(network: SoraNetwork) -> None:
    clip = torch.rand(1, 16, 3, 128, 128)
    other = torch.rand(1, 16, 3, 128, 128)
    other[:, 7] = clip[:, 7]
    one, two = network(clip)[0, 7], network(other)[0, 7]
    torch.testing.assert_close(one[:128], two[:128])
    assert (one[128:] - two[128:]).norm() > 1e-5


@torch.no_grad()
def test_how_light_a_dark_frame_is_does_not_matter(network: SoraNetwork) -> None:
    clip = torch.rand(1, 16, 3, 128, 128) * 0.3
    torch.testing.assert_close(network(clip), network(clip * 0.2), atol=1e-5, rtol=1e-4)


def test_only_dark_frames_are_made_lighter() -> None:
    frames = torch.stack([torch.full((3, 4, 4), level) for level in (0.8, 0.4, 0.1, 0.001, 0.0)])
    levels = lit(frames, 0.32)[:, 0, 0, 0]
    torch.testing.assert_close(levels, torch.tensor([0.8, 0.4, 0.32, 0.016, 0.0]))


def test_black_bars_hardly_make_a_frame_a_dark_one() -> None:
    frame = torch.full((1, 3, 8, 8), 0.4)
    frame[:, :, :2] = frame[:, :, 6:] = 0
    assert lit(frame, 0.32).max() < 0.41


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two, three = (SoraNetwork(ModelConfig(), seed=seed) for seed in (3, 3, 4))
    weight = "motion.stem.conv.weight"
    assert torch.equal(one.state_dict()[weight], two.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], three.state_dict()[weight])


def test_it_is_as_small_as_promised(network: SoraNetwork) -> None:
    trunk = [*network.appearance.parameters(), *network.motion.parameters()]
    assert 5e5 <= sum(p.numel() for p in trunk) <= 1e6
    assert sum(p.numel() for p in network.parameters()) * 4 < 8e6


@torch.no_grad()
def test_temporal_convolution_is_the_weighted_sum_of_the_last_frames() -> None:
    conv = TemporalConv(1, 3)
    conv.weight.copy_(torch.tensor([[0.25], [0.5], [1.0]]))
    frames = torch.tensor([1.0, 0, 2, 0]).view(4, 1, 1, 1)
    assert conv(frames, 4).flatten().tolist() == [1.0, 0.5, 2.25, 1.0]
    # Two clips of two frames: nothing passes from one clip to the next.
    assert conv(frames, 2).flatten().tolist() == [1.0, 0.5, 2.0, 1.0]


@torch.no_grad()
def test_a_step_over_space_halves_the_side_and_starts_at_even_pixels() -> None:
    block = InvertedBottleneck(3, BlockConfig(6, 5, stride=2)).eval()
    assert block(torch.rand(2, 3, 32, 32), 1).shape == (2, 5, 16, 16)
    corner = torch.zeros(1, 3, 32, 32)
    corner[..., 0, 0] = 1
    changed = block(corner, 1) - block(torch.zeros(1, 3, 32, 32), 1)
    touched = changed.abs().sum((0, 1)) > 1e-9
    assert touched[0, 0]
    assert touched.sum() == 1


@torch.no_grad()
def test_space_pooling_by_hand() -> None:
    stage = torch.tensor([[1.0, -1.0], [3.0, 1.0]]).view(1, 1, 2, 2)
    last = torch.tensor([[0.0, 0.0], [0.0, 2.0]]).view(1, 1, 2, 2)
    pooled = SpacePooling([1, 1], windowed=-1, grid=2)([stage, last])
    mean, rms, gem, *windows = pooled[0].tolist()
    assert mean == pytest.approx(1.0)
    assert rms == pytest.approx(3**0.5, rel=1e-3)
    assert gem == pytest.approx(2 ** (1 / 3), rel=1e-3)
    assert windows == [0.0, 0.0, 0.0, 2.0]
    whole = SpacePooling([1, 1], windowed=-1, grid=1)
    assert whole.width == whole([stage, last]).shape[1] == 3


def test_time_pooling_by_hand() -> None:
    x = torch.tensor([1.0, 2, 3, 6]).view(1, 4, 1)
    pooled = TimePooling((2, 4), 4)(x)[0]
    assert pooled[:, 0].tolist() == [1, 2, 3, 6]
    assert pooled[:, 1].tolist() == [1.5, 2.5, 4.5, 6]  # the moment and the one after
    assert pooled[:, 2].tolist() == [3, 3, 3, 3]
    assert torch.equal(TimePooling((), 4)(x), x)
