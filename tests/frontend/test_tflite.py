"""TFLite in: every operator of the table against LiteRT on the very file, and files that must be refused."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tests.frontend.tflite_builder import TFLiteBuilder
from tests.native import compile_module, run_library
from tvmpose.errors import ModelError
from tvmpose.frontend.tflite import load, tensor_names
from tvmpose.frontend.tflite_operators import OPERATORS
from tvmpose.modelspec import TensorSpec
from tvmpose.targets import load_target

DATA = os.environ.get("TVMPOSE_DATA")
MODELS = Path(DATA or ".") / "models"
needs_data = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)  # schema.ActivationFunctionType
RANDOM = np.random.default_rng(11)


@dataclass(frozen=True)
class Input:
    """An input of the graph, filled with random numbers; integers are never zero."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def data(self) -> np.ndarray:
        if np.dtype(self.dtype).kind == "f":
            return (RANDOM.standard_normal(self.shape) * 3).astype(self.dtype)
        if self.dtype == "bool":
            return RANDOM.integers(0, 2, self.shape, "uint8")
        low = 1 if self.dtype.startswith("u") else -50
        values = RANDOM.integers(low, 50, self.shape)
        return np.where(values == 0, 7, values).astype(self.dtype)


@dataclass(frozen=True)
class Case:
    """One use of an operator: inputs, constants and None for what is left out; LiteRT says what shape comes out."""

    operands: tuple[Input | np.ndarray | None, ...]
    options: Any
    outputs: int
    dtype: str
    tolerance: float


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


