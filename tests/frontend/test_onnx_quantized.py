"""Quantized ONNX in, operator by operator: against ONNX Runtime on the very file."""

import numpy as np
import pytest
from tvm.relax.frontend.onnx import from_onnx, onnx_frontend

from tests.frontend.quantized_onnx import assert_within_a_step, integers, judge, listed, parse, write
from tests.frontend.virtual_machine import assert_qdq_form, calls, operators, run
from tvmpose.errors import ModelError
from tvmpose.frontend.onnx import load
from tvmpose.frontend.onnx_quantized import QOPERATORS

UNARY = {
    "QLinearSigmoid": "y = com.microsoft.QLinearSigmoid (x, xs, xz, ys, yz)",
    "QLinearLeakyRelu": "y = com.microsoft.QLinearLeakyRelu <alpha = 0.3> (x, xs, xz, ys, yz)",
    "QLinearAveragePool": """
      y = com.microsoft.QLinearAveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>
        (x, xs, xz, ys, yz)""",
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("operator", UNARY)
def test_load__unary_operator_on_integers__agrees(tmp_path, operator, dtype):
    low = np.iinfo(dtype).min
    scale, zero_point = (1 / 256, low) if operator == "QLinearSigmoid" else (0.04, low + 100)
    extent = 4 if operator == "QLinearAveragePool" else 8
    path = write(
        tmp_path,
        f"""agraph ({dtype}[1,3,8,8] x) => ({dtype}[1,3,{extent},{extent}] y)
        <float xs = {{0.05}}, {dtype} xz = {{{low + 120}}}, float ys = {{{scale}}}, {dtype} yz = {{{zero_point}}}>
        {{ {UNARY[operator]} }}""",
    )
    assert_within_a_step(path, integers(dtype, 1, 3, 8, 8))


def test_load__global_average_pool_on_integers__agrees(tmp_path):
    path = write(
        tmp_path,
        """agraph (uint8[1,64,4,4] x) => (uint8[1,64,1,1] y)
        <float xs = {0.05}, uint8 xz = {120}, float ys = {0.01}, uint8 yz = {128}>
        { y = com.microsoft.QLinearGlobalAveragePool (x, xs, xz, ys, yz) }""",
    )
    assert_within_a_step(path, integers("uint8", 1, 64, 4, 4))


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_load__binary_operator_on_integers__agrees(tmp_path, operator, dtype):
    low = np.iinfo(dtype).min
    path = write(
        tmp_path,
        f"""agraph ({dtype}[1,8,5,4] a, {dtype}[8,1,1] b) => ({dtype}[1,8,5,4] y)
        <float s = {{0.05}}, {dtype} z = {{{low + 120}}}, float t = {{0.02}}, {dtype} w = {{{low + 30}}},
         float u = {{0.07}}>
        {{ y = com.microsoft.{operator} (a, s, z, b, t, w, u, z) }}""",
    )
    assert_within_a_step(path, integers(dtype, 1, 8, 5, 4), integers(dtype, 8, 1, 1, seed=1))


def test_load__concat_of_different_scales__agrees(tmp_path):
    path = write(
        tmp_path,
        """agraph (uint8[1,3,4,4] a, uint8[1,2,4,4] b) => (uint8[1,5,4,4] y)
        <float s = {0.05}, uint8 z = {120}, float t = {0.02}, uint8 w = {30}, float u = {0.06}>
        { y = com.microsoft.QLinearConcat <axis = 1> (u, z, a, s, z, b, t, w) }""",
    )
    assert_within_a_step(path, integers("uint8", 1, 3, 4, 4), integers("uint8", 1, 2, 4, 4, seed=1))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("data", "kernel"), [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])
