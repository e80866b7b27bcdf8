"""Weights in the order in which integer kernels read them, each looked up where the kernel will."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx
from tvm.ir import Expr
from tvm.relax.analysis import has_reshape_pattern

from tvmpose.kernels.convolution import Window
from tvmpose.kernels.dot_product import MADD, MULL, MULTIPLY_ADD, SDOT, VNNI, DotProduct
from tvmpose.kernels.integer import Output, pack_integer_weights, pack_transposed_integer_weights
from tvmpose.kernels.integer_depthwise import Depthwise, integer_depthwise_kernel

some = settings(max_examples=60, deadline=None)
dots = st.sampled_from([*VNNI, *MADD, SDOT, *MULL, MULTIPLY_ADD])
sizes = st.integers(1, 5)


def integers(*shape: int, low: int = -128, high: int = 127) -> np.ndarray:
    return np.random.default_rng(3).integers(low, high + 1, shape)


@some
@given(dots, sizes, sizes, st.integers(1, 21), st.integers(1, 40))
def test_pack_integer_weights__any_shape__each_lane_holds_its_neighbours(
    dot: DotProduct, height: int, width: int, inputs: int, outputs: int
):
    weight = integers(height, width, inputs, outputs).astype("int8")
    packed = pack_integer_weights(weight, dot)
    blocks, groups = -(-outputs // dot.lanes), -(-inputs // dot.taken)
    assert packed.shape == (blocks, height, width, groups, dot.lanes, dot.taken)
    whole = np.zeros((height, width, groups * dot.taken, blocks * dot.lanes), "int8")
    whole[:, :, :inputs, :outputs] = weight
    block, y, x, group, lane, k = np.indices(packed.shape)
    np.testing.assert_array_equal(packed, whole[y, x, group * dot.taken + k, block * dot.lanes + lane])


@some
@given(st.sampled_from(MULL), st.integers(1, 21), st.integers(1, 5), st.integers(1, 3))
def test_arranged__pairs_of_inputs__lie_side_by_side_for_four_outputs(
    dot: DotProduct, inputs: int, tiles: int, vectors: int
):
    packed = pack_integer_weights(integers(1, 1, inputs, tiles * vectors * 4).astype("int8"), dot, vectors)
    arranged = dot.arranged(packed).reshape(*packed.shape[:4], vectors, dot.taken // 2, 4, 2)
    *outer, vector, pair, lane, k = np.indices(arranged.shape)
    np.testing.assert_array_equal(arranged, packed[(*outer, vector * 4 + lane, pair * 2 + k)])


@some
@given(dots, st.integers(1, 9), st.integers(1, 20), st.integers(2, 5), st.integers(1, 2), st.integers(0, 1))
def test_pack_transposed_integer_weights__any_shape__holds_every_weight_once(
    dot: DotProduct, inputs: int, outputs: int, kernel: int, stride: int, padding: int
):
    weight = (1 + np.arange(inputs * outputs * kernel**2) % 127).reshape(inputs, outputs, kernel, kernel)
    packed = pack_transposed_integer_weights(weight.astype("int8"), dot, (stride, stride), (padding, padding))
    assert packed.shape[-2:] == (dot.lanes, dot.taken)
    assert packed.shape[1:3] == (stride, stride)
    np.testing.assert_array_equal(np.sort(packed[packed != 0]), np.sort(weight.ravel()))


@some
@given(
    st.sampled_from([*VNNI, SDOT]),
    st.integers(1, 24),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.integers(1, 2),
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
)
def test_depthwise_tables__any_line__hold_the_channel_that_its_lane_computes(
    dot: DotProduct, quads: int, kernel: tuple[int, int], stride: int, width: int, wide: bool, zips: bool
):
    channels, size = quads * 4, (kernel[0], kernel[1] + (width - 1) * stride)
    window = Window((1, stride), (0, 0, 0, 0), (1, 1))
    what = Depthwise(size, channels, kernel, window, 0, Output("int8", 0, -128, 127), zips)
    line = quads * (width if stride == 1 else 1)
    if line < dot.lanes:
        return
    limit = 255 if wide else 127
    weight = integers(*kernel, channels, low=-limit, high=limit)
    bias, scale = integers(channels, low=-9999, high=9999), np.linspace(0.1, 0.9, channels)
    ordered, biases, scales = what.tables(weight, bias, [scale.astype("float32")], dot.lanes)
    starts = what.starts(dot.lanes)
    assert min(starts) >= 0 and max(starts) + dot.lanes <= line
    summed = ordered.astype("int64").sum(1)  # of the terms
    for phase, start in enumerate(starts):
        for j in range(4):
            channel = (start + np.arange(dot.lanes)) % quads * 4 + j
            if zips:  # as they lie in memory
                channel = (start * 4 + j * dot.lanes + np.arange(dot.lanes)) % channels
            np.testing.assert_array_equal(biases[phase, j], bias[channel])
            np.testing.assert_array_equal(scales[phase, j], scale[channel].astype("float32"))
            for x in range(kernel[1]):
                np.testing.assert_array_equal(summed[phase, :, x // 4, j, :, x % 4], weight[:, x, channel])
    assert not ordered.reshape(*ordered.shape[:3], -1, 4, dot.lanes, 4)[
        :, :, :, -1, :, :, (kernel[1] - 1) % 4 + 1 :
    ].any()


class Plain(DotProduct):
    """What a dot product of bytes computes, in arithmetic that every CPU has."""

    def multiplied(self, sums: Expr, data: Expr, weights: Expr) -> Expr:
        for k in range(4):
            sums = sums + self._byte(data, k, self.data == "int8") * self._byte(weights, k, True)
        return sums

    def _byte(self, vector: Expr, k: int, signed: bool) -> Expr:
        bits = lambda n: tirx.Broadcast(tirx.const(n, "int32"), self.lanes)  # noqa: E731
        words = tirx.reinterpret(f"int32x{self.lanes}", vector)
        return (words << bits(24 - 8 * k)) >> bits(24) if signed else (words >> bits(8 * k)) & bits(255)


@pytest.mark.parametrize("has_rest", [False, True])
@pytest.mark.parametrize(("data", "lanes", "zips"), [("uint8", 8, False), ("int8", 8, False), ("int8", 4, True)])
@pytest.mark.parametrize(("channels", "columns", "stride"), [(60, 3, 1), (24, 3, 1), (128, 5, 1), (72, 3, 2)])
def test_integer_depthwise_kernel__lines_and_pixels__are_numpy_s(
    channels: int, columns: int, stride: int, data: str, lanes: int, zips: bool, has_rest: bool
):
    dot, random = Plain("plain", lanes, 4, data), np.random.default_rng(1)
    padding = (1, columns // 2, 1, columns // 2)
    window, output = Window((stride, stride), padding, (1, 1)), Output(data, 3, *_limits(data))
    what = Depthwise((9, 11), channels, (3, columns), window, 5, output, zips)
    assert what.by_pixels(lanes) == (channels != 24)
    assert what.columns(lanes) == (2 if zips and channels == 60 else 1)
    x = random.integers(*_limits(data), (1, 9, 11, channels), endpoint=True).astype(data)
    weight, bias = random.integers(-128, 128, (3, columns, channels)), random.integers(-9999, 9999, channels)
    scales = [random.uniform(1e-4, 1e-2, channels).astype("float32"), random.uniform(-0.5, 0.5, channels)]
    scales = [table.astype("float32") for table in scales[: 1 + has_rest]]
    tables = what.tables(weight, bias, scales, lanes)
    kernel = integer_depthwise_kernel(what, dot, 1, has_rest)
    result = tvm.runtime.tensor(np.zeros((1, *what.output_size, channels), data))
    arguments = map(tvm.runtime.tensor, [x, *tables])
    tvm.compile(kernel, tvm.target.Target("llvm"))["main"](*arguments, result)
    padded = np.pad(x[0].astype("int64"), ((1, 1), (columns // 2,) * 2, (0, 0)), constant_values=5)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, columns), (0, 1))[::stride, ::stride]
    sums = np.einsum("hwcyx,yxc->hwc", windows, weight) + bias
    numbers = sums.astype("float64") * scales[0] + (scales[1] if has_rest else 0)
    expected = np.clip(np.rint(numbers.astype("float32")) + 3, *_limits(data))
    np.testing.assert_array_equal(result.numpy()[0], expected)


def test_integer_depthwise_kernel__tvm_s_search_for_reshapes__does_not_crash():
    window = Window((1, 1), (1, 1, 1, 1), (1, 1))
    what = Depthwise((8, 8), 16, (3, 3), window, 0, Output("int8", 0, -128, 127))
    assert not has_reshape_pattern(integer_depthwise_kernel(what, SDOT, 1, False))


def _limits(dtype: str) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
