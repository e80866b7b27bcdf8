"""Lite-HRNet as ONNX Runtime quantizes it: shuffled channels, sigmoid weights and many resolutions in integers."""

from pathlib import Path

import pytest

from benchmarks.quantize_models import quantize
from benchmarks.quantized_exports import layer_by_layer, photos_of

pytestmark = pytest.mark.slow
PHOTOS = 2  # to calibrate on


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_litehrnet__quantized_onnx__each_tensor_within_a_step_of_onnxruntime(data: Path, tmp_path: Path, form: str):
    """Layer by layer: each from what ONNX Runtime computed before it, since after dozens of layers steps add up."""
    path = quantize(tmp_path, [form], data / "coco" / "train2017", PHOTOS, card="litehrnet-18")[form]
    (tensor,) = photos_of(data / "coco" / "val2017", 1)
    apart = layer_by_layer(path, tensor)
    assert apart.values > 3_000_000
    assert apart.worst <= 1 and apart.differing < 1e-3 * apart.values
