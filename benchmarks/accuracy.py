"""Average precision of bundles beside their sources' own runtimes, and what pictures may suffer.

    python -m benchmarks.accuracy [--models NAME ...] [--noisy] [--write]

Every annotated person of coco/val2017's 100 pictures in the ground-truth box, as `tvmpose eval` looks at them. A
quantized network is also compared behind the same float64 crops, without which bytes that round to the other side move
its joints. Needs pycocotools.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring import ROOT, Benchmark, Model, arguments, compiled, run
from benchmarks.report import markdown_table
from tvmpose.accuracy.dataset import Dataset, read_dataset
from tvmpose.accuracy.evaluate import METRICS, Row, evaluate
from tvmpose.accuracy.robustness import CHANGES
from tvmpose.accuracy.systems import open_system
from tvmpose.accuracy.table import summary
from tvmpose.benchmark.machine import Disturbance, Machine

DOCUMENT = ROOT / "docs" / "accuracy.md"
RESULT = ROOT / "benchmarks" / "accuracy.json"
INT8 = "movenet-lightning-int8"
MODELS: Mapping[str, Model] = {
    "movenet-lightning": Model("movenet-lightning", "movenet-lightning.onnx", 271, {}),
    "movenet-thunder": Model("movenet-thunder", "movenet-thunder.onnx", 1220, {}),
    "blazepose-lite": Model("blazepose-lite", "pose_landmark_lite.tflite", 198, {}),
    "blazepose-full": Model("blazepose-full", "pose_landmark_full.tflite", 386, {}),
    INT8: Model(None, "movenet_single_pose_lightning_ptq.tflite", 271, {}),
}
SUFFERING = ("movenet-lightning", INT8)
LIMIT = 0.2  # points of AP
HEADER = ("model", "AP of the bundle", "AP of the source", "its runtime")


@dataclass(frozen=True)
class Pair:
    """A bundle and its source on the same people."""

    model: str
    bundle: Row
    source: Row

    @property
    def points_apart(self) -> float:
        assert self.bundle.precision and self.source.precision
        return 100 * abs(self.bundle.precision.ap - self.source.precision.ap)


@dataclass(frozen=True)
class Accuracy:
    pairs: tuple[Pair, ...]
    suffering: tuple[Row, ...]


def main(given: Sequence[str] | None = None) -> int:
    """Compile, measure, print; write the tables where asked to."""
    parser = arguments("accuracy", __doc__, list(MODELS))
    options = parser.parse_args(given)
    if "TVMPOSE_DATA" not in os.environ:
        parser.error("TVMPOSE_DATA is not set")
    coco = Path(os.environ["TVMPOSE_DATA"]) / "coco"
    return run(Benchmark("accuracy", (DOCUMENT,), RESULT, lambda: measure(options, coco), describe, asdict), options)


def measure(options: argparse.Namespace, coco: Path) -> Accuracy:
    """Every model that was asked for."""
    dataset = read_dataset(coco / "person_keypoints_val2017_dev100.json", coco / "val2017")
    pairs: list[Pair] = []
    suffering: list[Row] = []
    for name in options.models:
        bundle = compiled(MODELS[name], options.build / name).bundle
        for same_crops in (True, False) if name == INT8 else (False,):
            pairs.append(pair(MODELS[name], bundle, dataset, same_crops))
        if name in SUFFERING:
            suffering += evaluate([open_system(str(bundle), None, threads=1)], dataset, METRICS, CHANGES)
    return Accuracy(tuple(pairs), tuple(suffering))


def pair(model: Model, bundle: Path, dataset: Dataset, same_crops: bool) -> Pair:
    ours = open_system(str(bundle), None, threads=1, same_crops=same_crops)
    theirs = open_system(str(model.source), model.card, threads=1)
    name = f"{theirs.name}, `--same-crops`" if same_crops else theirs.name
    return Pair(name, *evaluate([ours, theirs], dataset, ("oks",), {}))


def describe(found: Accuracy, machine: Machine, disturbance: Disturbance) -> str:
    """Both tables in Markdown. How busy the machine was makes no difference."""
    tables = [markdown_table(HEADER, [_cells(pair) for pair in found.pairs])]
    beyond = [pair for pair in found.pairs if not pair.points_apart <= LIMIT]
    tables += [f"- {pair.model}: {pair.points_apart:.2f} points apart (aim: {LIMIT})." for pair in beyond]
    if found.suffering:
        header, *lines = [(line[0], *line[2:-1]) for line in summary(found.suffering, METRICS)]
        tables.append(markdown_table(header, lines))
    return "\n\n".join([*tables, f"{machine}."])


def _cells(pair: Pair) -> tuple[str, ...]:
    assert pair.bundle.precision and pair.source.precision
    precisions = (pair.bundle.precision.ap, pair.source.precision.ap)
    return (pair.model, *(f"{100 * precision:.2f}" for precision in precisions), pair.source.runtime)


if __name__ == "__main__":
    sys.exit(main())
