"""Quantized exports in our integer kernels: mobilenetv2-deconv of four tools, a small Lite-HRNet of ONNX Runtime's."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from onnxruntime.quantization import QuantFormat

from benchmarks.convert.torch_to_onnx import export as export_onnx
from benchmarks.quantize_models import quantize, quantize_file
from benchmarks.quantized_exports import end_to_end, layer_by_layer, photos_of
from tvmpose.nets.litehrnet import litehrnet
from tvmpose.nets.random_weights import seeded, synthetic_pictures

pytestmark = pytest.mark.slow
PHOTOS = 2  # to calibrate on, and to compare
Export = Callable[[str, bool], Path]
LiteExport = tuple[Callable[[QuantFormat], Path], np.ndarray]


@pytest.fixture(scope="module")
def export(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """An export's file by its form, and whether its scales are powers of two."""
    folder = tmp_path_factory.mktemp("exports")

    @cache
    def make(form: str, powers_of_two: bool) -> Path:
        return quantize(folder, [form], data / "coco" / "train2017", PHOTOS, powers_of_two)[form]

    return make


@pytest.mark.parametrize("form", ["qdq", "pt2e", "qat"])
def test_export__scales_of_two__end_to_end_each_value_is_the_source_s(export: Export, data: Path, form: str):
    apart = end_to_end(export(form, True), photos_of(data / "coco" / "val2017", PHOTOS))
    assert apart.values == PHOTOS * 17 * 64 * 48 and apart.differing == 0


def test_export__qoperator_with_scales_as_chosen__end_to_end_within_a_step(export: Export, data: Path):
    """ONNX Runtime computes it in integers, but for the deconvolutions, whose float sums depend on their order."""
    apart = end_to_end(export("qoperator", False), photos_of(data / "coco" / "val2017", PHOTOS))
    assert apart.beyond_a_step == 0 and apart.differing < 1e-3 * apart.values


@pytest.mark.parametrize("form", ["qdq", "qoperator", "pt2e"])
def test_export__scales_as_chosen__each_layer_is_the_source_s_but_for_ties(export: Export, data: Path, form: str):
    (tensor,) = photos_of(data / "coco" / "val2017", 1)
    apart = layer_by_layer(export(form, False), tensor)
    assert apart.values > 5_000_000
    assert apart.worst <= 1 and apart.differing < 1e-5 * apart.values


@pytest.fixture(scope="module")
def litehrnet_export(tmp_path_factory: pytest.TempPathFactory) -> LiteExport:
    """Of one with two modules, by its form; and an input that it was not calibrated on."""
    folder = tmp_path_factory.mktemp("litehrnet")
    with seeded(3):
        pictures = synthetic_pictures(3, (64, 64))
    export_onnx(litehrnet((1, 1), (64, 64)), pictures[:1], folder / "float.onnx")
    *calibration, other = (picture[None].numpy() for picture in pictures)

    def make(form: QuantFormat) -> Path:
        file = folder / f"{form.name}.onnx"
        quantize_file(form, folder / "float.onnx", calibration, file, False)
        return file

    return make, other


@pytest.mark.parametrize("form", QuantFormat, ids=lambda form: form.name)
def test_litehrnet__scales_as_chosen__each_layer_is_within_a_step(litehrnet_export, form: QuantFormat):
    make, picture = litehrnet_export
    apart = layer_by_layer(make(form), picture)
    assert apart.values > 300_000 and apart.worst <= 1
    assert apart.differing < (2e-4 if form is QuantFormat.QDQ else 1e-2) * apart.values
