"""Ctrl-C and kill in the middle: nothing half done at the destination."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tiny import Tiny
from tvmpose.cli.main import main

# Stops at the moment that is asked for until a signal comes: MODULE.FUNCTION says so and sleeps before it works.
STOP = """\
import importlib, sys, time
sys.modules["torch"] = None  # which TVM imports where it is installed: most of what starting takes
module = importlib.import_module(sys.argv[1])
work = getattr(module, sys.argv[2])
def stop(*args, **kwargs):
    print("here", flush=True)
    time.sleep(60)
    return work(*args, **kwargs)
setattr(module, sys.argv[2], stop)
from tvmpose.cli.main import main
sys.argv[1:] = sys.argv[3:]
sys.exit(main())
"""
# The work a compilation is in: importing, a pass, which TVM's C++ calls, code generation, linking, writing.
MOMENTS = [
    ("tvmpose.frontend.onnx", "load"),
    ("tvmpose.passes.pipeline", "to_nhwc"),
    ("tvmpose.codegen.kernel_object", "compile_kernels"),
    ("tvmpose.codegen.toolchain", "run_tool"),
    ("tvmpose.codegen.bundle", "_sync"),
    ("tvmpose.codegen.bundle", "_swap"),
]


def arguments(tiny: Tiny, output: Path) -> list[str]:
    return ["compile", str(tiny.model), "--samples", str(tiny.samples), "-o", str(output)]


@contextmanager
def stopped_at(moment: tuple[str, str], tiny: Tiny, output: Path) -> Iterator[subprocess.Popen[str]]:
    """``tvmpose compile`` in a process group of its own, standing still at the moment; its temporary files in TMP."""
    temporary = output.parent / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", STOP, *moment, *arguments(tiny, output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        assert "here\n" in iter(process.stdout.readline, ""), process.stderr.read()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: ".".join(moment).removeprefix("tvmpose."))
def test_compile__interrupted__exit_130_silent_and_nothing_left(tiny: Tiny, tmp_path: Path, moment: tuple[str, str]):
    before = {*tmp_path.iterdir(), tmp_path / "tmp"}
    with stopped_at(moment, tiny, tmp_path / "bundle") as process:
        os.killpg(process.pid, signal.SIGINT)  # to the group, as a terminal does
        _, error = process.communicate(timeout=30)
        assert (process.returncode, error) == (130, "")
    assert {*tmp_path.iterdir()} == before
    assert not list((tmp_path / "tmp").glob("tvmpose*"))


@pytest.mark.parametrize("moment", MOMENTS[-2:], ids=lambda moment: moment[1])
def test_compile__killed_while_writing__no_half_bundle_and_the_next_run_is_whole(
    tiny: Tiny, tmp_path: Path, moment: tuple[str, str], capfd: pytest.CaptureFixture[str]
):
    output = tmp_path / "bundle"
    with stopped_at(moment, tiny, output) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert not output.exists()
    assert main(arguments(tiny, output)) == 0
    assert (output / "manifest.json").is_file() and capfd.readouterr().err == ""


def test_compile__killed_over_an_old_bundle__the_old_one_stays(tiny: Tiny, tmp_path: Path):
    output = tmp_path / "bundle"
    assert main(arguments(tiny, output)) == 0
    before = {path: path.read_bytes() for path in output.iterdir()}
    with stopped_at(MOMENTS[-1], tiny, output) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert {path: path.read_bytes() for path in output.iterdir()} == before
