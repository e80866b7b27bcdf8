"""A model file of any format: the graph and the judge that Source gives for one file speak of the same model."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.frontend.tflite_builder import TFLiteBuilder
from tvmpose.errors import InputError, ModelError
from tvmpose.frontend.source import FORMATS, Source, split_function

NET = """
import torch
class Net(torch.nn.Module):
    def forward(self, x):
        return (x * 2).relu()
def build():
    return Net().eval()
"""
ONNX = """
<ir_version: 8, opset_import: ["": 13]>
agraph (float[1,3,4,4] x) => (float[1,3,4,4] y) { double = Add (x, x)  y = Relu (double) }"""


def tflite_file() -> bytes:
    builder = TFLiteBuilder()
    shape = (1, 3, 4, 4)
    x, double, y = builder.input(shape, name="x"), builder.tensor(shape, name="double"), builder.tensor(shape, name="y")
    builder.operator("ADD", [x, x], [double], schema.AddOptionsT())
    builder.operator("RELU", [double], [y])
    builder.graph.outputs.append(y)
    return builder.file()


@pytest.fixture(params=["tflite", "onnx", "torch"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """relu(2 x) for x of 1 x 3 x 4 x 4, in each format."""
    if request.param == "tflite":
        path = tmp_path / "model.tflite"
        path.write_bytes(tflite_file())
    elif request.param == "onnx":
        path = tmp_path / "model.onnx"
        onnx.save(onnx.parser.parse_model(ONNX), path)
    else:
        path = tmp_path / "net.py"
        path.write_text(NET)
    return Source(path, (1, 3, 4, 4))


def test_source__each_format__graph_and_judge_agree_on_names_and_shapes(source):
    _, spec = source.load()
    judge = source.judge()
    assert spec.source_format == source.format
    assert [(t.name, t.shape) for t in judge.inputs] == [(t.name, t.shape) for t in spec.inputs]
    assert [(t.shape, t.dtype) for t in judge.outputs] == [((1, 3, 4, 4), "float32")]
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4), dtype="float32")
    np.testing.assert_array_equal(judge.run([x])[0], np.maximum(2 * x, 0))


def test_source__each_format__every_tensor_name_is_known_to_graph_and_judge(source):
    names = source.tensor_names()
    assert len(names) == 2
    _, spec = source.load(outputs=names)
    x = np.ones((1, 3, 4, 4), "float32")
    assert [t.shape for t in spec.outputs] == [array.shape for array in source.judge().run([x], names)]


def test_source__missing_file__is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no\.onnx: no such file"):
        Source(tmp_path / "no.onnx")


def test_source__unknown_suffix__is_refused_with_the_formats_there_are(tmp_path):
    path = tmp_path / "model.pb"
    path.touch()
    with pytest.raises(ModelError, match="not a model") as caught:
        Source(path)
    assert all(suffix in str(caught.value) for suffix in FORMATS)


def test_source__net_with_a_function_and_its_own_input_shape__is_that_network(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\nINPUT_SHAPE = (1, 5)\ndef small():\n    return nn.Linear(5, 2)\n")
    file, function = split_function(f"{path}:small")
    source = Source(Path(file), function=function)
    _, spec = source.load()
    assert (spec.inputs[0].shape, spec.outputs[0].shape) == ((1, 5), (1, 2))
    assert split_function(str(path)) == (str(path), "build")
    with pytest.raises(ModelError, match=r"defines no large\(\)"):
        Source(path, function="large").load()


def test_source__net_without_input_size__asks_for_a_card(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET)
    with pytest.raises(InputError, match="--card"):
        Source(path).load()


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_judge__file_that_its_runtime_refuses__one_line(tmp_path: Path, suffix: str):
    (tmp_path / f"net{suffix}").write_bytes(b"no model at all")
    with pytest.raises(ModelError, match=rf"net{suffix}: .* refuses it: ") as caught:
        Source(tmp_path / f"net{suffix}").judge()
    assert "\n" not in str(caught.value)
