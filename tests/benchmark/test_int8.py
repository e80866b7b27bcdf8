"""The benchmark of the quantized models: what its table says of which row."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import int8
from benchmarks.int8 import Measured
from tests.benchmark.test_fp32 import QUIET, ZEN, outcome, row
from tvmpose.benchmark.machine import Disturbance
from tvmpose.cards import card_for_hash, sha256_of

MOVENET = "MoveNet Lightning int8"


def test_describe__rows__ours_beside_each_peer_and_the_aim():
    rows = [(MOVENET, row(2.0, litert=4.2, openvino=3.0)), ("PoseNet uint8", row(8.0, 2, litert=12.0))]
    text = int8.describe(Measured(rows, {MOVENET: 20.4}), ZEN, QUIET)
    assert f"| {MOVENET}, 1 | 2.00 ms | 4.20 ms | 2.10× | 2× | 3.00 ms | 1.50× | 136 |" in text
    assert "| PoseNet uint8, 2 | 8.00 ms | 12.00 ms | 1.50× | 3× | – | – | 156 |" in text
    assert f"Compiled in: {MOVENET} 20 s." in text and str(ZEN) in text and "litert 1.0 (f32)" in text
    assert "- PoseNet uint8, 2 does not count: OpenVINO is missing." in text
    assert f"- {MOVENET}" not in text and "Not trustworthy" not in text


def test_describe__run_that_cannot_be_trusted__says_so():
    shaky = row(2.0, litert=4.2, openvino=3.0)
    shaky = replace(shaky, ours=outcome("tvmpose", 2.0, spread=0.4))
    slow = row(2.0, litert=9.0, openvino=3.0)
    text = int8.describe(Measured([(MOVENET, shaky), (MOVENET, slow)], {}), ZEN, Disturbance(0.5, 0.0, 3.0))
    assert "**Not trustworthy: other processes took 50% of the CPU time" in text
    assert f"- {MOVENET}, 1: rounds differ by more than 10%." in text
    assert f"- {MOVENET}, 1 does not count: LiteRT took 9.0 ms, known for 4.4 ms." in text


@pytest.mark.parametrize("kind", int8.KINDS)
def test_document__each_kind_of_machine__has_its_marks_and_numbers(kind: str):
    text, mark = int8.DOCUMENT.read_text(), int8.mark(kind)
    assert text.count(f"<!-- {mark}: begin -->\n") == text.count(f"<!-- {mark}: end -->\n") == 1
    assert json.loads(int8.result(kind).read_text())["machine"]["cpu"]


def test_kind_of_machine__this_one__is_what_its_cpu_says():
    assert (int8.kind_of_machine() == "with VNNI") == ("vnni" in Path("/proc/cpuinfo").read_text())


@pytest.mark.parametrize("name", int8.MODELS)
def test_models__every_one__is_the_file_of_its_card_and_has_an_aim(name: str, data: Path):
    model = int8.MODELS[name]
    card = card_for_hash(sha256_of(data / "models" / str(model.file)))
    assert (card and card.name) == model.card
    assert int8.AIMS[name] > 1
