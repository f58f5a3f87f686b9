"""Models on disk: written and read back, named by their content, refused when they do not fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sora_search.errors import ModelNotFoundError
from sora_search.media.sampling import SamplingConfig
from sora_search.sora import checkpoint
from sora_search.sora.checkpoint import (
    DEFAULT_MODEL,
    list_models,
    load_card,
    load_network,
    model_paths,
    save_network,
)
from sora_search.sora.network import ModelConfig, SoraNetwork


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_network(SoraNetwork(ModelConfig(name="tiny"), seed=5), tmp_path, training={"data": "none"})
    return tmp_path


def test_what_is_saved_is_what_is_loaded(folder: Path) -> None:
    network = SoraNetwork(ModelConfig(name="tiny"), seed=5)
    loaded = load_network(folder)
    assert loaded.config == network.config
    for key, x in network.state_dict().items():
        assert torch.equal(
            loaded.state_dict()[key], x.half().float() if x.is_floating_point() else x
        )
    assert load_card(folder).training == {"data": "none"}


def test_the_id_follows_weights_and_preprocessing(folder: Path, tmp_path: Path) -> None:
    first = load_card(folder).model_id
    network = SoraNetwork(ModelConfig(name="tiny"), seed=5)
    same = save_network(network, tmp_path / "same")
    denser = save_network(network, tmp_path / "denser", sampling=SamplingConfig(frames_per_s=4.0))
    with torch.no_grad():
        network.meaning_out.bias[0] += 0.5
    other = save_network(network, tmp_path / "other")
    assert first == same.model_id
    assert len({first, denser.model_id, other.model_id}) == 3


def test_a_model_is_found_by_name_folder_or_file(folder: Path) -> None:
    names = ("tiny.json", "tiny.safetensors", "tiny.onnx")
    by_folder = model_paths(folder)
    assert [path.name for path in by_folder] == list(names)
    assert all(model_paths(folder / name) == by_folder for name in names)
    assert DEFAULT_MODEL in list_models()
    assert load_card(DEFAULT_MODEL).name == DEFAULT_MODEL


@pytest.mark.parametrize("model", ["sora-gigantic", "nowhere/model.onnx"])
def test_an_unknown_model_is_named_with_those_there_are(model: str) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"{model}.*{DEFAULT_MODEL}"):
        load_card(model)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    save_network(SoraNetwork(ModelConfig(name="tiny"), seed=6), tmp_path / "other")
    (tmp_path / "other" / "tiny.safetensors").replace(folder / "tiny.safetensors")
    with pytest.raises(ModelNotFoundError, match="not those of tiny-"):
        load_network(folder)


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_damaged_weights_are_refused(folder: Path, damage: str) -> None:
    path = folder / "tiny.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"not weights")
    with pytest.raises(ModelNotFoundError, match="cannot load the weights"):
        load_network(folder)


def test_a_model_from_before_dark_frames_were_made_lighter_sees_them_as_it_did(
    tmp_path: Path,
) -> None:
    network = SoraNetwork(ModelConfig(name="tiny", least_light=0.0), seed=6)
    save_network(network, tmp_path)
    path = tmp_path / "tiny.json"
    document = json.loads(path.read_text())
    del document["config"]["least_light"]
    # Its digest is that of what was written then.
    card = replace(load_card(tmp_path), config=document["config"])
    arrays = {key: x.numpy() for key, x in load_file(tmp_path / "tiny.safetensors").items()}
    document["model_id"] = f"tiny-{checkpoint._digest(arrays, card)}"
    path.write_text(json.dumps(document))
    assert load_network(tmp_path).config.least_light == 0.0


def test_a_description_of_another_format_is_refused(folder: Path) -> None:
    path = folder / "tiny.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ModelNotFoundError, match="format 99"):
        load_card(folder)
    path.write_text("{")
    with pytest.raises(ModelNotFoundError, match="cannot read the model"):
        load_card(folder)
