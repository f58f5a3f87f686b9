"""Time of the shipped model a frame, against EfficientNet-Lite0 at the same size, in turns.

    python tests/benchmarks/bench_model.py [--model NAME] [--rounds 9]

Both run in ONNX Runtime on one thread, 16 frames of 128 px a call. Machines are noisy:
the ratio of the medians is what to quote. Needs the extra `train`.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sora_search.sora.checkpoint import DEFAULT_MODEL, load_card, model_paths
from sora_search.sora.inference import open_session

NUM_FRAMES = 16


def main() -> None:
    """Print milliseconds a frame of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    card, path = load_card(arguments.model), model_paths(arguments.model)[2]
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (1, NUM_FRAMES, *card.frame_size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        lite_path = Path(folder) / "lite0.onnx"
        export_lite0(lite_path, card.frame_size)
        runs = {
            card.model_id: runner(path, "frames", clip),
            "EfficientNet-Lite0": runner(
                lite_path, "frames", (clip[0].transpose(0, 3, 1, 2) / 255).astype(np.float32)
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                for _ in range(5):
                    run()
                times[name].append((time.perf_counter() - start) / 5 / NUM_FRAMES * 1000)
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:28} {middle:.2f} ms a frame ({min(values):.2f}-{max(values):.2f})")
    ours, lite0 = (statistics.median(values) for values in times.values())
    print(f"ratio {ours / lite0:.3f}; {path.stat().st_size / 1e6:.2f} MB")


def runner(path: Path, name: str, x: np.ndarray) -> Callable[[], object]:
    """A call of a graph on one thread, warmed up."""
    session = open_session(path)
    session.run(None, {name: x})
    return lambda: session.run(None, {name: x})


def export_lite0(path: Path, frame_size: tuple[int, int]) -> None:
    """EfficientNet-Lite0 up to its pooled features; random weights take the same time."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = EfficientNet.from_name("efficientnet-lite0")

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            pooled: torch.Tensor = self.network.extract_features(frames).mean((2, 3))
            return pooled

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Pooled().eval(),
            (torch.rand(NUM_FRAMES, 3, *frame_size),),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["frames"],
        )


if __name__ == "__main__":
    main()
