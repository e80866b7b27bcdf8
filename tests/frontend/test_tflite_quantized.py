"""Quantized TFLite in: each operator in floats between dequantize and quantize, against LiteRT's integer kernels."""

import os
from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tvm import relax

from tests.frontend.tflite_builder import Scale, TFLiteBuilder, run_litert, with_shapes
from tests.frontend.tflite_cases import (
    NONE,
    RANDOM,
    REFLECT,
    RELU,
    RELU6,
    RELU_N1_TO_1,
    SAME,
    VALID,
    Case,
    Constant,
    Input,
    add_case,
    conv,
    depthwise,
    integers,
    ints,
    pool,
    slice_options,
    transposed_conv,
)
from tests.frontend.virtual_machine import assert_qdq_form, operators, run
from tvmpose.baselines.litert import open_model
from tvmpose.errors import ModelError
from tvmpose.frontend.tflite import load, steps
from tvmpose.frontend.tflite_operators import INTEGERS, OPERATORS

DATA = os.environ.get("TVMPOSE_DATA")
MODELS = Path(DATA or ".") / "models"
POSENET = MODELS / "posenet_mobilenet_v1_075_353_481_quant.tflite"
MOVENET = MODELS / "movenet_single_pose_lightning_ptq.tflite"
needs_data = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
ZERO = {"int8": -3, "uint8": 125}  # zero points of activations
X = 0.05  # the scale of most inputs


def scaled(scale: float, zero_point: int) -> Scale:
    return Scale([scale], [zero_point])


def activation(dtype: str, *shape: int, scale: float = X, zero_point: int | None = None) -> Input:
    return Input(shape, dtype, scaled(scale, ZERO[dtype] if zero_point is None else zero_point))


def weight(dtype: str, *shape: int, axis: int) -> Constant:
    """int8: a scale for each output channel; uint8: the old way, one of each with its zero point."""
    if dtype == "uint8":
        return Constant(integers(shape, dtype), scaled(0.008, 121))
    count = shape[axis]
    return Constant(integers(shape, dtype), Scale(np.linspace(0.004, 0.01, count), [0] * count, axis))


def biased(dtype: str, *shape: int, axis: int) -> tuple[Constant, Constant]:
    """A weight and its bias."""
    kernel = weight(dtype, *shape, axis=axis)
    scale = (np.float32(X) * np.array(kernel.scale.scale, "float32")).tolist()
    values = RANDOM.integers(-3000, 3000, shape[axis]).astype("int32")
    return kernel, Constant(values, Scale(scale, [0] * len(scale)))


def result(
    dtype: str, *operands: Any, options: Any = None, scale: float = X, zero: int | None = None, **more: Any
) -> Case:
    quantization = scaled(scale, ZERO[dtype] if zero is None else zero)
    return replace(Case(operands, options, 1, dtype, 1), scale=quantization, **more)


