"""The smallest bundles: which network, what of it, how large on disk, and how good.

    python -m benchmarks.smallest [--write]

Compiled for this machine. The accuracy is PCK@0.2 on the people of coco/val2017 in their own boxes: the share of the
annotated joints from shoulders to ankles, which all of these networks have, that are found within a fifth of the box's
longer side. No time is taken, so it does not matter what else runs.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cut_tflite import cut_tflite
from benchmarks.measuring import ROOT, Benchmark, Model, arguments, compiled, run
from benchmarks.report import markdown_table
from tvmpose import runtime
from tvmpose.accuracy.dataset import read_dataset
from tvmpose.accuracy.evaluate import Estimate, find
from tvmpose.accuracy.joint_errors import joint_errors
from tvmpose.benchmark.machine import Disturbance, Machine

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "smallest.json"
SMALL_BYTES = 1e6
JOINTS = tuple(
    f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)
QUANTIZED = ("--precision", "int8", "--budget", "none")
HEADER = ("network", "compiled with", "bundle", "library", "PCK@0.2")


@dataclass(frozen=True)
class Small:
    """A model and what of it is compiled; calibrated: quantized by us; last: the tensor that it is cut off behind."""

    model: Model
    options: tuple[str, ...] = ()
    calibrated: bool = False
    last: str | None = None


def _stages(count: int) -> Small:
    """The first ones of CPM's six: each refines the heatmaps of the one before, at a quarter of the output's size."""
    last = f"Convolutional_Pose_Machine/stage_{count - 1}_mv1/stage_{count - 1}_mv1_2_pointwise/Relu"
    return Small(Model("edvardhua-cpm", "edvardhua_cpm_192.tflite", 277, {}), calibrated=True, last=last)


MODELS: Mapping[str, Small] = {
    "edvardhua-cpm, 1 of 6 stages, int8": _stages(1),
    "edvardhua-cpm, 2 of 6 stages, int8": _stages(2),
    "edvardhua-cpm, int8": Small(Model("edvardhua-cpm", "edvardhua_cpm_192.tflite", 277, {}), calibrated=True),
    "edvardhua-cpm": Small(Model("edvardhua-cpm", "edvardhua_cpm_192.tflite", 277, {})),
    "blazepose-lite, int8": Small(
        Model("blazepose-lite", "pose_landmark_lite.tflite", 198, {}), ("--outputs", "head"), calibrated=True
    ),
    "movenet-lightning, int8": Small(
        Model("movenet-lightning-coral", "movenet_single_pose_lightning_ptq.tflite", 271, {})
    ),
}


@dataclass(frozen=True)
class Row:
    """Sizes in bytes; joints: how many were annotated."""

    network: str
    options: str
    bundle_bytes: int
    library_bytes: int
    close: float
    joints: int


def main(given: Sequence[str] | None = None) -> int:
    """Compile, measure, print; write the table where asked to."""
    parser = arguments("smallest", __doc__, list(MODELS))
    options = parser.parse_args(given)
    options.noisy = True
    if "TVMPOSE_DATA" not in os.environ:
        parser.error("TVMPOSE_DATA is not set")
    coco = Path(os.environ["TVMPOSE_DATA"]) / "coco"

    def measure() -> list[Row]:
        rows = [row(name, coco, options.build / "smallest" / f"bundle{i}") for i, name in enumerate(options.models)]
        return sorted(rows, key=lambda row: row.bundle_bytes)

    return run(Benchmark("smallest", (DOCUMENT,), RESULT, measure, describe, numbers), options)


def row(name: str, coco: Path, folder: Path) -> Row:
    """Everything about one network."""
    small = MODELS[name]
    boxes = coco / "person_keypoints_train2017_calib64.json"
    calibration = (*QUANTIZED, "--accept-accuracy-loss", "--calibrate", str(coco / "train2017"), "--boxes", str(boxes))
    options = (*small.options, *(calibration if small.calibrated else ()))
    model = small.model
    if small.last and model.source:
        cut = folder.with_suffix(".tflite")
        cut.parent.mkdir(parents=True, exist_ok=True)
        cut_tflite(model.source, cut, small.last)
        model = replace(model, file=str(cut.resolve()))
    made = compiled(model, folder, options)
    said = " ".join((*small.options, *(QUANTIZED if small.calibrated else ())))
    with runtime.load(made.bundle) as pose:
        estimate = lambda picture, box: pose(picture, [box])[0].keypoints  # noqa: E731
        close, joints = share_close(estimate, pose.keypoint_names, coco)
    size = sum(file.stat().st_size for file in made.bundle.iterdir())
    return Row(name, said, size, made.library_bytes, close, joints)


def share_close(estimate: Estimate, names: Sequence[str], coco: Path) -> tuple[float, int]:
    """PCK of JOINTS, and of how many; names: of the estimate's keypoints."""
    dataset = read_dataset(coco / "person_keypoints_val2017_dev100.json", coco / "val2017")
    people, found = find(estimate, dataset)
    rows, columns = ([list(these).index(joint) for joint in JOINTS] for these in (names, dataset.names))
    errors = joint_errors(people, [keypoints[rows] for keypoints in found], dataset.names, columns)
    return errors.pck, sum(joint.labelled for joint in errors.by_joint)


def numbers(rows: Sequence[Row]) -> dict[str, Any]:
    return {"rows": [asdict(row) for row in rows]}


def describe(rows: Sequence[Row], machine: Machine, disturbance: Disturbance) -> str:
    """The table in Markdown; what is small enough in bold."""
    cells = [
        (
            row.network,
            f"`{row.options}`" if row.options else "–",
            ("**{:.2f} MB**" if row.bundle_bytes <= SMALL_BYTES else "{:.2f} MB").format(row.bundle_bytes / 1e6),
            f"{row.library_bytes / 1e6:.2f} MB",
            f"{row.close:.3f}",
        )
        for row in rows
    ]
    joints = max(row.joints for row in rows)
    return f"{markdown_table(HEADER, cells)}\n\nBold: at most {SMALL_BYTES / 1e6:.0f} MB. {joints} joints. {machine}"


if __name__ == "__main__":
    sys.exit(main())
