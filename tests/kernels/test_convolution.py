"""Convolutions against NumPy in float64, for each instruction set of this machine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tests.kernels.epilogues import epilogues
from tests.native import compile_module, named, network, run_emulated, run_pipelined
from tvmpose.kernels.depthwise_schedule import depthwise_tiles
from tvmpose.kernels.dot_product import FUSED, MULL, SDOT, SMMLA, DotProduct
from tvmpose.kernels.tiling import by_element_tiles, conv2d_tiles
from tvmpose.targets import Target, host_target, load_target, needed_features

Pair = tuple[int, int]
LEVELS = [load_target(name) for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4")]
TARGETS = [host_target(), *(level for level in LEVELS if needed_features(level) <= needed_features(host_target()))]


@dataclass(frozen=True)
class Problem:
    """One convolution; padding is top, left, bottom, right. For a transposed one, size is that of its input."""

    size: Pair
    inputs: int
    outputs: int
    kernel: Pair
    strides: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    def arrays(self, *kernel: int) -> tuple[np.ndarray, np.ndarray]:
        """Data (1, H, W, I), and weights of the given shape."""
        random = np.random.default_rng(7)
        shapes = (1, *self.size, self.inputs), kernel
        data, weight = (random.standard_normal(shape, dtype="float32") for shape in shapes)
        return data, weight


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    kernel = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)), label="kernel")
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)]), label="dilation")
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4), label="padding")
    needed = [(kernel[axis] - 1) * dilation[axis] + 1 - padding[axis] - padding[axis + 2] for axis in (0, 1)]
    size = tuple(max(1, n) + draw(st.integers(0, 17)) for n in needed)
    strides = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)), label="strides")
    channels = st.integers(1, 70)
    return Problem(size, draw(channels), draw(channels), kernel, strides, padding, dilation)


def reference(problem: Problem, data: np.ndarray, weight: np.ndarray, combine: str) -> np.ndarray:
    """In float64; ``combine`` is einsum's for one kernel position: pixels (H, W, I) and weights."""
    (sy, sx), (dy, dx), (top, left, bottom, right) = problem.strides, problem.dilation, problem.padding
    padded = np.pad(data[0].astype("float64"), ((top, bottom), (left, right), (0, 0)))
    height = (padded.shape[0] - (problem.kernel[0] - 1) * dy - 1) // sy + 1
    width = (padded.shape[1] - (problem.kernel[1] - 1) * dx - 1) // sx + 1
    parts = (
        np.einsum(combine, padded[y * dy :: sy, x * dx :: sx][:height, :width], weight[y, x].astype("float64"))
        for y, x in np.ndindex(problem.kernel)
    )
    return sum(parts)[None]


def transposed_reference(problem: Problem, data: np.ndarray, weight: np.ndarray, size: Pair) -> np.ndarray:
    """In float64, by adding each input pixel's contribution to the output."""
    (sy, sx), (top, left) = problem.strides, problem.padding[:2]
    height, width = problem.size
    full = np.zeros((height * sy + problem.kernel[0], width * sx + problem.kernel[1], problem.outputs))
    full = np.pad(full, ((0, size[0]), (0, size[1]), (0, 0)))
    for y, x in np.ndindex(problem.kernel):
        pixels = data[0].astype("float64") @ weight[:, :, y, x]
        full[y : y + height * sy : sy, x : x + width * sx : sx] += pixels
    return full[None, top : top + size[0], left : left + size[1]]


def assert_close(found: np.ndarray, compute: Callable[..., np.ndarray], data: np.ndarray, weight: np.ndarray) -> None:
    """Within 1e-5 of the sum of the products' magnitudes, the measure that rounding is proportional to."""
    expected, magnitude = compute(data, weight), compute(np.abs(data), np.abs(weight))
    assert found.shape == expected.shape
    assert np.all(np.abs(found - expected) <= 1e-5 * magnitude + 1e-12)