@pytest.mark.parametrize("per_channel", [False, True])
def test_load__convolution_on_integers__agrees(tmp_path, groups, data, kernel, per_channel):
    low, count = np.iinfo(data).min, 8 if per_channel else 1
    weight, bias = integers(kernel, 8, 4 // groups, 3, 3), integers("int16", 8)
    scales = np.linspace(0.002, 0.01, count).round(4)
    zero_points, step = (np.full(count, 128), 0.2) if kernel == "uint8" else (np.zeros(count, int), 0.1)
    path = write(
        tmp_path,
        f"""agraph ({data}[1,4,9,8] x) => ({data}[1,8,5,4] y)
        <float xs = {{0.05}}, {data} xz = {{{low + 120}}}, {kernel}[8,{4 // groups},3,3] w = {{{listed(weight)}}},
         float[{count}] ws = {{{listed(scales)}}}, {kernel}[{count}] wz = {{{listed(zero_points)}}},
         float ys = {{{step}}}, {data} yz = {{{low + 100}}}, int32[8] b = {{{listed(bias)}}}>
        {{ y = QLinearConv <pads = [1,1,1,1], strides = [2,2], group = {groups}>
             (x, xs, xz, w, ws, wz, ys, yz, b) }}""",
    )
    assert_within_a_step(path, integers(data, 1, 4, 9, 8))
    bound = calls(load(path)[0])
    (bias_call,) = (c for c in bound.values() if c.op.name == "relax.dequantize" and str(c.args[0].ty.dtype) == "int32")
    expected = (np.float32(0.05) * scales.astype("float32")).reshape(-1)
    np.testing.assert_array_equal(bias_call.args[1].value.numpy().reshape(-1), expected)


def test_load__convolution_with_auto_pad_and_no_bias__agrees(tmp_path):
    path = write(
        tmp_path,
        f"""agraph (uint8[1,2,6,6] x) => (uint8[1,3,3,3] y)
        <float xs = {{0.05}}, uint8 xz = {{77}}, int8[3,2,3,3] w = {{{listed(integers("int8", 3, 2, 3, 3))}}},
         float ws = {{0.01}}, int8 wz = {{0}}, float ys = {{0.2}}, uint8 yz = {{100}}>
        {{ y = QLinearConv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, xs, xz, w, ws, wz, ys, yz) }}""",
    )
    assert_within_a_step(path, integers("uint8", 1, 2, 6, 6))


@pytest.mark.parametrize("per_column", [False, True])
def test_load__matrix_product_on_integers__agrees(tmp_path, per_column):
    count = 5 if per_column else 1
    path = write(
        tmp_path,
        f"""agraph (uint8[4,7] a) => (uint8[4,5] y)
        <float s = {{0.05}}, uint8 z = {{120}}, int8[7,5] b = {{{listed(integers("int8", 7, 5))}}},
         float[{count}] t = {{{listed(np.linspace(0.01, 0.03, count).round(3))}}},
         int8[{count}] w = {{{listed(np.arange(count))}}}, float u = {{0.25}}>
        {{ y = QLinearMatMul (a, s, z, b, t, w, u, z) }}""",
    )
    assert_within_a_step(path, integers("uint8", 4, 7))


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_load__gemm_on_integers__agrees(tmp_path, transposed, alpha):
    shape = "5,7" if transposed else "7,5"
    path = write(
        tmp_path,
        f"""agraph (uint8[4,7] a) => (uint8[4,5] y)
        <float s = {{0.05}}, uint8 z = {{120}}, int8[{shape}] b = {{{listed(integers("int8", 7, 5))}}},
         float[5] t = {{0.01, 0.02, 0.03, 0.015, 0.025}}, int8[5] w = {{0, 1, 2, 3, 4}},
         int32[5] c = {{1000, -2000, 3000, 0, 500}}, float u = {{{alpha / 2}}}>
        {{ y = com.microsoft.QGemm <transB = {transposed}, alpha = {alpha}> (a, s, z, b, t, w, c, u, z) }}""",
    )
    assert_within_a_step(path, integers("uint8", 4, 7))


def test_load__gemm_with_float_result__agrees(tmp_path):
    path = write(
        tmp_path,
        f"""agraph (uint8[4,7] a) => (float[4,5] y)
        <float s = {{0.05}}, uint8 z = {{120}}, int8[5,7] b = {{{listed(integers("int8", 5, 7))}}}, float t = {{0.01}},
         int8 w = {{0}}, int32[5] c = {{1000, -2000, 3000, 0, 500}}>
        {{ y = com.microsoft.QGemm <transB = 1> (a, s, z, b, t, w, c) }}""",
    )
    module, _ = load(path)
    assert_qdq_form(module)
    assert operators(module) == ["dequantize", "dequantize", "matmul", "dequantize", "add"]
    data = integers("uint8", 4, 7)
    np.testing.assert_allclose(run(module, data)[0], judge(path, data)[0], rtol=1e-5, atol=1e-5)


def test_load__convolution_to_int32__is_exact(tmp_path):
    path = write(
        tmp_path,
        f"""agraph (uint8[1,4,9,8] x) => (int32[1,6,5,4] y)
        <uint8 xz = {{120}}, uint8[6,2,3,3] w = {{{listed(integers("uint8", 6, 2, 3, 3))}}}, uint8 wz = {{100}}>
        {{ y = ConvInteger <pads = [1,1,1,1], strides = [2,2], group = 2> (x, w, xz, wz) }}""",
    )
    data = integers("uint8", 1, 4, 9, 8)
    np.testing.assert_array_equal(run(load(path)[0], data)[0], judge(path, data)[0])


def test_load__convolution_to_int32_zero_point_per_channel__is_what_numpy_says(tmp_path):
    weight, zero_points = integers("uint8", 2, 3, 1, 1), np.array([5, 250])  # ONNX Runtime takes only one
    path = write(
        tmp_path,
        f"""agraph (uint8[1,3,4,4] x) => (int32[1,2,4,4] y)
        <uint8[2,3,1,1] w = {{{listed(weight)}}}, uint8 xz = {{7}}, uint8[2] wz = {{{listed(zero_points)}}}>
        {{ y = ConvInteger (x, w, xz, wz) }}""",
    )
    data = integers("uint8", 1, 3, 4, 4)
    kernel = weight[:, :, 0, 0].astype("int64") - zero_points[:, None]
    expected = np.einsum("oc,nchw->nohw", kernel, data.astype("int64") - 7)
    np.testing.assert_array_equal(run(load(path)[0], data)[0], expected)


@pytest.mark.parametrize("columns", [1, 5])
def test_load__matrix_product_to_int32__is_exact(tmp_path, columns):
    path = write(
        tmp_path,
        f"""agraph (uint8[4,7] a, int8[7,5] b) => (int32[4,5] y)
        <uint8 z = {{120}}, int8[{columns}] w = {{{listed(np.arange(columns) - 2)}}}>
        {{ y = MatMulInteger (a, b, z, w) }}""",
    )
    inputs = integers("uint8", 4, 7), integers("int8", 7, 5)
    np.testing.assert_array_equal(run(load(path)[0], *inputs)[0], judge(path, *inputs)[0])


DYNAMIC = """agraph (float[12] x) => (uint8[12] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear (x) }"""


@pytest.mark.parametrize(("low", "high"), [(-3, 7), (3, 7), (-7, -3), (0, 0)])
def test_load__range_measured_at_run_time__agrees(tmp_path, low, high):
    path, data = write(tmp_path, DYNAMIC), np.linspace(low, high, 12, dtype="float32")
    for ours, theirs in zip(run(load(path)[0], data), judge(path, data), strict=True):
        np.testing.assert_array_equal(ours, theirs)


# What of TVM's importer is mended from outside: where one of these fails, the mend may go.


def test_tvm__range_of_a_tensor_of_zeros__still_divides_by_zero():
    zeros = np.zeros(12, "float32")
    assert run(from_onnx(parse(DYNAMIC)), zeros)[1] == 0  # the scale; ONNX Runtime's is 1


def test_tvm__operators_on_integers__are_still_unknown():
    assert not onnx_frontend._get_convert_map().keys() & {"ConvInteger", *QOPERATORS}


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DequantizeLinear"])
def test_tvm__zero_point__still_has_the_type_of_the_file(operator):
    data, result = ("float", "uint8") if operator == "QuantizeLinear" else ("uint8", "float")
    graph = (
        f"agraph ({data}[3] x) => ({result}[3] y) <float s = {{0.1}}, uint8 z = {{3}}> {{ y = {operator} (x, s, z) }}"
    )
    (call,) = calls(from_onnx(parse(graph))).values()
    assert str(call.args[2].ty.dtype) == "uint8"


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", "77"), ("int8", "-5"), ("int16", "300"), ("uint8", None)])
def test_load__quantize_and_dequantize__agree_in_every_type(tmp_path, dtype, zero_point):
    stated, given = (f", {dtype} z = {{{zero_point}}}", ", z") if zero_point else ("", "")
    path = write(
        tmp_path,
        f"""agraph (float[2,500] x) => ({dtype}[2,500] q, float[2,500] y) <float s = {{0.03}}{stated}>
        {{ q = QuantizeLinear (x, s{given})
           y = DequantizeLinear (q, s{given}) }}""",
        opset=21,
    )
    data = np.random.default_rng(0).normal(0, 3, (2, 500)).astype("float32")
    module, _ = load(path)
    assert_qdq_form(module)
    (ours, numbers), (theirs, expected) = run(module, data), judge(path, data)
    assert ours.dtype == theirs.dtype == dtype
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize("axis", [1, -2])
def test_load__quantize_per_channel__agrees(tmp_path, axis):
    path = write(
        tmp_path,
        f"""agraph (float[2,3,50] x) => (float[2,3,50] y) <float[3] s = {{0.5, 0.02, 1.5}}, int8[3] z = {{-3, 0, 7}}>
        {{ q = QuantizeLinear <axis = {axis}> (x, s, z)
           y = DequantizeLinear <axis = {axis}> (q, s, z) }}""",
    )
    data = np.random.default_rng(0).normal(0, 3, (2, 3, 50)).astype("float32")
    module, _ = load(path)
    assert_qdq_form(module)
    np.testing.assert_array_equal(run(module, data)[0], judge(path, data)[0])


def test_load__scale_computed_by_the_network__agrees(tmp_path):
    path = write(
        tmp_path,
        """agraph (float[500] x, float s) => (float[500] y) <uint8 z = {100}>
        { q = QuantizeLinear (x, s, z)
          y = DequantizeLinear (q, s, z) }""",
    )
    data, scale = np.random.default_rng(0).normal(0, 3, 500).astype("float32"), np.array(0.04, "float32")
    np.testing.assert_array_equal(run(load(path)[0], data, scale)[0], judge(path, data, scale)[0])


def test_load__weights_left_in_float__are_rounded_at_import(tmp_path):
    weight = np.random.default_rng(0).normal(0, 1, (4, 3, 1, 1)).round(3)
    path = write(
        tmp_path,
        f"""agraph (uint8[1,3,5,5] x) => (uint8[1,4,5,5] y)
        <float xs = {{0.05}}, uint8 xz = {{120}}, float[4,3,1,1] w = {{{listed(weight)}}},
         float[4] ws = {{0.01, 0.02, 0.015, 0.03}}, int8[4] wz = {{0, 0, 0, 0}}, float ys = {{0.2}}>
        {{ data = DequantizeLinear (x, xs, xz)
           integer = QuantizeLinear <axis = 0> (w, ws, wz)
           weight = DequantizeLinear <axis = 0> (integer, ws, wz)
           result = Conv (data, weight)
           y = QuantizeLinear (result, ys, xz) }}""",
    )
    assert_within_a_step(path, integers("uint8", 1, 3, 5, 5))


REFUSED = {
    "uint16": (
        "agraph (float[3] x) => (uint16[3] y) <float s = {0.1}, uint16 z = {3}> { y = QuantizeLinear (x, s, z) }",
        "quantized as uint16; int8, uint8, int16, int32 are supported",
    ),
    "blocks": (
        """agraph (int8[4,2] x) => (float[4,2] y) <float[2,2] s = {0.1, 0.2, 0.3, 0.4}>
        { y = DequantizeLinear <axis = 0, block_size = 2> (x, s) }""",
        "a scale for each block of an axis",
    ),
    "float16": (
        "agraph (int8[3] x, float16 s) => (float16[3] y) { y = DequantizeLinear (x, s) }",
        "a scale of float16",
    ),
    "channels last": (
        """agraph (uint8[1,4,4,2] x) => (uint8[1,1,1,2] y) <float s = {0.1}, uint8 z = {3}>
        { y = com.microsoft.QLinearGlobalAveragePool <channels_last = 1> (x, s, z, s, z) }""",
        "QLinearGlobalAveragePool at y: channels_last is not supported",
    ),
    "no zero point": (
        """agraph (int8[3] x) => (int8[3] y) <float s = {0.1}, int8 z = {3}>
        { y = com.microsoft.QLinearSigmoid (x, s, z, s) }""",
        "QLinearSigmoid at y: its result has no zero point",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_load__what_the_form_lacks__is_refused_by_name(tmp_path, case):
    graph, message = REFUSED[case]
    with pytest.raises(ModelError, match=message):
        load(write(tmp_path, graph, opset=21))
