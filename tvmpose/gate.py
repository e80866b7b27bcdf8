"""The gate: no bundle is written before the library has been compared, in keypoints, with the source model.

The library that ships runs from pixels to keypoints. Beside it the source model runs in its own runtime, fed and
decoded by the float64 NumPy reference. What counts is the distance between the two in pixels of the network's input,
over the joints that the source model itself is sure of.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tvmpose.errors import InputError, VerifyError
from tvmpose.extras import require
from tvmpose.pose import reference

if TYPE_CHECKING:
    from tvmpose.baselines.judge import Judge
    from tvmpose.cards.card import Card
    from tvmpose.modelspec import TensorSpec
    from tvmpose.runtime import Pose

LIMIT_PX = 0.5  # input pixels; a float model is expected to stay below 0.05
SURE_SCORE = 0.3  # joints below it are not compared: where the source model guesses, so may we
TENSOR_LIMIT = 1e-3  # of each output's maximum, for a model without a card
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class Findings:
    """How far the library is from the source model over all samples; distances in input pixels."""

    judge: str
    samples: int
    joints: int
    max_px: float
    p95_px: float
    tensors_max_relative: float


@dataclass(frozen=True)
class Expectation:
    """What the source model says of one picture."""

    tensors: list[np.ndarray]  # its raw outputs
    keypoints: np.ndarray | None  # (K, 3) in pixels of the picture; None without a card
    input: np.ndarray
    pixels_per_input_pixel: float


def read_samples(folder: Path | None, fallback: Path | None) -> list[tuple[str, np.ndarray]]:
    """Pictures as (name, uint8 BGR). Raises InputError for a folder without any, or one that cannot be decoded."""
    cv2 = require("cv2", extra="compiler")
    paths = [fallback] if fallback and not folder else []
    if folder:
        if not folder.is_dir():
            raise InputError(f"--samples {folder}: not a folder")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise InputError(f"--samples {folder}: holds no pictures ({', '.join(sorted(PICTURES))})")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our one line says it
    return [(path.name, _decode(path)) for path in paths]


def _decode(path: Path) -> np.ndarray:
    cv2 = require("cv2", extra="compiler")
    try:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # a header that claims too many pixels
        picture = None
    if picture is None:
        raise InputError(f"--samples: {path} cannot be decoded as a picture")
    return picture


def expect(judge: "Judge", card: "Card | None", spec: "TensorSpec", picture: np.ndarray) -> Expectation:
    """Run the source model on a whole BGR picture."""
    if card is None:
        tensor = plain_input(spec, picture)
        return Expectation(judge.run([tensor]), None, tensor, 1.0)
    size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"
    matrix = reference.box_matrix(None, (picture.shape[1], picture.shape[0]), size, card.crop.padding, half)
    tensor = _network_input(card, spec, picture, matrix)
    outputs = judge.run([tensor])
    count = len(card.keypoints.keypoints)
    keypoints, _ = reference.decode(card.head, outputs, matrix, num_keypoints=count, input_size=size, half_pixel=half)
    scale = float(np.hypot(matrix[0], matrix[3]))
    return Expectation(outputs, keypoints, tensor, scale)


def _network_input(card: "Card", spec: "TensorSpec", picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    from tvmpose.codegen.pixels import layout_of

    pixels = reference.warp(
        picture,
        "bgr",
        matrix,
        input_size=(card.input.width, card.input.height),
        colour=card.input.colour,
        mean=card.input.mean,
        std=card.input.std,
        border=card.crop.border,
        downscale=card.crop.downscale,
    )
    if np.dtype(spec.dtype).kind != "f":
        pixels = np.clip(np.floor(pixels + 0.5), 0, 255)
    ordered = pixels if layout_of(spec.shape) == "NHWC" else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(ordered[None].astype(spec.dtype))


def plain_input(spec: "TensorSpec", picture: np.ndarray) -> np.ndarray:
    """Without a card: the picture, in RGB, stretched to the input; 0..1 where the input is float."""
    from tvmpose.codegen.pixels import layout_of

    cv2 = require("cv2", extra="compiler")
    layout = layout_of(spec.shape)
    if layout is None:
        raise InputError(f"input {spec.name} {spec.shape} is no picture: give --card, or --no-verify")
    height, width = spec.shape[1:3] if layout == "NHWC" else spec.shape[2:4]
    pixels = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (width, height), interpolation=cv2.INTER_AREA)
    scaled = pixels / 255.0 if np.dtype(spec.dtype).kind == "f" else pixels
    ordered = scaled if layout == "NHWC" else scaled.transpose(2, 0, 1)
    return np.ascontiguousarray(ordered[None].astype(spec.dtype))


def compare(
    pose: "Pose", judge: "Judge", card: "Card | None", spec: "TensorSpec", pictures: Sequence[tuple[str, np.ndarray]]
) -> Findings:
    """Measure; judges nothing. Raises InputError where no joint of any picture is sure enough to compare."""
    distances: list[np.ndarray] = []
    relative: list[float] = []
    for _, picture in pictures:
        expected = expect(judge, card, spec, picture)
        relative += _relative(pose.run_tensors([expected.input]), expected.tensors)
        if expected.keypoints is not None:
            found = pose(picture, format="bgr")[0].keypoints
            sure = expected.keypoints[:, 2] >= SURE_SCORE
            offsets = found[sure, :2] - expected.keypoints[sure, :2]
            distances.append(np.hypot(*offsets.T) / expected.pixels_per_input_pixel)
    joints = np.concatenate(distances) if distances else np.zeros(0)
    if card and not joints.size:
        what = ", ".join(card.keypoints.keypoints) if card.kept else "people"
        raise InputError(
            f"the source model is sure (score {SURE_SCORE}) of no joint in any sample: give --samples that show {what}"
        )
    worst, p95 = (float(joints.max()), float(np.percentile(joints, 95))) if joints.size else (0.0, 0.0)
    return Findings(judge.name, len(pictures), joints.size, worst, p95, float(np.max(relative)))  # NaN if any is


def require_agreement(findings: Findings, card: "Card | None", diverging: "Iterator[str]") -> None:
    """Raise VerifyError, naming the first tensor that diverges (asked for only then), where the limits are exceeded."""
    if card is None and not findings.tensors_max_relative <= TENSOR_LIMIT:  # a NaN is no agreement
        what = f"its outputs differ by {findings.tensors_max_relative:.2g} of their maximum (limit {TENSOR_LIMIT:g})"
    elif card and not findings.max_px <= LIMIT_PX:
        what = f"its keypoints differ by up to {findings.max_px:.2f} input pixels (limit {LIMIT_PX:g})"
    else:
        return
    raise VerifyError(f"the library disagrees with {findings.judge}: {what}; {next(diverging)}; --no-verify to keep it")


def _relative(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> list[float]:
    """The largest difference of each tensor as a share of its maximum."""
    return [
        float(np.abs(a.astype("float64") - b).max() / max(float(np.abs(b).max()), 1e-30))
        for a, b in zip(found, expected, strict=True)
    ]