def cases(dtype: str) -> dict[str, list[Case]]:
    """Uses with results to be equal in all but a few, which are one step off; the tolerance says how many steps."""

    def x(*shape: int, scale: float = X, zero: int | None = None) -> Input:
        return activation(dtype, *shape, scale=scale, zero_point=zero)

    def same(*operands: Any, **options: Any) -> Case:
        """Only moves numbers."""
        return result(dtype, *operands, **{"tolerance": 0, **options})

    def to(*operands: Any, **options: Any) -> Case:
        return result(dtype, *operands, **options)

    low = np.iinfo(dtype).min
    constant = Constant(integers((7,), dtype), scaled(0.02, ZERO[dtype]))
    pads = ints(0, 0, 1, 2, 3, 0, 0, 0).reshape(4, 2)
    table = {
        "ADD": [
            to(x(1, 5, 6, 7), x(1, 5, 6, 7, scale=0.03), options=schema.AddOptionsT(), scale=0.07),
            to(x(1, 5, 6, 7), constant, options=schema.AddOptionsT(RELU6), scale=0.03, zero=low),
            to(x(1, 5, 6, 7), x(7), options=schema.AddOptionsT(RELU_N1_TO_1), scale=0.01),
        ],
        "AVERAGE_POOL_2D": [
            same(x(1, 8, 8, 16), options=pool(VALID, (2, 2), (2, 2)), tolerance=1),
            same(x(1, 9, 7, 5), options=pool(SAME, (2, 2), (3, 3), RELU), tolerance=1),
        ],
        "CONCATENATION": [same(x(1, 4, 5, 3), x(1, 4, 5, 7), options=schema.ConcatenationOptionsT(3))],
        "CONV_2D": [
            to(x(1, 8, 9, 5), *biased(dtype, 17, 3, 3, 5, axis=0), options=conv(SAME), scale=0.4),
            to(x(1, 8, 9, 5), *biased(dtype, 16, 3, 3, 5, axis=0), options=conv(SAME, (2, 2), (1, 1), RELU), scale=0.2),
            to(x(1, 6, 6, 64), *biased(dtype, 33, 1, 1, 64, axis=0), options=conv(VALID, activation=RELU6), scale=0.03),
            to(x(1, 9, 9, 6), *biased(dtype, 8, 3, 3, 6, axis=0), options=conv(VALID, dilation=(3, 2)), scale=0.3),
        ],
        "DEPTHWISE_CONV_2D": [
            to(x(1, 8, 9, 24), *biased(dtype, 1, 3, 3, 24, axis=3), options=depthwise(SAME), scale=0.2),
            to(x(1, 9, 8, 5), *biased(dtype, 1, 3, 3, 5, axis=3), options=depthwise(SAME, 2, 1, RELU6), scale=0.03),
            to(x(1, 6, 7, 3), *biased(dtype, 1, 3, 3, 6, axis=3), options=depthwise(SAME, 1, 2), scale=0.2),
        ],
        "DEPTH_TO_SPACE": [same(x(1, 3, 4, 8), options=schema.DepthToSpaceOptionsT(2))],
        "DEQUANTIZE": [Case((x(2, 17),), None, 1, "float32", 1e-6)],
        "EXPAND_DIMS": [same(x(4, 5), ints(1), options=schema.ExpandDimsOptionsT())],
        "FULLY_CONNECTED": [
            to(x(3, 20), *biased(dtype, 7, 20, axis=0), options=schema.FullyConnectedOptionsT(), scale=0.3),
            to(x(9, 2, 2, 5), *biased(dtype, 6, 20, axis=0), options=schema.FullyConnectedOptionsT(RELU), scale=0.2),
            to(x(60, 40), *biased(dtype, 48, 40, axis=0), options=schema.FullyConnectedOptionsT(), scale=0.02),
        ],
        "GATHER": [same(x(6, 5), ints(4, 0, 4), options=schema.GatherOptionsT(0))],
        "GATHER_ND": [same(x(6, 5, 9), ints(4, 0, 2, 2).reshape(2, 2), options=schema.GatherNdOptionsT())],
        "HARD_SWISH": [to(x(1, 7, 9, 5), options=schema.HardSwishOptionsT(), scale=0.03)],
        "LEAKY_RELU": [to(x(1, 7, 9, 5), options=schema.LeakyReluOptionsT(0.2), scale=0.03)],
        "LOGISTIC": [to(x(1, 7, 9, 5), scale=1 / 256, zero=low)],
        "MAXIMUM": [same(x(4, 5), x(4, 5), options=schema.MaximumMinimumOptionsT())],
        "MAX_POOL_2D": [same(x(1, 9, 7, 5), options=pool(SAME, (2, 2), (3, 3), RELU))],
        "MEAN": [
            to(x(1, 6, 7, 40), ints(1, 2), options=schema.ReducerOptionsT(True)),
            to(x(1, 6, 7, 40), ints(1, 2), options=schema.ReducerOptionsT(False), scale=0.02),
        ],
        "MINIMUM": [same(x(4, 5), x(4, 5), options=schema.MaximumMinimumOptionsT())],
        "MIRROR_PAD": [same(x(1, 4, 5, 3), pads, options=schema.MirrorPadOptionsT(REFLECT))],
        "MUL": [
            to(x(1, 5, 6, 7), x(1, 5, 6, 7, scale=0.03), options=schema.MulOptionsT(), scale=0.2),
            to(x(1, 5, 6, 7), constant, options=schema.MulOptionsT(RELU), scale=0.1),
        ],
        "PACK": [same(x(4, 5), x(4, 5), options=schema.PackOptionsT(2, 1))],
        "PAD": [same(x(1, 4, 5, 3), pads)],
        "PADV2": [same(x(1, 4, 5, 3), pads, Constant(np.array([90], dtype), scaled(X, ZERO[dtype])))],
        "PRELU": [to(x(1, 4, 5, 7), Constant(integers((1, 1, 7), dtype), scaled(0.01, ZERO[dtype])), scale=0.06)],
        "QUANTIZE": [
            to(Input((3, 40)), options=schema.QuantizeOptionsT()),
            to(x(3, 40), options=schema.QuantizeOptionsT(), scale=0.08, zero=low + 100),
        ],
        "RELU": [to(x(1, 7, 9, 5), scale=0.03, zero=low)],
        "RELU6": [to(x(1, 7, 9, 5), scale=0.03, zero=low)],
        "RESHAPE": [same(x(1, 4, 6), ints(2, 12))],
        "RESIZE_BILINEAR": [
            same(x(1, 4, 5, 3), ints(8, 10), options=schema.ResizeBilinearOptionsT(), tolerance=1),
            same(x(1, 4, 5, 3), ints(7, 5), options=schema.ResizeBilinearOptionsT(halfPixelCenters=True), tolerance=1),
        ],
        "RESIZE_NEAREST_NEIGHBOR": [same(x(1, 4, 5, 3), ints(8, 9), options=schema.ResizeNearestNeighborOptionsT())],
        "SLICE": [same(x(1, 6, 7, 5), ints(0, 1, 2, 0), ints(1, 4, -1, 3))],
        "SOFTMAX": [to(x(4, 33), options=schema.SoftmaxOptionsT(1.0), scale=1 / 256, zero=low)],
        "SPACE_TO_DEPTH": [same(x(1, 6, 8, 5), options=schema.SpaceToDepthOptionsT(2))],
        "SPLIT": [same(np.array(1, "int32"), x(4, 10), options=schema.SplitOptionsT(2), outputs=2)],
        "SQUEEZE": [same(x(1, 40, 1), options=schema.SqueezeOptionsT([-1]))],
        "STRIDED_SLICE": [same(x(6, 7), ints(-4, -2), ints(-1, 100), ints(1, 1), options=slice_options())],
        "SUB": [to(x(1, 5, 6, 7), x(7, scale=0.03), options=schema.SubOptionsT(), scale=0.07)],
        "TANH": [to(x(1, 7, 9, 5), scale=1 / 128, zero=low + 128)],
        "TILE": [same(x(2, 3), ints(2, 3), options=schema.TileOptionsT())],
        "TRANSPOSE": [same(x(1, 4, 5, 6), ints(0, 3, 1, 2))],
        "TRANSPOSE_CONV": [
            to(
                ints(1, 8, 10, 7),
                weight(dtype, 7, 4, 4, 6, axis=0),
                x(1, 4, 5, 6),
                options=transposed_conv(),
                scale=0.2,
            )
        ],
        "UNPACK": [same(x(3, 4, 5), options=schema.UnpackOptionsT(3, 0), outputs=3)],
    }
    if dtype == "int8":
        table |= {
            "ABS": [same(x(4, 50, zero=0), zero=0)],
            "LOG_SOFTMAX": [to(x(4, 33), options=schema.LogSoftmaxOptionsT(), scale=16 / 256, zero=127)],
            "L2_NORMALIZATION": [to(x(5, 30), options=schema.L2NormOptionsT(), scale=1 / 128, zero=0)],
            "REDUCE_MAX": [same(x(1, 6, 7, 5), ints(1), options=schema.ReducerOptionsT(True))],
            "RSQRT": [to(x(4, 50, zero=-128), scale=0.02, zero=-128)],
            "SQUARED_DIFFERENCE": [to(x(4, 5), x(5), options=schema.SquaredDifferenceOptionsT(), scale=0.5)],
        }
    else:
        # LiteRT's own are wrong for others: int8 sums overflow, small negative quotients become the least integer.
        table["SUM"] = [to(x(1, 6, 7, 5), ints(1), options=schema.ReducerOptionsT(True), scale=0.17)]
        # And 1 divided by 128 or more becomes the greatest.
        divisor = Constant(np.clip(integers((4, 50), dtype), 1, 127), scaled(0.1, 0))
        table["DIV"] = [to(x(4, 50, zero=0), divisor, options=schema.DivOptionsT(NONE), scale=0.02)]
    return table


