"""Virtual boards: found, taken down, and what a program sees of one."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tvmpose.devices import virtual as boards
from tvmpose.devices.virtual import VirtualBoard, board_that_is_up, take_down, virtual_board
from tvmpose.errors import InputError, SetupError

SEEN = """
import json, os, platform, sys
import numpy
print(json.dumps({
    "machine": platform.machine(),
    "cpuinfo": open("/proc/cpuinfo").read(),
    "path": sys.path,
    "given": sys.argv[1:],
    "foreign": [name for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ],
    "kept": os.environ.get("KEPT"),
    "product": float((numpy.ones((8, 8)) @ numpy.ones((8, 8))).sum()),
}))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("TVMPOSE_CACHE", str(tmp_path))
    return tmp_path / "virtual"


def made(name: str) -> Path:
    """An empty folder in the place of a board that is up."""
    root = boards._board(boards.load_recipe(name)).root
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "python3").touch()
    return root


def test_command__program_of_the_board__emulator_cpu_root_and_path(cache: Path) -> None:
    root = made("raspberry-pi-4")
    board = VirtualBoard("raspberry-pi-4", root, "cortex-a72", "qemu-aarch64")
    command = board.command(["python3", "-c", "pass"])
    assert command[:5] == ["qemu-aarch64", "-cpu", "cortex-a72", "-L", str(root)]
    assert command[-3:] == [str(root / "usr/bin/python3"), "-c", "pass"]
    other = board.command([Path("relative"), Path("x")], plugin=Path("/p.so"), cpu="max")
    assert other[:3] == ["qemu-aarch64", "-cpu", "max"]
    assert other[-4:] == ["-plugin", "/p.so", "relative", "x"]
    with pytest.raises(InputError, match="raspberry-pi-4 has no program 'python2'"):
        board.command(["python2"])


def test_board_that_is_up__before_and_after__none_and_the_board(cache: Path) -> None:
    assert board_that_is_up("raspberry-pi-4") is None
    assert board_that_is_up("x86-64-v3") is None
    assert not cache.exists()
    root = made("raspberry-pi-4")
    board = board_that_is_up("raspberry-pi-4")
    assert (board.root if board else None) == (root if shutil.which("qemu-aarch64") else None)


def test_take_down__one_of_two__leaves_the_other_and_the_userlands(cache: Path) -> None:
    three, four, narrow = made("raspberry-pi-3"), made("raspberry-pi-4"), made("raspberry-pi-4-32bit")
    older = four.with_name("raspberry-pi-4-0123456789ab")
    older.mkdir()
    userland = cache / "userlands" / "debian-arm64-0123456789ab"
    userland.mkdir(parents=True)
    assert set(take_down("raspberry-pi-4")) == {four, older}
    assert three.exists() and narrow.exists() and userland.exists()
    assert take_down("raspberry-pi-4") == []
    assert take_down("raspberry-pi-3") == [three]
    assert take_down("raspberry-pi-4-32bit") == [narrow, userland]
    with pytest.raises(InputError, match="no virtual board 'host'"):
        take_down("host")


def test_virtual_board__no_emulator__says_what_to_install(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="qemu-arm is not installed: apt-get install qemu-user"):
        virtual_board("raspberry-pi-4-32bit")
    assert not cache.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "machine", "part"), [("raspberry-pi-4", "aarch64", "0xd08"), ("raspberry-pi-4-32bit", "armv7l", "0xd08")]
)
def test_command__python_on_the_board__sees_the_board_and_not_this_machine(
    virtual: Callable[[str], VirtualBoard], monkeypatch: pytest.MonkeyPatch, name: str, machine: str, part: str
) -> None:
    board = virtual(name)
    for variable in ("PYTHONPATH", "LD_LIBRARY_PATH", "KEPT"):
        monkeypatch.setenv(variable, "/somewhere")
    command = board.command(["python3", "-c", SEEN, "a b", "--c"])
    seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert seen["machine"] == machine
    assert seen["cpuinfo"].count(f"CPU part\t: {part}") == 4
    assert all(Path(path).is_relative_to(board.root) for path in seen["path"] if path)
    assert seen["given"] == ["a b", "--c"]
    assert seen["foreign"] == [] and seen["kept"] == "/somewhere"
    assert seen["product"] == 512
