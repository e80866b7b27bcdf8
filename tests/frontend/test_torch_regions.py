"""The operators of networks of two stages, compiled, against their definitions written once more in float64 NumPy."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.native import compile_module, run_library
from tests.nets.rcnn_by_hand import aligned, peaks, suppressed
from tvmpose.frontend.torch import load_module
from tvmpose.nets import region_operators
from tvmpose.targets import host_target

RNG = np.random.default_rng(5)
Array = NDArray[np.generic]


class Program(nn.Module):
    """An operator whose operands all come out of one tensor."""

    def __init__(self, call) -> None:
        super().__init__()
        self.call = call

    def forward(self, table: Tensor):
        return self.call(table)


def run_both(call, table: Array, folder: Path) -> tuple[list[Array], list[Array]]:
    """What the library and torch make of a table."""
    net, example = Program(call).eval(), torch.from_numpy(table)
    module, spec = load_module(net, example)
    ours = run_library(compile_module(module, host_target(), folder, spec=spec), [table])
    theirs = net(example)
    return ours, [each.numpy() for each in (theirs if isinstance(theirs, tuple) else (theirs,))]


def random_boxes(count: int, side: float) -> NDArray[np.float32]:
    corner, size = RNG.random((count, 2)) * side * 0.8, RNG.random((count, 2)) ** 2 * side
    return np.concatenate([corner, np.minimum(corner + size, side)], axis=1).astype("float32")


def test_best__scores_with_equals__in_order_the_first_of_equals_first(tmp_path: Path) -> None:
    scores = RNG.integers(0, 40, 100).astype("float32")
    expected = sorted(range(100), key=lambda i: (-scores[i], i))[:30]
    for found in run_both(lambda table: region_operators.best(table, 30), scores, tmp_path):
        np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize(("share", "most"), [(0.9, 200), (0.9, 7), (0.0, 5)], ids=["all", "a few", "nobody"])
def test_suppress__boxes_of_two_groups__those_of_the_definition(share: float, most: int, tmp_path: Path) -> None:
    boxes, groups = random_boxes(200, 100), RNG.integers(0, 2, 200)
    scores = np.where(RNG.random(200) < share, RNG.normal(0, 3, 200), -np.inf).astype("float32")
    table = np.concatenate([boxes, scores[:, None], groups[:, None]], axis=1).astype("float32")
    expected = suppressed(boxes, scores, groups, 0.3, most)
    if share and most == 200:
        assert 20 < len(expected) < 150  # some are dropped
        one_group = suppressed(boxes, scores, groups * 0, 0.3, most)
        assert len(one_group) < len(expected)

    def call(t: Tensor) -> tuple[Tensor, Tensor]:
        return region_operators.suppress(t[:, :4], t[:, 4], t[:, 5].to(torch.int64), 0.3, most)

    for indices, count in run_both(call, table, tmp_path):
        assert count.tolist() == [len(expected)]
        assert indices.tolist() == expected + [0] * (most - len(expected))


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (32, 32)], ids=["pyramid", "MobileNetV3's"])
def test_roi_align__boxes_of_all_sizes__as_in_float64(strides: tuple[int, ...], tmp_path: Path) -> None:
    side, channels, size = 512, 12, 7
    shapes = [(channels, side // stride, side // stride) for stride in strides]
    features = [RNG.standard_normal(shape, "float32") for shape in shapes]
    boxes = np.concatenate([random_boxes(40, side), [[0, 0, 0, 0], [0, 0, side, side], [500, 500, 512, 512]]])
    boxes = boxes.astype("float32")
    table = np.concatenate([*(feature.ravel() for feature in features), boxes.ravel()])
    ends = np.cumsum([feature.size for feature in features]).tolist()

    def call(t: Tensor) -> Tensor:
        parts = [t[end - int(np.prod(shape)) : end].reshape(1, *shape) for end, shape in zip(ends, shapes, strict=True)]
        return region_operators.roi_align(parts, t[ends[-1] :].reshape(-1, 4), list(strides), size, 2)

    expected, levels = aligned(features, boxes, strides, size)
    assert set(levels) == set(range(4) if strides[0] == 4 else [0])
    for found in run_both(call, table, tmp_path):
        np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_heatmap_keypoints__boxes_of_all_sizes__as_opencv_enlarges(tmp_path: Path) -> None:
    noise = RNG.standard_normal((6, 5, 14, 14))
    maps = np.stack([cv2.GaussianBlur(m.transpose(1, 2, 0), (5, 5), 1).transpose(2, 0, 1) for m in noise])
    maps = maps.astype("float32")
    boxes = np.concatenate([random_boxes(4, 100), [[0, 0, 0, 0], [0, 0, 100, 100]]]).astype("float32")
    table = np.concatenate([maps.ravel(), boxes.ravel()])

    def call(t: Tensor) -> Tensor:
        return region_operators.heatmap_keypoints(t[: maps.size].reshape(maps.shape), t[maps.size :].reshape(6, 4), 100)

    expected = peaks(maps, boxes)
    for found in run_both(call, table, tmp_path):
        np.testing.assert_allclose(found[0], expected, atol=2e-4)
