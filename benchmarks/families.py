"""Every family of pose networks through the compiler: what came of it, float and int8.

    python -m benchmarks.families [--only NAME ...] [--float] [--beside-onnxruntime] [--noisy] [--write]

Compiles each network with its card, and compares it with its source runtime on people cut out of photos; then once
more in int8, by our own quantization with every layer in integers. Fails where a float network is off by more than the
limits below, or where its source model's answer is no clear and distinct keypoints: a constant one would agree with
anything.
Rows are kept in families.json one by one, so that a run may be continued; --write makes the table of all of them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.measuring import ROOT
from benchmarks.people import write_people
from benchmarks.report import markdown_table, replace_between_marks, write_json
from tvmpose import gate
from tvmpose.baselines.judge import open_judge
from tvmpose.cards import Card
from tvmpose.codegen.pixels import layout_of
from tvmpose.compile import Options, Report, compile_model, resolve
from tvmpose.errors import TvmposeError
from tvmpose.quantize.request import Calibration, Request
from tvmpose.runtime import load
from tvmpose.targets import host_target

DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "families.json"
MARK = "families"
HEADER = (
    "family",
    "tensors off by",
    "keypoints off by",
    "bundle",
    "2 threads",
    "in int8: off by, median",
    "OKS",
    "integer",
    "bundle",
    "2 threads",
)
LIMIT_TENSORS, LIMIT_PX = 1e-4, 0.1
VERIFY_PHOTOS, CALIBRATION_PHOTOS, FRAMES = 4, 16, 20
CLEAR = {"heatmap": 3.0, "simcc": 2.0}  # standard deviations of a map, or row of bins, that its peak is above the mean
DISTINCT = 0.6  # share of the joints that lie at places of their own


@dataclass(frozen=True)
class Family:
    """A network: what resolve takes, and its card where the model's file is not known by its hash."""

    model: str
    card: str | None = None
    is_quantized: bool = False  # by its authors


# Name in the table: network. Files are those of $TVMPOSE_DATA/models, nets those of models/.
FAMILIES = {
    "MobileNetV2 + deconvolution": Family("models/mobilenetv2-deconv"),
    "MobileNetV3 + deconvolution": Family("models/mobilenetv3-deconv"),
    "ShuffleNetV2 + deconvolution": Family("models/shufflenetv2-deconv"),
    "SimpleBaseline-ResNet50": Family("models/simplebaseline-resnet50"),
    "ResNet-18 with CBAM": Family("models/cbam-resnet18"),
    "HRNet-W32": Family("models/hrnet-w32"),
    "HRNet-W48": Family("models/hrnet-w48"),
    "Lite-HRNet-18": Family("models/litehrnet-18"),
    "Lite-HRNet-30": Family("models/litehrnet-30"),
    "RTMPose-t": Family("models/rtmpose-t"),
    "RTMPose-s": Family("models/rtmpose-s"),
    "RTMPose-m": Family("models/rtmpose-m"),
    "Hourglass": Family("models/hourglass"),
    "CPM": Family("edvardhua_cpm_192.tflite"),
    "YOLOv8n-pose": Family("models/yolov8n-pose"),
    "Keypoint R-CNN, MobileNetV3": Family("models/keypointrcnn-mobilenetv3"),
    "LSTM over keypoints": Family("models/lstm-lifter"),
    "MoveNet Lightning": Family("movenet-lightning.onnx", "movenet-lightning"),
    "MoveNet Lightning int8": Family("movenet_single_pose_lightning_ptq.tflite", is_quantized=True),
    "BlazePose lite": Family("pose_landmark_lite.tflite"),
    "BlazePose detector": Family("pose_detection.tflite"),
    "PoseNet": Family("models/posenet-mobilenetv1"),
    "PoseNet uint8": Family("posenet_mobilenet_v1_075_353_481_quant.tflite", is_quantized=True),
}


