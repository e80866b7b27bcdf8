"""The boards' files: whole, and of the devices whose names they bear."""

import re
from pathlib import Path

import pytest

from tvmpose import content
from tvmpose.devices import recipe
from tvmpose.devices.recipe import list_boards, load_recipe
from tvmpose.errors import InputError
from tvmpose.targets import shipped_targets

BOARD = 'userland = "land"\ncpu = "cortex-a53"\n[[cores]]\ncount = 4\nmax_khz = 1000000\ncpuinfo = "CPU part: 0xd03"\n'
USERLAND = 'emulator = "qemu-aarch64"\narchitecture = "arm64"\npackages = ["musl"]\n'


@pytest.mark.parametrize("name", list_boards())
def test_load_recipe__every_board__is_like_its_target(name: str) -> None:
    board, (target,) = load_recipe(name), (target for target in shipped_targets() if target.name == name)
    assert board.userland.emulator == f"qemu-{target.architecture}"
    assert (board.userland.architecture == "armhf") == target.hard_float
    assert sum(kind.count for kind in board.cores) == (sum(cores.count for cores in target.cores) or 4)
    for kind in board.cores:
        fields = dict(re.findall(r"^(.+?)\t*: (.+)$", kind.cpuinfo, re.MULTILINE))
        assert fields.keys() >= {"BogoMIPS", "Features", "CPU implementer", "CPU part", "CPU revision"}
        assert "processor" not in fields
    if not target.hard_float:  # in 32-bit mode qemu has no such core
        assert board.cpu in {target.cpu, "cortex-a53", "cortex-a76"}


def test_load_recipe__misspelt__names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no virtual board 'rasberry-pi-4'; did you mean raspberry-pi-4"):
        load_recipe("rasberry-pi-4")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board and its userland of one's own."""
    for folder, name, text in (("boards", "board", BOARD), ("userlands", "land", USERLAND)):
        (tmp_path / "virtual" / folder).mkdir(parents=True)
        (tmp_path / "virtual" / folder / f"{name}.toml").write_text(text)
    monkeypatch.setattr(content, "folder", lambda name: tmp_path)
    return tmp_path / "virtual"


def test_load_recipe__either_file_changed__another_digest(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [load_recipe("board").digest]
    (files / "boards" / "board.toml").write_text(BOARD.replace("1000000", "1000001"))
    digests.append(load_recipe("board").digest)
    (files / "userlands" / "land.toml").write_text(USERLAND.replace("musl", "libc6"))
    digests.append(load_recipe("board").digest)
    monkeypatch.setattr(recipe, "_MADE_AS", b"another way")
    digests.append(load_recipe("board").digest)
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"land"', '"lend"', r"board\.toml: userland: no .*lend\.toml"),
        ("cpu =", "core =", r"board\.toml: unknown key 'core'; known: userland, cpu, cores"),
        ("count = 4", "count = 0", r"board\.toml: cores\[0\]: count and max_khz must be positive"),
    ],
)
def test_load_recipe__wrong_file__says_what(files: Path, old: str, new: str, says: str) -> None:
    (files / "boards" / "board.toml").write_text(BOARD.replace(old, new))
    with pytest.raises(InputError, match=says) as caught:
        load_recipe("board")
    assert "\n" not in str(caught.value)
