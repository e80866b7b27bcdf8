"""A bias moves from behind a convolution to where its sums start, if it is one, and nothing else does."""

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import te, tirx
from tvm.ir import Expr, assert_structural_equal
from tvm.s_tir import Schedule

from tvmpose.kernels.start_at_bias import start_at, take_bias

PIXELS, INPUTS, OUTPUTS = 5, 7, 8
WIDTHS = {"bias": (OUTPUTS,), "with ones": (1, 1, 1, OUTPUTS), "scalar": (1,), "short": (6,)}


def product(width: tuple[int, ...], epilogue: Callable[..., te.Tensor]) -> tuple[Schedule, list[np.ndarray]]:
    """x . w with an epilogue (sums, bias, residual) -> result, as a schedule of two blocks, and its arguments."""
    shapes = [(PIXELS, INPUTS), (INPUTS, OUTPUTS), width, (PIXELS, OUTPUTS)]
    x, w, bias, rest = (te.placeholder(shape, "float32", name) for shape, name in zip(shapes, "xwbr", strict=True))
    k = te.reduce_axis((0, INPUTS), "k")
    sums = te.compute((1, 1, PIXELS, OUTPUTS), lambda n, r, y, c: te.sum(x[y, k] * w[k, c], axis=[k]), name="conv")
    result = epilogue(lambda y, c: sums[0, 0, y, c], bias, rest)
    random = np.random.default_rng(4)
    arrays = [random.standard_normal(shape, dtype="float32") for shape in shapes]
    return Schedule(te.create_prim_func([x, w, bias, rest, result])), arrays


def out(value: Callable[..., Expr], width: int = OUTPUTS) -> te.Tensor:
    return te.compute((PIXELS, width), value, name="out")


def relu(value: Expr) -> Expr:
    return tirx.max(value, tirx.const(0, "float32"))


def square(value: Expr) -> Expr:
    return value * value


def run(schedule: Schedule, arrays: list[np.ndarray]) -> np.ndarray:
    result = tvm.runtime.tensor(np.zeros((PIXELS, OUTPUTS), "float32"))
    tvm.compile(schedule.mod, tvm.target.Target("llvm"))["main"](*map(tvm.runtime.tensor, arrays), result)
    return result.numpy()


@pytest.mark.parametrize(
    ("width", "epilogue", "expected"),
    [
        ("bias", lambda s, b, r: out(lambda y, c: s(y, c) + b[c]), lambda s, b, r: s + b),
        ("bias", lambda s, b, r: out(lambda y, c: b[c] + s(y, c)), lambda s, b, r: s + b),
        (
            "with ones",
            lambda s, b, r: out(lambda y, c: relu(s(y, c) + b[0, 0, 0, c])),
            lambda s, b, r: np.maximum(s + b, 0),
        ),
        ("bias", lambda s, b, r: out(lambda y, c: square(s(y, c) + b[c])), lambda s, b, r: (s + b) ** 2),
        ("bias", lambda s, b, r: out(lambda y, c: s(y, c) + b[c] + r[y, c]), lambda s, b, r: s + b + r),
        ("bias", lambda s, b, r: out(lambda y, c: r[y, c] + (b[c] + s(y, c))), lambda s, b, r: s + b + r),
    ],
)
def test_take_bias__behind_every_read_of_the_sums__is_where_they_start(width, epilogue, expected):
    schedule, arrays = product(WIDTHS[width], epilogue)
    conv, output = schedule.get_sblock("conv"), schedule.get_sblock("out")
    bias = take_bias(schedule, output, conv)
    assert bias is not None
    assert not any(read.source.same_as(bias) for read in schedule.get(output).reads)
    start_at(schedule, schedule.decompose_reduction(conv, schedule.get_loops(conv)[-1]), bias)
    theirs = expected(arrays[0] @ arrays[1], *arrays[2:]).reshape(PIXELS, OUTPUTS)
    np.testing.assert_allclose(run(schedule, arrays), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "epilogue"),
    [
        ("scalar", lambda s, b, r: out(lambda y, c: s(y, c) + b[0])),
        ("short", lambda s, b, r: out(lambda y, c: s(y, c) + b[c], 6)),
        ("bias", lambda s, b, r: out(lambda y, c: s(y, c) + b[7 - c])),
        ("bias", lambda s, b, r: out(lambda y, c: (s(y, c) + b[c]) * s(y, c))),
        ("bias", lambda s, b, r: out(lambda y, c: s(y, c) * b[c])),
        ("bias", lambda s, b, r: out(lambda y, c: s(y, c) + r[y, c] + b[c])),
    ],
)
def test_take_bias__anything_else__stays_where_it_is(width, epilogue):
    schedule, _ = product(WIDTHS[width], epilogue)
    before = schedule.mod
    assert take_bias(schedule, schedule.get_sblock("out"), schedule.get_sblock("conv")) is None
    assert_structural_equal(schedule.mod, before)
