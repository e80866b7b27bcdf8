"""A board that only ssh reaches: the agent is copied there and started, with a tunnel for each direction.

The board's end of the tracker's tunnel and both ends of the board's are on loopback: nothing is open to a network.
"""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.devices.agent import PROGRAM, build_agent
from tvmpose.devices.tracker import Address
from tvmpose.errors import DeviceError
from tvmpose.targets import Target

_TRIES = 5
_PORTS = range(20000, 30000)
# ssh itself asks nothing, notices a dead line, and does not start without its tunnels.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10", "ServerAliveCountMax=3")
_COPY = f"mkdir -p ~/.cache/tvmpose && cat > ~/.cache/tvmpose/{PROGRAM}.new && chmod 700 ~/.cache/tvmpose/{PROGRAM}.new"
_COPY += f" && mv ~/.cache/tvmpose/{PROGRAM}.new ~/.cache/tvmpose/{PROGRAM}"
_FORWARD_FAILURES = ("forwarding failed", "cannot listen", "Address already in use", "Could not request")


def serve_through_ssh(
    host: str,
    target: Target,
    key: str,
    tracker: Address,
    options: Sequence[str],
    log: Callable[[str], None],
    through: str = "",
) -> int:
    """Until it is interrupted or the connection breaks. Returns ssh's exit code.

    options: more of ssh's. Raises InputError for a target without Linux, SetupError where the agent cannot be built,
    DeviceError where ssh does not get there or the ports are taken.
    """
    ssh = ["ssh", *(word for option in _OPTIONS for word in ("-o", option)), *options]
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder:
        log(f"building the agent for {target.name}")
        agent = build_agent(target, Path(folder) / PROGRAM)
        log(f"copying it to {host} ({agent.stat().st_size // 1024} KB)")
        _run(ssh, host, agent.read_bytes())
    for _ in range(_TRIES):
        ports = Ports(*random.sample(_PORTS, 3))
        command = [*ssh, *tunnels(ports, tracker), host, agent_command(key, ports, through)]
        log(f"starting it: {' '.join(command[-2:])}")
        code, taken = _stay(command)
        if not taken:
            return code
        log("a port is taken: trying others")
    raise DeviceError(f"{host}: no free ports found for the tunnels in {_TRIES} tries")


@dataclass(frozen=True)
class Ports:
    """All on loopback."""

    here: int  # that clients connect to
    there: int  # that the agent listens on
    tracker: int  # that the agent connects to


def tunnels(ports: Ports, tracker: Address) -> list[str]:
    """ssh's options: the board's port here (-L), the tracker's port there (-R)."""
    return [
        *("-o", "ExitOnForwardFailure=yes"),
        *("-L", f"127.0.0.1:{ports.here}:127.0.0.1:{ports.there}"),
        *("-R", f"127.0.0.1:{ports.tracker}:{tracker.host}:{tracker.port}"),
    ]


def agent_command(key: str, ports: Ports, through: str) -> str:
    """For the board's shell. The agent ends with its input, and so with the connection.

    What the tracker tells clients is the tunnel's end on this machine.
    """
    more = f" --through '{through}'" if through else ""
    return (
        f"exec ~/.cache/tvmpose/{PROGRAM} --key {key} --port {ports.there} --address 127.0.0.1:{ports.here} "
        f"--tracker 127.0.0.1:{ports.tracker} --until-eof{more}"
    )


def _run(ssh: Sequence[str], host: str, data: bytes) -> None:
    done = subprocess.run([*ssh, host, _COPY], input=data, capture_output=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise DeviceError(f"ssh {host}: {reason}; does `ssh {host}` work without a password?")


def _stay(command: Sequence[str]) -> tuple[int, bool]:
    """Until it ends. Whether it was for want of a port."""
    taken = False
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    assert process.stderr and process.stdin
    try:
        for line in process.stderr:
            taken |= any(text in line for text in _FORWARD_FAILURES)
            print(line, end="", flush=True, file=sys.stderr)
        return process.wait(), taken
    finally:
        process.stdin.close()  # the agent ends, then ssh
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
