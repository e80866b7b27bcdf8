"""Convolutions for tensor cores: that they are HMMA instructions, by the cubin; what they compute, by NumPy.

The very source for the GPU runs here, a thread of the CPU for each of its threads (cuda_on_host.h).
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import te

from tvmpose.codegen.cubin import kernel_resources
from tvmpose.codegen.cuda import nvrtc_for
from tvmpose.codegen.device_code import DeviceCode as Device
from tvmpose.codegen.device_code import compile_device
from tvmpose.kernels.cost import kernel_cost
from tvmpose.kernels.gpu_dispatch import schedule_gpu_kernel
from tvmpose.kernels.gpu_tensor_core import suits_tensor_cores, tensor_core_conv2d
from tvmpose.targets import load_target

HEIGHT, WIDTH, INPUTS, OUTPUTS = 16, 8, 64, 128


def network(outputs: int = OUTPUTS) -> tvm.tirx.PrimFunc:
    """A convolution with what is fused into it: bias, ReLU6."""
    data = te.placeholder((1, HEIGHT, WIDTH, INPUTS), "float32", name="data")
    weight = te.placeholder((INPUTS, outputs), "float16", name="weight")
    bias = te.placeholder((outputs,), "float32", name="bias")
    sums = tensor_core_conv2d(data, weight)
    biased = te.compute(sums.shape, lambda n, y, x, c: sums[n, y, x, c] + bias[c], name="biased")
    clipped = te.compute(biased.shape, lambda *i: te.max(te.min(biased(*i), 6.0), 0.0), name="clipped")
    return te.create_prim_func([data, weight, bias, clipped]).with_attr("global_symbol", "main")


def operands(outputs: int = OUTPUTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    data = generator.normal(size=(1, HEIGHT, WIDTH, INPUTS)).astype(np.float32)
    weight = generator.normal(size=(INPUTS, outputs)).astype(np.float16)
    return data, weight, generator.normal(size=outputs).astype(np.float32)


def expected(data: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """In float64, of inputs rounded to halves."""
    return np.clip(data.astype(np.float16).astype(np.float64) @ weight.astype(np.float64) + bias, 0, 6)


def test_tensor_core_conv2d__compute__products_of_halves_summed_in_float():
    tensors = operands()
    found = tvm.runtime.tensor(np.empty((1, HEIGHT, WIDTH, OUTPUTS), np.float32))
    tvm.compile(network(), "llvm")(*map(tvm.runtime.tensor, tensors), found)
    np.testing.assert_allclose(found.numpy(), expected(*tensors), atol=1e-4)


def for_xavier(outputs: int) -> Device:
    """The kernel, and its source."""
    target = load_target("jetson-xavier")
    assert target.gpu is not None
    return compile_device({"main": schedule_gpu_kernel(network(outputs), target.gpu)}, "net", target.gpu, target.llvm())


@pytest.fixture(scope="module")
def xavier() -> Device:
    return for_xavier(OUTPUTS)


@pytest.mark.parametrize("name", ["jetson-xavier", "jetson-orin", "jetson-thor"])
def test_schedule_gpu_tensor_core__from_xavier_on__hmma_without_spills(xavier: Device, name: str):
    gpu = load_target(name).gpu
    assert gpu is not None and gpu.arch is not None
    (kernel,) = kernel_resources(nvrtc_for(str(gpu.driver)).compile(xavier.source, gpu.arch))
    assert kernel.tensor_core.get("HMMA", 0) > 0
    assert kernel.local_bytes == 0
    (launch,) = xavier.launches["main"]
    assert xavier.kernels[launch.kernel].block == (32, 4, 1)
    assert launch.grid == (HEIGHT * WIDTH // 64, OUTPUTS // 64, 1)


@pytest.mark.parametrize("outputs", [OUTPUTS, *(pytest.param(n, marks=pytest.mark.slow) for n in (96, 32, 48))])
def test_schedule_gpu_tensor_core__its_source_run_on_the_cpu__as_numpy(tmp_path: Path, outputs: int):
    xavier = for_xavier(outputs)
    compiler = shutil.which("g++") or pytest.skip("g++ is not installed")
    (launch,) = xavier.launches["main"]
    kernel = xavier.kernels[launch.kernel]
    source = xavier.source[xavier.source.index('extern "C" __global__') :]
    pointers = re.findall(r"(\w+\*) __restrict__ \w+", source.split("{")[0])
    values = ", ".join(f"({pointer})arguments[{index}]" for index, pointer in enumerate(pointers))
    sizes = [", ".join(map(str, extents)) for extents in (launch.grid, kernel.block)]
    body = f"run({{{sizes[0]}}}, {{{sizes[1]}}}, [=] {{ {launch.kernel}({values}); }});"
    call = f'extern "C" void call(void **arguments) {{ {body} }}'
    (tmp_path / "kernel.cc").write_text(f'#include "cuda_on_host.h"\n{source}\n{call}\n')
    flags = ["-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread", f"-I{Path(__file__).parent}"]
    subprocess.run([compiler, *flags, tmp_path / "kernel.cc", "-o", tmp_path / "kernel.so"], check=True)

    data, weight, bias = operands(outputs)
    found = np.full((1, HEIGHT, WIDTH, outputs), np.nan, np.float32)
    tensors = (data, weight, bias, found)
    arguments = (ctypes.c_void_p * len(launch.args))(*(tensors[int(arg)].ctypes.data for arg in launch.args))
    ctypes.CDLL(str(tmp_path / "kernel.so")).call(arguments)
    np.testing.assert_allclose(found, expected(data, weight, bias), atol=1e-4)


def test_kernel_cost__tensor_cores__every_multiply_add():
    assert kernel_cost(network()).multiply_adds == HEIGHT * WIDTH * INPUTS * OUTPUTS


@pytest.mark.parametrize(
    "size, inputs, outputs, suit",
    [
        ((8, 8), 16, 64, True),
        ((16, 128), 96, 192, True),
        ((8, 9), 16, 64, False),  # no whole number of pixels
        ((48, 48), 16, 64, False),  # a block ends in the middle of a row
        ((8, 8), 24, 64, False),
        ((8, 8), 16, 80, False),
    ],
)
def test_suits_tensor_cores__whole_tiles_only(size: tuple[int, int], inputs: int, outputs: int, suit: bool):
    assert suits_tensor_cores(size, inputs, outputs) == suit
