"""The table of families: what makes a row fail, and how rows are shown."""

import numpy as np
import pytest

from benchmarks import families
from benchmarks.families import Family, clearness, describe, flaws, own_places
from tvmpose.cards import load_card

PLAIN = {"tensors": 1e-5, "off_px": 0.01, "within_step": None, "similarity": 1.0, "integer_share": None}
PLAIN |= {"megabytes": 2.0, "milliseconds": 3.0, "compile_seconds": 4.0}
PEAKS = {"changes": 0.2, "distinct": 1.0, "clear": 1.5}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, []),
        ({"tensors": 2e-4}, ["tensors off by 2.0e-04"]),
        ({"off_px": float("nan")}, ["keypoints off by nan px"]),
        ({"changes": 0.0}, ["the answer is a constant"]),
        ({"distinct": 0.1}, ["10% of the joints have places of their own"]),
        ({"clear": 0.4}, ["peaks of 40% of the height that they need"]),
    ],
)
def test_flaws__each_limit__is_named_with_its_value(changed: dict[str, float], says: list[str]) -> None:
    row = {"float": PLAIN | changed, "peaks": PEAKS | changed}
    assert flaws(row, Family("net")) == says


def test_clearness__flat_map__none_and_a_peak__much() -> None:
    card = load_card("hrnet-w32")
    maps = np.zeros((1, 17, 8, 6), np.float32)
    maps[0, 3, 2, 1] = 1
    found = clearness(card, maps)
    assert found[0] == 0 and found[3] > families.CLEAR["heatmap"]
    np.testing.assert_array_equal(clearness(card, maps.transpose(0, 2, 3, 1)), found)


def test_own_places__all_joints_in_one_place__none() -> None:
    person = np.zeros((17, 3))
    assert own_places(person, 1.0) == 0
    person[:, 0] = np.arange(17)
    assert own_places(person, 1.0) == 1 and own_places(person, 3.0) == 0


def test_describe__rows__one_each_and_what_is_missing() -> None:
    names = list(families.FAMILIES)
    row = {"float": PLAIN, "peaks": PEAKS, "failed": ""}
    small = PLAIN | {"integer_share": 0.9, "off_px": 0.4}
    text = describe({names[0]: row | {"int8": small}, names[1]: row, names[2]: {"failed": "no such operator"}})
    lines = text.splitlines()
    assert lines[2].startswith(f"| {names[0]} | 1.0e-05 | 0.0100 px | 2.0 MB | 3.0 ms | 0.40 px | 1.000 | 90% |")
    assert "net by 3.25 px" in describe({"net": {"int8_onnxruntime_px": 3.25}})
    assert "fails: no such operator" in lines[4] and f"Not measured yet: {names[3]}" in text
    assert families.DOCUMENT.read_text().count("<!-- families: begin -->\n") == 1