TYPES = {name.lower(): code for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
CASES: dict[str, list[Case]] = {
    "ADD": binary(schema.AddOptionsT),
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
    "FULLY_CONNECTED": [
        case((1, 20), weight(7, 20), weight(7), options=schema.FullyConnectedOptionsT()),
        case((3, 20), weight(32, 20), options=schema.FullyConnectedOptionsT(RELU)),
        case((1, 2, 2, 5), weight(6, 20), weight(6), options=schema.FullyConnectedOptionsT(RELU6)),
        case((2, 3, 20), weight(5, 20), None, options=schema.FullyConnectedOptionsT(keepNumDims=True)),
    ],
    "HARD_SWISH": unary(schema.HardSwishOptionsT()),
    "LEAKY_RELU": unary(schema.LeakyReluOptionsT(0.2)),
    "LOGISTIC": unary(),
    "MAXIMUM": binary(None),
    "MAX_POOL_2D": pooling(),
    "MEAN": [
        case((1, 6, 7, 40), ints(1, 2), options=schema.ReducerOptionsT(True)),
        case((1, 6, 7, 5), ints(1, 2), options=schema.ReducerOptionsT(False)),
        case((2, 6, 7), ints(-1), options=schema.ReducerOptionsT(True)),
        case((2, 6, 7), ints(-3, 2), options=schema.ReducerOptionsT(False)),
        case((4, 5), ints(0, 1), options=schema.ReducerOptionsT(False)),
        case((4, 5), np.array(1, "int32"), options=schema.ReducerOptionsT(False)),
    ],
    "MINIMUM": binary(None),
    "MUL": binary(schema.MulOptionsT),
    "PAD": [
        case((1, 4, 5, 3), ints(0, 0, 1, 2, 3, 0, 0, 0).reshape(4, 2)),
        case((2, 3), ints(1, 0, 2, 5, dtype="int64").reshape(2, 2)),
        case((1, 4, 4, 8), ints(0, 0, 0, 0, 0, 0, 8, 8).reshape(4, 2)),
    ],
    "PADV2": [case((1, 4, 5, 3), ints(0, 0, 1, 2, 3, 0, 0, 1).reshape(4, 2), np.array([-2.5], "float32"))],
    "PRELU": [case((1, 4, 5, 9), weight(1, 1, 9)), case((1, 4, 5, 9), weight(4, 5, 9)), case((2, 6), weight(6))],
    "RELU": unary(),
    "RELU6": unary(),
    "RESHAPE": [
        case((1, 4, 6), ints(2, 12)),
        case((1, 4, 6), ints(3, -1), options=schema.ReshapeOptionsT([3, -1])),
        case((1,), ints(), options=schema.ReshapeOptionsT([])),
    ],
    "RESIZE_BILINEAR": resize(schema.ResizeBilinearOptionsT),
    "RESIZE_NEAREST_NEIGHBOR": resize(schema.ResizeNearestNeighborOptionsT),
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
    "SPLIT": [
        case(np.array(3, "int32"), (1, 4, 5, 6), options=schema.SplitOptionsT(3), outputs=3),
        case(ints(-1), (4, 10), options=schema.SplitOptionsT(2), outputs=2),
        case(ints(0), (4, 10), options=schema.SplitOptionsT(1)),
    ],
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
    "TANH": unary(),
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
}


@dataclass(frozen=True)
class Outcome:
    """What we and LiteRT made of one case."""

    ours: list[np.ndarray]
    theirs: list[np.ndarray]
    tolerance: float


def interpreter(file: bytes) -> Interpreter:
    """LiteRT with its reference kernels, which say what an operator means."""
    loaded = Interpreter(model_content=file, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    loaded.allocate_tensors()
    return loaded


def add_case(builder: TFLiteBuilder, name: str, use: Case) -> None:
    """The operator, with outputs of which only the type is known yet.

    Booleans stay inside the graph, between casts: a library takes and returns numbers.
    """

    def operand(value: Input | np.ndarray | None) -> int:
        if value is None:
            return -1
        if not isinstance(value, Input):
            return builder.constant(np.asarray(value))
        if value.dtype == "bool":
            return cast(builder, builder.input(value.shape, "uint8"), value.shape, "uint8", "bool")
        return builder.input(value.shape, value.dtype)

    outputs = [builder.tensor((), use.dtype) for _ in range(use.outputs)]
    builder.operator(name, [operand(value) for value in use.operands], outputs, use.options)
    if use.dtype == "bool":
        outputs = [cast(builder, output, (), "bool", "uint8") for output in outputs]
    builder.graph.outputs += outputs


def cast(builder: TFLiteBuilder, tensor: int, shape: tuple[int, ...], source: str, result: str) -> int:
    """The tensor in another type."""
    converted = builder.tensor(shape, result)
    builder.operator("CAST", [tensor], [converted], schema.CastOptionsT(TYPES[source], TYPES[result]))
    return converted


def with_shapes(builder: TFLiteBuilder) -> bytes:
    """The finished file; the outputs' shapes are those that LiteRT computes."""
    for detail in interpreter(builder.file()).get_tensor_details():
        if detail["index"] < len(builder.graph.tensors):  # behind them stand LiteRT's own
            builder.graph.tensors[detail["index"]].shape = list(map(int, detail["shape"]))
    return builder.file()


def run_litert(file: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    loaded = interpreter(file)
    for detail, array in zip(loaded.get_input_details(), inputs, strict=True):
        loaded.set_tensor(detail["index"], array)
    loaded.invoke()
    return [loaded.get_tensor(detail["index"]) for detail in loaded.get_output_details()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """Every case of the table in one file, compiled once."""
    builder = TFLiteBuilder()
    for name, uses in CASES.items():
        for use in uses:
            add_case(builder, name, use)
    folder = tmp_path_factory.mktemp("operators")
    path = folder / "operators.tflite"
    path.write_bytes(with_shapes(builder))
    values = [o for uses in CASES.values() for use in uses for o in use.operands if isinstance(o, Input)]
    inputs = [value.data() for value in values]
    module, spec = load(path)
    ours = iter(run_library(compile_module(module, load_target("x86-64-v3"), folder, spec=spec), inputs))
    theirs = iter(run_litert(path.read_bytes(), inputs))

    def take(use: Case) -> Outcome:
        return Outcome(*([next(side) for _ in range(use.outputs)] for side in (ours, theirs)), use.tolerance)

    return {name: [take(use) for use in uses] for name, uses in CASES.items()}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator__random_data__agrees_with_litert(name, outcomes):
    assert outcomes[name]
    for number, outcome in enumerate(outcomes[name]):
        for ours, theirs in zip(outcome.ours, outcome.theirs, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            if ours.dtype.kind != "f":
                np.testing.assert_array_equal(ours, theirs, err_msg=f"case {number}")
                continue
            limit = outcome.tolerance * np.abs(theirs).max(initial=1e-6)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=limit, err_msg=f"case {number}")


SMALL = Case((Input((1, 6, 5, 3)), weight(4, 3, 3, 3), weight(4)), conv(SAME, activation=RELU), 1, "float32", 1e-5)


def small_file() -> bytes:
    """A convolution, a concatenation with a constant, a strided slice: options, vectors and buffers of all kinds."""
    builder = TFLiteBuilder()
    add_case(builder, "CONV_2D", SMALL)
    joined, part = builder.tensor(()), builder.tensor((), name="part")
    constant = builder.constant(weight(1, 6, 5, 2))
    convolved = builder.graph.outputs.pop()
    builder.operator("CONCATENATION", [convolved, constant], [joined], schema.ConcatenationOptionsT(3))
    bounds = [builder.constant(ints(*values)) for values in ((0, 1, 0, 2), (1, 5, 5, 6), (1, 2, 1, 1))]
    builder.operator("STRIDED_SLICE", [joined, *bounds], [part], slice_options(begin=1))
    builder.graph.outputs.append(part)
    return with_shapes(builder)


def single(name: str, use: Case) -> bytes:
    builder = TFLiteBuilder()
    add_case(builder, name, use)
    return with_shapes(builder)


def written(folder: Path, file: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(file)
    return path


def refusal(path: Path) -> str:
    """The message of the ModelError, which is one line."""
    with pytest.raises(ModelError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_load__small_model__has_the_files_names_shapes_and_types(tmp_path):
    _, spec = load(written(tmp_path, small_file()))
    assert spec.source_format == "tflite"
    assert spec.inputs == (TensorSpec("tensor 1", (1, 6, 5, 3), "float32"),)
    assert spec.outputs == (TensorSpec("part", (1, 2, 5, 4), "float32"),)


def test_load__named_intermediate__is_returned_in_place_of_the_outputs(tmp_path):
    path = written(tmp_path, small_file())
    names = tensor_names(path)
    assert names == ["tensor 0", "tensor 4", "part"]
    _, spec = load(path, outputs=names[:2])
    assert [output.name for output in spec.outputs] == names[:2]
    with pytest.raises(ModelError, match="no tensor nothing"):
        load(path, outputs=["nothing"])


def test_load__buffers_behind_the_flatbuffer__are_read(tmp_path):
    builder = TFLiteBuilder()
    add_case(builder, "CONV_2D", SMALL)
    with_shapes(builder)
    arrays = [buffer.data.tobytes() for buffer in builder.model.buffers[1:]]
    for _ in range(2):  # the file's own length is known after the first time
        end = -(-len(builder.file()) // 16) * 16
        for buffer, data in zip(builder.model.buffers[1:], arrays, strict=True):
            buffer.data, buffer.offset, buffer.size, end = None, end, len(data), end + len(data)
    file = builder.file()
    file += bytes(-len(file) % 16) + b"".join(arrays)
    (tmp_path / "inline").mkdir()
    inline, external = written(tmp_path / "inline", single("CONV_2D", SMALL)), written(tmp_path, file)
    assert len(file) == builder.model.buffers[-1].offset + builder.model.buffers[-1].size
    assert load(external)[0].script(show_meta=True) == load(inline)[0].script(show_meta=True)


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"not a model at all", bytes(1000), b"\x1c\0\0\0TFL3", b"PK\3\4TFL3" * 9]
)
def test_load__something_else__is_refused(tmp_path, content):
    assert "model.tflite is" in refusal(written(tmp_path, content))


def test_load__missing_file__is_refused(tmp_path):
    assert "cannot be read: No such file" in refusal(tmp_path / "model.tflite")


@needs_data
@pytest.mark.parametrize("part", range(20))
def test_load__truncated__is_refused(tmp_path, part):
    file = (MODELS / "pose_landmark_lite.tflite").read_bytes()
    assert "model.tflite" in refusal(written(tmp_path, file[: len(file) * part // 20]))


def test_load__flipped_bits__are_refused_or_harmless(tmp_path):
    """Lengths, offsets, indices, types and options go wild, one at a time."""
    file = small_file()
    random = np.random.default_rng(5)
    refused = 0
    for position in random.choice(len(file), 250, replace=False):
        damaged = bytearray(file)
        damaged[position] ^= 1 << random.integers(8)
        try:
            load(written(tmp_path, bytes(damaged)))
        except ModelError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("index", [-7, -1, 99, 2**31 - 1])
@pytest.mark.parametrize(
    "place", ["graph input", "graph output", "operator input", "operator output", "buffer", "code"]
)
def test_load__wild_index__is_refused(tmp_path, place, index):
    builder = TFLiteBuilder()
    add_case(builder, "SUB", case((2, 3), weight(3), options=schema.SubOptionsT()))
    with_shapes(builder)
    graph, operator = builder.graph, builder.graph.operators[0]
    if place == "buffer":
        graph.tensors[-1].buffer = abs(index) + 1
    elif place == "code":
        operator.opcodeIndex = abs(index)
    else:
        vectors = (graph.inputs, graph.outputs, operator.inputs, operator.outputs)
        vectors[["graph input", "graph output", "operator input", "operator output"].index(place)][0] = index
    refusal(written(tmp_path, builder.file()))


@pytest.mark.parametrize("shape", [[-1, 3], [2**31 - 1] * 3, [1] * 9])
def test_load__impossible_shape__is_refused(tmp_path, shape):
    builder = TFLiteBuilder()
    add_case(builder, "EXP", case((2, 3), options=schema.ExpOptionsT()))
    for tensor in builder.graph.tensors:
        tensor.shape = shape
    assert "unsupported shape" in refusal(written(tmp_path, builder.file()))


def test_load__custom_operator__is_named_with_its_place(tmp_path):
    builder = TFLiteBuilder()
    output = builder.tensor((1, 2), name="poses")
    builder.operator("CUSTOM FindPoses", [builder.input((1, 2))], [output])
    builder.graph.outputs.append(output)
    assert "CUSTOM FindPoses at #0 -> poses" in refusal(written(tmp_path, builder.file()))


@pytest.mark.parametrize("kind", [TANH, SIGN_BIT, 77])
def test_load__fused_activation_that_litert_ignores__is_refused(tmp_path, kind):
    use = case((1, 5), (1, 5), options=schema.AddOptionsT(kind))
    builder = TFLiteBuilder()
    add_case(builder, "ADD", use)
    builder.graph.tensors[0].shape = [1, 5]
    assert f"ADD has the unsupported fused activation {kind}" in refusal(written(tmp_path, builder.file()))


@pytest.mark.parametrize(
    ("name", "use", "operand"),
    [
        ("MEAN", case((4, 5), Input((1,), "int32")), 1),
        ("PAD", case((4, 5), Input((2, 2), "int32")), 1),
        ("SPLIT", case(Input((1,), "int32"), (4, 5), options=schema.SplitOptionsT(2)), 0),
        ("TRANSPOSE", case((4, 5), Input((2,), "int32")), 1),
        ("CONV_2D", case((1, 4, 4, 2), (3, 1, 1, 2), weight(3), options=conv(SAME)), 1),
    ],
)
def test_load__operand_that_must_be_constant__is_named_and_tvm_says_nothing(tmp_path, capfd, name, use, operand):
    builder = TFLiteBuilder()
    add_case(builder, name, use)
    assert f"operand {operand} of {name} must be a constant" in refusal(written(tmp_path, builder.file()))
    assert capfd.readouterr() == ("", "")


@needs_data
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("pose_detection", r"DENSIFY at #\d+ -> "),
        ("movenet_single_pose_lightning_ptq", r"ARG_MAX at #\d+ -> .*"),
        ("posenet_mobilenet_v1_075_353_481_quant", r"is quantized \(tensor "),
        ("posenet_mobilenet_v1_075_353_481_16_quant_decoder", r"CUSTOM PosenetDecoderOp at #\d+ -> "),
    ],
)
def test_load__what_we_lack__is_named(file, message):
    assert re.search(message, refusal(MODELS / f"{file}.tflite"))
