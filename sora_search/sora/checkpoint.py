"""A model on disk: three files of one name in one folder.

    NAME.json          what it is: configuration, sampling, model_id, how it came to be
    NAME.safetensors   its tensors in float16
    NAME.onnx          the same tensors as a graph that ONNX Runtime runs (see `export`)

The tensors are rounded to float16 once, before anything is exported or compared, so
that both files answer alike. `model_id` is the name and a digest of the tensors and of
everything that decides what they are shown; vectors of different ids never meet.

Where a model is named, the file of an adapter (see `adapter`) may stand for the model it
belongs to, adapted.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sora_search.errors import ModelNotFoundError
from sora_search.media.sampling import SamplingConfig
from sora_search.sora.adapter import SUFFIX, Adapter, find_adapter
from sora_search.sora.files import replace_file

if TYPE_CHECKING:
    from torch import Tensor

    from sora_search.sora.network import HalvedNetwork, NetworkConfig

SHIPPED_DIR = Path(__file__).parent / "weights"
DEFAULT_MODEL = "sora-small"
_FORMAT = 1

Network = Literal["sora", "seed"]
NETWORKS: tuple[Network, ...] = get_args(Network)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The JSON file of a model.

    Attributes:
        name: Under which it is listed.
        model_id: Name and digest of weights and preprocessing.
        config: The fields of the configuration of its network.
        sampling: How densely videos are looked at.
        frame_size: (H, W) that whole frames are scaled to.
        clip_frames: Frames the network sees at once.
        identity_dim: Length of the half that says which footage it is.
        meaning_dim: Length of the half that says what happens.
        training: How it came to be: data, teacher, settings, steps.
        network: Which network it is, a key of `NETWORKS`.
    """

    name: str
    model_id: str
    config: dict[str, Any]
    sampling: SamplingConfig
    frame_size: tuple[int, int]
    clip_frames: int
    identity_dim: int
    meaning_dim: int
    training: dict[str, Any] = field(default_factory=dict)
    network: Network = "sora"
    format: int = _FORMAT

    @property
    def dim(self) -> int:
        """D, the length of a vector."""
        return self.identity_dim + self.meaning_dim


def model_paths(model: str | Path) -> tuple[Path, Path, Path]:
    """JSON, safetensors and ONNX file of a shipped model's name, or of a path.

    A path may name the folder (with one model in it) or any of the three files.

    Raises:
        ModelNotFoundError: If there is no such model.
    """
    path = Path(model)
    if path.is_dir():
        descriptions = sorted(path.glob("*.json"))
        described = [p for p in descriptions if p.with_suffix(".safetensors").exists()]
        if len(described) != 1:
            raise ModelNotFoundError(
                f"{str(model)!r} holds {len(described)} models, not one: name its .json file"
            )
        stem = described[0]
    elif (adapter := find_adapter(path)) is not None:
        raise ModelNotFoundError(
            f"{str(model)!r} is an adapter of {adapter.base_model_id}, not a whole model: "
            "it needs no export; name the model itself here"
        )
    elif path.suffix in {".json", ".safetensors", ".onnx"}:
        stem = path.with_suffix(".json")
    else:
        stem = SHIPPED_DIR / f"{model}.json"
    if not stem.is_file():
        known = ", ".join(list_models()) or "none"
        raise ModelNotFoundError(
            f"no model {str(model)!r} (shipped: {known}): give a name or a path"
        )
    return stem, stem.with_suffix(".safetensors"), stem.with_suffix(".onnx")


def list_models(folder: Path | str | None = None) -> list[str]:
    """Names of the models that ship, or paths of the models and adapters in a folder."""
    if folder is None:
        return sorted(p.stem for p in SHIPPED_DIR.glob("*.json"))
    return [str(p) for p in sorted(Path(folder).glob(f"*{SUFFIX}")) if _is_model(p)]


def _is_model(path: Path) -> bool:
    try:
        load_card(path)
    except ModelNotFoundError:
        return False
    return True


def resolve_model(model: str | Path) -> tuple[str | Path, Adapter | None]:
    """The whole model whose files are run, and the adapter on it where `model` names one.

    Raises:
        ModelNotFoundError: If the adapter belongs to a model that is not there.
    """
    adapter = find_adapter(model)
    if adapter is None:
        return model, None
    try:
        base = load_card(adapter.model)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"the adapter {str(model)!r} belongs to {adapter.base_model_id}: {error}"
        ) from error
    if base.model_id != adapter.base_model_id or base.meaning_dim != len(adapter.meaning):
        raise ModelNotFoundError(
            f"the adapter {str(model)!r} belongs to {adapter.base_model_id}, and {adapter.model!r} "
            f"is {base.model_id}: adapt that one with `sora-search model finetune`"
        )
    return adapter.model, adapter


