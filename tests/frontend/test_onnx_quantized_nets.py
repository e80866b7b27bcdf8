"""Whole networks as ONNX Runtime quantizes them: against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from benchmarks import quantize_models
from tests.frontend.quantized_onnx import judge, parse
from tests.frontend.virtual_machine import assert_qdq_form, calls, operators, run
from tvmpose.frontend.onnx import load


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        generator = np.random.default_rng(5)
        self.feeds = iter([{"x": generator.standard_normal((1, 4, 12, 10), dtype="float32")} for _ in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


def float_net(path: Path) -> Path:
    """A convolution, a depthwise one, a residual, a deconvolution, a pooled branch, a concatenation, a dense layer."""
    generator = np.random.default_rng(3)
    shapes = {"w1": (8, 4, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 6, 4, 4), "w4": (14, 5), "b1": (8,), "b4": (5,)}
    weights = [
        onnx.numpy_helper.from_array(generator.normal(0, 0.3, shape).astype("float32"), name)
        for name, shape in shapes.items()
    ]
    model = parse("""agraph (float[1,4,12,10] x) => (float[1,5] y, float[1,6,12,10] z) {
      a = Conv <pads = [1,1,1,1], strides = [2,2], kernel_shape = [3,3]> (x, w1, b1)
      b = Relu (a)
      c = Conv <pads = [1,1,1,1], group = 8, kernel_shape = [3,3]> (b, w2)
      d = Add (b, c)
      z = ConvTranspose <pads = [1,1,1,1], strides = [2,2], kernel_shape = [4,4]> (d, w3)
      e = GlobalAveragePool (d)
      f = GlobalAveragePool (z)
      g = Concat <axis = 1> (e, f)
      h = Flatten (g)
      y = Gemm (h, w4, b4)
    }""")
    model.graph.initializer.extend(weights)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
@pytest.mark.parametrize("per_channel", [False, True])
def test_load__net_quantized_by_onnxruntime__agrees_and_each_weight_is_integer(tmp_path, form, per_channel):
    source, path = float_net(tmp_path / "float.onnx"), tmp_path / "model.onnx"
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(source, path, Reader(), quant_format=form, per_channel=per_channel, **types)
    module, _ = load(path)
    assert operators(module).count("nn.conv2d") == 2  # no value is computed twice
    if form == QuantFormat.QDQ:  # as QOperator, the deconvolution stays float
        assert_qdq_form(module)
    data = np.random.default_rng(9).standard_normal((1, 4, 12, 10), dtype="float32")
    for ours, theirs in zip(run(module, data), judge(path, data), strict=True):
        step = np.min(np.diff(np.unique(theirs)))
        assert np.abs(ours - theirs).max() < 2.5 * step  # each layer may be a step off
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_load__net_with_dynamic_quantization__agrees(tmp_path):
    source, path = float_net(tmp_path / "float.onnx"), tmp_path / "model.onnx"
    quantize_dynamic(source, path, weight_type=QuantType.QUInt8)
    assert {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"} <= {n.op_type for n in onnx.load(path).graph.node}
    module, _ = load(path)
    data = np.random.default_rng(9).standard_normal((1, 4, 12, 10), dtype="float32")
    for ours, theirs in zip(run(module, data), judge(path, data), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.01 * np.abs(theirs).max())


def fed_layer_by_layer(model: onnx.ModelProto, tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model with each of these tensors as an output, and read from an input of its own.

    So a step of difference stays where it was made: a net with random weights makes dozens of one.
    """
    for node in model.graph.node:
        node.input[:] = [f"{name}/fed" if name in tensors else name for name in node.input]
    for name, array in tensors.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        model.graph.input.append(onnx.helper.make_tensor_value_info(f"{name}/fed", *kind))
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, *kind))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_load__mobilenetv2_deconv__every_layer_is_within_a_step_on_what_onnxruntime_feeds_it(tmp_path, data, form):
    path = quantize_models.quantize(tmp_path, [form], data / "coco" / "train2017", 4)[form]
    model = onnx.load(path)
    kinds = ("QuantizeLinear", "QLinearConv", "QLinearAdd")
    integers = [node.output[0] for node in model.graph.node if node.op_type in kinds]
    assert len(integers) > 60
    picture = np.random.default_rng(0).standard_normal((1, 3, 256, 192), dtype="float32")
    model.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, integers))
    onnx.save(model, tmp_path / "all.onnx")
    theirs = judge(tmp_path / "all.onnx", picture)[-len(integers) :]
    fed = fed_layer_by_layer(onnx.load(path), dict(zip(integers, theirs, strict=True)))
    onnx.save(fed, tmp_path / "fed.onnx")
    module, _ = load(tmp_path / "fed.onnx")
    convolutions = [call for call in calls(module).values() if call.op.name.startswith("relax.nn.conv2d")]
    assert len(convolutions) == 55
    if form == "qdq":
        assert_qdq_form(module)
    for name, ours, expected in zip(integers, run(module, picture, *theirs)[-len(integers) :], theirs, strict=True):
        difference = np.abs(ours.astype("int32") - expected.astype("int32"))
        assert difference.max() <= 1, name
        assert (difference > 0).mean() < 1e-3, name
