"""Cubins and PTX, judged by NVIDIA's own assembler and disassembler."""

import locale
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tvm import relax
from tvm.tirx import PrimFunc

from tests.native import network
from tvmpose.codegen import nvrtc
from tvmpose.codegen.cubin import kernel_resources
from tvmpose.codegen.cuda import cuda_images, without_spills
from tvmpose.codegen.device_code import compile_device
from tvmpose.errors import InputError, SetupError
from tvmpose.passes.pipeline import begin_pipeline, finish_pipeline
from tvmpose.targets import load_target

# One kernel that keeps its numbers in registers, one that cannot, and one for tensor cores.
SOURCE = """
#include <cuda/std/cstdint>
#include <cuda/std/type_traits>
#include <cuda_fp16.h>
extern "C" __global__ void __launch_bounds__(64) plain(const half* x, float* y, const float* z) {
  __shared__ float tile[64];
  tile[threadIdx.x] = __half2float(x[threadIdx.x]);
  __syncthreads();
  y[threadIdx.x] = tile[63 - threadIdx.x] * z[threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(256, 8) crowded(const float* a, float* b) {
  float v[64];
  for (int i = 0; i < 64; i++) v[i] = a[i * 256 + threadIdx.x];
  for (int j = 0; j < 8; j++)
    for (int i = 0; i < 64; i++) v[i] += v[(i * 7 + 1) % 64] * v[(i + j) % 64];
  for (int i = 0; i < 64; i++) b[i * 256 + threadIdx.x] = v[i];
}
"""
TENSOR_CORES = """
#include <mma.h>
#include <cuda_fp16.h>
using namespace nvcuda;
extern "C" __global__ void __launch_bounds__(32) product(const half* a, const half* b, half* c) {
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> left;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> right;
  wmma::fragment<wmma::accumulator, 16, 16, 16, half> sum;
  wmma::fill_fragment(sum, __float2half(0.f));
  wmma::load_matrix_sync(left, a, 16);
  wmma::load_matrix_sync(right, b, 16);
  wmma::mma_sync(sum, left, right, sum);
  wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
}
"""


def tool(pattern: str) -> str:
    """One of NVIDIA's programs, from the same registry as NVRTC."""
    for folder in map(Path, sys.path):
        for path in folder.glob(f"nvidia/{pattern}"):
            return str(path)
    pytest.skip(f"no {pattern} in site-packages/nvidia: pip install 'tvmpose[cuda,dev]'")


