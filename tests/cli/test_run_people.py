"""``tvmpose run`` and the pipeline on a network of two stages, which finds people itself: a small Keypoint R-CNN."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")

from tvmpose import gate  # noqa: E402
from tvmpose.baselines.judge import open_judge  # noqa: E402
from tvmpose.cards import load_card  # noqa: E402
from tvmpose.cli.main import main  # noqa: E402
from tvmpose.frontend.source import Source  # noqa: E402
from tvmpose.nets.random_weights import seeded, synthetic_pictures  # noqa: E402
from tvmpose.pose import Pipeline  # noqa: E402
from tvmpose.runtime import load  # noqa: E402

pytestmark = pytest.mark.slow  # half a minute to compile
MODELS = Path(__file__).parents[2] / "models"
HEIGHT, WIDTH, LEAST_SCORE = 160, 128, 0.05
NET = f"""
from pathlib import Path
from tvmpose.frontend.torch import load_definition
from tvmpose.nets.rcnn import Budgets

def build():
    definition = load_definition(Path({str(MODELS / "keypointrcnn-mobilenetv3" / "net.py")!r}))
    budgets = Budgets(proposals_of_level=80, proposals=60, people=8)
    return definition.build(({HEIGHT}, {WIDTH}), width=32, hidden_box=48, hidden_keypoints=24, budgets=budgets)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, its card, a picture that the network sees as it is, and the bundle."""
    folder = tmp_path_factory.mktemp("rcnn")
    (folder / "net.py").write_text(NET)
    card = (MODELS / "keypointrcnn-mobilenetv3.toml").read_text()
    for old, new in (
        ("width = 320", f"width = {WIDTH}"),
        ("height = 320", f"height = {HEIGHT}"),
        ("threshold = 0.5", f"threshold = {LEAST_SCORE}"),
    ):
        assert old in card
        card = card.replace(old, new)
    (folder / "small.toml").write_text(card)
    look = load_card(str(folder / "small.toml")).input
    with seeded(7):
        pixels = synthetic_pictures(1, (HEIGHT, WIDTH))[0].numpy().transpose(1, 2, 0)
    rgb = np.clip(np.rint(pixels * look.std + look.mean), 0, 255).astype(np.uint8)
    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures" / "a.png"), rgb[..., ::-1])
    arguments = [folder / "net.py", "--card", folder / "small.toml", "--samples", folder / "pictures"]
    assert main(["compile", *map(str, arguments), "-o", str(folder / "bundle")]) == 0
    return folder


def picture(folder: Path) -> np.ndarray:
    return cv2.imread(str(folder / "pictures" / "a.png"))


def judged(folder: Path) -> np.ndarray:
    """The people (P, 17, 3) that torch finds."""
    card = load_card(str(folder / "small.toml"))
    source = Source(folder / "net.py", (1, 3, HEIGHT, WIDTH))
    judge = open_judge(source.program, "torch")
    people = gate.expect(judge, card, judge.inputs[0], picture(folder)).people
    assert people is not None and len(people) > 1
    return people


def test_run__keypoint_rcnn_on_a_picture__the_people_that_torch_finds(folder: Path):
    out = folder / "people.json"
    assert main(["run", str(folder / "bundle"), str(folder / "pictures" / "a.png"), "--json", str(out)]) == 0
    found = np.array([each["keypoints"] for each in json.loads(out.read_text())]).reshape(-1, 17, 3)
    expected = judged(folder)
    assert found.shape == expected.shape
    assert (np.abs(found - expected)[..., :2].max(axis=2) < 0.1).mean() > 0.99  # of equal peaks, either


def test_run__keypoint_rcnn_on_a_video__numbers_that_stay(folder: Path):
    clip, out = folder / "clip.avi", folder / "people.jsonl"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 20, (WIDTH, HEIGHT))
    for _ in range(4):
        writer.write(picture(folder))
    writer.release()
    options = ["--min-score", str(LEAST_SCORE), "--json", str(out)]
    assert main(["run", str(folder / "bundle"), str(clip), *options]) == 0
    frames = [json.loads(line)["people"] for line in out.read_text().splitlines()]
    numbers = [sorted(person["id"] for person in people) for people in frames]
    assert len(frames) == 4 and len(numbers[0]) > 1 and numbers == numbers[:1] * 4
    assert all(person["box"] != [0, 0, WIDTH, HEIGHT] for people in frames for person in people)


def test_pipeline__keypoint_rcnn__its_own_people_each_once(folder: Path):
    with load(folder / "bundle") as network:
        pipeline = Pipeline(network, least_score=LEAST_SCORE)
        first, second = (pipeline(picture(folder), seconds) for seconds in (0.0, 0.1))
    assert [person.id for person in first] == [person.id for person in second] == list(range(len(first)))
    expected = judged(folder)
    assert 1 < len(first) <= len(expected)
    for person in first:
        apart = np.abs(expected - person.keypoints)[..., :2].max(axis=2)
        assert (apart < 0.1).mean(axis=1).max() > 0.9
