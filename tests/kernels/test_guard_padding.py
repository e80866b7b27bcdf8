"""Depthwise kernels read the picture itself where guards are cheaper than a padded copy of it."""

import numpy as np
import pytest
from tvm import relax
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from tests.native import network, run_pipelined
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.targets import host_target

LAYOUTS = {"data_layout": "NHWC", "kernel_layout": "HWOI"}
CHANNELS = 16


def depthwise(kernel: int, channels: int = CHANNELS, weight: np.ndarray | None = None):
    """A depthwise convolution that keeps the size of a 9 x 10 picture, as a module."""
    if weight is None:
        weight = np.random.default_rng(1).standard_normal((kernel, kernel, channels, 1), dtype="float32")
    attributes = {"padding": kernel // 2, "groups": channels, **LAYOUTS}
    return network(lambda x: relax.op.nn.conv2d(x, relax.const(weight), **attributes), (1, 9, 10, channels))


def buffers(module) -> list[str]:
    """Names of what the module's only kernel allocates."""
    (kernel,) = (function for _, function in module.functions_items() if isinstance(function, PrimFunc))
    schedule = Schedule(kernel)
    return [buffer.name for buffer in schedule.get(schedule.get_sblock("root")).alloc_buffers]


@pytest.mark.parametrize(
    ("kernel", "channels", "copies"), [(3, 16, False), (7, 16, False), (9, 16, True), (3, 17, True)]
)
def test_depthwise__kernel_and_channels__decide_about_a_padded_copy(kernel, channels, copies):
    names = buffers(run_pipeline(depthwise(kernel, channels), host_target().llvm()))
    assert ("pad" in names) == copies


def test_depthwise__taps_outside_the_picture__are_not_computed():
    """An infinite weight times the zero of a padded copy would be NaN."""
    weight = np.ones((3, 3, CHANNELS, 1), "float32")
    weight[0, 0] = np.inf
    data = np.ones((1, 9, 10, CHANNELS), "float32")
    (found,) = run_pipelined(depthwise(3, weight=weight), host_target(), data)
    assert np.all(np.isinf(found[0, 1:, 1:]))
    assert np.all(found[0, 0, 1:-1] == 6) and np.all(found[0, 1:-1, 0] == 6) and np.all(found[0, 0, 0] == 4)
