"""The network of the document: it runs, it is shown frames alone, and it goes the whole way."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sora_search.datatypes import FrameBatch
from sora_search.sora.checkpoint import load_card, load_network, save_network
from sora_search.sora.seed_network import SeedConfig, SeedNetwork

TINY = SeedConfig(name="tiny-seed", widths=(4, 8), hidden=16)


@torch.no_grad()
def test_each_frame_has_a_vector_of_its_own() -> None:
    network = SeedNetwork(TINY, seed=1).eval()
    clip, other = torch.rand(2, 1, 16, 3, 64, 64)
    other[:, 7] = clip[:, 7]
    one, two = network(clip)[0], network(other)[0]
    assert one.shape == (16, 256)
    torch.testing.assert_close(one[:, :128].norm(dim=1), torch.full((16,), 0.5**0.5))
    torch.testing.assert_close(one[7], two[7])
    assert (one[8] - two[8]).norm() > 1e-4


@torch.no_grad()
def test_it_pools_one_map_at_several_scales() -> None:
    network = SeedNetwork(TINY, seed=1)
    frames = torch.rand(1, 3, 64, 64)
    maps = network.appearance(frames, 1)
    assert maps[0].shape == (1, 8, 16, 16)
    pooled = network.moments(frames, maps)
    torch.testing.assert_close(pooled, network.moments(frames))
    largest = maps[0].amax((2, 3))
    corner = maps[0][..., :8, :8].amax((2, 3))
    assert pooled.shape == (1, 8 * (4 + 1))
    torch.testing.assert_close(pooled[:, -8:], largest)
    torch.testing.assert_close(pooled[:, :32:4], corner)


def test_it_is_saved_and_loaded_as_what_it_is(tmp_path: Path) -> None:
    network = SeedNetwork(TINY, seed=1)
    card = save_network(network, tmp_path)
    assert load_card(tmp_path).network == card.network == "seed"
    loaded = load_network(tmp_path)
    assert isinstance(loaded, SeedNetwork)
    assert loaded.config == TINY
    assert torch.equal(loaded.state_dict()["meaning_out.weight"], network.meaning_out.weight)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_its_graph_runs_in_the_encoder(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting needs the extra `train`")
    from sora_search.sora.encoder import load_encoder
    from sora_search.sora.export import export_model

    save_network(SeedNetwork(TINY, seed=1), tmp_path)
    encoder = load_encoder(export_model(tmp_path))
    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    embedding = encoder.encode([FrameBatch(frames, np.arange(16) / 2.0)])
    with torch.no_grad():
        clip = torch.from_numpy(frames)[None].permute(0, 1, 4, 2, 3).float() / 255
        expected = load_network(tmp_path)(clip)[0].numpy()
    np.testing.assert_allclose(embedding.vectors, expected, atol=1e-4)
