"""ONNX's recurrent layers, against ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frontend.virtual_machine import run
from tvmpose.errors import ModelError
from tvmpose.frontend.onnx import load

STEPS, BATCH, INPUTS, SIZE = 4, 1, 5, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def write(path, operator: str, directions: int, with_state: bool, **attributes) -> None:
    rng = np.random.default_rng(directions)
    rows, states = GATES[operator] * SIZE, ["h", "c"] if operator == "LSTM" else ["h"]
    constants = {
        "w": rng.standard_normal((directions, rows, INPUTS)),
        "r": rng.standard_normal((directions, rows, SIZE)),
        "b": rng.standard_normal((directions, 2 * rows)),
        **{name: rng.standard_normal((directions, BATCH, SIZE)) for name in states if with_state},
    }
    outputs = ["y", *(f"y_{name}" for name in states)]
    names = ["x", "w", "r", "b", *(["", *states] if with_state else [])]
    node = helper.make_node(operator, names, outputs, name="memory", hidden_size=SIZE, **attributes)
    shapes = {"y": (STEPS, directions, BATCH, SIZE)} | dict.fromkeys(outputs[1:], (directions, BATCH, SIZE))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    data = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (STEPS, BATCH, INPUTS))]
    weights = [numpy_helper.from_array(array.astype("float32"), name) for name, array in constants.items()]
    graph = helper.make_graph([node], "memory", data, values, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("LSTM", {"direction": "forward"}),
        ("LSTM", {"direction": "bidirectional"}),
        ("GRU", {"direction": "reverse", "linear_before_reset": 1}),
        ("RNN", {"direction": "forward", "activations": ["Relu"]}),
    ],
)
@pytest.mark.parametrize("with_state", [False, True])
def test_load__recurrent_layer__as_onnxruntime(tmp_path, operator, attributes, with_state) -> None:
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    write(tmp_path / "m.onnx", operator, directions, with_state, **attributes)
    x = np.random.default_rng(0).standard_normal((STEPS, BATCH, INPUTS), dtype="float32")
    expected = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})
    module, spec = load(tmp_path / "m.onnx")
    assert spec.outputs[0].name == "y"
    for found, judge in zip(run(module, x), expected, strict=True):
        np.testing.assert_allclose(found, judge, rtol=0, atol=1e-5)


def test_load__recurrent_layer_with_other_activations__is_refused_by_name(tmp_path) -> None:
    write(tmp_path / "m.onnx", "LSTM", 1, False, activations=["Sigmoid", "Relu", "Tanh"])
    with pytest.raises(ModelError, match="LSTM at memory: activations"):
        load(tmp_path / "m.onnx")
