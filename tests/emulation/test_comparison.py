"""Ours and the peers on one board: who is asked, who is left out and why. The slow test counts a real bundle."""

from pathlib import Path

import pytest

from tests.conftest import Compile, FakeBundle
from tests.emulation.board import host_board
from tvmpose.emulation import comparison
from tvmpose.emulation.comparison import emulate
from tvmpose.errors import InputError, SetupError

# As where the peer is not installed
BLOCKED = """
class Blocked:
    def find_spec(self, name, *_):
        if name == "ncnn":
            raise ModuleNotFoundError("No module named 'ncnn'", name=name)
sys.meta_path.insert(0, Blocked())
"""


def on(board, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The boards that are asked for."""
    asked = []

    def bring_up(name, progress):
        asked.append(name)
        return board

    monkeypatch.setattr(comparison, "virtual_board", bring_up)
    return asked


def test_emulate__peers_that_cannot__left_out_with_the_reason(fake_bundle: FakeBundle, tmp_path: Path, monkeypatch):
    asked = on(host_board(BLOCKED), monkeypatch)
    monkeypatch.setattr(comparison, "find_mca", lambda: None)
    (tmp_path / "net.param").touch()
    found = emulate(fake_bundle(), ["litert", "ncnn"], [tmp_path / "net.param"], "another", "max")
    assert asked == ["another"] and (found.machine.board, found.machine.cpu) == ("some-board", "max")
    assert found.ours.instructions == 2000 and found.ours.difference == 0 and found.peers == ()
    assert found.missing == (
        ("litert", "not available: reads .tflite, and no such file was given (--model)"),
        ("ncnn", "not available: some-board has no ncnn"),
    )
    assert found.remarks == ("no estimate of cycles: llvm-mca is not installed (apt-get install llvm)",)


def test_emulate__bundle_that_does_not_run_there__one_line(fake_bundle: FakeBundle, monkeypatch):
    on(host_board(), monkeypatch)
    with pytest.raises(SetupError, match=r"cannot be counted on some-board, -cpu cortex-a0: .*avx9000"):
        emulate(fake_bundle("FAKE_NEEDS=1"), [])


def test_emulate__qemu_without_plugins__says_which_has_them(fake_bundle: FakeBundle, monkeypatch):
    on(host_board("sys.exit(\"qemu: unknown option 'plugin'\")"), monkeypatch)
    with pytest.raises(
        SetupError, match=r"unknown option 'plugin'; counting needs a qemu-user of version 4\.2 to 8\.2"
    ):
        emulate(fake_bundle(), [])


def test_emulate__target_without_a_board__names_those_that_have_one(fake_bundle: FakeBundle):
    with pytest.raises(InputError, match=r"no virtual board 'host'.*raspberry-pi-4"):
        emulate(fake_bundle(), [])


@pytest.mark.slow
def test_emulate__blazepose_lite_for_a_pi_4__fewer_instructions_than_litert_to_the_same_outputs(
    virtual, compiled: Compile, data: Path
):
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    virtual("raspberry-pi-4")
    name = "pose_landmark_lite.tflite"
    bundle = compiled(name, "blazepose-lite", "raspberry-pi-4").bundle
    found = emulate(bundle, ["litert"], [data / "models" / name])
    (litert,) = found.peers
    assert litert.settings.startswith("XNNPACK on") and litert.difference < 1e-3
    assert max(found.ours.spread, litert.spread) <= 0.001
    # LiteRT 2.3's 126 million are counted by another plugin; a vector instruction multiplies and adds four floats.
    assert litert.instructions == pytest.approx(126e6, rel=0.03)
    assert found.multiply_adds / 4 < found.ours.instructions < litert.instructions
