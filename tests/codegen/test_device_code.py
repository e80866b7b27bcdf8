"""Device code and launches, read off what TVM makes of scheduled functions."""

import pytest
from tvm import te
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from tvmpose.codegen.device_code import Launch, Scratch, compile_device
from tvmpose.errors import ModelError
from tvmpose.targets import Gpu, host_target

GPU = Gpu("opencl", max_threads=64, shared_bytes=1024, warp=8)


def bound(stages: int, threads: int = 32, shared: bool = False) -> PrimFunc:
    """y = x + 1, z = y + reversed(y), ..., each sum a kernel of its own over 1024 numbers."""
    x = te.placeholder((1024,), "float32", "x")
    results = [x]
    for index in range(stages):
        results.append(_sum(results[-1], f"y{index}", index > 0))
    schedule = Schedule(te.create_prim_func([x, results[-1]]))
    for index in range(stages):
        block = schedule.get_sblock(f"y{index}")
        outer, inner = schedule.split(schedule.get_loops(block)[0], [None, threads])
        if shared:
            copy = schedule.cache_read(block, 0, "shared")
            schedule.compute_at(copy, outer)
            schedule.bind(schedule.get_loops(copy)[-1], "threadIdx.x")
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(inner, "threadIdx.x")
    return schedule.mod["main"]


def _sum(x: te.Tensor, name: str, backwards: bool) -> te.Tensor:
    """Backwards: not to be computed in place."""
    return te.compute(x.shape, lambda i: x[i] + (x[1023 - i] if backwards else 1.0), name=name)


def compiled(function: PrimFunc, gpu: Gpu = GPU):
    return compile_device({"f": function}, "net", gpu, host_target().llvm())


def test_compile_device__one_kernel__its_launch():
    code = compiled(bound(1))
    (kernel,) = code.kernels.values()
    assert (kernel.entry, kernel.block, kernel.shared_bytes, kernel.num_args) == ("net_f_kernel", (32, 1, 1), 0, 2)
    (launch,) = code.launches["f"]
    assert (launch.kernel, launch.grid, sorted(launch.args)) == ("net_f_kernel", (32, 1, 1), [0, 1])
    assert code.source.count("__kernel") == 1  # no declarations


def test_compile_device__three_kernels__scratch_between_them():
    code = compiled(bound(3))
    first, second, third = code.launches["f"]
    between = [arg for launch in (first, second, third) for arg in launch.args if isinstance(arg, Scratch)]
    assert between == [Scratch((1024,), "float32")] * 4
    assert len({id(arg) for arg in between}) == 2
    assert [isinstance(launch, Launch) for launch in code.launches["f"]] == [True] * 3


def test_compile_device__shared_memory__is_counted():
    (kernel,) = compiled(bound(1, shared=True)).kernels.values()
    assert kernel.shared_bytes == 32 * 4


@pytest.mark.parametrize(
    ("threads", "gpu", "message"),
    [
        (128, GPU, "wants 128 threads and 512 bytes, a block of the GPU has 64 threads"),
        (
            64,
            Gpu("opencl", 64, 128, 8),
            "wants 64 threads and 256 bytes, a block of the GPU has 64 threads and 128 bytes",
        ),
    ],
)
def test_compile_device__more_than_a_block_has__refused(threads: int, gpu: Gpu, message: str):
    with pytest.raises(ModelError, match=message):
        compiled(bound(1, threads, shared=True), gpu)
