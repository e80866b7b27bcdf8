"""Work in a process of its own: what becomes of it is an exit code or one line."""

import ctypes
import faulthandler
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tvmpose import child
from tvmpose.child import in_child, reading
from tvmpose.errors import ModelError, SetupError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is no child")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_in_child__work_that_ends__its_code_and_no_temporary_files(temporary: Path):
    def work() -> int:
        Path(tempfile.mkdtemp(), "left").write_text("behind")
        return 5

    assert in_child(work, "net.onnx") == 5
    assert not [*temporary.iterdir()]


def crash() -> int:
    faulthandler.disable()  # of pytest, which prints a page
    return int(ctypes.string_at(0) == b"")


def abort() -> int:
    faulthandler.disable()
    os.abort()


def hang() -> int:
    with reading(Path("net.onnx")):
        end = time.process_time() + 20
        while time.process_time() < end:
            pass
    return 0


@pytest.mark.parametrize(
    ("work", "kind", "says"),
    [
        (crash, ModelError, r"net\.onnx: what reads it crashed \(SIGSEGV\)"),
        (abort, ModelError, "SIGABRT"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), SetupError, "killed while it was worked on.* memory"),
        (hang, ModelError, "not read within 0 s of computing"),
    ],
    ids=["crash", "abort", "killed", "hang"],
)
def test_in_child__work_that_dies__one_line(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[], int], kind: type[Exception], says: str
):
    monkeypatch.setattr(child, "READING_SECONDS", 0.1)
    with pytest.raises(kind, match=says) as caught:
        in_child(work, "net.onnx")
    assert "\n" not in str(caught.value)
    assert not [*temporary.iterdir()]


def test_in_child__exception__printed_as_at_the_end_of_a_process(temporary: Path, capfd: pytest.CaptureFixture[str]):
    assert in_child(lambda: 1 // 0, "net.onnx") == 1
    assert capfd.readouterr().err.endswith("ZeroDivisionError: integer division or modulo by zero\n")


@pytest.mark.parametrize(("error", "heard"), [(None, b"chatter"), (ModelError("no"), b""), (OSError(), b"chatter")])
def test_reading__what_a_library_prints__is_heard_unless_the_file_is_refused(
    temporary: Path, capfdbinary: pytest.CaptureFixture[bytes], error: Exception | None, heard: bytes
):
    def work() -> int:
        try:
            with reading(Path("net.onnx")):
                os.write(2, b"chatter")
                if error:
                    raise error
        except (ModelError, OSError) as caught:
            return 7 if caught is error else 1
        return 7

    assert in_child(work, "net.onnx") == 7
    assert capfdbinary.readouterr().err == heard
