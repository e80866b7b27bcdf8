"""The networks that models/*/net.py define: as large as their papers say, with answers as of a trained one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from benchmarks.quantize_models import calibration_inputs  # noqa: E402
from tests.native import compile_module, run_library  # noqa: E402
from tvmpose.cards import list_cards, load_card  # noqa: E402
from tvmpose.cards.source import TorchSource  # noqa: E402
from tvmpose.frontend.torch import load_definition, load_module  # noqa: E402
from tvmpose.nets.hrnet import HRNet, hrnet  # noqa: E402
from tvmpose.nets.litehrnet import MODULES, LiteHRNet, litehrnet  # noqa: E402
from tvmpose.nets.random_weights import seeded, synthetic_pictures  # noqa: E402
from tvmpose.nets.rtmpose import DEPTH_AND_WIDTH, RTMPose, rtmpose  # noqa: E402
from tvmpose.targets import host_target  # noqa: E402

MODELS = Path(__file__).parents[2] / "models"


def defined(name: str):
    return load_definition(MODELS / name / "net.py")


def simple_baseline():
    definition = defined("simplebaseline-resnet50")
    trunk = definition.resnet(definition.Bottleneck, definition.REPEATS)
    return definition.HeatmapNet(trunk, definition.deconvolution_head(2048, 256, 17))


# Millions of parameters: the papers' tables, and the model zoos of mmpose and Ultralytics for the last four.
PUBLISHED: dict[str, tuple[Callable[[], torch.nn.Module], float]] = {
    "Simple Baselines, ResNet-50": (simple_baseline, 34.0),
    "HRNet-W32": (lambda: HRNet(32, (1, 4, 3)), 28.5),
    "HRNet-W48": (lambda: HRNet(48, (1, 4, 3)), 63.6),
    "Lite-HRNet-18": (lambda: LiteHRNet(MODULES[18]), 1.1),
    "Lite-HRNet-30": (lambda: LiteHRNet(MODULES[30]), 1.8),
    "RTMPose-t": (lambda: RTMPose(*DEPTH_AND_WIDTH["t"], (256, 192)), 3.34),
    "RTMPose-s": (lambda: RTMPose(*DEPTH_AND_WIDTH["s"], (256, 192)), 5.47),
    "RTMPose-m": (lambda: RTMPose(*DEPTH_AND_WIDTH["m"], (256, 192)), 13.59),
    "YOLOv8n-pose": (lambda: yolo().YoloPose((640, 640), yolo().WIDTHS, yolo().REPEATS), 3.3),
}


def yolo():
    return defined("yolov8n-pose")


@pytest.mark.parametrize("name", PUBLISHED)
def test_nets__parameters__as_many_as_published(name: str) -> None:
    make, millions = PUBLISHED[name]
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in make().parameters()) / 1e6
    digits = len(str(millions).split(".")[1])
    assert abs(count - millions) <= 0.6 * 10**-digits


# The same code, small: input size, network.
SMALL: dict[str, tuple[tuple[int, int], Callable[[], torch.nn.Module]]] = {
    "ShuffleNetV2": ((64, 64), lambda: defined("shufflenetv2-deconv").build((64, 64))),
    "CBAM": ((64, 64), lambda: defined("cbam-resnet18").build((64, 64), (1, 1), 8, 24)),
    "HRNet": ((64, 64), lambda: hrnet(16, (64, 64), (1, 1))),
    "Lite-HRNet": ((64, 64), lambda: litehrnet((1, 1), (64, 64))),
    "RTMPose": ((96, 64), lambda: rtmpose("t", (96, 64))),
    "Hourglass": ((64, 64), lambda: defined("hourglass").build((64, 64), 2, 2, 24)),
    "YOLO-pose": ((96, 64), lambda: defined("yolov8n-pose").build((96, 64), (8, 16, 16, 24, 32), (1, 1, 1, 1))),
}


def pictures(size: tuple[int, int]) -> torch.Tensor:
    with seeded(7):
        return synthetic_pictures(2, size)


@pytest.mark.parametrize(
    "name", ["Lite-HRNet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("CBAM", "HRNet", "Hourglass"))]
)
def test_nets__heatmaps__have_clear_peaks_at_places_of_their_own(name: str) -> None:
    size, make = SMALL[name]
    with torch.no_grad():
        maps = make()(pictures(size)).flatten(2).numpy()
    above = (maps.max(2) - maps.mean(2)) / maps.std(2)
    assert np.median(above) > 3
    places = maps.argmax(2)
    assert min(len(set(row)) for row in places.tolist()) >= 7  # of 17, on a map of 256 cells, of very few features
    assert (places[0] != places[1]).mean() > 0.7


def test_rtmpose__photos__the_last_features_are_no_larger_than_a_trained_net_s(data: Path) -> None:
    """Batch norm that has not seen the like of them lets a random net grow, and bytes then hold its outliers alone."""
    card, net = load_card("rtmpose-t"), rtmpose("t")
    inputs = np.concatenate(calibration_inputs(card, data / "coco" / "train2017", 6))
    with torch.no_grad():
        features = net.trunk(torch.from_numpy(inputs))
    assert 0.3 < features.std() < 6


def test_nets__built_twice__are_the_same_and_leave_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = (SMALL["Lite-HRNet"][1]().state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_list_cards__torch_nets__each_has_a_file_with_build() -> None:
    named = {card.name for card in list_cards() if isinstance(card.source[0], TorchSource)}
    assert {"hrnet-w32", "litehrnet-18", "rtmpose-m", "hourglass", "yolov8n-pose", "cbam-resnet18"} <= named
    assert all(callable(defined(name).build) for name in named)
    assert load_card("rtmpose-t").head.kind == "simcc"


def agree(net: torch.nn.Module, example: torch.Tensor, folder: Path) -> None:
    module, spec = load_module(net, example)
    found = run_library(compile_module(module, host_target(), folder, spec=spec), [example.numpy()])
    with torch.no_grad():
        expected = net(example)
    for ours, judge in zip(found, [expected] if isinstance(expected, torch.Tensor) else expected, strict=True):
        assert np.abs(ours - judge.numpy()).max() <= 1e-4 * np.abs(judge.numpy()).max()


def test_nets__lstm_over_keypoints__compiled_as_torch(tmp_path: Path) -> None:
    net = defined("lstm-lifter").build(12, 2)
    with seeded(3):
        keypoints = torch.randn(1, 5, 34)
    agree(net, keypoints, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_nets__small__compiled_as_torch(name: str, tmp_path: Path) -> None:
    size, make = SMALL[name]
    agree(make(), pictures(size)[:1], tmp_path)
