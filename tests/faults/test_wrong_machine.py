"""What is for another machine, or for one that has no compiler: one line, before the work, with what to do."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.conftest import FakeBundle
from tests.tiny import Tiny
from tvmpose.cli.main import main

Capture = pytest.CaptureFixture[str]


def refused(arguments: list[str], code: int, capfd: Capture) -> str:
    """The one line that a command line is refused with; no step was reported before it."""
    capfd.readouterr()
    assert main(arguments) == code
    out, err = capfd.readouterr()
    assert err.count("\n") == 1 and err.startswith("tvmpose: error: ")
    assert " s)" not in out
    return err


@pytest.mark.parametrize("target", ["host", "raspberry-pi-4", "android-arm64"])
def test_compile__no_compiler__one_line_before_the_work(
    tiny: Tiny, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, target: str
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else find_spec(name))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    line = refused([*tiny.arguments(tmp_path / "bundle"), "--target", target], 6, capfd)
    assert "no C compiler for " in line and "pip install" in line
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("android-arm", "did you mean android-arm64"),
        ("x86-64:v6", "target x86-64 has no level 'v6'; it has v2, v3"),
        ("android-arm64:dotprd", "did you mean dotprod"),
        ("rk3588:v8.0", "target rk3588 has no level 'v8.0'; it has none"),
        ("host:v3", "target host has no level 'v3'; it has none"),
    ],
)
def test_compile__misspelt_target_or_level__the_nearest_names(
    tiny: Tiny, tmp_path: Path, capfd: Capture, target: str, says: str
):
    assert says in refused([*tiny.arguments(tmp_path / "bundle"), "--target", target], 3, capfd)


def test_run__bundle_of_another_architecture__says_which_and_which_this_is(
    fake_bundle: FakeBundle, tiny: Tiny, capfd: Capture
):
    elsewhere = bytearray((fake_bundle(name="here") / "libfake.so").read_bytes())
    elsewhere[18:20] = (183).to_bytes(2, "little")  # e_machine
    bundle = fake_bundle(name="there", library=bytes(elsewhere))
    line = refused(["run", str(bundle), str(next(tiny.samples.iterdir()))], 6, capfd)
    assert "libfake.so is for 64-bit ARM, this is x86-64: compile it for this machine (--target)" in line
