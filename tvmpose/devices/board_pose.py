"""A library opened on a virtual board: agent.c runs there, and this end of the pipe looks like the Python binding."""

import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from tvmpose.codegen.toolchain import build_program, toolchain_for
from tvmpose.devices.board import VirtualBoard
from tvmpose.errors import DeviceError, VerifyError
from tvmpose.modelspec import ModelSpec
from tvmpose.runtime import Person
from tvmpose.targets import Target

AGENT = Path(__file__).with_name("agent.c")
_WORD = np.dtype("<u4")
ANSWER_SECONDS = 600.0  # for opening, and for each frame: a large network's takes some seconds
_PERSON_FLOATS = 5  # score and box, before the keypoints


@contextmanager
def open_on_board(
    board: VirtualBoard, target: Target, library: Path, symbol: str, spec: ModelSpec, num_keypoints: int
) -> Iterator["BoardPose"]:
    """Open the target's library on its board; spec: of the network that was compiled.

    Raises SetupError where the agent cannot be compiled, VerifyError where the library cannot be loaded or opened,
    DeviceError where it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as directory:
        agent = Path(directory) / "agent"
        build_program(AGENT, agent, toolchain_for(target))
        command = board.command([agent, library.resolve(), symbol])
        with (Path(directory) / "errors").open("w+") as errors:
            # In the directory, because the emulator leaves the memory of a program that crashes where it started.
            agent_process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=directory
            )
            try:
                yield BoardPose(board.name, agent_process, errors, spec, num_keypoints)
            finally:
                agent_process.kill()
                agent_process.communicate()


class BoardPose:
    """Of runtime.Pose what the gate asks for, with the same results."""

    def __init__(
        self, name: str, process: "subprocess.Popen[bytes]", errors: IO[str], spec: ModelSpec, num_keypoints: int
    ) -> None:
        self._name, self._process, self._errors, self._spec = name, process, errors, spec
        self._num_keypoints = num_keypoints
        self._overdue = False
        with self._in_time():
            self._check_status()

    def __call__(self, frame: np.ndarray, *, format: str = "bgr") -> list[Person]:
        """The people in the whole frame, uint8 (H, W, 3)."""
        height, width, _ = frame.shape
        pixels = frame if format == "bgr" else frame[..., ::-1]
        with self._in_time():
            self._ask("I", width, height, [pixels])
            return [self._person() for _ in range(int(self._array((), "<u4")))]

    def _person(self) -> Person:
        values = self._array((_PERSON_FLOATS + 3 * self._num_keypoints,), "float32")
        box, keypoints = values[1:_PERSON_FLOATS].tolist(), values[_PERSON_FLOATS:].reshape(-1, 3)
        return Person(float(values[0]), (box[0], box[1], box[2], box[3]), keypoints)

    def run_tensors(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The bare network: its inputs in the spec's order, shapes and dtypes; its outputs likewise."""
        with self._in_time():
            self._ask("T", 0, 0, inputs)
            return [self._array(spec.shape, spec.dtype) for spec in self._spec.outputs]

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """What waits for the agent inside fails when that takes too long: it is ended then."""
        timer = threading.Timer(ANSWER_SECONDS, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        self._overdue = True
        self._process.kill()

    def _ask(self, kind: str, width: int, height: int, arrays: Sequence[np.ndarray]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(np.array([ord(kind), width, height], _WORD).tobytes())
            for array in arrays:
                self._process.stdin.write(array.tobytes())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        self._check_status()

    def _check_status(self) -> None:
        if status := int(self._array((), "<u4")):
            text = self._array((int(self._array((), "<u4")),), "uint8").tobytes().decode(errors="replace")
            where = f"the library does not run on the virtual {self._name}"
            raise VerifyError(f"{where}: {text} (status {status}); --no-verify to keep it")

    def _array(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        assert self._process.stdout
        array = np.empty(shape, dtype)
        data = self._process.stdout.read(array.nbytes)
        if len(data) != array.nbytes:
            self._fail()
        return np.frombuffer(data, dtype).reshape(shape).copy()

    def _fail(self) -> None:
        code = self._process.wait()
        if self._overdue:
            where = f"the library gave no answer within {ANSWER_SECONDS:g} s on the virtual {self._name}"
            raise DeviceError(f"{where}, and was ended; --no-verify to keep it")
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        reason = lines[0] if lines else f"exit code {code}"
        raise VerifyError(f"the library crashed on the virtual {self._name}: {reason}; --no-verify to keep it")
