"""Quantized networks: integers where they should be, and close to the float ones."""

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.native import pipelined
from tests.quantize.nets import SHAPE, pictures, residual_net
from tvmpose.errors import InputError
from tvmpose.kernels.isa import vector_isa
from tvmpose.kernels.requantize import Rounding
from tvmpose.modelspec import ModelSpec, TensorSpec
from tvmpose.passes.lower_integer import lower_integer
from tvmpose.passes.verify_integer import refusals_of
from tvmpose.quantize import quantizer
from tvmpose.quantize.choices import Choices
from tvmpose.quantize.insert import quantized_module
from tvmpose.quantize.pictures import Sample
from tvmpose.quantize.quantizer import quantize
from tvmpose.quantize.request import Calibration
from tvmpose.targets import host_target

SPEC = ModelSpec("onnx", (TensorSpec("x", SHAPE, "float32"),), (TensorSpec("y", (1, 8, 8, 5), "float32"),))
SHA = hashlib.sha256(b"net").hexdigest()


SEEN = pictures()


@cache
def chosen(recipe: str = "balanced", uneven: float = 1.0) -> Choices:
    """For residual_net(uneven), of pictures in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizer, "read_calibration", lambda *_: [Sample(x, None) for x in SEEN])
        calibration = Calibration(Path("in memory"), recipe=recipe)
        return quantize(residual_net(uneven=uneven), SPEC, None, SHA, calibration).choices


def signal_to_noise(found: np.ndarray, expected: np.ndarray) -> float:
    """In decibels."""
    return float(10 * np.log10(np.square(expected).mean() / np.square(found - expected).mean()))


def outputs(module, inputs: list[np.ndarray], rounding: Rounding = Rounding.ORT) -> np.ndarray:
    run = pipelined(module, host_target(), rounding)
    return np.stack([run(x)[0] for x in inputs])


@pytest.mark.parametrize(("recipe", "at_least"), [("balanced", 33), ("minmax", 24), ("mse", 30), ("percentile", 30)])
def test_quantized_module__uneven_channels__close_to_float(recipe: str, at_least: float):
    module = residual_net(uneven=30.0)
    choices = chosen(recipe, 30.0)
    fresh = pictures(3, seed=9)
    found, expected = outputs(quantized_module(module, choices), fresh), outputs(module, fresh)
    assert signal_to_noise(found, expected) > at_least


def test_quantized_module__whole_network__nothing_but_the_input_is_quantized_from_floats():
    module = residual_net()
    choices = chosen()
    lowered = lower_integer(quantized_module(module, choices), vector_isa(host_target().llvm()), Rounding.ORT)
    assert [refusal.operator for refusal in refusals_of(lowered)] == ["input"]


def test_quantized_module__choices_of_another_network__input_error():
    module = residual_net()
    choices = chosen()
    strange = replace(choices, float_layers=("elsewhere",))
    with pytest.raises(InputError, match=r"no tensor 'elsewhere'.*quantize again"):
        quantized_module(module, strange)


def test_quantized_module__all_layers_float__is_the_float_network():
    module = residual_net()
    choices = chosen()
    layers = tuple(name for name in choices.corrections)
    plain = replace(choices, bytes={}, wide={}, float_layers=layers, corrections={})
    found, expected = outputs(quantized_module(module, plain), SEEN[:1]), outputs(module, SEEN[:1])
    assert signal_to_noise(found, expected) > 55  # float16 weights
