"""What the command line asks for, before anything heavy is imported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.errors import InputError

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tvmpose.cards.card import Card
    from tvmpose.modelspec import ModelSpec

DEFAULT_RECIPE = "balanced"
DEFAULT_BUDGET_PX = 1.0


@dataclass(frozen=True)
class Calibration:
    """How to quantize.

    folder: pictures. boxes: COCO annotations of the people in them; without, pictures are looked at whole. recipe: a
    Recipe's option. budget_px: the median distance, in pixels of the input, that keypoints may move; None: every layer
    becomes integer, however far they do.
    """

    folder: Path
    boxes: Path | None = None
    recipe: str = DEFAULT_RECIPE
    budget_px: float | None = None


def calibration_of(
    folder: Path, boxes: Path | None, recipe: str | None, budget: str | None, has_card: bool
) -> Calibration:
    """From the command line. budget: pixels, "none", or None for the default, which needs a card."""
    if budget is None:
        pixels = DEFAULT_BUDGET_PX if has_card else None
    elif budget == "none":
        pixels = None
    else:
        try:
            pixels = float(budget)
        except ValueError as error:
            raise InputError(f"--budget {budget}: must be pixels, as 1.0, or none") from error
        if not pixels > 0:
            raise InputError(f"--budget {budget}: must be more than 0")
    return Calibration(folder, boxes, recipe or DEFAULT_RECIPE, pixels)


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
