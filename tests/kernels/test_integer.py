"""Weights in the order in which integer kernels read them, each looked up where the kernel will."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tvmpose.kernels.convolution import Window
from tvmpose.kernels.dot_product import MADD, MULL, MULTIPLY_ADD, SDOT, VNNI, DotProduct
from tvmpose.kernels.integer import Output, pack_integer_weights, pack_transposed_integer_weights
from tvmpose.kernels.integer_depthwise import Depthwise

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
)
def test_depthwise_tables__any_line__hold_the_channel_that_its_lane_computes(
    dot: DotProduct, quads: int, kernel: tuple[int, int], stride: int, width: int, wide: bool
):
    channels, size = quads * 4, (kernel[0], kernel[1] + (width - 1) * stride)
    window = Window((1, stride), (0, 0, 0, 0), (1, 1))
    what = Depthwise(size, channels, kernel, window, 0, Output("int8", 0, -128, 127))
    line = quads * (width if stride == 1 else 1)
    if line < dot.lanes:
        return
    limit = 255 if wide else 127
    weight = integers(*kernel, channels, low=-limit, high=limit)
    bias, scale = integers(channels, low=-9999, high=9999), np.linspace(0.1, 0.9, channels)
    ordered, biases, scales = what.tables(weight, bias, scale, dot.lanes)
    starts = what.starts(dot.lanes)
    assert min(starts) >= 0 and max(starts) + dot.lanes <= line
    summed = ordered.astype("int64").sum(1)  # of the terms
    for phase, start in enumerate(starts):
        for j in range(4):
            channel = (start + np.arange(dot.lanes)) % quads * 4 + j
            np.testing.assert_array_equal(biases[phase, j], bias[channel])
            np.testing.assert_array_equal(scales[phase, j], scale[channel].astype("float32"))
            for x in range(kernel[1]):
                np.testing.assert_array_equal(summed[phase, :, x // 4, j, :, x % 4], weight[:, x, channel])
    assert not ordered.reshape(*ordered.shape[:3], -1, 4, dot.lanes, 4)[
        :, :, :, -1, :, :, (kernel[1] - 1) % 4 + 1 :
    ].any()
