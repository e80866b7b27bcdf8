"""ONNX in: against ONNX Runtime on the very file."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from tvm import relax

from tests.frontend.virtual_machine import run
from tvmpose.baselines.judge import open_judge
from tvmpose.errors import ModelError
from tvmpose.frontend.onnx import load, tensor_names
from tvmpose.modelspec import TensorSpec
from tvmpose.passes.convert_layout import to_nhwc

DATA = os.environ.get("TVMPOSE_DATA")
MODELS = Path(DATA or ".") / "models"
needs_data = pytest.mark.skipif(DATA is None, reason="TVMPOSE_DATA is not set")


def write(folder: Path, graph: str, opset: int = 13) -> Path:
    """An ONNX file from the text form of a graph."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{graph}')
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def assert_agrees(path: Path, *inputs: np.ndarray, tensors: list[str] | None = None) -> None:
    module, _ = load(path, outputs=tensors)
    for ours, theirs in zip(run(module, *inputs), open_judge(path, "onnx").run(inputs, tensors), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * max(1.0, np.abs(theirs).max()))


SMALL = """
agraph (float[N,2,6,6] image) => (float[N,2,3,3] small, float[N,2,6,6] bounded)
<float low = {-0.5}, float high = {0.5}, int64[8] pads = {0,0,1,1,0,0,1,1}> {
  bounded = Clip (image, low, high)
  half = AveragePool <kernel_shape = [2,2], strides = [2,2]> (bounded)
  positive = Relu (half)
  wide = Pad (positive, pads)
  small = MaxPool <kernel_shape = [3,3], strides = [1,1]> (wide)
}"""


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape, dtype="float32")


def test_load__dynamic_batch__is_frozen_to_one_and_agrees(tmp_path):
    path = write(tmp_path, SMALL)
    _, spec = load(path)
    assert spec.source_format == "onnx"
    assert spec.inputs == (TensorSpec("image", (1, 2, 6, 6), "float32"),)
    assert spec.outputs == (
        TensorSpec("small", (1, 2, 3, 3), "float32"),
        TensorSpec("bounded", (1, 2, 6, 6), "float32"),
    )
    assert_agrees(path, image(1, 2, 6, 6))


def test_load__named_intermediate__is_returned_in_place_of_the_outputs(tmp_path):
    path = write(tmp_path, SMALL)
    _, spec = load(path, outputs=["half"])
    assert spec.outputs == (TensorSpec("half", (1, 2, 3, 3), "float32"),)
    assert_agrees(path, image(1, 2, 6, 6), tensors=["half", "wide"])


def test_tensor_names__every_name__can_be_returned_and_agrees(tmp_path):
    path = write(tmp_path, SMALL)
    names = tensor_names(path)
    assert names == ["bounded", "half", "positive", "wide", "small"]
    assert_agrees(path, image(1, 2, 6, 6), tensors=names)


def test_load__unknown_intermediate__is_refused(tmp_path):
    with pytest.raises(ModelError, match="no tensor nonsense"):
        load(write(tmp_path, SMALL), outputs=["nonsense"])


def test_load__clip_and_pad__are_operators_not_loops(tmp_path):
    module, _ = load(write(tmp_path, SMALL))
    names = set()
    relax.analysis.post_order_visit(
        module["main"], lambda e: names.add(e.op.name) if isinstance(e, relax.Call) else None
    )
    assert {"relax.clip", "relax.nn.pad"} <= names
    assert "relax.call_tir" not in names


@pytest.mark.parametrize("bounds", ["low, high", "low", "'', high".replace("'", '"').replace('""', "")])
def test_load__clip_with_a_missing_bound__agrees(tmp_path, bounds):
    graph = f"""
    agraph (float[2,3] x) => (float[2,3] y) <float low = {{-0.5}}, float high = {{0.5}}> {{ y = Clip (x, {bounds}) }}"""
    assert_agrees(write(tmp_path, graph), image(2, 3))


