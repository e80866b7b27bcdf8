"""The benchmark of the float models: which rows count, and what is written."""

from pathlib import Path

import pytest

from benchmarks import fp32, measuring
from benchmarks.fp32 import Measured
from tvmpose.benchmark.compare import Comparison
from tvmpose.benchmark.duel import Contestant, Outcome
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.benchmark.timing import Timing

ZEN = Machine(measuring.REFERENCE_CPU, 2, 2600.0, 1 << 20, "Linux", "3.11", "2026-11-21")
QUIET = Disturbance(0.0, 0.0, 0.1)


def outcome(runtime: str, ms: float, spread: float = 0.0) -> Outcome:
    timing = Timing(ms, ms, ms, spread, 100)
    return Outcome(Contestant(runtime, Path("x"), 1), f"{runtime} 1.0", "f32", timing, 0.0)


def row(ours: float, threads: int = 1, **peers: float) -> Comparison:
    found = tuple(outcome(name, ms) for name, ms in peers.items())
    return Comparison("net", threads, 200_000_000, outcome("tvmpose", ours), found, outcome("tvmpose", ours * 1.04), ())


@pytest.mark.parametrize(
    ("name", "peers", "words"),
    [
        ("blazepose-lite", {"litert": 10.3, "openvino": 9.0}, []),
        ("blazepose-lite", {"litert": 11.2, "openvino": 9.0}, []),
        ("blazepose-lite", {"litert": 11.5, "openvino": 9.0}, ["LiteRT took 11.5 ms, known for 10.3 ms"]),
        ("blazepose-lite", {"openvino": 9.0}, ["LiteRT is missing"]),
        ("movenet-thunder", {"onnxruntime": 30.0}, ["OpenVINO is missing"]),
    ],
)
def test_flaws__peers__named(name, peers, words):
    assert fp32.row_flaws(name, row(5.0, **peers), ZEN) == words


def test_flaws__another_machine__no_reference():
    other = Machine("Cortex-A76", 4, None, 1 << 19, "Linux", "3.11", "2026-11-21")
    assert not fp32.row_flaws("blazepose-lite", row(50.0, litert=100.0, openvino=90.0), other)


def test_describe__two_rows__the_flawed_one_is_not_in_the_mean():
    rows = [
        ("blazepose-lite", row(4.0, litert=10.0, openvino=8.0)),
        ("movenet-thunder", row(10.0, onnxruntime=30.0)),
    ]
    text = fp32.describe(Measured({}, rows, {1: 60e9}), ZEN, QUIET)
    assert "| blazepose-lite, 1 | 4.00 ms | openvino 1.0 | 8.00 ms | 2.00× | 82% | +4.0% |" in text
    assert "Ours over the best peer on 1 thread: geometric mean **2.00×**, least 2.00×." in text
    assert "- movenet-thunder, 1 does not count: OpenVINO is missing." in text
    assert "120 GFLOP/s on 1" in text and "Not trustworthy" not in text


def test_document__has_the_marks():
    assert fp32.DOCUMENT.read_text().count("<!-- fp32: begin -->\n") == 1
    assert fp32.DOCUMENT.read_text().count("<!-- fp32: end -->\n") == 1


def test_models__every_one__has_a_card_and_a_file_of_its_format():
    from tvmpose.cards import load_card

    for name, model in fp32.MODELS.items():
        assert load_card(name).name == model.card
        assert model.file is None or Path(model.file).suffix in (".tflite", ".onnx")


def test_describe__pruned_row__beside_the_whole_one_and_in_no_mean():
    rows = [("blazepose-lite", row(4.0, litert=10.0, openvino=8.0))]
    text = fp32.describe(Measured({}, rows, {1: 60e9}, [("blazepose-lite", row(3.0))]), ZEN, QUIET)
    assert "| blazepose-lite, 1 | `--outputs head` | 3.00 ms | -25% | 200 MMAC |" in text
    assert "geometric mean **2.00×**, least 2.00×." in text
    assert fp32.PRUNED_HEADER[1] not in fp32.describe(Measured({}, rows, {1: 60e9}), ZEN, QUIET)


@pytest.mark.parametrize("name", fp32.PRUNED)
def test_pruned__every_one__keeps_something_of_a_model_that_is_measured_whole(name):
    from tvmpose.cards import load_card
    from tvmpose.selection import parse

    option, kept = fp32.PRUNED[name]
    assert name in fp32.MODELS
    if option == "--keypoints":
        assert parse(kept, load_card(name).keypoints.keypoints, option)
    else:
        assert (option, kept) == ("--outputs", "head")
