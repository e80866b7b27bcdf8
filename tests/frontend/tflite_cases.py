"""Uses of every TFLite operator that the frontend knows, as data, and how one comes into a file."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.frontend.tflite_builder import TYPES, Scale, TFLiteBuilder

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
REFLECT, SYMMETRIC = schema.MirrorPadMode.REFLECT, schema.MirrorPadMode.SYMMETRIC
NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)  # schema.ActivationFunctionType
RANDOM = np.random.default_rng(11)


@dataclass(frozen=True)
class Input:
    """An input of the graph, filled with random numbers; plain integers are never zero, quantized ones anything."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: Scale | None = None

    def data(self) -> np.ndarray:
        if np.dtype(self.dtype).kind == "f":
            return (RANDOM.standard_normal(self.shape) * 3).astype(self.dtype)
        if self.scale:
            return integers(self.shape, self.dtype)
        if self.dtype == "bool":
            return RANDOM.integers(0, 2, self.shape, "uint8")
        low = 1 if self.dtype.startswith("u") else -50
        values = RANDOM.integers(low, 50, self.shape)
        return np.where(values == 0, 7, values).astype(self.dtype)


@dataclass(frozen=True)
class Constant:
    """A quantized one."""

    data: np.ndarray
    scale: Scale


def integers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Any that the type has."""
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max + 1, shape).astype(dtype)


@dataclass(frozen=True)
class Case:
    """One use of an operator: inputs, constants and None for what is left out; LiteRT says what shape comes out."""

    operands: tuple[Input | Constant | np.ndarray | None, ...]
    options: Any
    outputs: int
    dtype: str
    tolerance: float
    scale: Scale | None = None  # of the outputs


def case(
    *operands: Any, options: Any = None, outputs: int = 1, dtype: str = "float32", tolerance: float = 1e-5
) -> Case:
    """A tuple among the operands is the shape of a float input. ``tolerance`` is of the output's maximum."""
    read = tuple(Input(operand) if isinstance(operand, tuple) else operand for operand in operands)
    return Case(read, options, outputs, dtype, tolerance)


def weight(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, dtype="float32")


def ints(*values: int, dtype: str = "int32") -> np.ndarray:
    return np.array(values, dtype)


def conv(
    padding: int, stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), activation: int = NONE
) -> Any:
    return schema.Conv2DOptionsT(padding, stride[1], stride[0], activation, dilation[1], dilation[0])


def depthwise(padding: int, stride: int = 1, multiplier: int = 1, activation: int = NONE, dilation: int = 1) -> Any:
    return schema.DepthwiseConv2DOptionsT(padding, stride, stride, multiplier, activation, dilation, dilation)


def pool(padding: int, stride: tuple[int, int], size: tuple[int, int], activation: int = NONE) -> Any:
    return schema.Pool2DOptionsT(padding, stride[1], stride[0], size[1], size[0], activation)


def binary(options: Callable[..., Any] | None) -> list[Case]:
    """Broadcasting in both directions, constants, scalars, fused activations."""
    cases = [
        case((1, 5, 6, 7), (1, 5, 6, 7)),
        case((1, 5, 6, 7), (7,)),
        case((5, 1), (1, 3, 1, 4)),
        case((1, 4, 4, 3), weight(1, 1, 1, 3)),
        case(weight(1), (2, 9)),
        case((2, 9), np.float32(1.25)),
        case(Input((3, 5), "int32"), Input((3, 5), "int32"), dtype="int32"),
    ]
    if options:
        cases = [replace(each, options=options()) for each in cases]
        cases += [
            case((1, 9, 10, 33), (1, 9, 10, 33), options=options(fusedActivationFunction=kind))
            for kind in (RELU, RELU_N1_TO_1, RELU6)
        ]
    return cases


def unary(options: Any = None) -> list[Case]:
    return [case(shape, options=options) for shape in [(1, 7, 9, 35), (3,), ()]]


def resize(options: Callable[..., Any]) -> list[Case]:
    """Up, down, the same, odd factors, one pixel; in each of the three modes."""
    sizes = [((1, 4, 5, 3), (8, 10)), ((1, 9, 7, 16), (4, 3)), ((1, 6, 6, 4), (6, 6)), ((1, 3, 5, 5), (7, 8))]
    sizes.append(((1, 1, 1, 8), (3, 2)))
    modes = [{}, {"alignCorners": True}, {"halfPixelCenters": True}]
    return [case(shape, ints(*size), options=options(**mode)) for shape, size in sizes for mode in modes]


