"""The order of work: pictures, observations, equalization, ranges, biases, and what stays float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvmpose.errors import InputError, ModelError
from tvmpose.qdq import is_quantized
from tvmpose.quantize.choices import Choices
from tvmpose.quantize.choose import byte_tensors, corrections, stored_bytes, stored_wide
from tvmpose.quantize.equalize import equalizations, equalized
from tvmpose.quantize.mixed import Distances, Judgement, float_layers, integer_share
from tvmpose.quantize.network import prepare, read_network
from tvmpose.quantize.observe import observe
from tvmpose.quantize.pictures import Sample, read_calibration
from tvmpose.quantize.precision import Precision
from tvmpose.quantize.recipes import recipe_called
from tvmpose.quantize.request import Calibration
from tvmpose.quantize.simulate import simulation

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tvmpose.cards.card import Card
    from tvmpose.modelspec import ModelSpec

JUDGED = {"px": 32, "ap": 128}  # samples, evenly spread, that mixed precision is decided on


@dataclass(frozen=True)
class Outcome:
    """distances: simulated, of the calibration pictures; None where there was no budget to hold."""

    choices: Choices
    integer_share: float  # of the multiply-adds
    distances: Distances | None


def quantize(
    module: "IRModule",
    spec: "ModelSpec",
    card: "Card | None",
    source_sha256: str,
    calibration: Calibration,
    progress: Callable[[str, str], None] = lambda step, result: None,
) -> Outcome:
    """Choices for an imported float model. Raises InputError for unsuitable pictures, ModelError for such a model."""
    if is_quantized(module["main"]):
        raise ModelError("the model is quantized already: compile it as it is")
    if len(spec.inputs) != 1:
        raise ModelError(f"a model with {len(spec.inputs)} inputs cannot be calibrated on pictures")
    if calibration.budget is not None and card is None:
        raise InputError("--budget is about keypoints: it needs a card (--card)")
    recipe = recipe_called(calibration.recipe)
    steps, network = recipe.value, read_network(prepare(module))
    if not network.layers:
        raise ModelError("the model has no convolution with constant weights: there is nothing to quantize")
    samples = read_calibration(calibration.folder, calibration.boxes, card, spec.inputs[0])
    inputs = [sample.tensor for sample in samples]
    progress("pictures", f"{len(samples)} samples")
    observations = observe(network, inputs, ranges=not steps.equalize)
    factors = equalizations(network, observations.largest) if steps.equalize else ()
    if factors:
        network = equalized(network, factors)
        progress("equalize", f"{len(factors)} streams of tensors")
        observations = observe(network, inputs)
    in_bytes = byte_tensors(network, observations, steps.ranges)
    corrected = corrections(network, in_bytes, observations, steps)
    progress("observe", f"{len(in_bytes)} tensors, {len(network.layers)} layers")
    kept: tuple[str, ...] = ()
    distances = None
    if (budget := calibration.budget) is not None and card is not None:
        judged, names = spread(samples, JUDGED[budget.unit]), card.keypoints.keypoints
        by_ap = calibration.boxes if budget.unit == "ap" else None
        precision = Precision(by_ap, names, judged) if by_ap else None
        with simulation(network, in_bytes, corrected, steps.least_error_weights) as simulated:
            kept, distances = float_layers(Judgement(simulated, card, judged, precision), budget)
    choices = Choices(
        source_sha256=source_sha256,
        recipe=recipe.option,
        pictures=len(samples),
        least_error_weights=steps.least_error_weights,
        float_layers=kept,
        equalizations=factors,
        corrections={name: values for name, values in corrected.items() if name not in kept},
        bytes=stored_bytes(network, in_bytes, kept),
        wide=stored_wide(network, in_bytes, observations, kept),
    )
    share = integer_share(network, kept)
    progress("precision", summary(len(network.layers) - len(kept), len(network.layers), share, distances))
    return Outcome(choices, share, distances)


def summary(integer: int, layers: int, share: float, distances: Distances | None) -> str:
    text = f"{integer} of {layers} layers in int8, {share:.1%} of the multiply-adds"
    if distances is None:
        return text
    text += f"; keypoints move {distances.median:.2f} px, p95 {distances.p95:.2f}"
    return text if distances.lost_ap is None else f"{text}; {distances.lost_ap:.1f} points of AP less"


def spread(items: "Sequence[Sample]", count: int) -> "list[Sample]":
    """At most so many, evenly spread."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else list(items)