TABLES = {dtype: cases(dtype) for dtype in ("int8", "uint8")}
ONLY_FLOAT = {"EXP", "FILL", "FLOOR_DIV", "NEG", "POW", "SHAPE", "SQRT", "SQUARE"}  # or integers without a scale


@cache
def outcomes(dtype: str, transposed: bool) -> dict[str, list[tuple[np.ndarray, np.ndarray, float]]]:
    """Of each operator (ours, LiteRT's, steps that they may differ by), a list; all in one file, compiled once.

    Transposed convolutions stand alone: TVM has a definition in another layout only.
    """
    names = [name for name in TABLES[dtype] if (name == "TRANSPOSE_CONV") == transposed]
    builder, uses = TFLiteBuilder(), [(name, use) for name in names for use in TABLES[dtype][name]]
    for name, use in uses:
        add_case(builder, name, use)
    inputs = [operand.data() for _, use in uses for operand in use.operands if isinstance(operand, Input)]
    with TemporaryDirectory() as folder:
        path = written(Path(folder), builder)
        module, _ = load(path)
        theirs = run_litert(path.read_bytes(), inputs)
    assert_qdq_form(module)
    if transposed:
        module = relax.transform.ConvertLayout({"relax.nn.conv2d_transpose": ["NCHW", "IOHW"]})(module)
    pairs = zip(run(module, *inputs), theirs, strict=True)
    found = defaultdict(list)
    for name, use in uses:
        found[name] += [(*next(pairs), use.tolerance) for _ in range(use.outputs)]
    return found