def test_load__clip_of_integers__keeps_the_type(tmp_path):
    graph = """
    agraph (int32[2,3] x) => (int32[2,3] y) <int32 low = {-2}, int32 high = {3}> { y = Clip (x, low, high) }"""
    assert_agrees(write(tmp_path, graph), np.arange(-3, 3, dtype="int32").reshape(2, 3))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_load__pad__agrees_in_every_mode(tmp_path, mode):
    graph = f"""
    agraph (float[1,2,4,4] x) => (float[1,2,7,6] y) <int64[8] pads = {{0,0,1,2,0,0,2,0}}> {{
      y = Pad <mode = "{mode}"> (x, pads)
    }}"""
    assert_agrees(write(tmp_path, graph), image(1, 2, 4, 4))


def test_load__shapes_computed_in_the_graph__are_folded(tmp_path):
    graph = """
    agraph (float[N,4,3,3] x) => (float[N,36] y) <int64 zero = {0}, int64[1] rest = {-1}, int64[1] axes = {0}> {
      shape = Shape (x)
      batch = Gather (shape, zero)
      first = Unsqueeze (batch, axes)
      wanted = Concat <axis = 0> (first, rest)
      y = Reshape (x, wanted)
    }"""
    assert_agrees(write(tmp_path, graph), image(1, 4, 3, 3))


def test_load__dynamic_size__asks_for_it_and_takes_it(tmp_path):
    path = write(tmp_path, "agraph (float[N,2,H,W] x) => (float[N,2,H,W] y) { y = Relu (x) }")
    with pytest.raises(ModelError, match=r"input x has the dynamic shape \[1, 2, H, W\]"):
        load(path)
    _, spec = load(path, input_shapes={"x": (1, 2, 5, 6)})
    assert spec.outputs[0].shape == (1, 2, 5, 6)
    with pytest.raises(ModelError, match="no input z"):
        load(path, input_shapes={"z": (1,)})


def test_load__unsupported_operators__names_each_and_all_its_nodes(tmp_path):
    path = write(tmp_path, "agraph (float[2,2] x) => (float[2,2] y) { a = Det (x)\n b = Det (x)\n y = Add (a, b) }")
    model = onnx.load(path)
    model.graph.node[0].name, model.graph.node[1].name = "first", "second"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="unsupported ONNX operators: Det at first, second"):
        load(path)


def test_load__foreign_domain__is_not_mistaken_for_a_known_operator(tmp_path):
    model = onnx.load(write(tmp_path, "agraph (float[2,2] x) => (float[2,2] y) { y = Relu (x) }"))
    model.graph.node[0].domain = "acme"
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"acme\.Relu at #0"):
        load(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model at all", bytes(range(256))])
def test_load__not_onnx__is_one_clear_line(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["output", "weight"])
def test_load__element_type_that_onnx_does_not_have__is_named(tmp_path, where):
    path = write(tmp_path, "agraph (float[1] x) => (float[1] y) <float[1] w = {1}> { y = Add (x, w) }")
    model = onnx.load(path)
    if where == "output":
        model.graph.output[0].type.tensor_type.elem_type = 65
    else:
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones(1, np.float32), "w"))
        model.graph.initializer[0].data_type = 65
    onnx.save(model, path)
    with pytest.raises(ModelError, match=f"tensor {'y' if where == 'output' else 'w'} has elements of the type 65"):
        load(path)


def test_load__missing_file__is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "absent.onnx")


def test_load__truncated_file__is_refused(tmp_path):
    path = write(tmp_path, SMALL)
    whole = path.read_bytes()
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            load(path)


@needs_data
@pytest.mark.parametrize("name", ["movenet-lightning", pytest.param("movenet-thunder", marks=pytest.mark.slow)])
def test_to_nhwc__movenet__has_no_transpose_left(name):
    module, _ = load(MODELS / f"{name}.onnx")
    assert "permute_dims" in module.script()
    assert "permute_dims" not in to_nhwc(module).script()


@needs_data
@pytest.mark.slow
def test_to_nhwc__movenet_lightning__agrees_with_onnxruntime():
    path = MODELS / "movenet-lightning.onnx"
    module, spec = load(path)
    pixels = np.random.default_rng(0).integers(0, 256, spec.inputs[0].shape).astype("int32")
    (theirs,) = open_judge(path, "onnx", threads=2).run([pixels])
    (ours,) = run(to_nhwc(module), pixels)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
