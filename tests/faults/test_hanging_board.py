"""A library that hangs under the emulator: ended after a while, with one line."""

import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FakeLibrary
from tvmpose.devices import board_pose
from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.board_pose import open_on_board
from tvmpose.errors import DeviceError
from tvmpose.modelspec import ModelSpec, TensorSpec
from tvmpose.targets import Target

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on this machine")

TENSORS = [np.ones((2, 3), np.float32), np.ones((2, 3), np.int8)]
SPEC = ModelSpec(
    "onnx",
    (TensorSpec("x", (2, 3), "float32"), TensorSpec("q", (2, 3), "int8")),
    (TensorSpec("twice", (2, 3), "float32"),),
)


class ThisMachine(VirtualBoard):
    """No emulator in between."""

    def command(self, argv: Sequence[str | Path], plugin: Path | None = None, cpu: str | None = None) -> list[str]:
        return [str(part) for part in argv]


BOARD = ThisMachine("board", Path("/"), "", "")
TARGET = Target("host", "this machine", f"{platform.machine()}-linux-gnu", "")


def test_gate__library_that_hangs__ended_with_one_line(fake_library: FakeLibrary, monkeypatch: pytest.MonkeyPatch):
    with open_on_board(BOARD, TARGET, fake_library("FAKE_HANGS"), "fake", SPEC, 3) as there:
        monkeypatch.setattr(board_pose, "ANSWER_SECONDS", 0.2)
        with pytest.raises(DeviceError, match=r"no answer within 0\.2 s on the virtual board, .*--no-verify") as caught:
            there.run_tensors(TENSORS)
        assert "\n" not in str(caught.value) and caught.value.exit_code == 7


def test_gate__frame_after_frame__each_has_its_own_time(fake_library: FakeLibrary, monkeypatch: pytest.MonkeyPatch):
    with open_on_board(BOARD, TARGET, fake_library(), "fake", SPEC, 3) as there:
        monkeypatch.setattr(board_pose, "ANSWER_SECONDS", 2.0)
        there.run_tensors(TENSORS)
        time.sleep(2.5)
        np.testing.assert_array_equal(there.run_tensors(TENSORS)[0], np.full((2, 3), 3))
