"""QDQ islands as integer kernels: every operator against LiteRT's, and convolutions of any kind against NumPy int64."""

import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from tests.frontend.test_tflite_quantized import TABLES, Input, written
from tests.frontend.tflite_builder import TFLiteBuilder
from tests.frontend.tflite_cases import add_case
from tests.integer_judge import requantized
from tests.native import compile_module, network, run_emulated, run_library, run_pipelined
from tvmpose.baselines.litert import KERNELS
from tvmpose.codegen.kernel_object import compile_kernels
from tvmpose.frontend.tflite import load
from tvmpose.kernels.integer import Output
from tvmpose.kernels.isa import vector_isa
from tvmpose.kernels.requantize import Requantize, Rounding
from tvmpose.passes.lower_integer import lower_integer
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.passes.verify_integer import refusals_of
from tvmpose.qdq import Quantization, dequantize, per_tensor, quantize
from tvmpose.targets import Target, host_target, load_target, needed_features

RESOLVERS = {Rounding.REFERENCE: "reference", Rounding.XNNPACK: "default"}
# Their sources' integer arithmetic is not rebuilt: they are within a step. The others are equal.
WITHIN_A_STEP = {"DEQUANTIZE", "HARD_SWISH", "L2_NORMALIZATION", "LOG_SOFTMAX", "PRELU", "SQUARED_DIFFERENCE"}
WITHIN_A_STEP |= {"SOFTMAX", "SUM"}
LEVELS = [load_target(name) for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4")]
TARGETS = [host_target(), *(level for level in LEVELS if needed_features(level) <= needed_features(host_target()))]
FOREIGN = {
    "cortex-a72": Target("cortex-a72", "no dot products", "aarch64-linux-gnu", "cortex-a72"),
    "cortex-a76": Target("cortex-a76", "sdot", "aarch64-linux-gnu", "cortex-a76"),
    "cortex-a7": Target("cortex-a7", "32 bits", "armv7a-linux-gnueabihf", "cortex-a7"),
}


EMULATED = {  # a target, what qemu is told to be, and the roundings that are worth the time
    "smull": (Target("a72", "smull", "aarch64-linux-musl", "cortex-a72", linker="none"), "cortex-a72", RESOLVERS),
    "sdot": (
        Target("a76", "sdot", "aarch64-linux-musl", "cortex-a76", linker="none"),
        "cortex-a76",
        [Rounding.XNNPACK],
    ),
    "i8mm": (
        Target("x3", "i8mm", "aarch64-linux-musl", "cortex-x3", ("-sve", "-sve2"), linker="none"),
        "max",
        [Rounding.XNNPACK],
    ),
    "armv7": (Target("a7", "32", "armv7a-linux-musleabihf", "cortex-a7", linker="none"), "max", [Rounding.XNNPACK]),
}
Outcomes = dict[str, list[tuple[np.ndarray, np.ndarray]]]


@cache
def outcomes(dtype: str, rounding: Rounding, machine: str | None = None) -> Outcomes:
    """Of each operator of the table (ours, LiteRT's); all in one library, of this machine or for an emulated one."""
    builder, uses = TFLiteBuilder(), [(name, use) for name, table in TABLES[dtype].items() for use in table]
    for name, use in uses:
        add_case(builder, name, use)
    inputs = [operand.data() for _, use in uses for operand in use.operands if isinstance(operand, Input)]
    folder = Path(mkdtemp())
    path = written(folder, builder)
    module, spec = load(path)
    target, cpu, _ = EMULATED[machine] if machine else (host_target(), "", None)
    library = compile_module(module, target, folder, spec=spec, rounding=rounding)
    ours = run_emulated(library, target, spec, inputs, cpu) if machine else run_library(library, inputs)
    judge = Interpreter(str(path), experimental_op_resolver_type=KERNELS[RESOLVERS[rounding]], num_threads=1)
    judge.allocate_tensors()
    for detail, array in zip(judge.get_input_details(), inputs, strict=True):
        judge.set_tensor(detail["index"], array)
    judge.invoke()
    pairs = zip(ours, (judge.get_tensor(detail["index"]) for detail in judge.get_output_details()), strict=True)
    found = defaultdict(list)
    for name, use in uses:
        found[name] += [next(pairs) for _ in range(use.outputs)]
    return found


@pytest.mark.parametrize("rounding", RESOLVERS, ids=lambda rounding: rounding.value)
@pytest.mark.parametrize(("dtype", "name"), [(dtype, name) for dtype, table in TABLES.items() for name in table])
def test_operator__random_integers__is_litert_s(dtype: str, name: str, rounding: Rounding):
    assert_litert_s(name, dtype, rounding, outcomes(dtype, rounding)[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "rounding"), [(name, rounding) for name, (*_, roundings) in EMULATED.items() for rounding in roundings]
)
@pytest.mark.parametrize("dtype", TABLES)
def test_operators__emulated_arm__are_litert_s(dtype: str, machine: str, rounding: Rounding):
    """Transposed convolutions whose weights have zero points among them, which widen even where there is sdot."""
    for name, pairs in outcomes(dtype, rounding, machine).items():
        assert_litert_s(name, dtype, rounding, pairs)


def assert_litert_s(name: str, dtype: str, rounding: Rounding, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    in_float = name == "RESIZE_BILINEAR" and dtype == "uint8" and rounding is Rounding.REFERENCE
    for ours, theirs in pairs:
        difference = np.abs(ours.astype("float64") - theirs.astype("float64"))
        if name == "DIV":  # LiteRT makes the largest integer of quotients far below a step
            assert np.mean(difference <= 1) > 0.97
        elif name in WITHIN_A_STEP or in_float:
            assert difference.max() <= 1
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


@dataclass(frozen=True)
class Problem:
    """One quantized convolution; padding is top, left, bottom, right."""

    size: tuple[int, int]
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    depthwise: bool
    dtype: str  # int8: symmetric weights, a scale for each output; uint8: the old way
    zero_points: tuple[int, int, int]  # of data, weights (uint8 only) and result
    activation: bool
    seed: int


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    needed = [(kernel[a] - 1) * dilation[a] + 1 - padding[a] - padding[a + 2] for a in (0, 1)]
    size = tuple(max(1, n) + draw(st.integers(0, 13)) for n in needed)
    depthwise, dtype = draw(st.booleans()), draw(st.sampled_from(["int8", "uint8"]))
    inputs = draw(st.sampled_from([1, 3, 4, 7, 8, 24, 32, 48]))
    limits = np.iinfo(dtype)
    return Problem(
        size,
        inputs,
        inputs if depthwise else draw(st.sampled_from([1, 3, 8, 17, 34, 48, 88])),
        kernel,
        draw(st.sampled_from([(1, 1), (2, 2), (1, 2)])),
        padding,
        dilation,
        depthwise,
        dtype,
        draw(st.tuples(*[st.integers(limits.min, limits.max)] * 3)),
        draw(st.booleans()),
        draw(st.integers(0, 2**32)),
    )


@dataclass(frozen=True)
class Quantized:
    """A problem's numbers. weight: (kh, kw, I, O), depthwise (kh, kw, C, 1)."""

    data: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    of_data: Quantization
    of_weight: Quantization
    of_result: Quantization


def quantized(problem: Problem) -> Quantized:
    random, limits = np.random.default_rng(problem.seed), np.iinfo(problem.dtype)
    shape = (*problem.kernel, problem.inputs, 1 if problem.depthwise else problem.outputs)
    axis, zero_data, zero_weight, zero_result = 2 if problem.depthwise else 3, *problem.zero_points
    low = -127 if problem.dtype == "int8" else 0
    weight = random.integers(low, limits.max + 1, shape).astype(problem.dtype)
    of_weight = per_tensor(0.011, zero_weight, "uint8")
    if problem.dtype == "int8":
        scales = random.uniform(0.002, 0.02, problem.outputs).astype("float32")
        of_weight = Quantization(scales, np.zeros(problem.outputs, "int32"), "int8", axis)
    terms = np.prod(shape[: 2 if problem.depthwise else 3])
    target = np.float32(0.05 * 0.011 * 74 * 74 * np.sqrt(terms) / 50)
    return Quantized(
        random.integers(limits.min, limits.max + 1, (1, *problem.size, problem.inputs)).astype(problem.dtype),
        weight,
        random.integers(-5000, 5000, problem.outputs).astype("int32"),
        per_tensor(0.05, zero_data, problem.dtype),
        of_weight,
        per_tensor(float(target), zero_result, problem.dtype),
    )


def convolution(problem: Problem, numbers: Quantized) -> IRModule:
    unit = (numbers.of_data.scale * numbers.of_weight.scale).astype("float32")
    of_bias = Quantization(unit, np.zeros(unit.shape, "int32"), "int32")

    def build(x: relax.Expr) -> relax.Expr:
        value = relax.op.nn.conv2d(
            dequantize(x, numbers.of_data),
            dequantize(relax.const(numbers.weight), numbers.of_weight),
            strides=problem.strides,
            padding=problem.padding,
            dilation=problem.dilation,
            groups=problem.inputs if problem.depthwise else 1,
            data_layout="NHWC",
            kernel_layout="HWOI" if problem.depthwise else "HWIO",
        )
        value = relax.op.add(value, dequantize(relax.const(numbers.bias), of_bias))
        return quantize(relax.op.nn.relu(value) if problem.activation else value, numbers.of_result)

    return normalized(network(build, numbers.data.shape, dtype=problem.dtype))


def normalized(module: IRModule) -> IRModule:
    return relax.transform.Normalize()(module)


def sums(problem: Problem, numbers: Quantized) -> np.ndarray:
    """int64 (1, OH, OW, outputs), bias included."""
    top, left, bottom, right = problem.padding
    (sy, sx), (dy, dx), (kh, kw) = problem.strides, problem.dilation, problem.kernel
    data = numbers.data[0].astype("int64") - int(numbers.of_data.zero_point)
    padded = np.pad(data, ((top, bottom), (left, right), (0, 0)))
    zero_point = numbers.of_weight.zero_point if numbers.of_weight.scale.ndim == 0 else 0
    weight = numbers.weight.astype("int64") - zero_point
    height = (padded.shape[0] - (kh - 1) * dy - 1) // sy + 1
    width = (padded.shape[1] - (kw - 1) * dx - 1) // sx + 1
    total = np.zeros((height, width, problem.outputs), "int64") + numbers.bias
    for i in range(kh):
        for j in range(kw):
            part = padded[i * dy :, j * dx :][: (height - 1) * sy + 1 : sy, : (width - 1) * sx + 1 : sx]
            total += part * weight[i, j, :, 0] if problem.depthwise else part @ weight[i, j]
    return total[None]


def expected(problem: Problem, numbers: Quantized, rounding: Rounding) -> np.ndarray:
    limits, zero_point = np.iinfo(problem.dtype), int(numbers.of_result.zero_point)
    low = max(limits.min, zero_point) if problem.activation else limits.min
    output = Output(problem.dtype, zero_point, low, limits.max)
    scales = np.broadcast_to(numbers.of_weight.scale, (problem.outputs,))
    of = Requantize.of(rounding, numbers.of_data.scale, scales, numbers.of_result.scale, output, problem.dtype)
    return requantized(sums(problem, numbers), of.scale, rounding, output)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@settings(max_examples=12, deadline=None)
@given(problems(), st.sampled_from(Rounding))
def test_convolution__any_shape_and_zero_points__is_numpy_s(target: Target, problem: Problem, rounding: Rounding):
    numbers = quantized(problem)
    (found,) = run_pipelined(convolution(problem, numbers), target, numbers.data, rounding=rounding)
    np.testing.assert_array_equal(found, expected(problem, numbers, rounding))


@pytest.mark.parametrize("rounding", [Rounding.ORT, Rounding.TORCH], ids=lambda rounding: rounding.value)
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolution__bias_in_float__is_not_rounded_before_the_sum_is(depthwise: bool, rounding: Rounding):
    problem = Problem((9, 8), *(24, 24), (3, 3), (1, 1), (1,) * 4, (1, 1), depthwise, "int8", (3, 0, -5), False, 1)
    numbers = replace(quantized(problem), bias=np.zeros(24, "int32"))
    bias = np.random.default_rng(2).uniform(-3, 3, 24).astype("float32")

    def build(x: relax.Expr) -> relax.Expr:
        value = relax.op.nn.conv2d(
            dequantize(x, numbers.of_data),
            dequantize(relax.const(numbers.weight), numbers.of_weight),
            padding=(1, 1, 1, 1),
            groups=24 if depthwise else 1,
            data_layout="NHWC",
            kernel_layout="HWOI" if depthwise else "HWIO",
        )
        return quantize(relax.op.add(value, relax.const(bias.reshape(1, 1, 1, 24))), numbers.of_result)

    module = normalized(network(build, numbers.data.shape, dtype="int8"))
    (found,) = run_pipelined(module, host_target(), numbers.data, rounding=rounding)
    unit = np.float64(numbers.of_data.scale) * numbers.of_weight.scale.astype("float64")
    exact = (sums(problem, numbers) * unit + bias) / np.float64(numbers.of_result.scale)
    np.testing.assert_array_equal(found, np.clip(np.rint(exact) - 5, -128, 127))


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("target", FOREIGN.values(), ids=lambda target: target.name)
def test_convolution__instruction_sets_of_others__compile_to_one_kernel_of_bytes(
    target: Target, depthwise: bool, tmp_path: Path
):
    channels = (24, 24 if depthwise else 40)
    problem = Problem((9, 8), *channels, (3, 3), (1, 1), (1,) * 4, (1, 1), depthwise, "int8", (3, 0, -5), True, 1)
    module = run_pipeline(convolution(problem, quantized(problem)), target.llvm())
    (name,) = (name for name in kernel_names(module) if "conv2d" in name)
    assert name.endswith("integer_depthwise_conv2d" if depthwise else "integer_conv2d")
    functions = {var.name_hint: f for var, f in module.functions_items() if isinstance(f, PrimFunc)}
    compile_kernels(functions, "net", target.llvm(), tmp_path / "kernels.o")
    assert (tmp_path / "kernels.o").stat().st_size > 1000


def lowered(module: IRModule, rounding: Rounding = Rounding.XNNPACK) -> IRModule:
    return lower_integer(normalized(module), vector_isa(host_target().llvm()), rounding)


def kernel_names(module: IRModule) -> list[str]:
    module = relax.transform.DeadCodeElimination()(module)
    return sorted(
        name.name_hint.rstrip("0123456789") for name, _ in module.functions_items() if name.name_hint != "main"
    )


def test_pixels__normalized_to_themselves__reach_the_network_without_a_kernel():
    """A cast, then a subtraction of 0 and a division by what the result's scale makes up for, as in MoveNet."""
    bytes_, halves = per_tensor(1, 0, "uint8"), per_tensor(2 / 255, 0, "uint8")

    def build(x: relax.Expr) -> relax.Expr:
        pixels = quantize(relax.op.astype(x, "float32"), bytes_)
        factor = dequantize(relax.const(np.array(255, "uint8")), per_tensor(2 / 255 / 255, 0, "uint8"))
        return quantize(relax.op.multiply(dequantize(pixels, bytes_), factor), halves)

    module = lowered(network(build, (1, 4, 4, 3), dtype="uint8"))
    assert set(kernel_names(module)) <= {"flip_sign"}  # at the input and the output, where the CPU wants signed bytes
    assert refusals_of(module) == []


def test_dense_layer__reshaped_behind__is_an_integer_kernel():
    problem = Problem((1, 5), 20, 7, (1, 1), (1, 1), (0,) * 4, (1, 1), False, "int8", (3, 0, -5), False, 1)
    numbers = quantized(problem)

    def build(x: relax.Expr) -> relax.Expr:
        weight = dequantize(relax.const(numbers.weight), numbers.of_weight)
        value = relax.op.nn.conv2d(dequantize(x, numbers.of_data), weight, data_layout="NHWC", kernel_layout="HWIO")
        return quantize(relax.op.reshape(value, (5, 7)), numbers.of_result)

    module = lowered(network(build, numbers.data.shape, dtype="int8"))
    assert "integer_conv2d" in kernel_names(module)
    assert refusals_of(module) == []


def test_refusals__operator_without_a_row__is_named_with_its_reason():
    some = per_tensor(0.1, 3, "int8")

    def build(x: relax.Expr) -> list[relax.Expr]:
        number = dequantize(x, some)
        return [
            quantize(relax.op.nn.log_softmax(number), some),
            quantize(relax.op.divide(number, relax.op.exp(number)), some),
        ]

    (refusal,) = refusals_of(lowered(network(build, (4, 9), dtype="int8")))
    assert (refusal.operator, refusal.reason) == ("nn.log_softmax", "no integer kernel for it")


@pytest.mark.parametrize("rounding", Rounding, ids=lambda rounding: rounding.value)
@pytest.mark.parametrize("axis", [1, -1])
def test_softmax__any_axis__is_numpy_s_nearest(rounding: Rounding, axis: int):
    data, target = per_tensor(0.05, 3, "int8"), per_tensor(1 / 256, -128, "int8")
    integers = np.random.default_rng(0).integers(-128, 128, (2, 5, 40)).astype("int8")

    def build(x: relax.Expr) -> relax.Expr:
        return quantize(relax.op.nn.softmax(dequantize(x, data), axis=axis), target)

    module = normalized(network(build, integers.shape, dtype="int8"))
    assert "integer_softmax" in kernel_names(lowered(module, rounding)) and refusals_of(lowered(module)) == []
    (found,) = run_pipelined(module, host_target(), integers, rounding=rounding)
    powers = np.exp(0.05 * (integers.astype("float64") - 3))
    exact = np.clip(powers / powers.sum(axis, keepdims=True) * 256 - 128, -128, 127)
    assert np.abs(found - exact).max() <= 0.501 and len(np.unique(found)) > 20


@pytest.mark.parametrize("rounding", Rounding, ids=lambda rounding: rounding.value)
def test_quotient__two_tensors__is_numpy_s_nearest_and_the_largest_where_it_divides_by_zero(rounding: Rounding):
    first, second, target = per_tensor(0.02, 3, "int8"), per_tensor(0.03, -5, "int8"), per_tensor(0.01, 7, "int8")
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))

    def build(x: relax.Expr, y: relax.Expr) -> relax.Expr:
        return quantize(relax.op.divide(dequantize(x, first), dequantize(y, second)), target)

    module = normalized(network(build, a.shape, b.shape, dtype="int8"))
    assert "integer_divide" in kernel_names(lowered(module, rounding)) and refusals_of(lowered(module)) == []
    (found,) = run_pipelined(module, host_target(), a.astype("int8"), b.astype("int8"), rounding=rounding)
    with np.errstate(all="ignore"):
        exact = np.nan_to_num(0.02 * (a - 3) / (0.03 * (b + 5)) / 0.01, nan=0, posinf=1e9, neginf=-1e9) + 7
    assert np.abs(found - np.clip(exact, -128, 127)).max() <= 0.501


