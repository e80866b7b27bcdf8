"""Virtual boards on the command line, but for what needs a network."""

import sys
from pathlib import Path

import pytest

from tests.cli.test_main import HEAVY, _loaded_by
from tests.devices.test_virtual import made
from tvmpose.cli.main import main
from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.recipe import list_boards
from tvmpose.devices.userland import PACKAGES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TVMPOSE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board that is up, whose emulator is this machine."""
    (made("raspberry-pi-4") / PACKAGES).write_text("a\nb\n")
    monkeypatch.setattr("tvmpose.devices.virtual.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(VirtualBoard, "command", lambda self, argv: [sys.executable, *argv[1:]])


def test_devices_virtual__list__every_board_not_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "virtual"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "cpu", "userland", "where"]
    assert [line.split()[0] for line in lines[1:]] == list_boards()
    assert all(line.endswith("not up") for line in lines[1:])


def test_devices_virtual__list_and_help__load_nothing_heavy() -> None:
    assert not HEAVY & _loaded_by("-m", "tvmpose", "devices", "virtual")
    assert not HEAVY & _loaded_by("-m", "tvmpose", "devices", "virtual", "--help")


def test_devices_virtual__not_up__the_command_that_brings_it_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "virtual", "rk3588"]) == 0
    assert capsys.readouterr().out == "rk3588 is not up: tvmpose devices virtual rk3588 --up\n"
    assert main(["devices", "virtual", "rk3588", "--down"]) == 0
    assert capsys.readouterr().out == "rk3588 is not up\n"


@pytest.mark.usefixtures("emulator")
def test_devices_virtual__up__what_it_has_and_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "virtual", "raspberry-pi-4", "--up"]) == 0
    out = capsys.readouterr().out
    assert "qemu-aarch64 -cpu cortex-a72, 4 cores" in out
    assert "ai-edge-litert==" in out and "2 packages" in out
    assert "tvmpose devices virtual raspberry-pi-4 --run python3\n" in out


@pytest.mark.usefixtures("emulator")
def test_devices_virtual__run__its_arguments_output_and_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print(sys.argv[1:]); sys.exit(7)"
    assert main(["devices", "virtual", "raspberry-pi-4", "--run", "python3", "-c", program, "--up", "x y"]) == 7
    assert capfd.readouterr().out == "['--up', 'x y']\n"
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert main(["devices", "virtual", "raspberry-pi-4", "--run", "python3", "-c", killed]) == 128 + 9


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--up"], 3, "which board?"),
        (["rasberry-pi-4", "--up"], 3, "did you mean raspberry-pi-4"),
        (["raspberry-pi-4", "--run"], 3, "--run needs a program"),
    ],
)
def test_devices_virtual__misuse__one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", "virtual", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and says in err
