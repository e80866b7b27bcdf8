"""Kernels for GPUs, as OpenCL on PoCL, against NumPy in float64."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax

from tests.kernels.test_convolution import Problem, assert_close, reference, transposed_reference
from tests.kernels.test_generic import EXACT, GRID, ODD, OPERATORS
from tests.native import network
from tests.opencl import run_on_opencl
from tvmpose.codegen.device_code import bodies_of, compile_device
from tvmpose.kernels.choices import Choices
from tvmpose.kernels.gpu_dispatch import schedule_gpu_kernel
from tvmpose.kernels.gpu_tiles import Work, chunk_of_inputs, fits_shared, gpu_tiles
from tvmpose.passes import schedule_kernels
from tvmpose.passes.pipeline import begin_pipeline, finish_pipeline
from tvmpose.targets import Gpu, load_target

R = relax.op

MALI = Gpu("opencl", max_threads=128, shared_bytes=32768, warp=16, shared_is_fast=False, any_device=True)
CONVOLUTIONS = {
    "first layer": Problem((17, 22), 3, 24, (3, 3), (2, 2), (0, 0, 1, 1)),
    "1x1": Problem((6, 8), 40, 33, (1, 1)),
    "dilated, odd": Problem((13, 11), 5, 7, (3, 2), (1, 1), (2, 0, 2, 1), (2, 1)),
    "one pixel": Problem((1, 1), 64, 20, (1, 1)),
    "wide steps": Problem((12, 16), 8, 16, (3, 3), (3, 3)),
}
DEPTHWISE = {
    "3x3": Problem((12, 24), 232, 1, (3, 3), (1, 1), (1,) * 4),
    "5x5, stride 2, odd channels": Problem((11, 13), 7, 1, (5, 5), (2, 2), (2, 1, 2, 2)),
}
TRANSPOSED = {
    "4x4": (Problem((5, 6), 20, 18, (4, 4), (2, 2), (1, 1, 1, 1)), (10, 12)),
    "3x3": (Problem((4, 4), 6, 5, (3, 3), (2, 2), (0, 0, 1, 1)), (8, 8)),
}


def convolutions(gpu: Gpu | None, folder: Path) -> None:
    """All of them as one program, which is built once."""
    problems = [*CONVOLUTIONS.values(), *DEPTHWISE.values(), *(problem for problem, _ in TRANSPOSED.values())]
    arrays = [p.arrays(*p.kernel, p.inputs, p.outputs) for p in CONVOLUTIONS.values()]
    arrays += [p.arrays(*p.kernel, p.inputs, 1) for p in DEPTHWISE.values()]
    arrays += [p.arrays(p.inputs, p.outputs, *p.kernel) for p, _ in TRANSPOSED.values()]

    def build(*xs):
        layers = []
        for problem, (_, weight), x in zip(problems, arrays, xs, strict=True):
            layers.append(_layer(problem, weight, x))
        return layers

    found = run_on_opencl(network(build, *(d.shape for d, _ in arrays)), folder, *(d for d, _ in arrays), gpu=gpu)
    for problem, (data, weight), ours in zip(problems, arrays, found, strict=True):
        assert_close(ours, lambda d, w, p=problem: _expected(p, d, w), data, weight)


def _is_depthwise(problem: Problem) -> bool:
    return problem in DEPTHWISE.values()


def _transposed_size(problem: Problem) -> tuple[int, int] | None:
    return next((size for other, size in TRANSPOSED.values() if other == problem), None)


def _layer(problem: Problem, weight: np.ndarray, x: relax.Expr) -> relax.Expr:
    if size := _transposed_size(problem):
        # the output's padding: what is missing to the size
        missing = [
            size[axis]
            - ((problem.size[axis] - 1) * problem.strides[axis] + problem.kernel[axis])
            + problem.padding[axis]
            + problem.padding[axis + 2]
            for axis in (0, 1)
        ]
        attributes = {"strides": problem.strides, "padding": problem.padding, "output_padding": missing}
        layouts = {"data_layout": "NHWC", "kernel_layout": "IOHW"}
        return relax.op.nn.conv2d_transpose(x, relax.const(weight), **attributes, **layouts)
    attributes = {"strides": problem.strides, "padding": problem.padding, "dilation": problem.dilation}
    if _is_depthwise(problem):
        attributes |= {"kernel_layout": "HWOI", "groups": problem.inputs}
    return relax.op.nn.conv2d(x, relax.const(weight), data_layout="NHWC", **({"kernel_layout": "HWIO"} | attributes))


def _expected(problem: Problem, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
    if size := _transposed_size(problem):
        return transposed_reference(problem, data, weight, size)
    if _is_depthwise(problem):
        return reference(problem, data, weight[..., 0], "yxc,c->yxc")
    return reference(problem, data, weight, "yxi,io->yxo")


@pytest.mark.slow  # a program's kernels are compiled by PoCL, which takes it a second each
def test_gpu_convolutions__every_template__agree_with_float64(tmp_path: Path):
    convolutions(None, tmp_path)


@pytest.mark.slow
def test_gpu_convolutions__without_shared_memory__agree_with_float64(tmp_path: Path):
    convolutions(MALI, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_gpu_convolutions__decisions_at_random__agree_with_float64(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    random = np.random.default_rng(seed)

    def at_random(function: tvm.tirx.PrimFunc, gpu: Gpu, choices: Choices) -> tvm.tirx.PrimFunc:
        choices = Choices(lambda name, options, default: int(random.integers(len(options))))
        return schedule_gpu_kernel(function, gpu, choices)

    monkeypatch.setattr(schedule_kernels, "schedule_gpu_kernel", at_random)
    convolutions(None, tmp_path)


def test_compile_device__cuda__the_launches_of_opencl():
    data, weight = (problem := CONVOLUTIONS["first layer"]).arrays(3, 3, 3, 24)
    module = network(lambda x: R.exp(_layer(problem, weight, x)), data.shape)
    host = load_target("host-opencl")
    assert host.gpu is not None
    scheduled = finish_pipeline(begin_pipeline(module), host.llvm(), gpu=host.gpu)
    kernels = {v.name_hint: f for v, f in scheduled.functions_items() if isinstance(f, tvm.tirx.PrimFunc)}
    opencl, cuda = (
        compile_device(kernels, "net", gpu, host.llvm())
        for gpu in (host.gpu, replace(host.gpu, api="cuda", arch="sm_87", driver="11.4"))
    )
    assert opencl.launches == cuda.launches
    assert opencl.kernels == cuda.kernels
    (kernel,) = opencl.kernels.values()
    assert kernel.shared_bytes > 0
    assert all("__shared__" in text and "__kernel" not in text for text in bodies_of(cuda.source).values())


@pytest.mark.slow
def test_gpu_generic__float_operators__agree_with_float64(tmp_path: Path):
    random = np.random.default_rng(2)
    shapes = [shape for *_, shape in OPERATORS.values()]
    inputs = [random.standard_normal(shape, dtype="float32") for shape in shapes]
    module = network(lambda *xs: [op(x) for (op, *_), x in zip(OPERATORS.values(), xs, strict=True)], *shapes)
    outputs = run_on_opencl(module, tmp_path, *inputs)
    for (name, (_, expected, _)), x, found in zip(OPERATORS.items(), inputs, outputs, strict=True):
        theirs = np.asarray(expected(x.astype("float64")))
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5 * max(1, np.abs(theirs).max()), err_msg=name)


@pytest.mark.slow
def test_gpu_generic__indices_and_integers__are_exact(tmp_path: Path):
    module = network(lambda x: [operator(x) for operator, _ in EXACT.values()], ODD)
    for (name, (_, expected)), found in zip(EXACT.items(), run_on_opencl(module, tmp_path, GRID), strict=True):
        np.testing.assert_array_equal(found, expected(GRID), err_msg=name)


@pytest.mark.parametrize("outputs", [1, 14, 24, 130, 512])
@pytest.mark.parametrize("size", [(1, 1), (6, 6), (23, 31), (96, 96)])
@pytest.mark.parametrize("shared_bytes", [0, 8192, 65536])
def test_gpu_tiles__any_work__fit_the_gpu(outputs: int, size: tuple[int, int], shared_bytes: int):
    gpu = Gpu("opencl", max_threads=128, shared_bytes=shared_bytes, warp=16)
    work = Work(size, outputs, 96, (3, 3), span=(3, 3))
    tiles = gpu_tiles(work, gpu)
    for tile in tiles:
        down, across, deep = tile.threads
        assert down * across * deep <= gpu.max_threads
        assert size[0] % (down * tile.rows) == size[1] % (across * tile.columns) == 0
        assert 96 % chunk_of_inputs(work, tile, gpu, 4) == 0
        assert not fits_shared(work, tile, gpu, 4) or shared_bytes
    assert len({tile.shape for tile in tiles}) == len(tiles)
    assert Choices().are_default
