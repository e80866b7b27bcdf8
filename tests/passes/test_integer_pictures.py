"""Pooling of bytes in our kernels: against ONNX Runtime and torch, halves included."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers quantized_decomposed
from tvm import relax

from tests.frontend.quantized_onnx import judge, write
from tests.native import network, run_pipelined
from tests.passes.test_lower_integer import kernel_names, lowered, normalized
from tvmpose.frontend.onnx import load
from tvmpose.kernels.requantize import Rounding
from tvmpose.passes.convert_layout import to_nhwc
from tvmpose.passes.verify_integer import refusals_of
from tvmpose.qdq import dequantize, per_tensor, quantize
from tvmpose.targets import host_target

SCALE = 0.0234  # of the input: no power of two, so that the order of float sums decides halves
SHAPE = (1, 7, 13, 11)  # as ONNX has it
WINDOWS = (  # attributes of AveragePool
    "kernel_shape = [2,2], strides = [2,2]",
    "kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]",
    "kernel_shape = [4,3], pads = [1,1,2,1], count_include_pad = 1",
    "kernel_shape = [4,4], strides = [3,3], ceil_mode = 1",
)
FORMS = {  # number n
    "QDQ": "f{n} = AveragePool <{window}> (f) y{n} = QuantizeLinear (f{n}, t{n}, w)",
    "QOperator": "y{n} = com.microsoft.QLinearAveragePool <{window}> (x, s, z, t{n}, w)",
}


def as_integers(dtype: str, *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(0).integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_average_pool__onnx__is_onnxruntime_s_and_of_qdq_halves_too(tmp_path: Path, dtype: str, form: str):
    low, uses = np.iinfo(dtype).min, list(enumerate(product(WINDOWS, (1.0, 0.37))))
    constants = [f"float s = {{{SCALE}}}, {dtype} z = {{{low + 121}}}, {dtype} w = {{{low + 94}}}"]
    constants += [f"float t{n} = {{{SCALE * ratio}}}" for n, (_, ratio) in uses]
    results = ", ".join(f"{dtype}[1,7,h{n},w{n}] y{n}" for n, _ in uses)
    nodes = " ".join(FORMS[form].format(n=n, window=window) for n, (window, _) in uses)
    shape, dequantized = ",".join(map(str, SHAPE)), "f = DequantizeLinear (x, s, z)"
    graph = f"agraph ({dtype}[{shape}] x) => ({results}) <{', '.join(constants)}> {{ {dequantized} {nodes} }}"
    path, integers = write(tmp_path, graph, 19), as_integers(dtype, *SHAPE)
    module, _ = load(path)
    assert refusals_of(lowered(to_nhwc(module), Rounding.ORT)) == []
    found = run_pipelined(module, host_target(), integers, rounding=Rounding.ORT)
    for ours, expected in zip(found, judge(path, integers), strict=True):
        assert len(np.unique(expected)) > 10
        apart = np.abs(ours.astype("int32") - expected)
        assert apart.max() <= (form == "QOperator")  # whose halves ONNX Runtime rounds otherwise than its own QDQ's


@pytest.mark.parametrize("padding", [0, 1])
def test_average_pool__torch__is_torch_s_halves_included(padding: int):
    data, target = per_tensor(SCALE, 3, "int8"), per_tensor(SCALE, -7, "int8")
    integers = as_integers("int8", 1, 13, 11, 7)

    def build(x: relax.Expr) -> relax.Expr:
        window = {"pool_size": (2, 2), "strides": (2, 2), "padding": (padding,) * 4, "count_include_pad": True}
        return quantize(relax.op.nn.avg_pool2d(dequantize(x, data), layout="NHWC", **window), target)

    module = normalized(network(build, integers.shape, dtype="int8"))
    assert "integer_average_pool" in kernel_names(lowered(module, Rounding.TORCH))
    (found,) = run_pipelined(module, host_target(), integers, rounding=Rounding.TORCH)
    operators, limits = torch.ops.quantized_decomposed, (-128, 127, torch.int8)
    number = operators.dequantize_per_tensor(torch.from_numpy(integers), SCALE, 3, *limits).permute(0, 3, 1, 2)
    pooled = torch.nn.functional.avg_pool2d(number, 2, 2, padding)
    expected = operators.quantize_per_tensor(pooled, SCALE, -7, *limits).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(found, expected.numpy())