def test_float_network__is_left_alone():
    module = normalized(network(lambda x: relax.op.nn.softmax(x), (4, 9)))
    assert lowered(module).same_as(module) or refusals_of(lowered(module)) is None


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(Rounding), st.integers(-128, 127), st.floats(0.004, 0.1), st.integers(0, 3))
def test_table__chain_of_functions__is_numpy_s_nearest(rounding: Rounding, zero_point: int, scale: float, kind: int):
    data, target = per_tensor(scale, zero_point, "int8"), per_tensor(0.01, -5, "int8")
    chains = [
        (relax.op.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
        (relax.op.tanh, np.tanh),
        (lambda x: relax.op.multiply(x, relax.op.sigmoid(x)), lambda x: x / (1 + np.exp(-x))),
        (lambda x: relax.op.sqrt(relax.op.abs(x)), lambda x: np.sqrt(np.abs(x))),
    ]
    ours, theirs = chains[kind]
    integers = np.arange(-128, 128).astype("int8").reshape(1, 256)
    module = normalized(network(lambda x: quantize(ours(dequantize(x, data)), target), (1, 256), dtype="int8"))
    assert "integer_table" in kernel_names(lowered(module, rounding))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = run_pipelined(module, host_target(), integers, rounding=rounding)
    exact = theirs((integers.astype("float64") - zero_point) * np.float64(np.float32(scale))) / 0.01 - 5
    assert np.abs(found - np.clip(exact, -128, 127)).max() <= 0.501
