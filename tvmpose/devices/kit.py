"""A folder that makes a board of a machine which has nothing of ours: the agent, a service unit, the commands."""

from pathlib import Path

from tvmpose import content
from tvmpose.devices.agent import PROGRAM, build_agent
from tvmpose.errors import InputError
from tvmpose.targets import Target

UNIT = "tvmpose-agent.service"
_AGENT_PORT = 9090


def write_kit(target: Target, folder: Path, key: str | None = None) -> list[Path]:
    """Build the agent into ``folder`` and write beside it what else is needed; returns the files.

    key: of the board at the tracker, by default the target's name. Raises InputError where the folder has other things
    in it or the device no Linux, SetupError where the agent cannot be built.
    """
    if folder.exists() and any(entry.name not in (PROGRAM, UNIT, "README.md") for entry in folder.iterdir()):
        raise InputError(f"{folder} exists and has other files in it: name another with -o")
    folder.mkdir(parents=True, exist_ok=True)
    values = {"key": key or target.name, "port": str(_AGENT_PORT), "title": target.title, "target": target.name}
    files = [build_agent(target, folder / PROGRAM)]
    phone = target.libc == "bionic"
    files.append(_write(folder / "README.md", "phone.md" if phone else "board.md", values))
    if not phone:
        files.append(_write(folder / UNIT, UNIT, values))
    return files


def _write(path: Path, template: str, values: dict[str, str]) -> Path:
    text = (content.folder("rpc") / "kit" / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    path.write_text(text)
    return path
