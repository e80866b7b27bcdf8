"""The frame of the command line: verbs, exit codes, one clear line for each failure."""

import argparse
import errno
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tvmpose
from tvmpose import cli
from tvmpose.cli import main as frame
from tvmpose.errors import InputError, ModelError, SetupError, VerifyError

HEAVY = {"numpy", "tvm", "tvm_ffi", "torch", "onnx", "cv2", "rich"}


def _loaded_by(*arguments: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after ``arguments``."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, cwd=Path(tvmpose.__file__).parents[1], capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_import__package_alone__imports_nothing_else() -> None:
    bare = _loaded_by("-c", "pass")
    assert _loaded_by("-c", "import tvmpose") - bare == {"tvmpose"}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_main__help_and_version__load_nothing_heavy(option: str) -> None:
    assert not HEAVY & _loaded_by("-m", "tvmpose", option)


def test_models__listing__loads_nothing_heavy() -> None:
    assert not HEAVY & _loaded_by("-m", "tvmpose", "models")


def test_verbs__files_of_the_folder__each_is_listed() -> None:
    assert set(frame.VERBS) == {module.name for module in pkgutil.iter_modules(cli.__path__)} - {"main"}


def test_main__version__printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        frame.main(["--version"])
    assert capsys.readouterr().out == f"tvmpose {tvmpose.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["pull"], ["models", "--nonsense"]])
def test_main__wrong_command_line__exit_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        frame.main(arguments)


def _main_that_raises(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def parser() -> argparse.ArgumentParser:
        def run(args: argparse.Namespace) -> int:
            raise error

        made = argparse.ArgumentParser()
        made.set_defaults(run=run)
        return made

    monkeypatch.setattr(frame, "_parser", parser)
    return frame.main([])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no such box"), 3, "no such box"),
        (ModelError("operator 7"), 4, "operator 7"),
        (VerifyError("0.7 px"), 5, "0.7 px"),
        (SetupError("no compiler"), 6, "no compiler"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 6, "No space left on device: /x/y"),
        (OSError(errno.EROFS, "Read-only file system"), 6, "Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 6, "Permission denied: /x"),
    ],
)
def test_main__expected_failure__one_line_and_its_code(
    error: Exception, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main_that_raises(error, monkeypatch) == code
    assert capsys.readouterr() == ("", f"tvmpose: error: {line}\n")


def test_main__interrupt__130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _main_that_raises(KeyboardInterrupt(), monkeypatch) == 130


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.EIO, "I/O error")])
def test_main__defect_of_ours__not_swallowed(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)):
        _main_that_raises(error, monkeypatch)


def test_main__reader_gone__141_and_silence() -> None:
    # The child's standard output is a pipe whose other end is closed before its first byte.
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "tvmpose", "models"]
    root = Path(tvmpose.__file__).parents[1]
    try:
        done = subprocess.run(command, cwd=root, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


def test_verbs__each_module__has_add_and_a_run_that_returns_a_code() -> None:
    subparsers = argparse.ArgumentParser().add_subparsers()
    for verb in frame.VERBS:
        importlib.import_module(f"tvmpose.cli.{verb}").add(subparsers)
        assert callable(subparsers.choices[verb].get_default("run"))
