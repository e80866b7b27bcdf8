"""The skeletons beside the annotations of COCO, and beside what a network really returns."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmpose.errors import InputError
from tvmpose.pose.skeletons import SKELETONS, Skeleton, skeleton


@pytest.fixture(scope="module")
def coco() -> dict[str, Any]:
    if not (data := os.environ.get("TVMPOSE_DATA")):
        pytest.skip("TVMPOSE_DATA is not set")
    return json.loads((Path(data) / "coco" / "person_keypoints_val2017_dev100.json").read_text())


@pytest.mark.parametrize("name", SKELETONS)
def test_skeleton__edges_and_flip_pairs__consistent(name: str) -> None:
    s = skeleton(name)
    assert len(set(s.keypoints)) == len(s.keypoints)
    assert all(0 <= a < len(s.keypoints) and 0 <= b < len(s.keypoints) and a != b for a, b in s.edges)
    assert len({frozenset(edge) for edge in s.edges}) == len(s.edges)
    assert _mirrored(s, s.edges) == {frozenset(edge) for edge in s.edges}
    middle = {"nose", "neck", "head_top", "hips", "body_circle", "shoulders", "upper_body_circle"}
    assert {s.keypoints[i] for pair in s.flip_pairs for i in pair} == set(s.keypoints) - middle


def _mirrored(s: Skeleton, edges: tuple[tuple[int, int], ...]) -> set[frozenset[int]]:
    other = dict(s.flip_pairs) | {right: left for left, right in s.flip_pairs}
    return {frozenset(other.get(i, i) for i in edge) for edge in edges}


@pytest.mark.parametrize("name", SKELETONS)
def test_subset__every_other_keypoint__their_own_names_edges_and_pairs(name: str) -> None:
    whole = skeleton(name)
    kept = tuple(range(0, len(whole.keypoints), 2))
    part = whole.subset(kept)
    assert part.keypoints == tuple(whole.keypoints[i] for i in kept)
    assert _named(part, part.edges) == {pair for pair in _named(whole, whole.edges) if pair <= set(part.keypoints)}
    assert _named(part, part.flip_pairs) == {
        pair for pair in _named(whole, whole.flip_pairs) if pair <= set(part.keypoints)
    }


def _named(s: Skeleton, pairs: tuple[tuple[int, int], ...]) -> set[frozenset[str]]:
    return {frozenset((s.keypoints[a], s.keypoints[b])) for a, b in pairs}


def test_skeleton__unknown__names_the_known() -> None:
    with pytest.raises(InputError, match="known: coco17, blazepose33, blazepose-detector4, ai-challenger14"):
        skeleton("coco18")


def test_coco17__annotation_file__same_names_and_edges(coco: dict[str, Any]) -> None:
    category = coco["categories"][0]
    s = skeleton("coco17")
    assert list(s.keypoints) == category["keypoints"]
    judge = {frozenset((a - 1, b - 1)) for a, b in category["skeleton"]}
    assert {frozenset(edge) for edge in s.edges} == judge


@pytest.mark.parametrize(
    ("file", "name"), [("edvardhua_cpm_192", "ai-challenger14"), ("pose_landmark_lite", "blazepose33")]
)
def test_keypoint_order__network_on_annotated_people__left_is_the_persons_left(
    coco: dict[str, Any], file: str, name: str
) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    network = litert.Interpreter(os.fspath(Path(os.environ["TVMPOSE_DATA"]) / "models" / f"{file}.tflite"))
    network.allocate_tensors()
    s = skeleton(name)
    swapped = dict(s.flip_pairs) | {right: left for left, right in s.flip_pairs}
    ours, mirrored = [], []
    for picture, truth in _people(coco, network.get_input_details()[0]["shape"][1]):
        found = _keypoints(network, picture, len(s.keypoints))
        for i, keypoint in enumerate(s.keypoints):
            if keypoint in truth and i in swapped:
                ours.append(np.hypot(*(found[i] - truth[keypoint])))
                mirrored.append(np.hypot(*(found[swapped[i]] - truth[keypoint])))
    assert len(ours) > 100
    assert np.median(ours) < np.median(mirrored) / 2


def _people(coco: dict[str, Any], side: int, count: int = 20) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Square crops (uint8, BGR) of the best annotated people, with their visible keypoints in crop pixels."""
    cv2 = pytest.importorskip("cv2")
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    people = []
    for person in sorted(coco["annotations"], key=lambda a: -a["num_keypoints"] - a["area"] / 1e6)[:count]:
        x, y, width, height = person["bbox"]
        scale = side / (1.25 * max(width, height))
        matrix = np.array(
            [[scale, 0, side / 2 - scale * (x + width / 2)], [0, scale, side / 2 - scale * (y + height / 2)]]
        )
        image = cv2.imread(os.fspath(Path(os.environ["TVMPOSE_DATA"]) / "coco" / "val2017" / files[person["image_id"]]))
        points = np.reshape(person["keypoints"], (17, 3))
        names = coco["categories"][0]["keypoints"]
        truth = {n: matrix @ (px, py, 1) for n, (px, py, visible) in zip(names, points, strict=True) if visible}
        people.append((cv2.warpAffine(image, matrix, (side, side)), truth))
    return people


def _keypoints(network: Any, picture: np.ndarray, count: int) -> np.ndarray:
    """Run the network on a BGR crop; (count, 2) as x, y in crop pixels."""
    is_map = len(network.get_output_details()[0]["shape"]) == 4
    pixels = picture if is_map else picture[..., ::-1] / 255
    network.set_tensor(network.get_input_details()[0]["index"], pixels[None].astype(np.float32))
    network.invoke()
    output = network.get_tensor(network.get_output_details()[0]["index"])[0]
    if not is_map:
        return output.reshape(-1, 5)[:count, :2]
    rows, columns = np.unravel_index(output.reshape(-1, count).argmax(0), output.shape[:2])
    return np.stack([columns, rows], 1) * (len(picture) / len(output))
