"""What a board needs, in a folder."""

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tvmpose.cli.main import main
from tvmpose.devices import kit
from tvmpose.devices.kit import UNIT, write_kit
from tvmpose.errors import InputError
from tvmpose.targets import load_target


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(target: object, path: Path) -> Path:
        path.write_bytes(b"agent")
        return path

    monkeypatch.setattr(kit, "build_agent", build)


@pytest.mark.usefixtures("agent")
def test_kit__board__agent_unit_and_commands_with_its_key(tmp_path: Path) -> None:
    files = write_kit(load_target("raspberry-pi-4"), tmp_path / "kit", "pi4")
    assert sorted(path.name for path in files) == ["README.md", "tvmpose-agent", UNIT]
    unit, readme = (tmp_path / "kit" / UNIT).read_text(), (tmp_path / "kit" / "README.md").read_text()
    assert "ExecStart=/usr/local/bin/tvmpose-agent --key pi4 --port 9090 --tracker 127.0.0.1:9190" in unit
    assert "0.0.0.0" not in unit
    assert "tvmpose serve --ssh USER@BOARD --target raspberry-pi-4 --key pi4" in readme
    assert "ssh -N -L 127.0.0.1:9090:127.0.0.1:9090 -R 127.0.0.1:9190:127.0.0.1:9190 USER@BOARD" in readme
    assert "@" not in (unit + readme).replace("USER@BOARD", "")


@pytest.mark.usefixtures("agent")
def test_kit__phone__adb_in_place_of_ssh_and_no_unit(tmp_path: Path) -> None:
    files = write_kit(load_target("android-arm64"), tmp_path / "kit")
    assert sorted(path.name for path in files) == ["README.md", "tvmpose-agent"]
    readme = (tmp_path / "kit" / "README.md").read_text()
    for command in ("adb push tvmpose-agent", "adb forward tcp:9090 tcp:9090", "adb reverse tcp:9190 tcp:9190"):
        assert command in readme
    assert "--key android-arm64" in readme and "@" not in readme


@pytest.mark.usefixtures("agent")
def test_kit__again_into_the_same_folder__replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["devices", "kit", "--target", "raspberry-pi-4", "-o", str(tmp_path / "kit")]
    assert main(arguments) == 0 and main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("kit/README.md")


@pytest.mark.usefixtures("agent")
def test_kit__folder_with_other_files__left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="has other files in it: name another with -o"):
        write_kit(load_target("raspberry-pi-4"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, machine",
    [("android-arm64", "EM_AARCH64"), ("raspberry-pi-zero-2w", "EM_AARCH64"), ("raspberry-pi-3-32bit", "EM_ARM")],
)
def test_kit__agent__static_and_small(tmp_path: Path, name: str, machine: str) -> None:
    agent, *_ = write_kit(load_target(name), tmp_path / "kit")
    with agent.open("rb") as file:
        elf = ELFFile(file)
        assert elf["e_machine"] == machine and elf["e_type"] == "ET_EXEC"
        assert not {segment["p_type"] for segment in elf.iter_segments()} & {"PT_INTERP", "PT_DYNAMIC"}
    assert agent.stat().st_size < 150_000
