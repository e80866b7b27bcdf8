"""Sums, products and rescalings of quantized numbers against float64, for any scales; exactness is tested on LiteRT."""

from functools import reduce

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.ao.quantization.fx._decomposed import dequantize_per_tensor, quantize_per_tensor
from tvm import te

from tests.frontend.quantized_onnx import judge, parse
from tests.kernels.test_requantize import computed
from tvmpose.kernels.integer import Output
from tvmpose.kernels.integer_elementwise import (
    mean_formula,
    product_formula,
    rescale_formula,
    shifted_sum_formula,
    sum_formula,
)
from tvmpose.kernels.requantize import Rounding
from tvmpose.qdq import Quantization, per_tensor

few = settings(max_examples=15, deadline=None)
BYTES = np.random.default_rng(5).integers(-128, 128, (2, 400)).astype("int8")
scales = st.floats(2.0**-9, 2.0, width=32)
quantizations = st.builds(lambda scale, zero: per_tensor(scale, zero, "int8"), scales, st.integers(-128, 127))


def numbers(integers: np.ndarray, quantization: Quantization) -> np.ndarray:
    return (integers.astype("float64") - int(quantization.zero_point)) * np.float64(quantization.scale)


def assert_near(found: np.ndarray, exact: np.ndarray, target: Quantization, error: float) -> None:
    """Within `error` steps of the real number."""
    steps = np.clip(exact / np.float64(target.scale) + int(target.zero_point), -128, 127)
    assert np.abs(found - steps).max() <= error


def whole(target: Quantization) -> Output:
    return Output("int8", int(target.zero_point), -128, 127)


@few
@given(st.sampled_from(Rounding), quantizations, quantizations, quantizations, st.sampled_from([-1, 1]))
def test_sum_formula__any_scales__is_the_nearest_integer(
    rounding: Rounding, a: Quantization, b: Quantization, target: Quantization, sign: int
):
    formula = sum_formula(rounding, a, b, target, whole(target), sign)
    found = computed(lambda x, y: te.compute(x.shape, lambda i: formula(x[i], y[i])), *BYTES)
    exact = numbers(BYTES[0], a) + sign * numbers(BYTES[1], b)
    assert_near(found, exact, target, 0.51)


@few
@given(st.sampled_from(Rounding), quantizations, quantizations, quantizations)
def test_product_formula__any_scales__is_the_nearest_integer(
    rounding: Rounding, a: Quantization, b: Quantization, target: Quantization
):
    formula = product_formula(rounding, a, b, target, whole(target))
    found = computed(lambda x, y: te.compute(x.shape, lambda i: formula(x[i], y[i])), *BYTES)
    assert_near(found, numbers(BYTES[0], a) * numbers(BYTES[1], b), target, 1.01)  # fixed point rounds twice


@few
@given(st.sampled_from(Rounding), quantizations, quantizations)
def test_rescale_formula__any_scales__is_the_nearest_integer(
    rounding: Rounding, data: Quantization, target: Quantization
):
    formula = rescale_formula(rounding, data, target, whole(target))
    found = computed(lambda x: te.compute(x.shape, lambda i: formula(x[i])), BYTES[0])
    # XNNPACK has 8 bits behind the point of a scale, so that 255 steps may be one off
    assert_near(found, numbers(BYTES[0], data), target, 1.01)


@few
@given(st.sampled_from(Rounding), quantizations, quantizations, st.integers(1, 400))
def test_mean_formula__any_count__is_the_nearest_integer(
    rounding: Rounding, data: Quantization, target: Quantization, count: int
):
    sums = BYTES[0].astype("int32") * count + np.arange(BYTES.shape[1], dtype="int32") % count
    formula = mean_formula(rounding, data, target, whole(target), count)
    found = computed(lambda x: te.compute(x.shape, lambda i: formula(x[i])), sums)
    assert_near(found, numbers(sums / count, data), target, 1.01)


PAIRS = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))).reshape(2, -1).astype("int8")
# Sums are halfway between two integers where scales are alike, and a number away from it by one rounding.
ALIKE = [
    (per_tensor(0.0235, 3, "int8"), per_tensor(0.0235, -7, "int8"), per_tensor(0.047, 9, "int8")),
    (per_tensor(0.0563, 0, "int8"), per_tensor(0.0541, -4, "int8"), per_tensor(0.076, 4, "int8")),
    (per_tensor(0.5, 1, "int8"), per_tensor(0.25, 2, "int8"), per_tensor(1.0, -5, "int8")),
]
ONNX = """agraph (int8[65536] x, int8[65536] y) => (int8[65536] z) {
  a = DequantizeLinear (x, sx, zx)
  b = DequantizeLinear (y, sy, zy)
  c = OPERATOR (a, b)
  z = QuantizeLinear (c, sz, zz)
}"""
QLINEAR = """agraph (int8[65536] x, int8[65536] y) => (int8[65536] z) {
  z = com.microsoft.QLinearAdd (x, sx, zx, y, sy, zy, sz, zz)
}"""


def by_onnxruntime(graph: str, quantizations, tmp_path) -> np.ndarray:
    model = parse(graph)
    for name, q in zip("xyz", quantizations, strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(q.scale, f"s{name}"))
        model.graph.initializer.append(onnx.numpy_helper.from_array(q.zero_point.astype("int8"), f"z{name}"))
    onnx.save(model, tmp_path / "net.onnx")
    return judge(tmp_path / "net.onnx", *PAIRS)[0]


def by_torch(operator: str, a: Quantization, b: Quantization, target: Quantization) -> np.ndarray:
    def facts(q: Quantization) -> tuple[float, int, int, int, torch.dtype]:
        return float(q.scale), int(q.zero_point), -128, 127, torch.int8

    values = [dequantize_per_tensor(torch.from_numpy(x), *facts(q)) for x, q in zip(PAIRS, (a, b), strict=True)]
    return quantize_per_tensor(reduce(getattr(torch, operator.lower()), values), *facts(target)).numpy()


@pytest.mark.parametrize("case", range(len(ALIKE)))
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_formulas__all_pairs_of_bytes__are_onnxruntime_s_and_torch_s(operator: str, case: int, tmp_path):
    a, b, target = ALIKE[case]
    for rounding in (Rounding.ORT, Rounding.TORCH):
        if operator == "Mul":
            formula = product_formula(rounding, a, b, target, whole(target))
        else:
            formula = sum_formula(rounding, a, b, target, whole(target), -1 if operator == "Sub" else 1)
        found = computed(lambda x, y, formula=formula: te.compute(x.shape, lambda i: formula(x[i], y[i])), *PAIRS)
        graph = ONNX.replace("OPERATOR", operator)
        theirs = (
            by_onnxruntime(graph, ALIKE[case], tmp_path)
            if rounding is Rounding.ORT
            else by_torch(operator, *ALIKE[case])
        )
        np.testing.assert_array_equal(found, theirs)


@pytest.mark.parametrize("case", range(len(ALIKE)))
def test_shifted_sum_formula__all_pairs_of_bytes__is_qlinearadd_s(case: int, tmp_path):
    a, b, target = ALIKE[case]
    ratios = [per_tensor(float(q.scale / target.scale), int(q.zero_point), "int8") for q in (a, b)]
    units = per_tensor(1.0, 0, "int8")
    formula = shifted_sum_formula(*ratios, [0, 0], np.float32(target.zero_point), units, whole(units))
    found = computed(lambda x, y: te.compute(x.shape, lambda i: formula(x[i], y[i])), *PAIRS)
    np.testing.assert_array_equal(found, by_onnxruntime(QLINEAR, ALIKE[case], tmp_path))
