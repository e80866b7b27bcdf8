"""The road through ssh, against an OpenSSH server on loopback."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.devices.servers import build_agent_here, is_registered, tvm_tracker, wait_until
from tvmpose.devices import ssh
from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.devices.tracker import Address
from tvmpose.errors import DeviceError
from tvmpose.targets import Target

pytest.importorskip("tornado", reason="the extra tune is not installed")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="openssh-server is not installed"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on this machine"),
    pytest.mark.skipif(os.geteuid() != 0, reason="sshd lets in nobody but the user that it runs as"),
]
TARGET = Target("board", "", "x86_64-linux-gnu", "")

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
ForceCommand env HOME={folder}/home TMPDIR={folder}/tmp sh -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(frozen=True)
class Board:
    """Reached by ssh; its home and its temporary files are in ``folder``."""

    host: str
    options: list[str]
    folder: Path
    server: "subprocess.Popen[bytes]"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder))
    Path("/run/sshd").mkdir(exist_ok=True)  # where it is confined before it knows who is there
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    settings = {
        "Port": port,
        "IdentityFile": folder / "user",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": folder / "known",
        "StrictHostKeyChecking": "accept-new",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    try:
        wait_until(lambda: _listens(port), "sshd listens")
        yield Board("root@127.0.0.1", options, folder, server)
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built by this machine's compiler, in place of zig."""
    monkeypatch.setattr(ssh, "build_agent", lambda target, path: build_agent_here(path))


@pytest.mark.usefixtures("agent")
def test_serve_through_ssh__board_and_tracker_on_loopback__found_used_and_left_clean(
    board: Board, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program, said = tmp_path / "program", list[str]()
    program.write_text("#!/bin/sh\npwd\n")
    with tvm_tracker() as tracker:
        # In a process of its own, as it is to be interrupted.
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # if it was ignored
            "from tests.devices import servers, test_ssh; from tvmpose.devices import ssh; "
            "from tvmpose.devices.tracker import parse_address; "
            "ssh.build_agent = lambda target, path: servers.build_agent_here(path); "
            "ssh.serve_through_ssh(sys.argv[1], test_ssh.TARGET, 'there', "
            "parse_address(sys.argv[2]), sys.argv[3:], str)"
        )
        command = [sys.executable, "-c", code, board.host, str(tracker), *board.options]
        with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL) as serving:
            try:
                wait_until(lambda: is_registered(tracker, "there"), "registered through the tunnel")
                with RpcDevice(tracker, "there") as device:
                    where = device.run(program, [], timeout=20).output.decode()
                    assert where.startswith(f"{board.folder}/tmp/tvmpose-agent-")
                    assert device.name.startswith("there@127.0.0.1:")
                _nothing_but_loopback(said)
            finally:
                serving.send_signal(2)
        wait_until(lambda: not is_registered(tracker, "there", free=0), "gone from the tracker")
    wait_until(lambda: not list((board.folder / "tmp").iterdir()), "its folder's end")
    copied = board.folder / "home" / ".cache" / "tvmpose"
    assert [path.name for path in copied.iterdir()] == ["tvmpose-agent"]


@pytest.mark.usefixtures("agent")
def test_serve_through_ssh__nobody_there__says_what_to_try(board: Board) -> None:
    options = ["-o", "Port=1", *board.options[2:]]
    with pytest.raises(
        DeviceError, match=r"ssh root@127\.0\.0\.1: .*refused.*; does `ssh root@127\.0\.0\.1` work"
    ) as caught:
        ssh.serve_through_ssh(board.host, TARGET, "there", Address("127.0.0.1", 9), options, lambda text: None)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("agent")
def test_serve_through_ssh__port_taken__another(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken, tvm_tracker() as tracker:
        free = _free_ports(5)
        pairs = iter([[taken.getsockname()[1], *free[:2]], free[2:]])
        monkeypatch.setattr(ssh.random, "sample", lambda *_: next(pairs))
        processes: list[subprocess.Popen[str]] = []
        real = subprocess.Popen
        monkeypatch.setattr(ssh.subprocess, "Popen", lambda *a, **k: processes.append(real(*a, **k)) or processes[-1])
        arguments = (board.host, TARGET, "there", tracker, board.options, said.append)
        thread = threading.Thread(target=ssh.serve_through_ssh, args=arguments)
        thread.start()
        try:
            wait_until(lambda: is_registered(tracker, "there"), "registered at the second try")
        finally:
            for process in processes:
                if process.poll() is None and "serve" not in process.args:
                    process.terminate()
            thread.join(60)
    assert "a port is taken: trying others" in said


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _nothing_but_loopback(said: list[str]) -> None:
    ss = shutil.which("ss") or pytest.skip("ss is not installed")
    lines = subprocess.run([ss, "-ltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [line.split()[3] for line in lines if "tvmpose-agent" in line or '"ssh"' in line or '"sshd"' in line]
    assert len(ours) >= 3  # the agent, -L, -R
    said += ours
    assert all(address.startswith(("127.0.0.1:", "[::1]:")) for address in ours), ours