@settings(max_examples=25, deadline=None)
@given(problem=problems(), target=st.sampled_from(TARGETS))
def test_conv2d__any_shape__agrees_with_float64(problem: Problem, target: Target):
    assert_conv2d_agrees(problem, target)


def assert_conv2d_agrees(problem: Problem, target: Target) -> None:
    data, weight = problem.arrays(*problem.kernel, problem.inputs, problem.outputs)
    attributes = {"strides": problem.strides, "padding": problem.padding, "dilation": problem.dilation}
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
    module = network(lambda x: relax.op.nn.conv2d(x, relax.const(weight), **attributes, **layouts), data.shape)
    (found,) = run_pipelined(module, target, data)
    assert_close(found, lambda d, w: reference(problem, d, w, "yxi,io->yxo"), data, weight)


SHAPES = {
    "tiles of three vectors and one of two": Problem((4, 8), 5, 88, (1, 1), (1, 1), (0,) * 4),
    "a last vector of four lanes": Problem((4, 8), 5, 84, (1, 1), (1, 1), (0,) * 4),
    "one output of whole vectors": Problem((9, 16), 16, 1, (3, 3), (1, 1), (1,) * 4),
    "two outputs of half a vector": Problem((9, 13), 4, 2, (3, 2), (2, 2), (1, 0, 2, 1)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_conv2d__shape_with_loops_of_its_own__agrees_with_float64(target: Target, name: str):
    assert_conv2d_agrees(SHAPES[name], target)


@settings(max_examples=25, deadline=None)
@given(problem=problems(), target=st.sampled_from(TARGETS))
def test_depthwise_conv2d__any_shape__agrees_with_float64(problem: Problem, target: Target):
    data, weight = problem.arrays(*problem.kernel, problem.inputs, 1)
    attributes = {"strides": problem.strides, "padding": problem.padding, "dilation": problem.dilation}
    layouts = {"data_layout": "NHWC", "kernel_layout": "HWOI", "groups": problem.inputs}
    module = network(lambda x: relax.op.nn.conv2d(x, relax.const(weight), **attributes, **layouts), data.shape)
    (found,) = run_pipelined(module, target, data)
    assert_close(found, lambda d, w: reference(problem, d, w[..., 0], "yxc,c->yxc"), data, weight)


@st.composite
def transposed_problems(draw: st.DrawFn) -> tuple[Problem, Pair]:
    """A problem and its output padding; the output is a whole number of strides, as our kernel demands."""
    kernel = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)), label="kernel")
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)), label="strides")
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)), label="size")
    before = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    after, extra = [0, 0], [0, 0]
    for axis in (0, 1):
        full = (size[axis] - 1) * strides[axis] + kernel[axis] - before[axis]
        after[axis] = draw(st.integers(0, min(kernel[axis] - 1, full - 1)))
        excess = (full - after[axis]) % strides[axis]
        extra[axis] = strides[axis] - excess if excess else 0
    channels = st.integers(1, 40)
    return Problem(size, draw(channels), draw(channels), kernel, strides, (*before, *after)), (extra[0], extra[1])


@settings(max_examples=25, deadline=None)
@given(case=transposed_problems(), target=st.sampled_from(TARGETS))
def test_conv2d_transpose__any_shape__agrees_with_float64(case: tuple[Problem, Pair], target: Target):
    problem, extra = case
    data, weight = problem.arrays(problem.inputs, problem.outputs, *problem.kernel)
    attributes = {"strides": problem.strides, "padding": problem.padding, "output_padding": extra}
    layouts = {"data_layout": "NHWC", "kernel_layout": "IOHW"}
    module = network(
        lambda x: relax.op.nn.conv2d_transpose(x, relax.const(weight), **attributes, **layouts), data.shape
    )
    (found,) = run_pipelined(module, target, data)
    assert_close(found, lambda d, w: transposed_reference(problem, d, w, found.shape[1:3]), data, weight)