@dataclass(frozen=True)
class Made:
    """One bundle. off_px: float the worst joint, int8 the median; milliseconds: the median of a frame's tensors."""

    tensors: float
    off_px: float
    within_step: float | None
    similarity: float | None
    integer_share: float | None
    megabytes: float
    milliseconds: float
    compile_seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile what is asked for, print, write; 5 where a row fails."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", nargs="*", choices=list(FAMILIES), metavar="NAME", help="these alone; none: what is kept"
    )
    parser.add_argument("--noisy", action="store_true", help="others use the machine: no times in the table")
    parser.add_argument("--float", action="store_true", help="not in int8")
    parser.add_argument(
        "--beside-onnxruntime",
        action="store_true",
        help="nets of models/ also as ONNX Runtime quantizes them, on the same people: whether a loss is ours",
    )
    parser.add_argument("--write", action="store_true", help=f"the table into {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    rows: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    failed = False
    for name in FAMILIES if options.only is None else options.only:
        try:
            rows[name] = measure(FAMILIES[name], not options.float, options.beside_onnxruntime)
        except TvmposeError as error:
            rows[name] = {"failed": str(error)}
        failed |= bool(rows[name].get("failed"))
        print(name, json.dumps(rows[name]), flush=True)
        write_json(RESULT, {each: rows[each] for each in FAMILIES if each in rows})
    if options.write:
        replace_between_marks(DOCUMENT, MARK, describe(rows, with_times=not options.noisy))
    return 5 if failed else 0


def measure(family: Family, in_int8: bool, beside_onnxruntime: bool) -> dict[str, Any]:
    """A family's row, as it is kept."""
    data = Path(os.environ["TVMPOSE_DATA"])
    coco = data / "coco"
    with tempfile.TemporaryDirectory(prefix="families-") as directory:
        folder = Path(directory)
        photos = write_people(
            coco / "person_keypoints_val2017_dev100.json", coco / "val2017", folder / "verify", VERIFY_PHOTOS
        )
        file = data / "models" / family.model
        model = str(file if file.is_file() else ROOT / family.model)
        options = resolve(
            model, card=family.card, target=host_target(), output=folder / "bundle", samples=photos, verify=True
        )
        as_bytes(photos, options)
        row: dict[str, Any] = {"float": asdict(made(options)), "peaks": peaks(options)}
        row["failed"] = "; ".join(flaws(row, family))
        if in_int8 and not family.is_quantized:
            calibration = write_people(
                coco / "person_keypoints_train2017_calib64.json",
                coco / "train2017",
                folder / "calibrate",
                CALIBRATION_PHOTOS,
            )
            request = Request(calibration=Calibration(calibration))
            quantized = replace(options, quantization=request, accept_loss=True, output=folder / "int8")
            try:
                row["int8"] = asdict(made(quantized))
            except TvmposeError as error:
                row["int8_failed"] = str(error)
            if beside_onnxruntime and not file.is_file():
                row["int8_onnxruntime_px"] = px_of_onnxruntime(options, calibration)
    return row


def px_of_onnxruntime(options: Options, calibration: Path) -> float:
    """The median that keypoints move where ONNX Runtime quantizes the network, all of it, on the same people."""
    from onnxruntime.quantization import QuantFormat

    from benchmarks.quantize_models import calibration_inputs, quantize_onnx  # needs torchao

    card = options.card
    assert card
    _, spec = options.source.load()
    file = calibration.parent / "onnxruntime.onnx"
    quantize_onnx(QuantFormat.QDQ, card.name, calibration_inputs(card, calibration, CALIBRATION_PHOTOS), file, False)
    theirs, judge, apart = open_judge(file, "onnx", threads=2), options.source.judge(), []
    for _, picture in gate.read_samples(options.samples, None):
        expected, found = (gate.expect(runner, card, spec.inputs[0], picture) for runner in (judge, theirs))
        assert expected.people is not None and found.people is not None
        sure = expected.people[0, :, 2] >= gate.SURE_SCORE
        distances = np.hypot(*(found.people[0] - expected.people[0])[sure, :2].T)
        apart.append(distances / expected.pixels_per_input_pixel)
    return float(np.median(np.concatenate(apart)))


def as_bytes(photos: Path, options: Options) -> None:
    """Of networks whose input is integers: the photos as they see them, so that no pixel is rounded two ways."""
    _, spec = options.source.load()
    if options.card and np.dtype(spec.inputs[0].dtype).kind != "f":
        for path in photos.iterdir():
            cv2.imwrite(str(path), gate.at_network_size(options.card, cv2.imread(str(path), cv2.IMREAD_COLOR)))


def made(options: Options) -> Made:
    """Compile, verify, and time."""
    start = time.perf_counter()
    report = compile_model(options)
    seconds = time.perf_counter() - start
    assert report.findings
    found, done = report.findings, report.manifest.quantized
    size = sum(path.stat().st_size for path in options.output.iterdir() if path.is_file())
    return Made(
        tensors=found.tensors_max_relative,
        off_px=found.median_px if done else found.max_px,
        within_step=found.tensors_within_step,
        similarity=found.similarity,
        integer_share=done.integer_share if done else None,
        megabytes=size / 1e6,
        milliseconds=milliseconds(options.output, report),
        compile_seconds=seconds,
    )


def milliseconds(bundle: Path, report: Report) -> float:
    """Of a frame's tensors, the median."""
    rng, times = np.random.default_rng(0), []
    inputs = [rng.random(spec.shape).astype(spec.dtype) for spec in report.manifest.model.inputs]
    with load(bundle, threads=2) as network:
        for _ in range(FRAMES):
            start = time.perf_counter()
            network.run_tensors(inputs)
            times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def peaks(options: Options) -> dict[str, float]:
    """Of the source model, over the photos: how clear its least clear peak is, and how many joints have own places."""
    _, spec = options.source.load()
    judge, card = options.source.judge(), options.card
    pictures = gate.read_samples(options.samples, None)
    found = [gate.expect(judge, card, spec.inputs[0], picture) for _, picture in pictures]
    outputs = np.array([expected.tensors[0].ravel() for expected in found], "float64")
    is_picture = layout_of(spec.inputs[0].shape) is not None  # else every photo is the same noise
    result = {"changes": float(outputs.std(axis=0).mean() if is_picture else outputs[0].std())}
    if card is None:
        return result
    result["people"] = float(np.mean([len(expected.people) for expected in found if expected.people is not None]))
    share = [own_places(person, expected.pixels_per_input_pixel) for expected in found for person in expected.people]
    result["distinct"] = float(np.mean(share)) if share else 0.0
    heads = [expected.tensors[index] for expected in found for index in card.head.tensors]
    if card.head.kind in CLEAR:
        result["clear"] = min(float(np.median(clearness(card, tensor))) for tensor in heads) / CLEAR[card.head.kind]
    return result


def own_places(person: np.ndarray, scale: float) -> float:
    """The share of joints with no other within half a pixel of the input."""
    apart = np.linalg.norm(person[:, None, :2] - person[None, :, :2], axis=2) / scale
    np.fill_diagonal(apart, np.inf)
    return float((apart.min(axis=1) > 0.5).mean())


def clearness(card: Card, tensor: np.ndarray) -> np.ndarray:
    """By joint: how many standard deviations of its map, or bins, the highest value is above the mean."""
    count = len(card.keypoints.keypoints)
    values = tensor[0].astype("float64")
    rows = values.reshape(count, -1) if values.shape[0] == count else np.moveaxis(values, -1, 0).reshape(count, -1)
    return (rows.max(axis=1) - rows.mean(axis=1)) / np.maximum(rows.std(axis=1), 1e-12)


def flaws(row: dict[str, Any], family: Family) -> list[str]:
    """What makes a row fail."""
    made, found = row["float"], row["peaks"]
    wrong = []
    if not family.is_quantized and not made["tensors"] <= LIMIT_TENSORS:
        wrong.append(f"tensors off by {made['tensors']:.1e}")
    if not family.is_quantized and not made["off_px"] <= LIMIT_PX:
        wrong.append(f"keypoints off by {made['off_px']:.3f} px")
    if not found["changes"] > 0:
        wrong.append("the answer is a constant")
    if found.get("distinct", 1.0) < DISTINCT:
        wrong.append(f"{found['distinct']:.0%} of the joints have places of their own")
    if found.get("clear", 1.0) < 1:
        wrong.append(f"peaks of {found['clear']:.0%} of the height that they need")
    return wrong


def describe(rows: dict[str, Any], with_times: bool = True) -> str:
    """The table in Markdown."""
    cells = [_cells(name, rows[name]) for name in FAMILIES if name in rows]
    if not with_times:
        cells = [tuple("–" if text.endswith(" ms") else text for text in line) for line in cells]
    table = markdown_table(HEADER, cells)
    missing = [name for name in FAMILIES if name not in rows]
    notes = [f"Against the source runtimes on {VERIFY_PHOTOS} people; int8 calibrated on {CALIBRATION_PHOTOS}."]
    judged = {name: row["int8_onnxruntime_px"] for name, row in rows.items() if "int8_onnxruntime_px" in row}
    if judged:
        losses = ", ".join(f"{name} by {px:.2f} px" for name, px in judged.items())
        notes.append(f"ONNX Runtime's own static quantization, on the same people, moves the median of {losses}.")
    if missing:
        notes.append(f"Not measured yet: {', '.join(missing)}.")
    return "\n\n".join([table, " ".join(notes)])


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    if "float" not in row:
        return (name, f"fails: {row['failed']}", *["–"] * (len(HEADER) - 2))
    plain, small = row["float"], row.get("int8")
    label = f"{name} (fails: {row['failed']})" if row["failed"] else name
    tensors = f"{plain['tensors']:.1e}"
    if plain["within_step"] is not None:
        tensors = f"{plain['within_step']:.1%} within a step"
    cells = (label, tensors, f"{plain['off_px']:.4f} px", f"{plain['megabytes']:.1f} MB")
    times = f"{plain['milliseconds']:.1f} ms"
    if small is None:
        return (*cells, times, row.get("int8_failed", "–"), "–", "–", "–", "–")
    return (
        *cells,
        times,
        f"{small['off_px']:.2f} px",
        "–" if small["similarity"] is None else f"{small['similarity']:.3f}",
        f"{small['integer_share']:.0%}",
        f"{small['megabytes']:.1f} MB",
        f"{small['milliseconds']:.1f} ms",
    )


if __name__ == "__main__":
    sys.exit(main())
