"""Networks that find people themselves, on outputs that are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.accuracy.conftest import NAMES
from tvmpose.accuracy.dataset import Dataset
from tvmpose.accuracy.evaluate import evaluate
from tvmpose.accuracy.from_pixels import source_from_pixels
from tvmpose.cards import Card, load_card
from tvmpose.modelspec import TensorSpec
from tvmpose.runtime import load


class Judge:
    """Rows of centre, size, score and joints, whatever the picture: two people, and one who is not sure enough."""

    name = "a judge"
    inputs = (TensorSpec("picture", (1, 64, 64, 3), "float32"),)
    outputs = (TensorSpec("rows", (1, 3, 5 + 51), "float32"),)

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.joints = random.uniform(2, 30, (3, 17, 2)) + np.array([[0, 0], [32, 30], [0, 0]])[:, None]
        self.seen: list[np.ndarray] = []

    def run(self, inputs, tensors=None):
        self.seen.append(inputs[0])
        rows = [
            np.r_[
                (joints.min(axis=0) + joints.max(axis=0)) / 2,
                np.ptp(joints, axis=0),
                score,
                np.c_[joints, np.ones(17)].ravel(),
            ]
            for joints, score in zip(self.joints, (0.9, 0.8, 0.1), strict=True)
        ]
        return [np.array(rows, np.float32)[None]]


@pytest.fixture
def card() -> Card:
    card = load_card("yolov8n-pose")
    return replace(card, input=replace(card.input, width=64, height=64))


def test_source_from_pixels__two_people__in_pixels_of_the_picture(card: Card):
    judge = Judge()
    system = source_from_pixels("net.onnx", card, judge)
    found = system.find(np.full((128, 256, 3), 51, np.uint8))
    assert "from pixels" in system.runtime and len(found) == 2
    # A picture of 256 x 128 is seen at a quarter of its size, with bars of 16 lines above and below.
    expected = judge.joints[:2] * 4 - [0, 64]
    np.testing.assert_allclose([person[:, :2] for person in found], expected, atol=1e-3)
    np.testing.assert_allclose(judge.seen[0][0, 32], 0.2, atol=1e-6)
    assert judge.seen[0][0, :15].max() == 0


def test_evaluate__from_pixels__average_precision_and_no_errors(card: Card, dataset: Dataset):
    (row,) = evaluate([source_from_pixels("net.onnx", card, Judge())], dataset, ("oks", "pck"), {})
    assert row.people == 3 and row.keypoints == len(NAMES)
    assert row.errors is None and row.precision and 0 <= row.precision.ap < 0.2


def test_finds_people__a_bundle__as_its_manifest_says(fake_bundle, tmp_path: Path):
    from tvmpose.benchmark.facts import finds_people

    assert not finds_people(fake_bundle(name="one"))
    assert finds_people(fake_bundle(finds_people=True, name="many"))
    assert not finds_people(tmp_path / "nowhere")
    with load(tmp_path / "many") as pose:
        assert pose.keypoint_names
