"""Export: the graph agrees with the network, for any number of clips."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason="exporting needs the extra `train`")

from sora_search.sora import export
from sora_search.sora.checkpoint import (
    list_models,
    load_card,
    load_network,
    model_paths,
    save_network,
)
from sora_search.sora.inference import open_session
from sora_search.sora.network import ModelConfig, SoraNetwork


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_graph_gives_what_the_network_gives(tmp_path: Path) -> None:
    save_network(SoraNetwork(ModelConfig(name="tiny"), seed=2).eval(), tmp_path)
    path = export.export_model(tmp_path)
    assert path == tmp_path / "tiny.onnx"
    assert path.stat().st_size <= 8_000_000
    clips = np.random.default_rng(1).integers(0, 256, (3, 16, 128, 128, 3), np.uint8)
    (graph,) = open_session(path).run(None, {"frames": clips})
    with torch.no_grad():
        frames = torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 255
        network = load_network(tmp_path)(frames).numpy()
    assert graph.shape == (3, 16, 256)
    assert (graph * network).sum(axis=2).min() >= export.MIN_COSINE


@pytest.mark.parametrize("model", list_models())
def test_the_shipped_graph_is_that_of_the_shipped_tensors(model: str) -> None:
    clips = export._test_clips(16, load_card(model).frame_size[0])
    (graph,) = open_session(model_paths(model)[2]).run(None, {"frames": clips})
    with torch.no_grad():
        frames = torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 255
        network = load_network(model)(frames).numpy()
    assert (graph * network).sum(axis=2).min() >= export.MIN_COSINE
