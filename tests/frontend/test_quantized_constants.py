"""Constants of the QDQ form: moving and rounding them changes no number."""

import numpy as np
import onnx
import onnxruntime
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper
from tvm import relax

from tests.frontend.virtual_machine import calls, operators
from tvmpose import qdq
from tvmpose.frontend.quantized_constants import quantized_array, settle_constants
from tvmpose.qdq import Quantization

SCALES = st.floats(2**-13, 8, width=32)


def quantization(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> Quantization:
    """Any, per tensor or along any axis."""
    axis = draw(st.none() | st.integers(0, len(shape) - 1))
    count = () if axis is None else (shape[axis],)
    limits = np.iinfo(dtype)
    zero_points = draw(arrays.arrays("int32", count, elements=st.integers(limits.min, limits.max)))
    return Quantization(draw(arrays.arrays("float32", count, elements=SCALES)), zero_points, dtype, axis or 0)


@st.composite
def dequantized(draw: st.DrawFn) -> tuple[np.ndarray, Quantization]:
    array = draw(arrays.arrays("int8", arrays.array_shapes(min_dims=2, max_dims=4, max_side=4)))
    return array, quantization(draw, "int8", array.shape)


def numbers(array: np.ndarray, kind: Quantization) -> np.ndarray:
    along_axis = [1] * array.ndim
    if kind.scale.ndim:
        along_axis[kind.axis] = -1
    return (array.astype("int32") - kind.zero_point.reshape(along_axis)) * kind.scale.reshape(along_axis)


def settled(build) -> tvm.IRModule:
    """main() = build(), settled."""
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        with builder.dataflow():
            result = builder.emit_output(build(builder))
        builder.emit_func_output(result)
    return settle_constants(builder.get())


def only_dequantize(module: tvm.IRModule) -> np.ndarray:
    """What the one call of main, a dequantize of a constant, stands for."""
    (call,) = calls(module).values()
    return numbers(call.args[0].value.numpy(), qdq.quantization_of(call))


@settings(max_examples=60, deadline=None)
@given(dequantized(), st.data())
def test_settle_constants__transpose_of_a_dequantized_constant__moves_into_it(case, data):
    array, kind = case
    axes = data.draw(st.none() | st.permutations(range(array.ndim)))
    module = settled(lambda b: relax.op.permute_dims(b.emit(qdq.dequantize(relax.const(array), kind)), axes))
    np.testing.assert_array_equal(only_dequantize(module), numbers(array, kind).transpose(axes))


@settings(max_examples=60, deadline=None)
@given(dequantized(), st.data())
def test_settle_constants__reshape_of_a_dequantized_constant__moves_into_it_where_the_axis_stays_whole(case, data):
    array, kind = case
    whole = array.shape[kind.axis]
    shapes = [(1, *array.shape), (*array.shape, 1), (array.size,), (int(np.prod(array.shape[: kind.axis])), whole, -1)]
    shape = data.draw(st.sampled_from(shapes))
    module = settled(lambda b: relax.op.reshape(b.emit(qdq.dequantize(relax.const(array), kind)), shape))
    if len(calls(module)) == 1:
        np.testing.assert_array_equal(only_dequantize(module), numbers(array, kind).reshape(shape))
    else:
        assert shape == (array.size,) and kind.scale.ndim, "only a broken axis is a reason to leave it"
        assert operators(module) == ["dequantize", "reshape"]


def test_settle_constants__quantize_of_a_constant__is_an_integer_constant():
    kind = Quantization(np.float32(0.5).reshape(()), np.int32(3).reshape(()), "int8")
    weight = np.array([0.25, 0.75, -100, 100, 1], "float32")  # ties go to the even integer
    module = settled(lambda b: qdq.dequantize(b.emit(qdq.quantize(relax.const(weight), kind)), kind))
    (call,) = calls(module).values()
    np.testing.assert_array_equal(call.args[0].value.numpy(), np.array([3, 5, -128, 127, 5], "int8"))


@st.composite
def rounded(draw: st.DrawFn) -> tuple[np.ndarray, Quantization]:
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=4))
    dtype = draw(st.sampled_from(["int8", "uint8", "int16"]))
    return draw(arrays.arrays("float32", shape, elements=st.floats(-300, 300, width=32))), quantization(
        draw, dtype, shape
    )


@settings(max_examples=60, deadline=None)
@given(rounded())
def test_quantized_array__any_scale__is_what_onnxruntime_rounds_to(case):
    array, kind = case
    scale, zero_point = kind.scale, kind.zero_point.astype(kind.dtype)
    dtype = helper.np_dtype_to_tensor_dtype(zero_point.dtype)
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=kind.axis)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, array.shape)],
        [helper.make_tensor_value_info("y", dtype, array.shape)],
        [onnx.numpy_helper.from_array(scale, "s"), onnx.numpy_helper.from_array(zero_point, "z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": array})
    np.testing.assert_array_equal(quantized_array(array, kind), theirs)
