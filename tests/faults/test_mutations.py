"""Damaged models: refused in one line or compiled rightly, and nothing left. A thousand: mutations.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.mutations import KINDS, MODELS, Outcome, mutated

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("numbers", [(0, 6), pytest.param((100, 40), marks=pytest.mark.slow)], ids=["first", "more"])
def test_compile__mutations__refused_in_a_line_or_verified(numbers: tuple[int, int]):
    pytest.importorskip("torch", reason="torch is not installed")
    first, count = map(str, numbers)
    # in a fresh process, whose children inherit no threads
    command = [sys.executable, "-m", "tests.faults.mutations", "--first", first, "--count", count]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout)  # the numbers of those that failed
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_mutated__every_kind__differs_and_is_the_same_again(suffix: str):
    content = MODELS[suffix]()
    for number in range(3 * len(KINDS)):
        changed = mutated(suffix, content, number)
        assert changed == mutated(suffix, content, number)
        assert KINDS[number % len(KINDS)] == "shapes" or changed != content


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(0, "Warning", (), 1.0),
        Outcome(0, "", ("model.tmp",), 1.0),
        Outcome(0, "", (), 61.0),
        Outcome(1, "Traceback\n", (), 1.0),
        Outcome(4, "chatter\ntvmpose: error: no\n", (), 1.0),
        Outcome(5, "tvmpose: error: the library disagrees\n", (), 1.0),
    ],
)
def test_outcome__anything_but_a_line_or_a_result__is_a_fault(outcome: Outcome):
    assert outcome.fault
    assert Outcome(0, "", (), 1.0).fault is None and Outcome(4, "tvmpose: error: no\n", (), 1.0).fault is None