def load_card(model: str | Path) -> ModelCard:
    """What a model is, without its weights.

    Raises:
        ModelNotFoundError: If there is no such model or its description cannot be read.
    """
    base, adapter = resolve_model(model)
    if adapter is not None:
        card = load_card(base)
        return replace(
            card,
            name=f"{card.name}-adapted",
            model_id=adapter.model_id,
            training={"model": adapter.base_model_id, **adapter.training},
        )
    path = model_paths(model)[0]
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ModelNotFoundError(
                f"{str(path)!r} has format {document['format']}, this program reads {_FORMAT}: "
                "export it again with this version"
            )
        document["sampling"] = SamplingConfig(**document["sampling"])
        document["frame_size"] = tuple(document["frame_size"])
        return ModelCard(**document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotFoundError(f"cannot read the model {str(path)!r}: {error}") from error


def save_network(
    network: "HalvedNetwork",
    folder: Path | str,
    *,
    sampling: SamplingConfig | None = None,
    training: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write `NAME.safetensors` and `NAME.json`; the network itself is rounded to float16 too."""
    import torch
    from safetensors.torch import save

    config, sampling = network.config, sampling or SamplingConfig()
    with torch.no_grad():
        for x in (*network.parameters(), *network.buffers()):
            if x.is_floating_point():
                x.copy_(x.half().float())
    tensors = {
        key: (x.half() if x.is_floating_point() else x).cpu().contiguous()
        for key, x in network.state_dict().items()
    }
    card = ModelCard(
        name=config.name,
        model_id="",
        config=asdict(config),
        sampling=sampling,
        frame_size=(config.frame_size, config.frame_size),
        clip_frames=config.clip_frames,
        identity_dim=config.identity_dim,
        meaning_dim=config.meaning_dim,
        training=dict(training or {}),
        network=_network_of(config),
    )
    arrays = {key: x.numpy() for key, x in tensors.items()}
    document = asdict(card) | {"model_id": f"{config.name}-{_digest(arrays, card)}"}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{config.name}.safetensors", save(tensors))
    replace_file(folder / f"{config.name}.json", json.dumps(document, indent=1).encode())
    return load_card(folder / f"{config.name}.json")


def new_config(network: Network) -> "NetworkConfig":
    """The configuration of one of `NETWORKS` as it ships."""
    from sora_search.sora.network import ModelConfig
    from sora_search.sora.seed_network import SeedConfig

    return SeedConfig() if network == "seed" else ModelConfig()


def new_network(config: "NetworkConfig", *, seed: int = 0) -> "HalvedNetwork":
    """The network of a configuration, with random weights."""
    from sora_search.sora.network import ModelConfig, SoraNetwork
    from sora_search.sora.seed_network import SeedConfig, SeedNetwork

    if isinstance(config, SeedConfig):
        return SeedNetwork(config, seed=seed)
    assert isinstance(config, ModelConfig)
    return SoraNetwork(config, seed=seed)


def _network_of(config: "NetworkConfig") -> Network:
    from sora_search.sora.seed_network import SeedConfig

    return "seed" if isinstance(config, SeedConfig) else "sora"


def load_network(model: str | Path) -> "HalvedNetwork":
    """The network of a model, in float32, in eval mode.

    Raises:
        ModelNotFoundError: If there is no such model, or its tensors are not those it names.
    """
    network = new_network(_config_of(load_card(model)))
    try:
        network.load_state_dict(load_tensors(model))
    except RuntimeError as error:
        path = model_paths(model)[1]
        raise ModelNotFoundError(f"cannot load the weights {str(path)!r}: {error}") from error
    return network.eval()


def _config_of(card: ModelCard) -> "NetworkConfig":
    from sora_search.sora.network import BlockConfig

    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in card.config.items()
    }
    if card.network == "sora":
        # Models from before these were there see dark frames, and all sizes, as they are.
        fields.setdefault("least_light", 0.0)
        fields.setdefault("motion_size", fields["frame_size"])
    for pathway in ("motion_stages", "appearance_stages"):
        if pathway in fields:
            fields[pathway] = tuple(
                tuple(BlockConfig(**block) for block in stage) for stage in fields[pathway]
            )
    try:
        return replace(new_config(card.network), **fields)
    except (KeyError, TypeError) as error:
        raise ModelNotFoundError(
            f"{card.name!r} describes a network that this program does not know: {error}"
        ) from error


def load_tensors(model: str | Path) -> "dict[str, Tensor]":
    """The tensors of a model by name, as they are stored; an adapter is folded into them.

    Raises:
        ModelNotFoundError: If there is no such model, or its tensors are not those it names.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    base, adapter = resolve_model(model)
    if adapter is not None:
        tensors, matrix = load_tensors(base), torch.from_numpy(adapter.matrix)
        for key in ("meaning_out.weight", "meaning_out.bias"):
            tensors[key] = matrix @ tensors[key].float()
        return tensors
    card, path = load_card(model), model_paths(model)[1]
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelNotFoundError(f"cannot load the weights {str(path)!r}: {error}") from error
    digest = _digest({key: x.numpy() for key, x in tensors.items()}, card)
    if card.model_id != f"{card.name}-{digest}":
        raise ModelNotFoundError(
            f"the weights {str(path)!r} are not those of {card.model_id}: copy both files again"
        )
    return tensors


def _digest(tensors: Mapping[str, NDArray[Any]], card: ModelCard) -> str:
    """Twelve hexadecimal digits over the tensors and all that decides what they are shown."""
    shown = {
        "config": card.config,
        "sampling": asdict(card.sampling),
        "frame_size": list(card.frame_size),
    }
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True).encode())
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].shape} ".encode())
        digest.update(np.ascontiguousarray(tensors[key]).tobytes())
    return digest.hexdigest()[:12]
