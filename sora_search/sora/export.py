"""A network as an ONNX graph, accepted only when it agrees with torch."""

import logging
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sora_search.config import num_cores
from sora_search.errors import MissingDependencyError, ModelNotFoundError
from sora_search.sora.checkpoint import load_network, model_paths
from sora_search.sora.inference import open_session
from sora_search.sora.network import HalvedNetwork, SoraNetwork

if TYPE_CHECKING:
    import onnx

_CHANNEL_BLOCK = 16
_LARGE_WEIGHTS = 10_000
"""Numbers of a tensor from which on storing it in half is worth a node of the graph."""

MIN_COSINE = 0.9999
"""Every vector of the graph must agree with torch's at least so well."""


class FrameInput(nn.Module):
    """The network behind what decoders give: uint8 frames ``(B, T, S, S, 3)``.

    The normalisation is part of the graph: nobody can run it on frames prepared otherwise.
    """

    def __init__(self, network: HalvedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """Vectors ``(B, T, D)``."""
        vectors: Tensor = self.network(frames.permute(0, 1, 4, 2, 3).float() / 255)
        return vectors


def export_model(model: str | Path, *, frames: NDArray[np.uint8] | None = None) -> Path:
    """Write the ONNX file of a model beside its other files.

    Args:
        model: A name or path (see `checkpoint.model_paths`).
        frames: uint8 clips ``(B, T, S, S, 3)`` to compare on; noise of many scales without.

    Returns:
        The file written.

    Raises:
        MissingDependencyError: If `onnx` or `onnxscript` is not installed.
        ModelNotFoundError: If there is no such model, or its graph does not agree with it.
    """
    network = load_network(model)
    config = network.config
    path = model_paths(model)[2]
    if frames is None:
        frames = _test_clips(config.clip_frames, config.frame_size)
    clips = torch.from_numpy(frames)
    partial_path = path.with_name(path.name + ".partial")
    try:
        _write_graph(FrameInput(_widened(network)).eval(), clips[:2], partial_path)
    except ImportError as error:
        raise MissingDependencyError(
            f"exporting needs onnx and onnxscript ({error}): pip install 'sora-search[train]'"
        ) from error
    session = open_session(partial_path, threads=num_cores())
    (exported,) = session.run(None, {"frames": frames})
    with torch.no_grad():
        original = network(clips.permute(0, 1, 4, 2, 3).float() / 255).numpy()
    cosine = float((exported * original).sum(2).min())
    if not cosine >= MIN_COSINE:
        partial_path.unlink()
        raise ModelNotFoundError(
            f"the graph of {str(model)!r} does not agree with its weights (cosine {cosine:.6f}, "
            f"need {MIN_COSINE}): report this with the versions of torch and onnxruntime"
        )
    os.replace(partial_path, path)
    return path


def _widened(network: HalvedNetwork) -> HalvedNetwork:
    """The same function with channels of zeros: no map of the motion pathway under 16 channels.

    ONNX Runtime computes channels in blocks of up to 16. Maps of fewer fall out of that layout;
    they are the largest ones here, and the whole network takes a tenth longer with them.
    """
    if not isinstance(network, SoraNetwork):
        return network
    config = network.config
    first, *stages = config.motion_stages
    widened = SoraNetwork(
        replace(
            config,
            motion_stem=max(config.motion_stem, _CHANNEL_BLOCK),
            motion_stages=(
                tuple(replace(block, out=max(block.out, _CHANNEL_BLOCK)) for block in first),
                *stages,
            ),
        )
    )
    tensors = widened.state_dict()
    for key, x in network.state_dict().items():
        corner = tuple(slice(0, side) for side in x.shape)
        tensors[key].zero_()[corner] = x
    return widened


def _write_graph(network: nn.Module, clips: Tensor, path: Path) -> None:
    import onnx  # of the extra `train`, as what torch exports with

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            torch.onnx.export(
                network,
                (clips,),  # two: an example of one would fix the number of clips
                path,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=["frames"],
                output_names=["vectors"],
                dynamic_shapes={"frames": {0: torch.export.Dim("clips", min=1, max=4096)}},
            )
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    # A third of a megabyte tells which line of Python each node came from.
    model = onnx.load(path)
    for described in (*model.graph.node, *model.graph.value_info, model.graph, model):
        described.ClearField("doc_string")
        described.ClearField("metadata_props")
    _store_in_half(model)
    onnx.save(model, path)


def _store_in_half(model: "onnx.ModelProto") -> None:
    """Keep large weights in the float16 that they are shipped in, where that loses nothing.

    The file takes a third less space; a session widens them once, when it is made.
    """
    import onnx
    from onnx import helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype != np.float32 or weights.size < _LARGE_WEIGHTS:
            continue
        with np.errstate(over="ignore"):
            halved = weights.astype(np.float16)
        if (halved == weights).all():
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(halved, f"{name}_float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _test_clips(num_frames: int, size: int) -> NDArray[np.uint8]:
    """Two clips of smooth moving noise and one of plain noise, uint8 ``(3, T, S, S, 3)``."""
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 256, (num_frames, size, size, 3), np.uint8)]
    for cell in (8, 32):
        coarse = rng.integers(0, 256, (size // cell + 1, size // cell + 2, 3), np.uint8)
        still = coarse.repeat(cell, 0).repeat(cell, 1)[:size]
        clips.append(np.stack([still[:, i : i + size] for i in range(num_frames)]))
    return np.stack(clips)
