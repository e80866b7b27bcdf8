"""Bundles for boards, run on virtual ones: their keypoints are those of LiteRT for ARM.

Few people here; `python -m benchmarks.boards` takes more.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import boards
from tests.conftest import Compile, Compiled
from tvmpose.cards import load_card
from tvmpose.devices.virtual import VirtualBoard

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not boards.EXAMPLE.is_file(), reason="no examples/ beside tests/")]

Virtual = Callable[[str], VirtualBoard]
WITH_PYTHON = ("raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-4-32bit")


def on(name: str, virtual: Virtual, compiled: Compile, file: str = boards.FILE) -> tuple[VirtualBoard, Compiled]:
    """The board, and a bundle that was verified on it."""
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    board = virtual(name)
    made = compiled(file, None, name)
    assert made.report.manifest.verification.status == "emulated"
    assert made.report.findings is not None
    return board, made


@pytest.fixture(scope="module")
def litert(virtual: Virtual, data: Path) -> Callable[[str], np.ndarray]:
    """What LiteRT finds on a board; once for all that it judges."""

    @cache
    def keypoints(judge: str) -> np.ndarray:
        model, card = data / "models" / boards.FILE, load_card(boards.CARD)
        return boards.by_litert(virtual(judge), model, card, boards.people(data, 2))

    return keypoints


@pytest.mark.parametrize("target", boards.JUDGES)
def test_compile__board__c_example_and_binding_find_what_litert_finds_there(
    virtual: Virtual, compiled: Compile, litert: Callable[[str], np.ndarray], data: Path, target: str
):
    board, made = on(target, virtual, compiled)
    assert made.report.findings.max_px < 0.05
    found, expected = boards.people(data, 2), litert(boards.JUDGES[target])
    assert expected.shape == (2, 33, 3)
    assert boards.furthest(boards.by_example(board, made.bundle, found), expected) <= boards.LARGEST_PX
    if target in WITH_PYTHON:
        assert boards.furthest(boards.by_binding(board, made.bundle, found), expected) <= boards.LARGEST_PX


def test_compile__movenet_int8_for_raspberry_pi_4__small_on_disk_and_in_memory(virtual: Virtual, compiled: Compile):
    _, made = on("raspberry-pi-4", virtual, compiled, boards.SMALL_FILE)
    for archive in made.bundle.glob("*.a"):  # the fixture's, for static linking: no part of what goes onto a board
        archive.unlink()
    memory = boards.peak_memory(made.bundle)
    assert 0 < memory.bundle_bytes <= boards.LARGEST_BUNDLE
    assert 0 < memory.idle_bytes < memory.resident_bytes <= boards.LARGEST_RESIDENT
