"""What the command line asks for, before anything heavy is imported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tvmpose.errors import InputError

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tvmpose.cards.card import Card
    from tvmpose.modelspec import ModelSpec
    from tvmpose.quantize.mixed import Distances

DEFAULT_RECIPE = "balanced"


@dataclass(frozen=True)
class Budget:
    """What quantization may cost: pixels of the input that half of the keypoints move (px), or points of AP (ap)."""

    limit: float
    unit: Literal["px", "ap"] = "px"

    def holds(self, found: "Distances") -> bool:
        cost = found.lost_ap if self.unit == "ap" else found.median
        return cost is not None and cost <= self.limit


DEFAULT_BUDGET = Budget(1.0)


@dataclass(frozen=True)
class Calibration:
    """How to quantize.

    folder: pictures. boxes: COCO annotations of the people in them; without, pictures are looked at whole. recipe: a
    Recipe's option. budget: layers stay float until it holds; None: every layer becomes integer.
    """

    folder: Path
    boxes: Path | None = None
    recipe: str = DEFAULT_RECIPE
    budget: Budget | None = None


def calibration_of(
    folder: Path, boxes: Path | None, recipe: str | None, budget: str | None, has_card: bool
) -> Calibration:
    """From the command line. budget: pixels, points of AP, "none", or None for the default, which needs a card."""
    default = DEFAULT_BUDGET if has_card else None
    asked = default if budget is None else None if budget == "none" else _budget(budget)
    if asked and asked.unit == "ap" and boxes is None:
        raise InputError(f"--budget {budget}: average precision needs annotated people: --boxes JSON")
    return Calibration(folder, boxes, recipe or DEFAULT_RECIPE, asked)


def _budget(text: str) -> Budget:
    unit: Literal["px", "ap"] = "ap" if text.endswith("ap") else "px"
    try:
        limit = float(text.removesuffix(unit))
    except ValueError as error:
        raise InputError(f"--budget {text}: must be pixels, as 1.0, points of AP, as 1.0ap, or none") from error
    if not limit > 0:
        raise InputError(f"--budget {text}: must be more than 0")
    return Budget(limit, unit)


@dataclass(frozen=True)
class Quantized:
    """What became of a model, as the manifest keeps it."""

    recipe: str
    pictures: int
    integer_share: float  # of the multiply-adds
    float_layers: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """A model to quantize: choices in a file, or pictures to make them from."""

    choices: Path | None = None
    calibration: Calibration | None = None

    def apply(
        self,
        module: "IRModule",
        spec: "ModelSpec",
        card: "Card | None",
        source_sha256: str,
        progress: Callable[[str, str], None],
    ) -> "tuple[IRModule, Quantized]":
        """The module in the QDQ form. Raises InputError or ModelError where that cannot be."""
        from tvmpose.quantize.choices import read_choices
        from tvmpose.quantize.insert import quantized_module
        from tvmpose.quantize.mixed import integer_share
        from tvmpose.quantize.network import prepare, read_network
        from tvmpose.quantize.quantizer import quantize

        if self.calibration:
            choices = quantize(module, spec, card, source_sha256, self.calibration, progress).choices
        else:
            assert self.choices is not None
            choices = read_choices(self.choices)
            if choices.source_sha256 != source_sha256:
                raise InputError(f"{self.choices}: is of another model file (sha256 {choices.source_sha256[:12]}…)")
        share = integer_share(read_network(prepare(module)), choices.float_layers)
        done = Quantized(choices.recipe, choices.pictures, round(share, 4), choices.float_layers)
        return quantized_module(module, choices), done
