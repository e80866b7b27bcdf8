"""Every part of the way to a board, well and not."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.devices.servers import build_agent_here, is_registered, started, tvm_tracker, wait_until
from tvmpose.cli.main import main
from tvmpose.devices import doctor
from tvmpose.devices.doctor import Finding, examine
from tvmpose.devices.kernel_check import convolve
from tvmpose.devices.tracker import Address

pytest.importorskip("tornado", reason="the extra tune is not installed")
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on this machine")


@pytest.fixture
def tracker() -> Iterator[Address]:
    with tvm_tracker() as address:
        yield address


def found(tracker: Address, key: str, target: str | None = None) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(tracker, key, target, wait=2.0, answer=20.0)}


def test_doctor__no_tracker__the_command_that_starts_one(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["devices", "doctor", "--key", "pi4", "--tracker", f"127.0.0.1:{port}"]) == 7
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"FAIL  tracker: 127.0.0.1:{port} (127.0.0.1): Connection refused")
    assert lines[1:] == [f"      tvmpose tracker --port {port}"]


def test_doctor__host_that_is_none__says_so() -> None:
    (finding,) = examine(Address("no-such-host.invalid", 9190), "pi4", None, 1.0, 1.0)
    assert not finding.well and "no-such-host.invalid" in finding.found


def test_doctor__nobody_of_the_key__ways_to_get_one(tracker: Address) -> None:
    findings = found(tracker, "pi4")
    assert list(findings) == ["tracker", "registered"] and findings["tracker"].well
    assert findings["registered"].found == "no pi4; there: nobody"
    assert any(f"tvmpose serve --key pi4 --tracker {tracker} --ssh" in way for way in findings["registered"].commands)


@needs_compiler
def test_doctor__board_of_another_architecture__named_with_what_to_type(
    tracker: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ROUND_TRIP_BYTES", 1 << 20)
    agent = build_agent_here(tmp_path / "agent")
    with started([agent, "--key", "here", "--tracker", str(tracker)], tmp_path / "tmp"):
        wait_until(lambda: is_registered(tracker, "here"), "registered")
        findings = found(tracker, "here", "wasm32-simd")
    assert findings["connect"].well and findings["versions"].found.startswith("agent 1 on Linux")
    assert findings["64 MB there and back"].well
    assert not findings["kernel"].well and "need Linux or Android" in findings["kernel"].found
    assert "--target TARGET" in findings["kernel"].commands[-1]


@needs_compiler
@pytest.mark.slow
def test_doctor__all_well__every_part_and_exit_0(
    tracker: Address, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = build_agent_here(tmp_path / "agent")
    with started([agent, "--key", "here", "--tracker", str(tracker)], tmp_path / "tmp"):
        wait_until(lambda: is_registered(tracker, "here"), "registered")
        assert main(["devices", "--tracker", str(tracker), "doctor", "--key", "here"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok  ") for line in lines) and len(lines) == 8
    assert any("kernel: a convolution for x86-64-v2" in line for line in lines)


def test_convolve__against_opencv__the_same() -> None:
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    random = np.random.default_rng(1)
    picture, weights = random.standard_normal((9, 7, 2)), random.standard_normal((3, 3, 2, 3))
    expected = np.stack(
        [
            sum(cv2.filter2D(picture[..., c], -1, weights[..., c, o], borderType=cv2.BORDER_CONSTANT) for c in range(2))
            for o in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(convolve(picture, weights), expected, atol=1e-12)


def test_devices__no_tracker__one_line_and_exit_7(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["devices", "--tracker", f"127.0.0.1:{port}"]) == 7
    said = capsys.readouterr().err
    assert said == (f"tvmpose: error: tracker 127.0.0.1:{port}: Connection refused; start one: tvmpose tracker\n")


def test_devices__nobody_there__says_how(tracker: Address, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--tracker", str(tracker)]) == 0
    assert "nobody is at the tracker" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["nonsense", "host:", ":9190", "host:0", "host:99999", "host:x"])
def test_devices__tracker_that_is_no_address__exit_3(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--tracker", text]) == 3
    assert f"--tracker {text}: must be HOST:PORT" in capsys.readouterr().err
