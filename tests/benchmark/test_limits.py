"""What the float models leave on the table: how kernels are sorted and added up."""

import pytest

from benchmarks import limits
from benchmarks.limits import Measured, kind_of
from tests.benchmark.test_fp32 import QUIET, ZEN
from tvmpose.benchmark.profile import StepProfile
from tvmpose.benchmark.roofline import Roofline

LIMITS = Roofline(1, 50e9, 1 << 20, 100e9, 50e9)


def step(name: str, milliseconds: float, multiply_adds: int | None, bytes_: int | None = 0) -> StepProfile:
    return StepProfile(name, milliseconds, milliseconds, milliseconds, multiply_adds, bytes_)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("fused_depthwise_conv2d3_add_relu", "depthwise"),
        ("fused_winograd_conv2d_transpose1_add", "Winograd"),
        ("conv2d", "convolutions"),
        ("fused_conv2d_transpose", "convolutions"),
        ("max_pool2d", "the rest"),
    ],
)
def test_kind_of__kernel__is_its_operator(kernel: str, kind: str):
    assert kind_of(kernel) == kind


def test_describe__a_frame__times_beside_limits_and_what_is_left():
    steps = [
        step("warp", 1.0, None, None),
        step("fused_conv2d_add", 2.0, 80_000_000),  # 1.6 ms at 50 G/s
        step("conv2d1", 1.0, 60_000_000),  # faster than the limit: nothing is left
        step("depthwise_conv2d", 1.0, 10_000_000),  # 0.2 ms
    ]
    text = limits.describe(Measured([limits.row("net", steps, LIMITS)], LIMITS), ZEN, QUIET)
    assert "| net | 1.00 ms, 20% | – | 3.00 ms, 93% | – | 4.00 ms | 1.20 ms, 30% | depthwise_conv2d, 0.80 ms |" in text
    assert "FMA peak 100 GFLOP/s" in text


def test_document__has_the_marks():
    text = limits.DOCUMENT.read_text()
    assert text.count("<!-- limits: begin -->\n") == text.count("<!-- limits: end -->\n") == 1
