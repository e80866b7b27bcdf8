"""Frames counted: what runs have in common drops out, what differs is told."""

from pathlib import Path

import numpy as np

from tests.conftest import FakeBundle
from tests.emulation.board import HostBoard, host_board
from tvmpose.emulation import count as module
from tvmpose.emulation.count import Counted, Refused, more_often, rig
from tvmpose.emulation.plugin import Code
from tvmpose.runtime import load

INPUTS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.int8)]
A, B, C = (Code(bytes([number]), 1) for number in range(3))


def count(board: HostBoard, bundle: Path) -> Counted | Refused:
    with rig(board, None, INPUTS) as on_board:
        return on_board.count("tvmpose", bundle)


def test_count__bundle__instructions_of_a_frame_and_what_the_last_one_gave(fake_bundle: FakeBundle):
    counted = count(host_board(), fake_bundle())
    assert isinstance(counted, Counted)
    assert counted.repeats == (2000, 2000) and counted.instructions == 2000 and counted.spread == 0
    assert counted.blocks == {Code(b"\xaa\xbb", 2): 1000}
    assert (counted.name, counted.settings) == ("tvmpose 0.0.0", "compiled for host")
    with load(fake_bundle(name="other")) as pose:
        for found, expected in zip(counted.outputs, pose.run_tensors(INPUTS), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_counted__repeats__their_mean_and_how_far_they_lie_apart():
    counted = Counted("", "", (2000, 2004), {}, ())
    assert counted.instructions == 2002 and counted.spread == 4 / 2002


def test_count__runtime_that_cannot_open__its_last_words(tmp_path: Path):
    refused = count(host_board(), tmp_path / "nowhere")
    assert isinstance(refused, Refused)
    assert refused.reason.endswith("nowhere: not a bundle (no manifest.json)") and "\n" not in refused.reason


def test_count__emulator_that_fails__what_it_says(fake_bundle: FakeBundle):
    refused = count(host_board('sys.exit("qemu: unable to find CPU model")'), fake_bundle())
    assert refused == Refused("qemu: unable to find CPU model")


def test_count__emulator_that_hangs__is_killed(fake_bundle: FakeBundle, monkeypatch):
    monkeypatch.setattr(module, "RUN_SECONDS", 0.2)
    refused = count(host_board("import time; time.sleep(600)"), fake_bundle())
    assert refused == Refused("not done with 1 frames after 0.2 s")


def test_more_often__blocks_of_one_run_only__counted_too():
    assert more_often({A: 5, B: 2, C: 7}, {A: 5, B: 6}) == {B: 4, C: -7}
