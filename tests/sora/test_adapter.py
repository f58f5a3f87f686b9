"""Adapters: written and read back, the same in torch and ONNX Runtime, refused where they lie."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from video_files import moving_frames

from sora_search.datatypes import FrameBatch
from sora_search.errors import ModelNotFoundError
from sora_search.sora.adapter import Adapter, find_adapter, write_adapter
from sora_search.sora.checkpoint import (
    list_models,
    load_card,
    load_network,
    model_paths,
    resolve_model,
    save_network,
)
from sora_search.sora.encoder import EncoderSpec, OnnxEncoder, TorchEncoder
from sora_search.sora.network import ModelConfig, SoraNetwork

BASE = load_card("sora-small")


def change(seed: int = 0, size: int = 128) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((size, size))).astype(np.float16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    adapter = Adapter("sora-small", BASE.model_id, change(), {"lesson": "labels"})
    return write_adapter(adapter, tmp_path / "mine.safetensors")


def test_what_is_written_is_what_is_read(path: Path) -> None:
    adapter = find_adapter(path)
    assert adapter is not None
    assert (adapter.model, adapter.base_model_id) == ("sora-small", BASE.model_id)
    np.testing.assert_array_equal(adapter.meaning, change())
    assert adapter.training == {"lesson": "labels"}
    assert path.stat().st_size < 40_000


def test_the_id_follows_the_model_and_what_was_learned() -> None:
    same = [Adapter("sora-small", BASE.model_id, change()).model_id for _ in range(2)]
    other = Adapter("sora-small", BASE.model_id, change(1)).model_id
    elsewhere = Adapter("sora-small", "sora-small-000000000000", change()).model_id
    assert same[0] == same[1]
    assert len({same[0], other, elsewhere, BASE.model_id}) == 4
    assert same[0].startswith("sora-small-adapted-")


def test_a_vector_is_adapted_by_hand() -> None:
    # Half of norm 1/sqrt(2) each; the second one turns from (0, 1) to (1, 1).
    adapter = Adapter("sora-small", "x-1", np.array([[0, 1], [0, 0]], np.float16))
    vector = np.array([[0.6, 0.8, 0.0, 1.0]], np.float32) * np.float32(0.5**0.5)
    expected = [[0.6 * 0.5**0.5, 0.8 * 0.5**0.5, 0.5, 0.5]]
    np.testing.assert_allclose(adapter.apply(vector), expected, rtol=1e-6)


def test_torch_and_onnx_give_the_same_adapted_vectors(path: Path) -> None:
    batch = FrameBatch(moving_frames(20, height=128, width=128), np.arange(20) / 2)
    plain = OnnxEncoder(EncoderSpec()).encode([batch]).vectors
    onnx, torch = (
        encoder(EncoderSpec(str(path))).encode([batch]) for encoder in (OnnxEncoder, TorchEncoder)
    )
    assert onnx.model_id == torch.model_id == load_card(path).model_id != BASE.model_id
    np.testing.assert_allclose(onnx.vectors, torch.vectors, atol=1e-3)
    assert (onnx.vectors * torch.vectors).sum(axis=1).min() >= 0.9999
    np.testing.assert_array_equal(onnx.vectors[:, :128], plain[:, :128])
    assert (onnx.vectors * plain).sum(axis=1).max() < 0.99


def test_it_is_a_model_wherever_one_is_named_but_not_a_whole_one(path: Path) -> None:
    card = load_card(path)
    assert (card.name, card.dim, card.sampling) == ("sora-small-adapted", 256, BASE.sampling)
    assert card.training == {"model": BASE.model_id, "lesson": "labels"}
    base, adapter = resolve_model(path)
    assert base == "sora-small"
    assert adapter is not None
    assert list_models(path.parent) == [str(path)]
    with pytest.raises(ModelNotFoundError, match="it needs no export"):
        model_paths(path)


def test_the_weights_of_a_model_are_no_adapter() -> None:
    assert find_adapter(model_paths("sora-small")[1]) is None
    assert find_adapter("sora-small") is None
    assert resolve_model("sora-small") == ("sora-small", None)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    adapter = Adapter("sora-small", "sora-small-000000000000", change())
    path = write_adapter(adapter, tmp_path / "a.safetensors")
    for load in (load_card, load_network, lambda model: EncoderSpec(str(model)).load()):
        with pytest.raises(ModelNotFoundError, match=r"belongs to sora-small-0{12}.*finetune"):
            load(path)


def test_an_adapter_of_a_model_in_a_folder(tmp_path: Path) -> None:
    card = save_network(SoraNetwork(ModelConfig(name="tiny"), seed=5), tmp_path / "model")
    json_path = tmp_path / "model" / "tiny.json"
    path = write_adapter(
        Adapter(str(json_path), card.model_id, change()), tmp_path / "a.safetensors"
    )
    folded, base = (load_network(model).meaning_out.weight for model in (path, json_path))
    expected = (np.eye(128) + change()) @ base.detach().numpy()
    np.testing.assert_allclose(folded.detach().numpy(), expected, atol=1e-5)
    json_path.unlink()
    with pytest.raises(ModelNotFoundError, match=r"belongs to tiny-.*no model"):
        load_card(path)


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle", "text", "flipped"])
def test_damaged_files_are_refused(path: Path, damage: str) -> None:
    content = path.read_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "pickle": pickle.dumps({"meaning": [Evil()]}),
        "text": b"not an adapter",
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
    }
    path.write_bytes(damaged[damage])
    wanted = "not the sora-small-adapted-" if damage == "flipped" else "neither an adapter"
    with pytest.raises(ModelNotFoundError, match=wanted):
        EncoderSpec(str(path)).load()


class Evil:
    """Fails the test where a pickle is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    "meaning",
    [np.zeros((2, 3), np.float16), np.zeros((2, 2), np.float32), np.full((2, 2), np.nan)],
)
def test_what_is_no_change_of_a_half_is_refused(meaning: np.ndarray) -> None:
    with pytest.raises(ValueError, match="need f"):
        Adapter("sora-small", "x-1", meaning)
    with pytest.raises(ValueError, match="need finite"):
        Adapter("sora-small", "x-1", np.full((2, 2), np.nan, np.float16))


def test_an_adapted_encoder_loads_no_torch(path: Path) -> None:
    script = (
        "import sys; from sora_search.sora.encoder import load_encoder; "
        f"load_encoder({str(path)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