EMULATED = {
    "cortex-a72": Target("a72", "by element", "aarch64-linux-musl", "cortex-a72", linker="none"),
    "max": Target("a7", "16 registers", "armv7a-linux-musleabihf", "cortex-a7", linker="none"),
}
DENSE = [
    Problem((12, 10), 24, 40, (1, 1)),
    Problem((9, 8), 8, 28, (3, 3), (2, 2), (1, 1, 1, 1)),
    Problem((16, 16), 3, 24, (3, 3), (2, 2), (0, 0, 1, 1)),
    Problem((11, 7), 16, 13, (3, 3), (1, 1), (2, 1, 2, 1), (2, 1)),
    Problem((16, 24), 8, 1, (3, 3), padding=(1, 1, 1, 1)),
    Problem((10, 9), 20, 2, (3, 3), (2, 1), (1, 0, 1, 2)),
    Problem((8, 8), 32, 32, (3, 3), padding=(1, 1, 1, 1)),
]
DEPTHWISE = [
    Problem((16, 16), 24, 24, (3, 3), padding=(1, 1, 1, 1)),
    Problem((14, 12), 16, 16, (5, 5), (2, 2), (1, 1, 2, 2)),
    Problem((9, 7), 13, 13, (3, 3), padding=(1, 1, 1, 1)),
]


@pytest.mark.slow
@pytest.mark.parametrize("cpu", EMULATED)
def test_convolutions__emulated_arm__agree_with_float64(cpu: str, tmp_path: Path):
    kernels = [(p, (*p.kernel, p.inputs, p.outputs), "HWIO", "yxi,io->yxo") for p in DENSE]
    kernels += [(p, (*p.kernel, p.inputs, 1), "HWOI", "yxc,c->yxc") for p in DEPTHWISE]
    arrays = [problem.arrays(*shape) for problem, shape, _, _ in kernels]
    biases = [np.linspace(0.1, 2, problem.outputs, dtype="float32") for problem, *_ in kernels]

    def build(*inputs: relax.Expr) -> list[relax.Expr]:
        convolved = [
            relax.op.nn.conv2d(
                x,
                relax.const(weight),
                strides=problem.strides,
                padding=problem.padding,
                dilation=problem.dilation,
                groups=problem.inputs if layout == "HWOI" else 1,
                data_layout="NHWC",
                kernel_layout=layout,
            )
            for x, (_, weight), (problem, _, layout, _) in zip(inputs, arrays, kernels, strict=True)
        ]
        return [relax.op.add(conv, relax.const(bias)) for conv, bias in zip(convolved, biases, strict=True)]

    target, (module, spec) = EMULATED[cpu], named(network(build, *(data.shape for data, _ in arrays)))
    library = compile_module(module, target, tmp_path, spec=spec)
    results = run_emulated(library, target, spec, [data for data, _ in arrays], cpu)
    for found, bias, (data, weight), (problem, _, layout, combine) in zip(
        results, biases, arrays, kernels, strict=True
    ):
        of_kernel = weight[..., 0] if layout == "HWOI" else weight
        assert_close(found, lambda d, w: reference(problem, d, w, combine) + bias, data, of_kernel)  # noqa: B023


EPILOGUES = epilogues(37)