@pytest.mark.parametrize(("dtype", "name"), [(dtype, name) for dtype, table in TABLES.items() for name in table])
def test_operator__random_integers__within_a_step_of_litert(dtype, name):
    for ours, theirs, tolerance in outcomes(dtype, name == "TRANSPOSE_CONV")[name]:
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        difference = np.abs(ours.astype("float64") - theirs.astype("float64"))
        assert difference.max() <= tolerance, f"{difference.max()} steps"
        # LiteRT rounds twice, first to a 31-bit product and then to the result, which a float emulation does not
        assert (difference > 0).mean() < 0.3
        assert len(np.unique(theirs)) > 5, "the case says nothing"


def test_cases__every_operator__is_there_but_those_without_integer_kernels():
    assert set(OPERATORS) - set().union(*TABLES.values()) == ONLY_FLOAT | INTEGERS


def written(folder: Path, builder: TFLiteBuilder) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(with_shapes(builder))
    return path


def convolution(dtype: str = "int8") -> TFLiteBuilder:
    builder = TFLiteBuilder()
    add_case(builder, "CONV_2D", TABLES[dtype]["CONV_2D"][0])
    return builder


def test_load__tensor_without_scales__is_not_quantized(tmp_path):
    builder = TFLiteBuilder()
    add_case(builder, "RESHAPE", Case((Input((2, 6), "int8"), ints(3, 4)), None, 1, "int8", 0))
    for tensor in builder.graph.tensors:
        tensor.quantization = schema.QuantizationParametersT(min=[0], max=[1])
    module, _ = load(written(tmp_path, builder))
    assert operators(module) == ["reshape"]


def test_load__quantized_tensor_read_twice__becomes_a_number_once(tmp_path):
    builder = TFLiteBuilder()
    x, y, z = builder.input((4,), "int8", scale=scaled(X, 0)), *(builder.tensor((4,), "int8") for _ in range(2))
    for tensor in (y, z):
        builder.graph.tensors[tensor].quantization = scaled(X, 0).table()
    builder.operator("RELU", [x], [y])
    builder.operator("ADD", [x, y], [z], schema.AddOptionsT())
    builder.graph.outputs.append(z)
    module, _ = load(written(tmp_path, builder))
    assert operators(module) == ["dequantize", "nn.relu", "quantize", "dequantize", "add", "quantize"]


