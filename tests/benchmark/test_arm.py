"""The benchmark of counted instructions: what is written, and what casts doubt on a row."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import arm
from tests.emulation.test_table import COUNTED, LITERT
from tvmpose.benchmark.machine import Disturbance, this_machine
from tvmpose.targets import load_target

CASE = arm.Case("net", arm.LITE, "raspberry-pi-4", 0.75, 120)


def text(*rows) -> str:
    return arm.describe(rows, this_machine(), Disturbance(0.9, 0.0, 9.0))


def test_describe__row__ours_beside_litert_and_no_word_of_this_machine():
    said = text((CASE, COUNTED))
    assert "| net | raspberry-pi-4, cortex-a72 | 90.0 M | 120.0 M | 0.75 | 0.75 | 2e-06 | 0.91 |" in said
    assert "qemu-aarch64 7.2.22, llvm-mca 14.0.6; 2026-11-24. Runtimes: LiteRT 2.3.0 (XNNPACK on); tvmpose 1.0" in said
    assert "Repeats differ by 0.050% at most." in said
    assert this_machine().cpu not in said and "trustworthy" not in said and "- net" not in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instructions": 124e6}, "LiteRT takes 124.0 M instructions, known for 120 M"),
        ({"instructions": 116e6}, "LiteRT takes 116.0 M instructions, known for 120 M"),
        ({"difference": 1.3}, "LiteRT's outputs differ from ours by 130% of their maximum"),
        ({"difference": None}, "LiteRT's outputs are other tensors"),
        ({"spread": 0.002}, "LiteRT 2.3.0's repeats differ by 0.20%"),
    ],
)
def test_describe__doubtful_row__says_why(changes, words):
    row = replace(COUNTED, peers=(replace(LITERT, **changes),))
    assert f"- net, raspberry-pi-4, cortex-a72: {words}." in text((CASE, row))


def test_describe__no_litert__a_row_without_it():
    said = text((CASE, replace(COUNTED, peers=(), missing=(("litert", "not available: no file"),))))
    assert "| 90.0 M | – | – | 0.75 | – | – |" in said
    assert "- net, raspberry-pi-4, cortex-a72: LiteRT is missing (not available: no file)." in said


def test_document__has_the_marks():
    assert arm.DOCUMENT.read_text().count("<!-- arm: begin -->\n") == 1
    assert arm.DOCUMENT.read_text().count("<!-- arm: end -->\n") == 1


def test_cases__targets_and_boards__exist():
    from tvmpose.devices.recipe import list_boards

    for case in arm.CASES:
        target = load_target(case.target)
        assert (case.board or target.name) in list_boards()
        assert target.name == Path(case.target).stem


def test_arm64_i8mm__kernels__are_those_of_the_pixel_8():
    """Only the system differs: same CPU and features, so LLVM and our templates choose the same instructions."""
    ours, pixel = load_target(arm.I8MM), load_target("pixel-8")
    assert (ours.cpu, ours.attributes, ours.architecture) == (pixel.cpu, pixel.attributes, pixel.architecture)
