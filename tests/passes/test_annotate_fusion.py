"""What FuseOps puts behind convolutions: all that has their size, and nothing that repeats them."""

import numpy as np
import pytest
from tvm import relax
from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from tests.frontend.virtual_machine import run
from tests.native import network, run_pipelined
from tvmpose.kernels.convolution import TEMPLATE
from tvmpose.kernels.requantize import Rounding
from tvmpose.kernels.tiling import output_shape
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.qdq import Quantization, dequantize, per_tensor, quantize
from tvmpose.targets import host_target

PICTURE = (1, 12, 10, 24)
# Of convolutions that gate it, by place as CBAM or by channel as squeeze and excitation: shapes of input and weight.
GATES = {"places": ((1, 18, 16, 2), (7, 7, 2, 1)), "channels": ((1, 1, 1, 6), (1, 1, 6, 24))}
UNIT = per_tensor(0.02, 3, "int8")
SUMS, SIGMOIDS = per_tensor(0.001, 0, "int16"), per_tensor(1 / 32768, 0, "int16")  # sigmoids of them stay float


def convolution(x: relax.Expr, weight: relax.Expr) -> relax.Expr:
    return relax.op.nn.conv2d(x, weight, data_layout="NHWC", kernel_layout="HWIO")


def gated(gate: str) -> IRModule:
    shape, of_weight = GATES[gate]
    weight = relax.const(np.random.default_rng(0).normal(0, 0.3, of_weight).astype("float32"))

    def build(x: relax.Expr, y: relax.Expr) -> relax.Expr:
        return relax.op.add(relax.op.multiply(y, relax.op.sigmoid(convolution(x, weight))), y)

    return network(build, shape, PICTURE)


def gated_in_integers(gate: str) -> IRModule:
    shape, of_weight = GATES[gate]
    weight = np.random.default_rng(0).integers(-127, 128, of_weight).astype("int8")
    scales = Quantization(np.full(of_weight[3], 0.01, "float32"), np.zeros(of_weight[3], "int32"), "int8", 3)

    def build(x: relax.Expr, y: relax.Expr) -> relax.Expr:
        pixels = dequantize(y, UNIT)
        sums = quantize(convolution(dequantize(x, UNIT), dequantize(relax.const(weight), scales)), SUMS)
        sigmoids = dequantize(quantize(relax.op.sigmoid(dequantize(sums, SUMS)), SIGMOIDS), SIGMOIDS)
        product = dequantize(quantize(relax.op.multiply(pixels, sigmoids), UNIT), UNIT)
        return quantize(relax.op.add(product, pixels), UNIT)

    return relax.transform.Normalize()(network(build, shape, PICTURE, dtype="int8"))


def sizes(module: IRModule) -> list[tuple[int, ...]]:
    """Of the results of kernels with a convolution in them."""
    found = []
    for function in (f for _, f in module.functions_items() if isinstance(f, PrimFunc)):
        schedule = Schedule(function)
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
        if any(TEMPLATE in schedule.get(block).annotations for block in blocks):
            found.append(output_shape(schedule, blocks[-1]))
    return found


@pytest.mark.parametrize("build", [gated, gated_in_integers])
@pytest.mark.parametrize("gate", GATES)
def test_fusion__result_of_a_convolution_is_repeated__the_convolution_is_not(gate: str, build):
    (size,) = sizes(run_pipeline(build(gate), host_target().llvm(), rounding=Rounding.ORT))
    assert size == ((1, 12, 10, 1) if gate == "places" else (1, 1, 1, 24))


@pytest.mark.parametrize("gate", GATES)
def test_fusion__gates__are_those_of_the_network_as_it_stands(gate: str):
    random = np.random.default_rng(1)
    arrays = [random.normal(size=shape).astype("float32") for shape in (GATES[gate][0], PICTURE)]
    (found,) = run_pipelined(gated(gate), host_target(), *arrays)
    np.testing.assert_allclose(found, run(gated(gate), *arrays)[0], rtol=1e-5, atol=1e-5)
    integers = [random.integers(-128, 128, shape).astype("int8") for shape in (GATES[gate][0], PICTURE)]
    (found,) = run_pipelined(gated_in_integers(gate), host_target(), *integers, rounding=Rounding.ORT)
    (expected,) = run(gated_in_integers(gate), *integers)
    assert len(np.unique(expected)) > 100
    assert np.abs(found.astype("int32") - expected).max() <= 1
