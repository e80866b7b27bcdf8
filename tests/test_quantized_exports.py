"""mobilenetv2-deconv as four quantizers export it, in our integer kernels: against ONNX Runtime and torch."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from benchmarks.quantize_models import quantize
from benchmarks.quantized_exports import end_to_end, layer_by_layer, photos_of

pytestmark = pytest.mark.slow
PHOTOS = 2  # to calibrate on, and to compare
Export = Callable[[str, bool], Path]


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
