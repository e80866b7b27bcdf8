"""Keypoint R-CNN: torchvision's structure, people that differ, and all of it in a library as in float64 NumPy."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

from tests.native import compile_module, run_library  # noqa: E402
from tests.nets.rcnn_by_hand import find_people  # noqa: E402
from tvmpose.frontend.torch import load_definition, load_module  # noqa: E402
from tvmpose.nets.random_weights import seeded, synthetic_pictures  # noqa: E402
from tvmpose.nets.rcnn import Budgets, KeypointRCNN  # noqa: E402
from tvmpose.targets import host_target  # noqa: E402

NET = Path(__file__).parents[2] / "models" / "keypointrcnn-mobilenetv3" / "net.py"
SIZE, PEOPLE = (160, 128), 40

# Of torchvision's fasterrcnn_mobilenet_v3_large_320_fpn, whose frozen batch norms have no parameters, with 91
# classes, as documented with the weights.
FASTER_RCNN, CLASSES = 19_386_354, 91


@cache
def small() -> KeypointRCNN:
    budgets = Budgets(proposals_of_level=80, proposals=60, people=PEOPLE)
    return load_definition(NET).build(SIZE, width=32, hidden_box=48, hidden_keypoints=24, budgets=budgets)


def pictures(count: int) -> torch.Tensor:
    with seeded(7):
        return synthetic_pictures(count, SIZE)


def parameters(module: torch.nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def test_structure__parameters__as_many_as_torchvisions() -> None:
    with torch.device("meta"):
        net = load_definition(NET).structure()
    norms = sum(parameters(layer) for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    classes = (CLASSES - 2) * 1025 * 5  # a score and a box of each
    assert parameters(net) - norms - parameters(net.keypoints) + classes == FASTER_RCNN


@pytest.mark.slow
def test_build__synthetic_pictures__people_that_differ_and_fewer_than_there_is_room_for() -> None:
    with torch.no_grad():
        found = [small()(picture[None]) for picture in pictures(3)]
    counts = [int(count) for _, count in found]
    assert min(counts) > 0 and max(counts) < PEOPLE and len(set(counts)) > 1
    for rows, count in found:
        people = rows[0, : int(count)].numpy()
        assert not rows[0, int(count) :].any()
        assert (people[:-1, 4] >= people[1:, 4]).all() and people[-1, 4] > 0.05
        assert (people[:, :2] <= people[:, 2:4]).all() and (people[:, 2:4] <= [SIZE[1], SIZE[0]]).all()
        assert len(np.unique(people[:, :4].round(2), axis=0)) == len(people)
        places = people[:, 5:].reshape(len(people), 17, 3)[..., :2]
        distinct = [len(np.unique(joints.round(1), axis=0)) for joints in places]
        assert np.mean(distinct) > 0.6 * 17


@pytest.mark.slow
def test_keypoint_rcnn__compiled__the_people_of_float64(tmp_path: Path) -> None:
    shown = pictures(3)
    module, spec = load_module(small(), shown[:1])
    library = compile_module(module, host_target(), tmp_path, spec=spec)
    for picture in shown:
        rows, count = run_library(library, [picture[None].numpy()])
        expected = find_people(small(), picture[None])
        assert count.tolist() == [len(expected)]
        np.testing.assert_allclose(rows[0, : len(expected), :4], expected[:, :4], atol=0.02)
        np.testing.assert_allclose(rows[0, : len(expected), 4], expected[:, 4], atol=1e-3)
        ours, judge = (each[:, 5:].reshape(len(expected), 17, 3) for each in (rows[0, : len(expected)], expected))
        near = np.abs(ours - judge)[..., :2].max(axis=2) < 0.1
        assert near.mean() > 0.99  # of two places that are equally high, either may be chosen
        np.testing.assert_allclose(ours[..., 2], judge[..., 2], rtol=0, atol=2e-3 * judge[..., 2].max())