def pooling() -> list[Case]:
    return [
        case((1, 8, 8, 16), options=pool(VALID, (2, 2), (2, 2))),
        case((1, 9, 7, 5), options=pool(SAME, (2, 2), (3, 3), RELU)),
        case((1, 9, 7, 5), options=pool(SAME, (1, 2), (2, 3), RELU6)),
        case((1, 7, 7, 24), options=pool(VALID, (1, 1), (7, 7))),
        case((1, 10, 11, 3), options=pool(SAME, (3, 3), (2, 2), RELU_N1_TO_1)),
    ]


def reductions() -> list[Case]:
    return [
        case((1, 6, 7, 40), ints(1, 2), options=schema.ReducerOptionsT(True)),
        case((1, 6, 7, 5), ints(1, 2), options=schema.ReducerOptionsT(False)),
        case((2, 6, 7), ints(-1), options=schema.ReducerOptionsT(True)),
        case((2, 6, 7), ints(-3, 2), options=schema.ReducerOptionsT(False)),
        case((4, 5), ints(0, 1), options=schema.ReducerOptionsT(False)),
        case((4, 5), np.array(1, "int32"), options=schema.ReducerOptionsT(False)),
    ]


def extremes(options: Callable[..., Any]) -> list[Case]:
    """The first of equal ones; the result of either type; of integers too."""
    flat = np.zeros((2, 9), "float32")
    flat[:, 4:6] = 1
    to = {name: {"options": options(TYPES[name]), "dtype": name} for name in ("int32", "int64")}
    return [
        case((1, 40, 3), np.array(1, "int32"), **to["int32"]),
        case((6, 7), np.array(-1, "int32"), **to["int64"]),
        case(flat, np.array(1, "int32"), **to["int32"]),
        case(Input((4, 300), "int8"), np.array(1, "int32"), **to["int32"]),
        case(Input((4, 300), "uint8"), np.array(0, "int32"), **to["int32"]),
    ]


def slice_options(begin: int = 0, end: int = 0, shrink: int = 0) -> Any:
    return schema.StridedSliceOptionsT(beginMask=begin, endMask=end, shrinkAxisMask=shrink)


def transposed_conv(activation: int = NONE, padding: int = SAME, stride: tuple[int, int] = (2, 2)) -> Any:
    return schema.TransposeConvOptionsT(padding, stride[1], stride[0], activation)


def transposed(
    size: tuple[int, int], kernel: tuple[int, int], data: tuple[int, ...], out: int, *bias: Any, **options: Any
) -> Case:
    output = ints(data[0], *size, out)
    return case(output, weight(out, *kernel, data[3]), data, *bias, options=transposed_conv(**options))


