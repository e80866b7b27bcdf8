"""What our own quantization costs and brings: average precision, weights, and speed beside our float bundles.

    python -m benchmarks.quantized_accuracy [--write]

Calibrates on the people of coco/train2017 alone, measures on those of coco/val2017 (100 images: to compare systems, no
COCO result). The speed is that of raw tensors, both bundles in turns in one process. Needs pycocotools, which `make
dev` installs.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import ROOT, Benchmark, Compiled, Model, arguments, compiled, run
from benchmarks.report import markdown_table
from tvmpose import runtime
from tvmpose.accuracy.dataset import Dataset, read_dataset
from tvmpose.accuracy.evaluate import boxed_precision
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.benchmark.timing import Timing, summarize

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "quantized_accuracy.json"
MODELS: Mapping[str, Model] = {
    "blazepose-full": Model("blazepose-full", "pose_landmark_full.tflite", 386, {}),
    "movenet-lightning": Model("movenet-lightning", "movenet-lightning.onnx", 271, {}),
}
# Weights and biases of convolutions, batch norms folded: of four bytes each, the int8 bundle is to take a share.
PARAMETERS = {"blazepose-full": 3_169_489, "movenet-lightning": 2_318_190}
HEADER = ("model", "AP float", "AP int8", "weights float", "int8", "share", "int8 multiply-adds")
LARGEST_LOSS, LARGEST_WEIGHTS, LEAST_SHARE, LEAST_SPEED = 0.010, 0.30, 0.90, 2.0
ROUNDS, FRAMES = 9, 30


@dataclass(frozen=True)
class Row:
    """times: of the float and the int8 bundle, by number of threads."""

    model: str
    precisions: tuple[float, float]
    weight_bytes: tuple[int, int]
    integer_share: float
    times: Mapping[int, tuple[Timing, Timing]]


def main(given: Sequence[str] | None = None) -> int:
    """Compile, measure, print; write the table where asked to."""
    parser = arguments("quantized_accuracy", __doc__, list(MODELS))
    parser.add_argument("--recipe", default="balanced", metavar="NAME")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2], metavar="N", help="none: no speed")
    options = parser.parse_args(given)
    if "TVMPOSE_DATA" not in os.environ:
        parser.error("TVMPOSE_DATA is not set")
    coco = Path(os.environ["TVMPOSE_DATA"]) / "coco"
    return run(
        Benchmark("quantized accuracy", (DOCUMENT,), RESULT, lambda: measure(options, coco), describe, numbers), options
    )


def measure(options: argparse.Namespace, coco: Path) -> list[Row]:
    """Every model that was asked for."""
    annotations, boxes = (coco / f"person_keypoints_{name}.json" for name in ("val2017_dev100", "train2017_calib64"))
    calibration = ["--calibrate", str(coco / "train2017"), "--boxes", str(boxes), "--recipe", options.recipe]
    dataset, rows = read_dataset(annotations, coco / "val2017"), []
    for name in options.models:
        made = (
            compiled(MODELS[name], options.build / f"{name}-float"),
            compiled(MODELS[name], options.build / f"{name}-int8", ["--precision", "int8", *calibration]),
        )
        precisions = [precision(each, dataset) for each in made]
        share = runtime_manifest(made[1])["quantized"]["integer_share"]
        weights = (made[0].weight_bytes, made[1].weight_bytes)
        times = {threads: in_turns(made, threads) for threads in options.threads}
        rows.append(Row(name, (precisions[0], precisions[1]), weights, share, times))
    return rows


def runtime_manifest(made: Compiled) -> dict[str, Any]:
    return json.loads((made.bundle / "manifest.json").read_text())


def precision(made: Compiled, dataset: Dataset) -> float:
    with runtime.load(made.bundle) as pose:
        estimate = lambda picture, box: pose(picture, [box], format="bgr")[0].keypoints  # noqa: E731
        return boxed_precision(estimate, pose.keypoint_names, dataset).ap


def in_turns(made: Sequence[Compiled], threads: int) -> tuple[Timing, Timing]:
    """Frames of noise."""
    random, found = np.random.default_rng(0), []
    poses = [runtime.load(each.bundle, threads=threads) for each in made]
    (spec,) = poses[0].info.inputs
    noise = random.integers(0, 256, spec.shape)
    tensor = (noise / 255 if spec.dtype == "float32" else noise).astype(spec.dtype)
    for _ in range(ROUNDS):
        found.append([frames(pose, tensor) for pose in poses])
    first, second = (summarize([each[i] for each in found]) for i in (0, 1))
    return first, second


def frames(pose: runtime.Pose, tensor: np.ndarray) -> list[int]:
    """Nanoseconds of each."""
    times = []
    for _ in range(FRAMES):
        start = time.perf_counter_ns()
        pose.run_tensors([tensor])
        times.append(time.perf_counter_ns() - start)
    return times


def numbers(rows: Sequence[Row]) -> dict[str, Any]:
    return {"rows": [asdict(row) for row in rows]}


def describe(rows: Sequence[Row], machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown, and what casts doubt on it."""
    threads = [f"{n} thread{'s' * (n > 1)}" for n in rows[0].times]
    table = markdown_table((*HEADER, *threads), [_cells(row) for row in rows])
    share = f"weights {LARGEST_WEIGHTS:.0%} of float32's, {LEAST_SHARE:.0%} of the multiply-adds in int8"
    aims = f"Aims: AP within {LARGEST_LOSS:.3f}, {share}, {LEAST_SPEED:g}× the speed."
    notes = [f"{machine}. {aims}", *(f"**Not trustworthy: {reason}.**" for reason in disturbance.complaints())]
    return "\n\n".join([table, "\n".join(notes)])


def _cells(row: Row) -> tuple[str, ...]:
    speeds = [
        f"{plain.median_ms:.2f} → {int8.median_ms:.2f} ms, {plain.median_ms / int8.median_ms:.2f}×"
        for plain, int8 in row.times.values()
    ]
    return (
        row.model,
        *(f"{precision:.3f}" for precision in row.precisions),
        *(f"{size / 1e6:.2f} MB" for size in row.weight_bytes),
        f"{row.weight_bytes[1] / (4 * PARAMETERS[row.model]):.1%}",
        f"{row.integer_share:.1%}",
        *speeds,
    )


if __name__ == "__main__":
    sys.exit(main())