def assembled(ptx: bytes, capability: int, folder: Path) -> tuple[bytes, str]:
    """ptxas's cubin, and what it says of each kernel."""
    (folder / "k.ptx").write_bytes(ptx)
    command = [tool("cuda_nvcc/bin/ptxas"), "-v", f"--gpu-name=sm_{capability}", "k.ptx", "-o", "k.cubin"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return (folder / "k.cubin").read_bytes(), done.stderr


@pytest.mark.parametrize(
    "architecture, driver, version",
    [
        ("sm_53", "10.2", "6.5"),
        pytest.param("sm_62", "10.2", "6.5", marks=pytest.mark.slow),
        pytest.param("sm_72", "10.2", "6.5", marks=pytest.mark.slow),
        ("sm_87", "11.4", "7.4"),
    ],
)
def test_cuda_images__jetson__cubin_for_it_and_ptx_that_its_driver_reads(
    architecture: str, driver: str, version: str, tmp_path: Path
):
    cubin, ptx = cuda_images(SOURCE, [architecture], driver)
    assert (cubin.kind, ptx.kind, cubin.capability, ptx.capability) == ("CUBIN", "PTX", *2 * (int(architecture[3:]),))
    assert f"\n.version {version}\n".encode() in ptx.code
    assembled(ptx.code, ptx.capability, tmp_path)  # refuses an instruction that is younger than the version
    assert {kernel.name for kernel in kernel_resources(cubin.code)} == {"plain", "crowded"}


def test_cuda_images__thor__sm_110_by_cuda_13():
    cubin, ptx = cuda_images(SOURCE, ["sm_110"], "13.0")
    assert (cubin.capability, ptx.capability) == (110, 110)
    assert kernel_resources(cubin.code)[0].parameter_bytes in (16, 24)


@pytest.mark.slow
def test_cuda_images__several_cards__a_cubin_each_and_ptx_for_the_least():
    images = cuda_images(SOURCE, ["sm_90", "sm_75", "sm_86", "sm_89"], "11.4")
    assert [(image.kind, image.capability) for image in images] == [
        *(("CUBIN", capability) for capability in (75, 86, 89, 90)),
        ("PTX", 75),
    ]
    assert cuda_images(SOURCE, ["sm_75"], "11.4")[0] == images[0]  # the same bytes once more


# Of a thousand threads each has 64 registers at most: room for two such blocks would be half as many.
FULL = SOURCE[SOURCE.index('extern "C" __global__ void __launch_bounds__(256, 8)') :]
FULL = FULL.replace("__launch_bounds__(256, 8) crowded", "__launch_bounds__(1024) full")


def test_without_spills__kernel_that_needs_a_few_more_registers__gets_them_and_others_stay(tmp_path: Path):
    """A layer of MobileNetV2: ptxas holds it to 64 registers, and saves one to memory."""
    target, weights = load_target("jetson-nano"), np.ones((1, 1, 96, 24), "float32")

    def layer(x: relax.Expr) -> relax.Expr:
        convolved = relax.op.nn.conv2d(x, relax.const(weights), data_layout="NHWC", kernel_layout="HWIO")
        return relax.op.add(convolved, relax.const(weights[0, 0, 0]))

    module = finish_pipeline(begin_pipeline(network(layer, (1, 64, 48, 96))), target.llvm(), gpu=target.gpu)
    functions = {var.name_hint: f for var, f in module.functions_items() if isinstance(f, PrimFunc)}
    source = compile_device(functions, "net", target.gpu, target.llvm()).source + FULL
    compiler = nvrtc.find_nvrtc(11)
    cubin, changed = without_spills(compiler, source, "sm_53")
    before, after = ({k.name: k for k in kernel_resources(code)} for code in (compiler.compile(source, "sm_53"), cubin))
    name = "net_fused_conv2d_add_kernel"
    assert before.keys() == after.keys() == {name, "full"}
    assert before[name].local_bytes > 0 == after[name].local_bytes
    assert after["full"] == before["full"] and after["full"].local_bytes > 0
    assert changed == source.replace(f"__launch_bounds__(256) {name}", f"__launch_bounds__(256, 2) {name}")
    _, printed = assembled(compiler.compile(changed, "compute_53"), 53, tmp_path)
    assert re.search(rf"'{name}'.*\n.*\n +0 bytes stack frame, 0 bytes spill stores", printed)  # as the driver will


@pytest.mark.parametrize(
    "architecture, driver, message",
    [
        ("sm_110", "11.4", "NVRTC 11.8, for drivers of CUDA 11.4, knows no sm_110; it has sm_35, sm_37"),
        ("sm_53", "13.0", "for drivers of CUDA 13.0, knows no sm_53; it has sm_75"),
        ("gfx90a", "11.4", "'gfx90a' is no GPU architecture: sm_ and a compute capability, as sm_87"),
        ("sm_87", "9.2", "driver '9.2' is no CUDA release that we compile for: 10.2, 11.0"),
        ("sm_87", "new", "driver 'new' is no CUDA release"),
    ],
)
def test_cuda_images__what_is_not_known__named(architecture: str, driver: str, message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        cuda_images(SOURCE, [architecture], driver)


@pytest.mark.parametrize(
    "major, command", [(11, "pip install 'tvmpose[cuda]'"), (12, "install CUDA 12 and set CUDA_HOME")]
)
def test_find_nvrtc__not_installed__told_how(major: int, command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nvrtc, "_of_pip", lambda major: [])
    monkeypatch.setattr(nvrtc, "_of_toolkits", lambda major: [])
    nvrtc.find_nvrtc.cache_clear()
    with pytest.raises(SetupError, match=re.escape(f"NVRTC of CUDA {major}, which is not installed: {command}")):
        nvrtc.find_nvrtc(major)


def test_compile__any_source__python_s_own_encoding_stays():
    before = locale.getencoding()
    nvrtc.find_nvrtc(11).compile('extern "C" __global__ void k(float* a) { a[0] = 1; }', "sm_87")
    assert locale.getencoding() == before


def test_compile__source_that_is_wrong__log_in_the_error():
    with pytest.raises(RuntimeError, match='identifier "nothing" is undefined'):
        nvrtc.find_nvrtc(11).compile('extern "C" __global__ void k(float* x) { *x = nothing; }', "sm_87")


@pytest.mark.parametrize("capability", [53, 72, *(pytest.param(n, marks=pytest.mark.slow) for n in (62, 87, 90))])
def test_kernel_resources__cubins_of_ptxas__as_it_says_itself(capability: int, tmp_path: Path):
    ptx = nvrtc.find_nvrtc(11).compile(SOURCE, f"compute_{capability}")
    cubin, printed = assembled(ptx, capability, tmp_path)
    found = {kernel.name: kernel for kernel in kernel_resources(cubin)}
    for name, parameter_bytes, threads in (("plain", 24, 64), ("crowded", 16, 256)):
        _, _, of_kernel = printed.partition(f"Compiling entry function '{name}'")
        (frame,) = re.findall(r"(\d+) bytes stack frame", of_kernel)[:1]
        (registers,) = re.findall(r"Used (\d+) registers", of_kernel)[:1]
        kernel = found[name]
        assert (kernel.local_bytes, kernel.registers) == (int(frame), int(registers))
        assert (kernel.parameter_bytes, kernel.max_threads) == (parameter_bytes, threads)
    of_the_system = 1024 if capability >= 90 else 0
    assert (found["plain"].shared_bytes, found["plain"].local_bytes) == (256 + of_the_system, 0)
    assert found["crowded"].local_bytes > 0


@pytest.mark.parametrize(
    "major, capability",
    [(11, 75), (13, 110), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((11, 87), (11, 90), (13, 87)))],
)
def test_kernel_resources__tensor_cores__as_many_as_the_disassembler_shows(major: int, capability: int, tmp_path: Path):
    cubin = nvrtc.find_nvrtc(major).compile(TENSOR_CORES, f"sm_{capability}")
    (tmp_path / "k.cubin").write_bytes(cubin)
    text = subprocess.run(
        [tool("cu13/bin/nvdisasm"), tmp_path / "k.cubin"], capture_output=True, text=True, check=True
    ).stdout
    (kernel,) = kernel_resources(cubin)
    assert kernel.tensor_core.get("HMMA", 0) == len(re.findall(r"\bHMMA\.", text)) > 0
    assert kernel.tensor_core.get("IMMA", 0) == len(re.findall(r"\bIMMA\.", text))


def test_kernel_resources__xavier__eight_steps_of_hmma_for_a_product_of_16():
    """nvdisasm of CUDA 12.4, which no registry has, shows HMMA.884.F16.F16.STEP0 and STEP1 four times each."""
    cubin, _ = cuda_images(TENSOR_CORES, ["sm_72"], "11.4")
    (kernel,) = kernel_resources(cubin.code)
    assert kernel.tensor_core == {"HMMA": 8}