def half(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype("float16")


def casts() -> list[Case]:
    pairs = ["float32 int32", "int32 float32", "bool float32", "float32 bool", "int64 int32", "uint8 float32"]
    pairs += ["int8 int32", "int32 int64", "float32 int64"]
    return [
        case(Input((2, 3, 5), source), dtype=result, options=schema.CastOptionsT(TYPES[source], TYPES[result]))
        for source, result in map(str.split, pairs)
    ]


CASES: dict[str, list[Case]] = {
    "ABS": unary(),
    "ADD": binary(schema.AddOptionsT),
    "ARG_MAX": extremes(schema.ArgMaxOptionsT),
    "ARG_MIN": extremes(schema.ArgMinOptionsT),
    "AVERAGE_POOL_2D": pooling(),
    "CAST": casts(),
    "CONCATENATION": [
        case((1, 4, 5, 3), (1, 4, 5, 7), options=schema.ConcatenationOptionsT(3)),
        case((1, 4, 5, 3), (1, 4, 5, 16), (1, 4, 5, 1), options=schema.ConcatenationOptionsT(-1)),
        case((1, 2, 5), (1, 3, 5), weight(1, 4, 5), options=schema.ConcatenationOptionsT(1)),
        case((2, 3), options=schema.ConcatenationOptionsT(0)),
    ],
    "CONV_2D": [
        case((1, 8, 9, 5), weight(17, 3, 3, 5), weight(17), options=conv(SAME)),
        case((1, 8, 9, 5), weight(17, 3, 3, 5), weight(17), options=conv(VALID)),
        case((1, 8, 9, 5), weight(16, 3, 3, 5), weight(16), options=conv(SAME, (2, 2), activation=RELU)),
        case((1, 9, 8, 3), weight(4, 5, 2, 3), weight(4), options=conv(SAME, (2, 1), activation=RELU6)),
        case((1, 11, 12, 6), weight(8, 3, 3, 6), weight(8), options=conv(SAME, dilation=(2, 3))),
        case(
            (1, 11, 12, 6), weight(8, 3, 3, 6), weight(8), options=conv(VALID, dilation=(3, 2), activation=RELU_N1_TO_1)
        ),
        case((1, 6, 6, 64), weight(33, 1, 1, 64), weight(33), options=conv(SAME)),
        case((1, 3, 3, 2), weight(2, 5, 5, 2), weight(2), options=conv(SAME, (3, 3))),
        case((1, 1, 1, 9), weight(1, 1, 1, 9), weight(1), options=conv(VALID)),
    ],
    "DEPTHWISE_CONV_2D": [
        case((1, 8, 9, 24), weight(1, 3, 3, 24), weight(24), options=depthwise(SAME)),
        case((1, 9, 8, 5), weight(1, 3, 3, 5), weight(5), options=depthwise(SAME, 2, activation=RELU6)),
        case((1, 9, 8, 17), weight(1, 5, 4, 17), weight(17), options=depthwise(VALID, 2, activation=RELU)),
        case((1, 12, 9, 8), weight(1, 3, 3, 8), weight(8), options=depthwise(SAME, dilation=2)),
        case((1, 6, 7, 1), weight(1, 3, 3, 1), weight(1), options=depthwise(SAME)),
        case((1, 6, 7, 3), weight(1, 3, 3, 6), weight(6), options=depthwise(SAME, multiplier=2)),
        case((1, 6, 7, 1), weight(1, 3, 3, 8), weight(8), options=depthwise(VALID, multiplier=8)),
    ],
    "DEPTH_TO_SPACE": [
        case((1, 3, 4, 8), options=schema.DepthToSpaceOptionsT(2)),
        case((1, 2, 3, 45), options=schema.DepthToSpaceOptionsT(3)),
        case((2, 2, 3, 4), options=schema.DepthToSpaceOptionsT(2)),
    ],
    "DEQUANTIZE": [case(half(3, 20)), case(Input((2, 17), "float16"))],
    "DIV": binary(schema.DivOptionsT),
    "EXP": unary(schema.ExpOptionsT()),
    "EXPAND_DIMS": [
        case((4, 5), ints(1), options=schema.ExpandDimsOptionsT()),
        case((4, 5), np.array(-1, "int32"), options=schema.ExpandDimsOptionsT()),
    ],
    "FILL": [
        case(ints(2, 3, 4), Input(()), options=schema.FillOptionsT()),
        case(ints(5), Input((), "int32"), options=schema.FillOptionsT(), dtype="int32"),
    ],
    "FLOOR_DIV": [
        case((4, 5), (5,), options=schema.FloorDivOptionsT()),
        case(Input((3, 40), "int32"), Input((3, 40), "int32"), dtype="int32", options=schema.FloorDivOptionsT()),
        case(Input((3, 5), "int32"), np.array(48, "int32"), dtype="int32", options=schema.FloorDivOptionsT()),
    ],
    "FULLY_CONNECTED": [
        case((1, 20), weight(7, 20), weight(7), options=schema.FullyConnectedOptionsT()),
        case((3, 20), weight(32, 20), options=schema.FullyConnectedOptionsT(RELU)),
        case((1, 2, 2, 5), weight(6, 20), weight(6), options=schema.FullyConnectedOptionsT(RELU6)),
        case((2, 3, 20), weight(5, 20), None, options=schema.FullyConnectedOptionsT(keepNumDims=True)),
    ],
    "GATHER": [
        case((6, 5), ints(4, 0, 4), options=schema.GatherOptionsT(0)),
        case((2, 6, 5), ints(3, 1).reshape(1, 2), options=schema.GatherOptionsT(-2)),
        case(Input((7,), "int32"), np.array(2, "int32"), dtype="int32", options=schema.GatherOptionsT(0)),
    ],
    "GATHER_ND": [
        case((6, 5), ints(4, 0, 2, 2).reshape(2, 2), options=schema.GatherNdOptionsT()),
        case((6, 5, 3), ints(4, 5).reshape(1, 2, 1), options=schema.GatherNdOptionsT()),
        case(Input((6, 5), "int32"), ints(1, 4), dtype="int32", options=schema.GatherNdOptionsT()),
    ],
    "HARD_SWISH": unary(schema.HardSwishOptionsT()),
    "L2_NORMALIZATION": [
        case((1, 4, 5, 7), options=schema.L2NormOptionsT()),
        case((3, 40), options=schema.L2NormOptionsT()),
        case(np.zeros((2, 3), "float32"), options=schema.L2NormOptionsT()),
    ],
    "LEAKY_RELU": unary(schema.LeakyReluOptionsT(0.2)),
    "LOGISTIC": unary(),
    "LOG_SOFTMAX": [case((1, 5, 33), options=schema.LogSoftmaxOptionsT()), case((4, 7))],
    "MAXIMUM": [*binary(None), case((1, 5), (5,), options=schema.MaximumMinimumOptionsT())],
    "MAX_POOL_2D": pooling(),
    "MEAN": reductions(),
    "MINIMUM": [*binary(None), case((1, 5), (5,), options=schema.MaximumMinimumOptionsT())],
    "MIRROR_PAD": [
        case((1, 4, 5, 3), ints(0, 0, 1, 2, 3, 0, 0, 0).reshape(4, 2), options=schema.MirrorPadOptionsT(REFLECT)),
        case((1, 4, 5, 3), ints(0, 0, 4, 2, 0, 5, 0, 0).reshape(4, 2), options=schema.MirrorPadOptionsT(SYMMETRIC)),
    ],
    "MUL": binary(schema.MulOptionsT),
    "NEG": unary(schema.NegOptionsT()),
    "PACK": [
        case((4, 5), (4, 5), (4, 5), options=schema.PackOptionsT(3, 0)),
        case((4, 5), weight(4, 5), options=schema.PackOptionsT(2, -1)),
        case(Input((3,), "int32"), Input((3,), "int32"), dtype="int32", options=schema.PackOptionsT(2, 1)),
        case((), (), options=schema.PackOptionsT(2, 0)),
    ],
    "PAD": [
        case((1, 4, 5, 3), ints(0, 0, 1, 2, 3, 0, 0, 0).reshape(4, 2)),
        case((2, 3), ints(1, 0, 2, 5, dtype="int64").reshape(2, 2)),
        case((1, 4, 4, 8), ints(0, 0, 0, 0, 0, 0, 8, 8).reshape(4, 2)),
    ],
    "PADV2": [case((1, 4, 5, 3), ints(0, 0, 1, 2, 3, 0, 0, 1).reshape(4, 2), np.array([-2.5], "float32"))],
    "POW": [case((4, 50), np.float32(2), options=schema.PowOptionsT()), case(np.abs(weight(4, 50)), (50,))],
    "PRELU": [case((1, 4, 5, 9), weight(1, 1, 9)), case((1, 4, 5, 9), weight(4, 5, 9)), case((2, 6), weight(6))],
    "REDUCE_MAX": reductions(),
    "RELU": unary(),
    "RELU6": unary(),
    "RESHAPE": [
        case((1, 4, 6), ints(2, 12)),
        case((1, 4, 6), ints(3, -1), options=schema.ReshapeOptionsT([3, -1])),
        case((1,), ints(), options=schema.ReshapeOptionsT([])),
    ],
    "RESIZE_BILINEAR": resize(schema.ResizeBilinearOptionsT),
    "RESIZE_NEAREST_NEIGHBOR": resize(schema.ResizeNearestNeighborOptionsT),
    "RSQRT": [case(np.abs(weight(4, 50))), case((3, 40))],
    "SHAPE": [case((2, 3, 5), dtype="int32", options=schema.ShapeOptionsT(TYPES["int32"]))],
    "SLICE": [
        case((1, 6, 7, 5), ints(0, 1, 2, 0), ints(1, 4, -1, 3)),
        case((8, 9), ints(3, 8, dtype="int64"), ints(-1, 1, dtype="int64")),
        case(Input((6,), "int32"), ints(2), ints(3), dtype="int32"),
    ],
    "SOFTMAX": [
        case((1, 5, 33), options=schema.SoftmaxOptionsT(1.0)),
        case((4, 7), options=schema.SoftmaxOptionsT(0.25)),
        case((1, 5, 6, 4), options=schema.SoftmaxOptionsT(2.0)),
    ],
    "SPACE_TO_DEPTH": [
        case((1, 6, 8, 5), options=schema.SpaceToDepthOptionsT(2)),
        case((2, 3, 6, 4), options=schema.SpaceToDepthOptionsT(3)),
    ],
    "SPLIT": [
        case(np.array(3, "int32"), (1, 4, 5, 6), options=schema.SplitOptionsT(3), outputs=3),
        case(ints(-1), (4, 10), options=schema.SplitOptionsT(2), outputs=2),
        case(ints(0), (4, 10), options=schema.SplitOptionsT(1)),
    ],
    "SQRT": [case(np.abs(weight(4, 50))), case((3, 40))],
    "SQUARE": unary(schema.SquareOptionsT()),
    "SQUARED_DIFFERENCE": [case((4, 5, 6), (6,), options=schema.SquaredDifferenceOptionsT())],
    "SQUEEZE": [
        case((1, 1, 1, 6), options=schema.SqueezeOptionsT([1, 2])),
        case((1, 4, 1), options=schema.SqueezeOptionsT([-1])),
        case((1, 4, 1), options=schema.SqueezeOptionsT([])),
    ],
    "STRIDED_SLICE": [
        case((1, 6, 7, 5), ints(0, 1, 2, 0), ints(1, 5, 7, 4), ints(1, 2, 3, 1), options=slice_options()),
        case((6, 7), ints(2, 3), ints(4, 5), ints(1, 1), options=slice_options(begin=1, end=2)),
        case((6, 7), ints(-4, -2), ints(-1, 100), ints(1, 1), options=slice_options()),
        case((6, 7), ints(-100, 0), ints(6, 7), ints(2, 2), options=slice_options()),
        case((6, 7), ints(5, 6), ints(0, 1), ints(-1, -2), options=slice_options()),
        case((6, 7), ints(2, 2), ints(2, 2), ints(-1, -1), options=slice_options(begin=3, end=3)),
        case((6, 7, 3), ints(2, -1, 0), ints(3, 0, 3), ints(1, 1, 1), options=slice_options(shrink=3)),
        case((6, 7), ints(1, 4), ints(0, 0), ints(1, 1), options=slice_options(end=3, shrink=2)),
        case((6, 7), ints(2), ints(5), ints(1), options=slice_options()),
        case((9,), ints(-2), ints(0), ints(1), options=slice_options(shrink=1)),
    ],
    "SUB": binary(schema.SubOptionsT),
    "SUM": reductions(),
    "TANH": unary(),
    "TILE": [
        case((2, 3), ints(2, 3), options=schema.TileOptionsT()),
        case(Input((1, 4), "int32"), ints(3, 1), dtype="int32", options=schema.TileOptionsT()),
    ],
    "TRANSPOSE": [
        case((1, 4, 5, 6), ints(0, 3, 1, 2)),
        case((4, 5, 6), ints(2, 0, 1)),
        case((40, 50), ints(1, 0)),
        case(Input((4, 6), "int32"), ints(1, 0), dtype="int32"),
    ],
    "TRANSPOSE_CONV": [
        transposed((8, 10), (3, 3), (1, 4, 5, 6), 16),
        transposed((8, 10), (4, 4), (1, 4, 5, 6), 7, weight(7), activation=RELU),
        transposed((8, 10), (2, 2), (1, 4, 5, 8), 8, weight(8), padding=VALID, activation=RELU6),
        transposed((10, 12), (4, 4), (1, 4, 5, 3), 5, padding=VALID),
        transposed((4, 5), (3, 3), (1, 4, 5, 3), 5, stride=(1, 1)),
        transposed((8, 5), (5, 3), (1, 4, 5, 3), 9, stride=(2, 1)),
        transposed((12, 12), (2, 2), (1, 4, 4, 3), 4, stride=(3, 3)),
    ],
    "UNPACK": [
        case((3, 4, 5), options=schema.UnpackOptionsT(3, 0), outputs=3),
        case((3, 4, 2), options=schema.UnpackOptionsT(2, -1), outputs=2),
        case(Input((1, 4), "int32"), dtype="int32", options=schema.UnpackOptionsT(1, 0)),
    ],
}


def add_case(builder: TFLiteBuilder, name: str, use: Case) -> None:
    """The operator, with outputs of which only the type is known yet.

    Booleans stay inside the graph, between casts: a library takes and returns numbers.
    """

    def operand(value: Input | Constant | np.ndarray | None) -> int:
        if value is None:
            return -1
        if isinstance(value, Constant):
            return builder.constant(value.data, value.scale)
        if not isinstance(value, Input):
            return builder.constant(np.asarray(value))
        if value.dtype == "bool":
            return cast(builder, builder.input(value.shape, "uint8"), value.shape, "uint8", "bool")
        return builder.input(value.shape, value.dtype, scale=value.scale)

    outputs = [builder.tensor((), use.dtype, scale=use.scale) for _ in range(use.outputs)]
    builder.operator(name, [operand(value) for value in use.operands], outputs, use.options)
    if use.dtype == "bool":
        outputs = [cast(builder, output, (), "bool", "uint8") for output in outputs]
    builder.graph.outputs += outputs


def cast(builder: TFLiteBuilder, tensor: int, shape: tuple[int, ...], source: str, result: str) -> int:
    """The tensor in another type."""
    converted = builder.tensor(shape, result)
    builder.operator("CAST", [tensor], [converted], schema.CastOptionsT(TYPES[source], TYPES[result]))
    return converted