@pytest.mark.parametrize("kind", ["conv2d", "depthwise", "transposed"])
def test_epilogues__each_behind_its_own_convolution__agree_with_float64(kind):
    layouts = {
        "data_layout": "NHWC",
        "kernel_layout": {"conv2d": "HWIO", "depthwise": "HWOI", "transposed": "IOHW"}[kind],
    }
    problem = Problem((12, 10), 37, 37, (3, 3), padding=(1, 1, 1, 1))
    shapes = {"conv2d": (3, 3, 37, 37), "depthwise": (3, 3, 37, 1), "transposed": (37, 37, 3, 3)}
    data, weight = problem.arrays(*shapes[kind])
    computes = {
        "conv2d": lambda: reference(problem, data, weight, "yxi,io->yxo"),
        "depthwise": lambda: reference(problem, data, weight[..., 0], "yxc,c->yxc"),
        "transposed": lambda: transposed_reference(problem, data, weight, (12, 10)),
    }
    expected = computes[kind]()
    groups = {"groups": 37} if kind == "depthwise" else {}
    operator = relax.op.nn.conv2d_transpose if kind == "transposed" else relax.op.nn.conv2d

    def build(x: relax.Expr) -> list[relax.Expr]:
        builder = relax.BlockBuilder.current()
        # a scaled weight each, or they would be one convolution with many consumers
        scaled = [relax.const(weight * np.float32(2.0**-i)) for i in range(len(EPILOGUES))]
        convolved = [builder.emit(operator(x, w, padding=problem.padding, **groups, **layouts)) for w in scaled]
        return [epilogue(c) for (epilogue, _), c in zip(EPILOGUES.values(), convolved, strict=True)]

    found = run_pipelined(network(build, data.shape), host_target(), data)
    for i, (name, (_, epilogue)) in enumerate(EPILOGUES.items()):
        theirs = epilogue(expected * 2.0**-i)
        np.testing.assert_allclose(found[i], theirs, rtol=0, atol=1e-5 * np.abs(theirs).max(), err_msg=name)


EXTENT = st.integers(1, 300)
LANES_AND_REGISTERS = st.sampled_from([(4, 16), (8, 16), (16, 32), (4, 32)])


@given(EXTENT, EXTENT, st.integers(1, 64), LANES_AND_REGISTERS)
def test_conv2d_tiles__any_shape__accumulators_weights_and_an_input_fit_the_registers(height, width, vectors, unit):
    lanes, registers = unit
    tile = conv2d_tiles(height, width, vectors, lanes, registers)[0]
    assert tile.rows * tile.columns * tile.vectors + tile.vectors + 1 <= registers
    assert (height % tile.rows, width % tile.columns) == (0, 0)
    assert 1 <= tile.vectors <= vectors
    assert tile.lanes == lanes


@given(EXTENT, EXTENT, st.integers(1, 64), LANES_AND_REGISTERS)
def test_conv2d_tiles__whole_ones_wanted__divide_the_channels(height, width, vectors, unit):
    assert vectors % conv2d_tiles(height, width, vectors, *unit, whole=True)[0].vectors == 0


@pytest.mark.parametrize("vectors", [5, 7, 11, 13, 17, 29])
def test_conv2d_tiles__prime_number_of_vectors__is_not_a_single_one(vectors):
    assert conv2d_tiles(16, 16, vectors, 8, 16)[0].vectors > 1


@given(EXTENT, EXTENT, st.integers(1, 64), st.sampled_from([FUSED, SDOT, SMMLA, *MULL]))
def test_by_element_tiles__any_shape__accumulators_inputs_and_weights_fit_the_registers(
    height: int, width: int, vectors: int, dot: DotProduct
):
    width *= dot.points
    tile = by_element_tiles(height, width, vectors, 4, 32, dot)[0]
    points = tile.rows * tile.columns
    assert points * tile.vectors + points // dot.points * dot.inputs_held + 2 <= 32
    assert tile.columns % dot.points == 0
    assert (height % tile.rows, width % tile.columns, vectors % tile.vectors) == (0, 0, 0)


@given(EXTENT, EXTENT, st.integers(1, 7), st.integers(1, 2), LANES_AND_REGISTERS)
def test_depthwise_tiles__any_shape__accumulators_fit_the_registers_and_a_row_of_inputs_or_eight_columns(
    height, width, kernel, stride, unit
):
    lanes, registers = unit
    tile = depthwise_tiles(height, width, lanes, registers, kernel, stride)[0]
    fits = tile.rows * tile.columns + (tile.columns - 1) * stride + kernel <= registers
    assert fits or (tile.rows == 1 and tile.columns <= 8)
    assert (height % tile.rows, width % tile.columns) == (0, 0)
    assert (tile.vectors, tile.lanes) == (1, lanes)
