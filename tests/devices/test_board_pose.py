"""The agent and its other end, on this machine: what comes through the pipe is what the binding finds."""

import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FakeLibrary
from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.board_pose import open_on_board
from tvmpose.errors import VerifyError
from tvmpose.modelspec import ModelSpec, TensorSpec
from tvmpose.runtime.pose import open_library
from tvmpose.targets import Target

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on this machine")

INPUTS = (TensorSpec("x", (2, 3), "float32"), TensorSpec("q", (2, 3), "int8"))
SPEC = ModelSpec("onnx", INPUTS, (TensorSpec("twice", (2, 3), "float32"),))
KEYPOINTS = 3


class ThisMachine(VirtualBoard):
    """No emulator in between."""

    def command(self, argv: Sequence[str | Path], plugin: Path | None = None, cpu: str | None = None) -> list[str]:
        return [str(part) for part in argv]


BOARD = ThisMachine("board", Path("/"), "", "")


@pytest.fixture(scope="module")
def target() -> Target:
    return Target("host", "this machine", f"{platform.machine()}-linux-gnu", "")  # without asking TVM


def test_board_pose__pictures_and_tensors_in_turns__are_the_binding_s(fake_library: FakeLibrary, target: Target):
    random = np.random.default_rng(5)
    library = fake_library()
    with open_on_board(BOARD, target, library, "fake", SPEC, KEYPOINTS) as there, open_library(library, "fake") as here:
        for height, width in ((20, 30), (1, 1), (480, 640)):
            picture = random.integers(0, 256, (height, width, 3), np.uint8)
            for order in ("bgr", "rgb"):
                (found,), (expected,) = there(picture, format=order), here(picture, format=order)
                assert (found.score, found.box) == (expected.score, expected.box)
                np.testing.assert_array_equal(found.keypoints, expected.keypoints)
            tensors = [random.random((2, 3), np.float32), random.integers(-128, 128, (2, 3), np.int8)]
            np.testing.assert_array_equal(there.run_tensors(tensors), here.run_tensors(tensors))
            np.testing.assert_allclose(there.run_tensors(tensors)[0], 2 * tensors[0] + tensors[1], rtol=1e-6)


def test_board_pose__picture_that_is_refused__the_library_s_words(fake_library: FakeLibrary, target: Target):
    with open_on_board(BOARD, target, fake_library("FAKE_NO_CARD"), "fake", SPEC, 0) as there:
        with pytest.raises(VerifyError, match=r"does not run on the virtual board: .*\(status 8\)"):
            there(np.zeros((4, 4, 3), np.uint8))
        tensors = [np.ones((2, 3), np.float32), np.ones((2, 3), np.int8)]
        np.testing.assert_array_equal(there.run_tensors(tensors)[0], np.full((2, 3), 3))


def test_open_on_board__cpu_that_lacks_something__its_words(fake_library: FakeLibrary, target: Target):
    library = fake_library("FAKE_NEEDS=1")
    opened = open_on_board(BOARD, target, library, "fake", SPEC, KEYPOINTS)
    with pytest.raises(VerifyError, match=r"this CPU lacks avx9000 \(status 6\); --no-verify"), opened:
        pass


@pytest.mark.parametrize("symbol", ["fake", "other"])
def test_open_on_board__no_library_or_no_symbol__says_so(
    fake_library: FakeLibrary, target: Target, tmp_path: Path, symbol: str
):
    library = tmp_path / "libgone.so" if symbol == "fake" else fake_library()
    opened = open_on_board(BOARD, target, library, symbol, SPEC, KEYPOINTS)
    with pytest.raises(VerifyError, match=r"libgone\.so|undefined symbol: other_tvmpose") as caught, opened:
        pass
    assert "\n" not in str(caught.value)


def test_board_pose__agent_that_dies__named_and_not_waited_for(fake_library: FakeLibrary, target: Target):
    with open_on_board(BOARD, target, fake_library(), "fake", SPEC, KEYPOINTS) as there:
        there._process.kill()
        with pytest.raises(VerifyError, match=r"crashed on the virtual board: exit code -9; --no-verify"):
            there.run_tensors([np.ones((2, 3), np.float32), np.ones((2, 3), np.int8)])
