"""Whole networks as ONNX Runtime quantizes them: against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from tests.frontend.quantized_onnx import judge, parse
from tests.frontend.virtual_machine import assert_qdq_form, operators, run
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
    # with all 8 bits of weights, QLinearConv saturates its sums on CPUs without dot products of bytes
    whole = {"per_channel": per_channel, "reduce_range": form == QuantFormat.QOperator}
    quantize_static(source, path, Reader(), quant_format=form, **whole, **types)
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
