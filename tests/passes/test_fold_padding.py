"""Padding goes into the convolution behind it where, and only where, that changes nothing."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tests.native import network, run_pipelined
from tvmpose.passes.fold_padding import FoldPadding
from tvmpose.targets import host_target

WEIGHT = np.random.default_rng(1).standard_normal((3, 3, 6, 8), dtype="float32")


def padded_convolution(widths: list[int], mode: str = "constant", value: float = 0.0, **attributes: object):
    """pad, then convolve, of an input 1 x 7 x 8 x (6 less the channels that padding brings)."""

    def build(x: relax.Expr) -> relax.Expr:
        padded = relax.op.nn.pad(x, widths, mode, value)
        layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
        return relax.op.nn.conv2d(padded, relax.const(WEIGHT), **layouts, **attributes)

    return network(build, (1, 7, 8, 6 - widths[6] - widths[7]))


def paddings(module: tvm.IRModule) -> int:
    found = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and expression.op.name == "relax.nn.pad":
            found.append(expression)

    relax.analysis.post_order_visit(module["main"], visit)
    return len(found)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=8, max_size=8), st.integers(1, 2), st.integers(0, 2))
def test_fold_padding__zeros_on_any_side__agrees_with_numpy(widths, stride, own):
    top, bottom, left, right = widths[:4]
    module = padded_convolution([0, 0, top, bottom, left, right, 0, 0], strides=stride, padding=own)
    folded = relax.transform.DeadCodeElimination()(FoldPadding()(module))
    assert paddings(folded) == 0
    x = np.random.default_rng(2).standard_normal((1, 7, 8, 6), dtype="float32")
    (found,) = run_pipelined(module, host_target(), x)
    full = np.pad(x[0].astype("float64"), ((top + own, bottom + own), (left + own, right + own), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(full, (3, 3), (0, 1))[::stride, ::stride]
    np.testing.assert_allclose(found[0], np.einsum("yxiab,abio->yxo", windows, WEIGHT), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("widths", "mode", "value"),
    [
        ([0, 0, 1, 1, 1, 1, 0, 0], "constant", 1.0),
        ([0, 0, 1, 1, 1, 1, 0, 0], "reflect", 0.0),
        ([0, 0, 1, 1, 1, 1, 0, 2], "constant", 0.0),
        ([0, 0, 1, 1, -1, 1, 0, 0], "constant", 0.0),
    ],
    ids=["ones", "reflection", "channels", "cropping"],
)
def test_fold_padding__anything_else__stays(widths, mode, value):
    module = padded_convolution(widths, mode, value)
    assert paddings(FoldPadding()(module)) == paddings(module) == 1


def test_fold_padding__other_layout__stays():
    weight = relax.const(WEIGHT.transpose(3, 2, 0, 1))

    def build(x: relax.Expr) -> relax.Expr:
        return relax.op.nn.conv2d(relax.op.nn.pad(x, [0, 0, 0, 0, 1, 1, 2, 2]), weight)

    assert paddings(FoldPadding()(network(build, (1, 6, 7, 8)))) == 1


def test_fold_padding__padding_with_two_consumers__stays_for_the_other():
    def build(x: relax.Expr) -> list[relax.Expr]:
        padded = relax.BlockBuilder.current().emit(relax.op.nn.pad(x, [0, 0, 1, 1, 1, 1, 0, 0]))
        layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
        return [relax.op.nn.conv2d(padded, relax.const(WEIGHT), **layouts), relax.op.nn.relu(padded)]

    module = relax.transform.DeadCodeElimination()(FoldPadding()(network(build, (1, 7, 8, 6))))
    assert paddings(module) == 1
    x = np.random.default_rng(2).standard_normal((1, 7, 8, 6), dtype="float32")
    np.testing.assert_array_equal(
        run_pipelined(module, host_target(), x)[1], np.pad(np.maximum(x, 0), ((0, 0), (1, 1), (1, 1), (0, 0)))
    )
