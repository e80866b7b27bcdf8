"""TFLite in: every operator of the table against LiteRT on the very file, and files that must be refused."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.frontend.tflite_builder import TFLiteBuilder, run_litert, with_shapes
from tests.frontend.tflite_cases import (
    CASES,
    RELU,
    SAME,
    SIGN_BIT,
    TANH,
    Case,
    Input,
    add_case,
    case,
    conv,
    ints,
    slice_options,
    weight,
)
from tests.frontend.virtual_machine import run
from tests.native import compile_module, run_library
from tvmpose.errors import ModelError
from tvmpose.frontend.tflite import load, steps, tensor_names
from tvmpose.frontend.tflite_operators import OPERATORS
from tvmpose.modelspec import TensorSpec
from tvmpose.targets import load_target

DATA = os.environ.get("TVMPOSE_DATA")
MODELS = Path(DATA or ".") / "models"
needs_data = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")


@dataclass(frozen=True)
class Outcome:
    """What we and LiteRT made of one case."""

    ours: list[np.ndarray]
    theirs: list[np.ndarray]
    tolerance: float


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


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "QUANTIZE"])  # test_tflite_quantized.py
def test_operator__random_data__agrees_with_litert(name, outcomes):
    assert outcomes[name]
    for number, outcome in enumerate(outcomes[name]):
        for ours, theirs in zip(outcome.ours, outcome.theirs, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            if ours.dtype.kind != "f":
                np.testing.assert_array_equal(ours, theirs, err_msg=f"case {number}")
                continue
            limit = outcome.tolerance * np.nanmax(np.abs(theirs), initial=1e-6)
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


def test_load__named_inputs__take_the_place_of_the_file_s_and_what_computes_them(tmp_path):
    path = written(tmp_path, small_file())
    module, spec = load(path, inputs=["tensor 0"])
    assert spec.inputs == (TensorSpec("tensor 0", (1, 6, 5, 4), "float32"),)
    assert "conv2d" not in module.script()
    with pytest.raises(ModelError, match="no tensor nothing"):
        load(path, inputs=["nothing"])
    with pytest.raises(ModelError, match="tensor 1 is used before anything computes it"):
        load(path, outputs=["tensor 0"], inputs=[])


def test_load__inputs_that_are_outputs_too__each_step_alone_is_fed_and_computed(tmp_path):
    path = written(tmp_path, small_file())
    taken = steps(path)
    assert [step.operator for step in taken] == ["CONV_2D", "CONCATENATION", "STRIDED_SLICE"]
    assert [step.inputs for step in taken] == [("tensor 1",), ("tensor 0",), ("tensor 4",)]
    module, spec = load(path, ["tensor 0", "tensor 4", "part"], ["tensor 1", "tensor 0", "tensor 4"])
    rng = np.random.default_rng(3)
    fed = [rng.standard_normal(each.shape, dtype="float32") for each in spec.inputs]
    convolved, joined, part = run(module, *fed)
    whole = run_litert(path.read_bytes(), fed[:1])[0]
    np.testing.assert_allclose(joined[..., :4], fed[1])
    np.testing.assert_allclose(part, fed[2][:, 1:5:2, :, 2:])
    np.testing.assert_allclose(convolved[:, 1:5:2, :, 2:], whole[..., :2], atol=1e-5)


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
def test_load__decoder_inside_the_file__is_refused_with_what_to_use_instead():
    path = MODELS / "posenet_mobilenet_v1_075_353_481_16_quant_decoder.tflite"
    assert re.search(r"CUSTOM PosenetDecoderOp at #37 -> poses; use the same network without", refusal(path))
    _, spec = load(path, outputs=["float_heatmaps", "float_short_offsets", "float_mid_offsets"])
    assert [output.dtype for output in spec.outputs] == ["uint8"] * 3
