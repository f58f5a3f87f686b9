"""An adapter: the few parameters that fit a model to somebody's own videos, in one small file.

    NAME.safetensors   `meaning`, float16 (K, K); its header names the model it belongs to

It is one more fully connected layer behind the meaning half: a row `m` of K columns becomes
``m + meaning @ m``, scaled to its length again. The identity half stays what it is. As nothing
is added and the length cancels, this equals the same network with other weights in its last
layer. So torch folds it into that layer, behind ONNX Runtime it is one small product in numpy,
both give the same vectors, and no graph has to be written for it.

`learning.finetuning` is where adapters come from, and why they are of this shape.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sora_search.errors import ModelNotFoundError
from sora_search.sora.files import replace_file

SUFFIX = ".safetensors"
_FORMAT = "sora-search adapter 1"
_TENSOR = "meaning"
_ADAPTED = "-adapted-"


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """What a fine-tuning has learned.

    Attributes:
        model: The model it belongs to: a shipped name, or the path of its JSON file.
        base_model_id: The `model_id` of that model; the adapter fits no other.
        meaning: The change of the meaning half, float16 ``(K, K)``.
        training: How it came to be.
    """

    model: str
    base_model_id: str
    meaning: NDArray[np.float16]
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.meaning.shape
        if self.meaning.dtype != np.float16 or len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"need float16 (K, K), got {self.meaning.dtype} {shape}")
        if not np.isfinite(self.meaning).all():
            raise ValueError("need finite numbers")

    @property
    def model_id(self) -> str:
        """Name of the model, and a digest of its id and of what was learned."""
        digest = hashlib.sha256(f"{self.base_model_id} {self.meaning.shape} ".encode())
        digest.update(np.ascontiguousarray(self.meaning).tobytes())
        return f"{self.base_model_id.rpartition('-')[0]}{_ADAPTED}{digest.hexdigest()[:12]}"

    @property
    def matrix(self) -> NDArray[np.float32]:
        """What a column of the meaning half is multiplied with, ``(K, K)``."""
        return _matrix(self.meaning)

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors ``(..., D)`` of the model as the adapted model has them."""
        return adapted(vectors, self.meaning)


def adapted_name(model_id: str) -> str | None:
    """Name of the model that an adapted one belongs to, by its id; None for a whole model.

    Example:
        >>> adapted_name("sora-small-adapted-0123456789ab")
        'sora-small'
        >>> adapted_name("sora-small-0123456789ab")
    """
    name, separator, _ = model_id.rpartition(_ADAPTED)
    return name if separator else None


def adapted(vectors: NDArray[np.float32], meaning: NDArray[np.float16]) -> NDArray[np.float32]:
    """Vectors ``(..., D)`` with a change ``(K, K)`` of their last K columns, the meaning half."""
    width = len(meaning)
    half = vectors[..., -width:] @ _matrix(meaning).T
    norms = np.maximum(np.linalg.norm(half, axis=-1, keepdims=True), 1e-12)
    return np.concatenate([vectors[..., :-width], half / norms * np.float32(0.5**0.5)], -1)


def _matrix(meaning: NDArray[np.float16]) -> NDArray[np.float32]:
    return np.eye(len(meaning), dtype=np.float32) + meaning.astype(np.float32)


def write_adapter(adapter: Adapter, path: Path | str) -> Path:
    """Write an adapter, replacing what is there."""
    from safetensors.numpy import save

    header = {
        "format": _FORMAT,
        "model": adapter.model,
        "base_model_id": adapter.base_model_id,
        "model_id": adapter.model_id,
        "training": json.dumps(adapter.training),
    }
    path = Path(path)
    replace_file(path, save({_TENSOR: np.ascontiguousarray(adapter.meaning)}, header))
    return path


def find_adapter(model: str | Path) -> Adapter | None:
    """The adapter that a path names; None for a name or the path of a whole model.

    Raises:
        ModelNotFoundError: If the file can be neither, or is not what was written.
    """
    path = Path(model)
    if path.suffix != SUFFIX or not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT:
                _require_description(path, f"its format is {header.get('format')!r}")
                return None
            meaning = file.get_tensor(_TENSOR)
            training = json.loads(header["training"])
        adapter = Adapter(header["model"], header["base_model_id"], meaning, training)
        written_id = header["model_id"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        _require_description(path, str(error))
        return None
    if adapter.model_id != written_id:
        raise ModelNotFoundError(
            f"the adapter {str(path)!r} is not the {written_id} that was written: copy it again"
        )
    return adapter


def _require_description(path: Path, reason: str) -> None:
    """The weights of a whole model lie beside its description; whoever loads them checks them."""
    if not path.with_suffix(".json").is_file():
        raise ModelNotFoundError(
            f"{str(path)!r} is neither an adapter nor the weights of a model ({reason}): "
            "copy it again, or make it with `sora-search model finetune`"
        )
