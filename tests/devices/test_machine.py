"""Where the gate runs a library: a board in between changes what the manifest says, and nothing else."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.devices.test_board_pose import BOARD
from tests.sabotage import relu_becomes_tanh
from tests.tiny import Tiny, write_tiny, write_tiny_quantized
from tvmpose import trials
from tvmpose.codegen.bundle import SAMPLE
from tvmpose.compile import Report, compile_model, resolve
from tvmpose.devices import machine
from tvmpose.devices.machine import board_of, where_verified
from tvmpose.errors import VerifyError
from tvmpose.runtime.pose import main as check_main
from tvmpose.targets import host_target, load_target

needs_cc = pytest.mark.skipif(
    not shutil.which("cc") or platform.libc_ver()[0] != "glibc", reason="no C compiler for glibc on this machine"
)


def compiled(tiny: Tiny, output: Path) -> Report:
    target = replace(host_target(), name="elsewhere")
    return compile_model(
        resolve(str(tiny.model), card=str(tiny.card), target=target, output=output, samples=tiny.samples)
    )


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries do not run on this machine, but on a board that happens to be this machine."""
    monkeypatch.setattr(trials, "runs_here", lambda target: False)
    monkeypatch.setattr(trials, "board_of", lambda target: BOARD)


@needs_cc
@pytest.mark.parametrize("write", [write_tiny, pytest.param(write_tiny_quantized, marks=pytest.mark.slow)])
def test_compile__board_that_is_up__findings_and_sample_are_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Tiny]
):
    tiny = write(tmp_path / "tiny")
    here = compiled(tiny, tmp_path / "here")
    with monkeypatch.context() as patch:
        patch.setattr(trials, "runs_here", lambda target: False)
        patch.setattr(trials, "board_of", lambda target: BOARD)
        there = compiled(tiny, tmp_path / "there")
    assert here.findings == there.findings and here.findings is not None
    samples = [np.load(tmp_path / folder / SAMPLE) for folder in ("here", "there")]
    for name in samples[0].files:
        np.testing.assert_array_equal(samples[0][name], samples[1][name])
    assert [report.manifest.verification.status for report in (here, there)] == ["verified", "emulated"]
    assert check_main([str(tmp_path / "there"), "--check"]) == 0


@needs_cc
@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_compile__library_that_is_wrong_on_the_board__refused_with_the_tensor(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    relu_becomes_tanh(monkeypatch)
    with pytest.raises(VerifyError, match=r"first tensor that diverges is relu \(1, 8, 24, 32\)"):
        compiled(tiny, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_board_of__target_of_the_user_s_own_with_a_shipped_name__none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "board_that_is_up", lambda name: BOARD)
    shipped = load_target("raspberry-pi-4")
    assert board_of(shipped) is BOARD
    text = 'title = "mine"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a53"\n'
    for name in ("raspberry-pi-4.toml", "mine.toml"):
        (tmp_path / name).write_text(text)
        assert board_of(load_target(str(tmp_path / name))) is None


def test_where_verified__each_status__a_clause_for_those_that_need_one():
    board, phone = load_target("raspberry-pi-4"), load_target("pixel-8")
    assert where_verified(board, "verified") == ""
    assert where_verified(board, "emulated") == ", on the virtual raspberry-pi-4"
    assert "`tvmpose devices virtual raspberry-pi-4 --up`" in where_verified(board, "host-equivalent only")
    assert where_verified(phone, "host-equivalent only") == ", compiled for this machine in its place"
