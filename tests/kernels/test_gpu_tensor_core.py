"""Convolutions for tensor cores: what they compute, by NumPy; that they are HMMA instructions, by the cubin.

The schedule itself cannot run without an NVIDIA GPU.
"""

import numpy as np
import pytest
import tvm
from tvm import te

from tvmpose.codegen.cubin import kernel_resources
from tvmpose.codegen.cuda import nvrtc_for
from tvmpose.codegen.device_code import compile_device
from tvmpose.kernels.cost import kernel_cost
from tvmpose.kernels.gpu_dispatch import schedule_gpu_kernel
from tvmpose.kernels.gpu_tensor_core import suits_tensor_cores, tensor_core_conv2d
from tvmpose.targets import load_target

HEIGHT, WIDTH, INPUTS, OUTPUTS = 16, 8, 64, 128


def network() -> tvm.tirx.PrimFunc:
    """A convolution with what is fused into it: bias, ReLU6."""
    data = te.placeholder((1, HEIGHT, WIDTH, INPUTS), "float32", name="data")
    weight = te.placeholder((INPUTS, OUTPUTS), "float16", name="weight")
    bias = te.placeholder((OUTPUTS,), "float32", name="bias")
    sums = tensor_core_conv2d(data, weight)
    biased = te.compute(sums.shape, lambda n, y, x, c: sums[n, y, x, c] + bias[c], name="biased")
    clipped = te.compute(biased.shape, lambda *i: te.max(te.min(biased(*i), 6.0), 0.0), name="clipped")
    return te.create_prim_func([data, weight, bias, clipped]).with_attr("global_symbol", "main")


def test_tensor_core_conv2d__compute__products_of_halves_summed_in_float():
    generator = np.random.default_rng(1)
    data = generator.normal(size=(1, HEIGHT, WIDTH, INPUTS)).astype(np.float32)
    weight = generator.normal(size=(INPUTS, OUTPUTS)).astype(np.float16)
    bias = generator.normal(size=OUTPUTS).astype(np.float32)
    found = tvm.runtime.tensor(np.empty((1, HEIGHT, WIDTH, OUTPUTS), np.float32))
    tvm.compile(network(), "llvm")(*map(tvm.runtime.tensor, (data, weight, bias)), found)
    halves = data.astype(np.float16).astype(np.float64)
    expected = np.clip(halves @ weight.astype(np.float64) + bias, 0, 6)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@pytest.mark.slow  # TVM's intrinsics take half a minute to come
def test_schedule_gpu_tensor_core__xavier_to_thor__hmma_without_spills():
    for name in ("jetson-xavier", "jetson-orin", "jetson-thor"):
        target = load_target(name)
        assert target.gpu is not None and target.gpu.arch is not None
        scheduled = schedule_gpu_kernel(network(), target.gpu)
        device = compile_device({"main": scheduled}, "net", target.gpu, target.llvm())
        cubin = nvrtc_for(str(target.gpu.driver)).compile(device.source, target.gpu.arch)
        (kernel,) = kernel_resources(cubin)
        assert kernel.tensor_core.get("HMMA", 0) > 0
        assert kernel.local_bytes == 0
        (launch,) = device.launches["main"]
        assert device.kernels[launch.kernel].block == (32, 4, 1)
        assert launch.grid == (HEIGHT * WIDTH // 64, OUTPUTS // 64, 1)


def test_kernel_cost__tensor_cores__every_multiply_add():
    assert kernel_cost(network()).multiply_adds == HEIGHT * WIDTH * INPUTS * OUTPUTS


@pytest.mark.parametrize(
    "pixels, inputs, outputs, suit",
    [(64, 16, 64, True), (4096, 96, 192, True), (63, 16, 64, False), (64, 24, 64, False), (64, 16, 96, False)],
)
def test_suits_tensor_cores__whole_tiles_only(pixels: int, inputs: int, outputs: int, suit: bool):
    assert suits_tensor_cores(pixels, inputs, outputs) == suit