def test_load__integer_weights_of_a_float_convolution__stay_integers(tmp_path):
    """A converter's weight-only quantization: DEQUANTIZE of an int8 constant in front of a float operator."""
    builder, kernel = TFLiteBuilder(), weight("int8", 4, 3, 3, 5, axis=0)
    x, y, number = builder.input((1, 6, 7, 5)), builder.tensor(()), builder.tensor((4, 3, 3, 5))
    builder.operator("DEQUANTIZE", [builder.constant(kernel.data, kernel.scale)], [number], version=5)
    builder.operator("CONV_2D", [x, number, builder.constant(np.ones(4, "float32"))], [y], conv(SAME))
    builder.graph.outputs.append(y)
    path = written(tmp_path, builder)
    module, _ = load(path)
    assert_qdq_form(module)
    assert operators(module) == ["dequantize", "nn.conv2d", "add"]
    data = RANDOM.standard_normal((1, 6, 7, 5), dtype="float32")
    np.testing.assert_allclose(run(module, data)[0], run_litert(path.read_bytes(), [data])[0], atol=1e-4)
    assert [(step.operator, step.inputs) for step in steps(path)] == [("CONV_2D", ("tensor 0",))]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("zeroPoint", [999] * 17, "zero point of tensor .* outside int8"),
        ("scale", [0.5] * 4, "4 scales for tensor"),
        ("quantizedDimension", 3, "17 scales for tensor .* of shape"),
        ("quantizedDimension", -1, "17 scales for tensor"),
        ("detailsType", schema.QuantizationDetails.BlockwiseQuantization, "quantized in blocks"),
    ],
)
def test_load__impossible_quantization__is_refused(tmp_path, field, value, says):
    builder = convolution()
    (kernel,) = (t for t in builder.graph.tensors if len(t.shape) == 4 and t.quantization and t.buffer)
    path = written(tmp_path, builder)
    setattr(kernel.quantization, field, value)
    if field == "detailsType":
        kernel.quantization.details = schema.BlockwiseQuantizationT()
    path.write_bytes(builder.file())
    with pytest.raises(ModelError, match=says):
        load(path)


@needs_data
@pytest.mark.parametrize("path", [POSENET, MOVENET], ids=lambda path: path.stem)
def test_real_model__imported__has_integer_weights_and_the_file_s_types(path):
    module, spec = load(path)
    assert_qdq_form(module)
    judge = open_model(path)
    assert (spec.inputs, spec.outputs) == (judge.inputs, judge.outputs)


def photo(height: int, width: int) -> np.ndarray:
    """One person, (1, height, width, 3) uint8 RGB."""
    image = cv2.imread(str(MODELS.parent / "coco" / "val2017" / "000000000785.jpg"))[:, :, ::-1]
    return np.ascontiguousarray(cv2.resize(image, (width, height))[None])


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("path", [POSENET, MOVENET], ids=lambda path: path.stem)
def test_real_model__each_step_fed_litert_s_own_tensors__within_a_step(path):
    """As floats, except where TVM takes other operands for integers than the file: equal to the reference kernels."""
    judge, taken = open_model(path, threads=2, kernels="reference"), steps(path)
    fed = list(dict.fromkeys(name for step in taken for name in step.inputs))
    computed = [name for step in taken for name in step.outputs]
    module, spec = load(path, computed, fed)
    image = photo(*judge.inputs[0].shape[1:3])
    tensors = dict(zip(fed + computed, judge.run([image], fed + computed), strict=True))
    tensors[judge.inputs[0].name] = image  # its memory is used again
    ours = run(module, *(np.ascontiguousarray(tensors[name]) for name in fed))
    identical = []
    for name, found, tensor in zip(computed, ours, spec.outputs, strict=True):
        if tensor.dtype == "float32":
            np.testing.assert_allclose(found, tensors[name], rtol=1e-5, atol=1e-6, err_msg=name)
            continue
        difference = np.abs(found.astype("int64") - tensors[name])
        assert difference.max() <= (0 if tensor.dtype == "int32" else 1), name
        identical.append((difference == 0).mean())
    assert np.median(identical) > 0.995


@needs_data
@pytest.mark.slow
def test_movenet__whole__keypoints_as_close_as_litert_s_own_kernels_are_to_each_other():
    module, _ = load(MOVENET)
    image = photo(192, 192)
    (ours,) = run(module, image)
    reference, xnnpack = (open_model(MOVENET, kernels=kernels).run([image])[0] for kernels in ("reference", "default"))
    sure = reference[0, 0, :, 2] >= 0.3
    assert sure.sum() > 8

    def apart(points: np.ndarray) -> float:
        """The median distance, in pixels."""
        return float(np.median(np.abs(points - reference)[0, 0, sure, :2].max(-1)) * 192)

    assert apart(ours) <= max(apart(xnnpack), 1)
