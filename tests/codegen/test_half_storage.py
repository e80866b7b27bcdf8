"""Kernels' text for halves in memory, and which tensors of a plan become halves."""

import numpy as np
import pytest

from tvmpose.codegen.device_code import DeviceCode, Kernel, Launch
from tvmpose.codegen.half_storage import halve_activations, with_half_arguments
from tvmpose.codegen.plan import Call, Plan

KERNEL = """\
__kernel void net_k_kernel(__global float* restrict A_ptr, __global float* restrict AB_ptr) {
  int cse_v1 = (convert_int(get_local_id(0)));
  AB_ptr[cse_v1] = (A_ptr[(cse_v1 * 2)] + AB_ptr[A_ptr_index[3]]);
  vstore4((vload4(0, A_ptr + cse_v1) * x_A_ptr[0]), 0, AB_ptr + (cse_v1 * 4));
}
"""
BOTH = """\
__kernel void net_k_kernel_half_3(__global half* restrict A_ptr, __global half* restrict AB_ptr) {
  int cse_v1 = (convert_int(get_local_id(0)));
  vstore_half_rte((vload_half((cse_v1 * 2), A_ptr) + vload_half(A_ptr_index[3], AB_ptr)), cse_v1, AB_ptr);
  vstore_half4_rte((vload_half4(0, A_ptr + cse_v1) * x_A_ptr[0]), 0, AB_ptr + (cse_v1 * 4));
}
"""


def plan_of_three(shape: tuple[int, ...]) -> tuple[Plan, list[int]]:
    """An input, what lies in between, an output."""
    plan = Plan()
    tensors = [plan.add_tensor(name, shape, "float32", at, at + 1) for at, name in enumerate(("x", "middle", "y"))]
    plan.inputs, plan.outputs = tensors[:1], tensors[2:]
    return plan, tensors


def code() -> DeviceCode:
    kernel = Kernel("net_k_kernel", (64, 1, 1), 0, 0, 2)
    return DeviceCode(KERNEL, {"net_k_kernel": kernel}, {"k": (Launch("net_k_kernel", (1, 1, 1), (0, 1)),)})


def test_with_half_arguments__both_in_half__loads_and_stores_convert():
    plan, tensors = plan_of_three((1 << 20,))
    halve_activations(plan)
    changed = with_half_arguments(code(), plan, {0: Call("k", (tensors[1], tensors[1]))})
    assert changed.code.source.strip() == BOTH.strip()
    assert changed.launches[0][0].kernel == "net_k_kernel_half_3"
    assert list(changed.code.kernels) == ["net_k_kernel_half_3"]


def test_with_half_arguments__called_in_three_ways__a_kernel_for_each():
    plan, (x, middle, y) = plan_of_three((1 << 20,))
    halve_activations(plan)
    calls = {0: Call("k", (x, middle)), 1: Call("k", (middle, y)), 2: Call("k", (x, y)), 3: Call("k", (x, middle))}
    changed = with_half_arguments(code(), plan, calls)
    assert list(changed.code.kernels) == ["net_k_kernel_half_2", "net_k_kernel_half_1", "net_k_kernel"]
    assert changed.launches[0] == changed.launches[3]
    assert KERNEL.strip() in changed.code.source


@pytest.mark.parametrize(
    ("count", "dtypes"), [(1 << 15, ["float32"] * 3), (1 << 16, ["float32", "float16", "float32"])]
)
def test_halve_activations__inputs_outputs_and_small_tensors__stay(count: int, dtypes: list[str]):
    plan, tensors = plan_of_three((count,))
    halve_activations(plan)
    assert [plan.tensors[index].dtype for index in tensors] == dtypes
    for index in tensors:
        assert plan.storages[plan.tensors[index].storage or 0].bytes == plan.tensors[index].bytes


def test_plan__half_weights__large_ones_only_and_none_that_overflow():
    plan = Plan(half_weights=True)
    random = np.random.default_rng(1)
    large, small = random.standard_normal((2, 1024), dtype="float32")
    indices = [plan.add_weights("w", array) for array in (large, small[:1000], large * 1e6)]
    assert [plan.tensors[index].dtype for index in indices] == ["float16", "float32", "float32"]
    stored = np.frombuffer(bytes(plan.weights[:2048]), "float16")
    np.testing.assert_allclose(stored, large, rtol=2**-11)
