"""The gate: no bundle is written before the library has been compared, in keypoints, with the source model.

The library that ships runs from pixels to keypoints. Beside it the source model runs in its own runtime, fed and
decoded by the float64 NumPy reference. What counts is the distance between the two in pixels of the network's input,
over the joints that the source model itself is sure of.

Quantized networks magnify: one step in an early layer may move a joint to the next cell, and the source runtime's own
kernels differ among themselves. They are judged by most joints and values, not by the worst.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tvmpose.errors import InputError, ModelError, VerifyError
from tvmpose.extras import require
from tvmpose.modelspec import TensorSpec
from tvmpose.pose import reference
from tvmpose.pose.reference_people import decode_all
from tvmpose.pose.similarity import keypoint_similarity

if TYPE_CHECKING:
    from tvmpose.baselines.judge import Judge
    from tvmpose.cards.card import Card
    from tvmpose.runtime import Person

LIMIT_PX = 0.5  # input pixels; a float model is expected to stay below 0.05
SURE_SCORE = 0.3  # joints below it are not compared: where the source model guesses, so may we
TENSOR_LIMIT = 1e-3  # of each output's maximum, for a model without a card
QUANTIZED_MEDIAN_PX = 0.5
QUANTIZED_P95_PX = 8.0  # what LiteRT's reference and default kernels differ by on photos of COCO (MoveNet int8)
LOSSY_TENSOR_LIMIT = 0.25  # of each output's maximum, of a precision that we have lowered, without a card
QUANTIZED_SHARE = 0.99  # of the values of each output, without a card: not more than a step off
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class Loss:
    """What a lower precision may cost against the float source; distances in input pixels."""

    median_px: float
    p95_px: float  # a single joint that jumps is seen here, and in none of the others
    similarity: float


# Rounding a trained network's numbers moves joints by less than a pixel; one that moves further is on another peak.
LOSSES = {
    "int8": Loss(2.0, float("inf"), 0.9),  # --budget is of the median
    "float16": Loss(0.5, 2.0, 0.9),
    "bfloat16": Loss(2.0, 8.0, 0.9),
}


@dataclass(frozen=True)
class Findings:
    """How far the library is from the source model over all samples; distances in input pixels."""

    judge: str
    samples: int
    joints: int
    median_px: float
    p95_px: float
    max_px: float
    tensors_max_relative: float
    tensors_max_steps: float | None = None  # of quantized networks, as is the next
    tensors_within_step: float | None = None  # share of the values, of the output with the smallest
    similarity: float | None = None  # object keypoint similarity (OKS), the samples' mean; None without a card


@dataclass(frozen=True)
class Expectation:
    """What the source model says of one picture."""

    tensors: list[np.ndarray]  # its raw outputs
    people: np.ndarray | None  # (P, K, 3) in pixels of the picture, the best first; None without a card
    input: np.ndarray
    pixels_per_input_pixel: float


class Runner(Protocol):
    """Of a judge, all that a single picture needs."""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]: ...


class Network(Protocol):
    """Of runtime.Pose, what the gate needs: here, or on a board."""

    def __call__(self, frame: np.ndarray, *, format: str = "bgr") -> "list[Person]": ...

    def run_tensors(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]: ...


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


def expect(judge: Runner, card: "Card | None", spec: "TensorSpec", picture: np.ndarray) -> Expectation:
    """Run the source model on a whole BGR picture."""
    if card is None:
        tensor = plain_input(spec, picture)
        return Expectation(judge.run([tensor]), None, tensor, 1.0)
    size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"
    matrix = reference.box_matrix(None, (picture.shape[1], picture.shape[0]), size, card.crop.padding, half)
    tensor = network_input(card, spec, picture, matrix)
    outputs = judge.run([tensor])
    count = len(card.keypoints.keypoints)
    found = decode_all(card.head, outputs, matrix, num_keypoints=count, input_size=size, half_pixel=half)
    people = np.stack([person.keypoints for person in found]) if found else np.zeros((0, count, 3))
    return Expectation(outputs, people, tensor, float(np.hypot(matrix[0], matrix[3])))


def at_network_size(card: "Card", picture: np.ndarray) -> np.ndarray:
    """What the network sees of a whole BGR picture, as a uint8 BGR picture of its size.

    For quantized networks: float32 and float64 now and then round a pixel to different bytes, which is enough to move
    joints. Of this picture, every pixel is taken as it is.
    """
    size, half = (card.input.width, card.input.height), card.crop.pixel_centers == "half"
    matrix = reference.box_matrix(None, (picture.shape[1], picture.shape[0]), size, card.crop.padding, half)
    plain = replace(card, input=replace(card.input, colour="bgr", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    return network_input(plain, TensorSpec("bytes", (1, size[1], size[0], 3), "uint8"), picture, matrix)[0]


def network_input(card: "Card", spec: "TensorSpec", picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
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
    """Without a card: the picture, in RGB, stretched to the input; 0..1 where the input is float.

    A float input that is no picture, of keypoints over time, say, gets the same noise every time.
    """
    from tvmpose.codegen.pixels import layout_of

    cv2 = require("cv2", extra="compiler")
    layout = layout_of(spec.shape)
    if layout is None and len(spec.shape) < 4 and np.dtype(spec.dtype).kind == "f":
        return np.random.default_rng(0).standard_normal(spec.shape, "float32").astype(spec.dtype)
    if layout is None:
        raise InputError(f"input {spec.name} {spec.shape} is no picture: give --card, or --no-verify")
    height, width = spec.shape[1:3] if layout == "NHWC" else spec.shape[2:4]
    pixels = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (width, height), interpolation=cv2.INTER_AREA)
    scaled = pixels / 255.0 if np.dtype(spec.dtype).kind == "f" else pixels
    ordered = scaled if layout == "NHWC" else scaled.transpose(2, 0, 1)
    return np.ascontiguousarray(ordered[None].astype(spec.dtype))


def compare(
    pose: Network,
    judge: "Judge",
    card: "Card | None",
    spec: "TensorSpec",
    pictures: Sequence[tuple[str, np.ndarray]],
    steps: Sequence[float | None] | None = None,
) -> Findings:
    """Measure; judges nothing. Raises InputError where no joint of any picture is sure enough to compare.

    steps: of a quantized network, one for each output, see qdq.output_steps.
    """
    distances: list[np.ndarray] = []
    relative: list[float] = []
    apart: list[list[np.ndarray]] = []  # in steps: of each picture, of each output
    alike: list[float] = []
    for name, picture in pictures:
        expected = expect(judge, card, spec, picture)
        require_numbers(expected.tensors, judge, name)
        tensors = pose.run_tensors([expected.input])
        relative += _relative(tensors, expected.tensors)
        if steps is not None:
            apart.append([steps_apart(*each) for each in zip(tensors, expected.tensors, steps, strict=True)])
        if card and expected.people is not None:
            found = [person.keypoints for person in pose(picture, format="bgr")]
            for person in expected.people:
                sure = person[:, 2] >= SURE_SCORE
                theirs = nearest_person(found, person)
                distances.append(np.hypot(*(theirs - person)[sure, :2].T) / expected.pixels_per_input_pixel)
                if sure.any():
                    names = [name for name, is_sure in zip(card.keypoints.keypoints, sure, strict=True) if is_sure]
                    alike.append(keypoint_similarity(theirs[sure], person[sure], names))
    joints = np.concatenate(distances) if distances else np.zeros(0)
    if card and not joints.size:
        what = ", ".join(card.keypoints.keypoints) if card.kept else "people"
        raise InputError(
            f"the source model is sure (score {SURE_SCORE}) of no joint in any sample: give --samples that show {what}"
        )
    median, p95, worst = np.percentile(joints, (50, 95, 100)).tolist() if joints.size else (0.0, 0.0, 0.0)
    findings = Findings(judge.name, len(pictures), joints.size, median, p95, worst, float(np.max(relative)))  # or NaN
    findings = replace(findings, similarity=float(np.mean(alike)) if alike else None)
    if steps is None:
        return findings
    outputs = [np.concatenate([each.ravel() for each in output]) for output in zip(*apart, strict=True)]
    within = min(share_within_step(output) for output in outputs)
    most = float(np.max([output.max() for output in outputs]))
    return replace(findings, tensors_max_steps=most, tensors_within_step=within)


def require_numbers(outputs: Sequence[np.ndarray], judge: "Judge", sample: str) -> None:
    """Raise ModelError where the source model itself computes infinities or NaN: there is nothing to agree with."""
    for index, output in enumerate(outputs):
        if output.dtype.kind == "f" and (lost := int((~np.isfinite(output)).sum())):
            raise ModelError(
                f"the model's own output {index} has {lost} of {output.size} values that are infinite or NaN in "
                f"{judge.name}, of {sample}: its weights are damaged, or too large; --no-verify to compile it"
            )


def nearest_person(found: Sequence[np.ndarray], expected: np.ndarray) -> np.ndarray:
    """Of all that were found, (K, 3) each, the person whose joints are nearest; far away where there is nobody.

    Networks that find people order them by scores, which may change places.
    """
    nobody = np.full_like(expected, np.inf)
    return min(found, key=lambda other: float(np.abs(other - expected)[:, :2].sum()), default=nobody)


def steps_apart(found: np.ndarray, expected: np.ndarray, step: float | None) -> np.ndarray:
    """How far each value is off, in steps of the given size; without one, in 255ths of the range that is expected."""
    if step is None:
        step = max(float(np.ptp(expected)) / 255, 1e-30)
    return np.abs(found.astype("float64") - expected) / step


def share_within_step(steps: np.ndarray) -> float:
    """Of differences in steps, those that are one or none."""
    return float((steps <= 1.001).mean())  # steps of floats are not quite whole


def require_agreement(findings: Findings, card: "Card | None", diverging: "Iterator[str]") -> None:
    """Raise VerifyError, naming the first tensor that diverges (asked for only then), where the limits are exceeded."""
    if what := _disagreement(findings, card):
        raise VerifyError(
            f"the library disagrees with {findings.judge}: {what}; {next(diverging)}; --no-verify to keep it"
        )


def require_accuracy(findings: Findings, card: "Card | None", precision: str) -> None:
    """The same for a model whose precision we have lowered, against its source; its outputs may differ as bytes do.

    Raises VerifyError.
    """
    if not (what := _loss(findings, card, LOSSES[precision])):
        return
    helps = "a smaller --budget or another --recipe" if precision == "int8" else "another --precision"
    raise VerifyError(
        f"{precision} costs too much against {findings.judge}: {what}; {helps} helps, --accept-accuracy-loss keeps it"
    )


def _loss(findings: Findings, card: "Card | None", limit: Loss) -> str | None:
    """Each comparison is negated, as in the next."""
    if card is None:
        if not findings.tensors_max_relative <= LOSSY_TENSOR_LIMIT:
            share = f"{findings.tensors_max_relative:.2g} of their maximum (limit {LOSSY_TENSOR_LIMIT:g})"
            return f"its outputs differ by {share}"
    elif not (findings.median_px <= limit.median_px and (findings.similarity or 0) >= limit.similarity):
        return (
            f"half of its keypoints differ by {findings.median_px:.2f} input pixels (limit {limit.median_px:g}), "
            f"OKS {findings.similarity or 0:.3f} (limit {limit.similarity:g})"
        )
    elif not findings.p95_px <= limit.p95_px:
        return f"its keypoints differ by {findings.p95_px:.2f} input pixels at p95 (limit {limit.p95_px:g})"
    return None


def _disagreement(findings: Findings, card: "Card | None") -> str | None:
    """Each comparison is negated: a NaN is no agreement."""
    within = findings.tensors_within_step
    if card is None and within is not None:
        if not within >= QUANTIZED_SHARE:
            return f"{1 - within:.1%} of an output's values are more than a step off (limit {1 - QUANTIZED_SHARE:.0%})"
    elif card is None:
        if not findings.tensors_max_relative <= TENSOR_LIMIT:
            share = f"{findings.tensors_max_relative:.2g} of their maximum (limit {TENSOR_LIMIT:g})"
            return f"its outputs differ by {share}"
    elif within is None:
        if not findings.max_px <= LIMIT_PX:
            return f"its keypoints differ by up to {findings.max_px:.2f} input pixels (limit {LIMIT_PX:g})"
    elif not findings.median_px <= QUANTIZED_MEDIAN_PX:
        return f"half of its keypoints differ by {findings.median_px:.2f} input pixels (limit {QUANTIZED_MEDIAN_PX:g})"
    elif not findings.p95_px <= QUANTIZED_P95_PX:
        return f"its keypoints differ by {findings.p95_px:.2f} input pixels at p95 (limit {QUANTIZED_P95_PX:g})"
    return None


def _relative(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> list[float]:
    """The largest difference of each tensor as a share of its maximum."""
    with np.errstate(invalid="ignore"):  # what is infinite in ours
        return [
            float(np.abs(a.astype("float64") - b).max() / max(float(np.abs(b).max()), 1e-30))
            for a, b in zip(found, expected, strict=True)
        ]
