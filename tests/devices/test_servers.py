"""Both servers, the agent and `tvmpose serve`, with TVM's tracker, TVM's client, our client and strangers."""

import json
import os
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.devices.servers import Process, build_agent_here, is_registered, started, tvm_tracker, tvmpose, wait_until
from tvmpose.devices.device import Device
from tvmpose.devices.rpc_device import RpcDevice, who_is_there
from tvmpose.devices.tracker import Address, list_servers
from tvmpose.errors import DeviceError

pytest.importorskip("tornado", reason="the extra tune is not installed")
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on this machine")

MAGIC = 0xFF271
LIMITS = {"agent": ["--output", "1"], "serve": []}
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def tracker() -> Iterator[Address]:
    with tvm_tracker() as address:
        yield address


@pytest.fixture(scope="module", params=["agent", "serve"])
def server(
    request: pytest.FixtureRequest, tracker: Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """Registered under its own name as key."""
    folder, key = tmp_path_factory.mktemp("server"), request.param
    command: list[str | Path] = list(tvmpose("serve", "--memory", "4096"))
    if key == "agent":
        command = [build_agent_here(folder / "agent", *SANITIZERS), "--memory", "4096", "--output", "64"]
    with started([*command, "--key", key, "--tracker", str(tracker)], folder / "tmp") as process:
        process.key, process.temporary = key, folder / "tmp"  # type: ignore[attr-defined]
        wait_until(lambda: is_registered(tracker, key), f"{key} at the tracker")
        yield process
    assert process.process.returncode == 0, process.lines
    assert not list((folder / "tmp").iterdir())
    assert not any("ERROR" in line or "runtime error" in line for line in process.lines), process.lines


@pytest.fixture
def device(server: Process, tracker: Address) -> Iterator[RpcDevice]:
    with RpcDevice(tracker, server.key, wait=30) as device:  # type: ignore[attr-defined]
        yield device


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """A program of these lines."""

    def write(text: str) -> Path:
        path = tmp_path / f"program-{uuid.uuid4()}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        return path

    return write


def test_server__stock_client__requests_by_key_and_calls_by_name(server: Process, tracker: Address) -> None:
    from tvm import rpc

    key = server.key  # type: ignore[attr-defined]
    session = rpc.connect_tracker(tracker.host, tracker.port).request(key, session_timeout=60)
    content = os.urandom(1 << 20)
    session.upload(bytearray(content), "data.bin")
    assert bytes(session.download("data.bin")) == content
    session.remove("data.bin")
    with pytest.raises(Exception, match=r"data\.bin|No such file"):
        session.download("data.bin")
    session.upload(bytearray(b"#!/bin/sh\necho $1; cat extra; exit 3\n"), "program")
    session.upload(bytearray(b"beside it"), "stored")
    packed = bytes(session.get_function("tvmpose.run")("program", b"an argument\0", 10.0, b"extra\0stored\0"))
    how, number, _, output, error = struct.unpack_from("<iidQQ", packed)
    assert (how, number, packed[32:]) == (0, 3, b"an argument\nbeside it")
    assert (output, error) == (21, 0)
    state = json.loads(session.get_function("tvmpose.state")())
    assert state["load"] >= 0 and state["machine"] == os.uname().machine
    with pytest.raises(Exception, match="plain file name"):
        session.upload(bytearray(b"x"), "../escaped")
    with pytest.raises(AttributeError, match=r"no function 'tvmpose\.nothing'"):
        session.get_function("tvmpose.nothing")


def test_device__run__code_output_error_arguments_and_files(
    device: Device, script: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "extra.txt").write_text("beside it")
    program = script('printf "%s|" "$@"; cat extra.txt; echo an error >&2; exit 7')
    found = device.run(program, ["a b", "", "c'\"d", "é"], timeout=20, files=[tmp_path / "extra.txt"])
    assert (found.code, found.output, found.error) == (7, "a b||c'\"d|é|beside it".encode(), "an error\n")
    assert 0 < found.seconds < 20


def test_device__run_again__nothing_left_and_nothing_sent_twice(
    device: RpcDevice, script: Callable[[str], Path]
) -> None:
    program = script("ls; touch left-behind")
    assert device.run(program, [], timeout=20).output == b""
    before = dict.fromkeys(device._uploaded)
    assert device.run(program, [], timeout=20).output == b""
    assert dict.fromkeys(device._uploaded) == before


def test_device__run__killed_by_a_signal_and_at_the_limit(device: Device, script: Callable[[str], Path]) -> None:
    assert device.run(script("kill -SEGV $$"), [], timeout=20).code == -11
    late = device.run(script("echo begun; sleep 100"), [], timeout=0.3)
    assert (late.code, late.output) == (None, b"begun\n")
    assert 0.3 <= late.seconds < 10


def test_device__run__everything_it_started_dies_with_it(device: Device, script: Callable[[str], Path]) -> None:
    mark = str(uuid.uuid4().int)[:12]
    program = script(
        f"sleep {mark} & setsid sleep {mark} & (setsid sh -c 'sleep {mark} & sleep {mark}' &) ; sleep 0.2; echo on"
    )
    assert device.run(program, [], timeout=20).output == b"on\n"
    assert not [line for line in _commands() if f"sleep {mark}" in line]


def test_device__run__output_without_end__stopped_and_said(device: Device, script: Callable[[str], Path]) -> None:
    found = device.run(script("yes"), [], timeout=60)
    assert found.code == -25 and "printed over 67108864 bytes" in found.error
    assert device.run(script("echo still here"), [], timeout=20).output == b"still here\n"


def test_device__run__memory_without_end__refused(device: Device, tmp_path: Path) -> None:
    source, program = tmp_path / "eat.c", tmp_path / "eat"
    source.write_text(
        "#include <stdlib.h>\n#include <string.h>\n"
        "int main(void) {\n"
        "  for (int i = 0; i < 64; ++i) { char *p = malloc(128 << 20); if (!p) return 9; *p = 1; }\n"
        "  return 0;\n}"
    )
    subprocess.run(["cc", "-O0", str(source), "-o", str(program)], check=True)
    assert device.run(program, [], timeout=20).code == 9


def test_device__run__not_a_program__says_so(device: Device, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\x7fELF, but not really")
    with pytest.raises(DeviceError, match=r"cannot start text: Exec format error; was it compiled for it\?"):
        device.run(tmp_path / "text", [], timeout=5)


def test_device__state__of_this_machine(device: RpcDevice) -> None:
    state = device.state()
    assert state.load is not None and state.load >= 0
    assert device.describe()["system"] == f"Linux {os.uname().release}"


def test_device__round_trip__the_same_bytes(device: RpcDevice) -> None:
    data = os.urandom(3_000_001)
    assert device.send_there_and_back(data) == data


def test_who_is_there__free_and_busy(server: Process, tracker: Address) -> None:
    key = server.key  # type: ignore[attr-defined]
    wait_until(lambda: is_registered(tracker, key), "free")
    (free,) = [present for present in who_is_there(tracker) if present.server.key == key]
    assert free.free and free.known["machine"] == os.uname().machine
    with RpcDevice(tracker, key, wait=30) as device:
        assert device.name == f"{key}@{free.server.address}"
        (busy,) = [present for present in who_is_there(tracker) if present.server.key == key]
        assert not busy.free and not busy.known


def test_device__busy__named_with_the_option(server: Process, tracker: Address) -> None:
    key = server.key  # type: ignore[attr-defined]
    with (
        RpcDevice(tracker, key, wait=30),
        pytest.raises(DeviceError, match=r"none of 1 .* in 0\.5 s; wait longer with --wait"),
    ):
        RpcDevice(tracker, key, wait=0.5)


def test_device__two_clients_in_turns__second_waits_for_the_first(server: Process, tracker: Address) -> None:
    key = server.key  # type: ignore[attr-defined]
    for _ in range(3):
        RpcDevice(tracker, key, wait=30).close()


STRANGERS = [
    (b"GET / HTTP/1.1\r\n\r\n", "not TVM's RPC, it begins with 47 45 54 20"),
    (bytes(range(256)) * 64, "not TVM's RPC, it begins with 00 01 02 03"),
    (struct.pack("<i", 0xFF270) + b"\0" * 12, "another version of TVM's protocol, magic 0xff270"),
    (struct.pack("<ii", MAGIC, 2_000_000_000), "a key of more than 255 bytes"),
    (struct.pack("<ii", MAGIC, -1), "a key of more than 255 bytes"),
    (struct.pack("<ii", MAGIC, 9) + b"client:no", "wrong key"),
    (struct.pack("<ii", MAGIC, 7) + b"\xff\xfe\xfd\xfc\xfb\xfa\xf9", "wrong key"),
    (struct.pack("<i", MAGIC)[:2], "closed before it had said who it is"),
    (b"", "closed before it had said who it is"),
]


@pytest.mark.parametrize("said, line", STRANGERS, ids=range(len(STRANGERS)))
def test_server__stranger__one_line_and_on(
    server: Process, tracker: Address, script: Callable[[str], Path], said: bytes, line: str
) -> None:
    before = len(server.lines)
    with socket.create_connection(("127.0.0.1", server.port)) as stranger:
        with suppress(OSError):  # it may have closed already
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
        stranger.settimeout(30)
        answer = _all_of(stranger)
    assert answer in (b"", struct.pack("<i", MAGIC + 2))
    wait_until(lambda: any(line in text for text in server.lines[before:]), line)
    assert len([text for text in server.lines[before:] if "refused" in text]) == 1
    with RpcDevice(tracker, server.key, wait=30) as device:  # type: ignore[attr-defined]
        assert device.run(script("echo on"), [], timeout=20).output == b"on\n"


def test_server__silent_connections__hold_up_nobody(
    server: Process, tracker: Address, script: Callable[[str], Path]
) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
    with RpcDevice(tracker, server.key, wait=30) as device:  # type: ignore[attr-defined]
        assert device.run(script("echo on"), [], timeout=20).output == b"on\n"
    for connection in silent:
        connection.close()


@pytest.mark.slow
def test_server__silent_connection__closed_after_a_while(server: Process) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.settimeout(60)
        assert silent.recv(1) == b""
    wait_until(lambda: server.says("refused: silent for 10 s"), "silent")


def test_server__garbage_behind_the_greeting__its_session_ends_alone(
    server: Process, tracker: Address, script: Callable[[str], Path]
) -> None:
    from tvmpose.devices.rpc import RpcSession
    from tvmpose.devices.tracker import request

    key = server.key  # type: ignore[attr-defined]
    for garbage in (
        b"\xff" * 64,
        struct.pack("<Qi", 4, 77),
        struct.pack("<QiQi", 16, 3, 1, 1 << 30),
        b"\0" * 8 + b"\1",
    ):
        session = RpcSession(request(tracker, key, 30))
        ended = sum("session ends" in line for line in server.lines)
        session._socket.sendall(garbage)
        session._socket.shutdown(socket.SHUT_WR)
        wait_until(lambda ended=ended: sum("session ends" in line for line in server.lines) > ended, "its end")
        session.close()
    with RpcDevice(tracker, key, wait=30) as device:
        assert device.run(script("echo on"), [], timeout=20).output == b"on\n"


def test_server__client_of_another_version__told_so(
    server: Process, tracker: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tvmpose.devices.rpc.VERSION", b"0.7.0")
    with pytest.raises(DeviceError, match=r"0\.7\.0"):
        RpcDevice(tracker, server.key, wait=30)  # type: ignore[attr-defined]


def test_server__default__listens_on_loopback_alone(server: Process) -> None:
    ss = shutil.which("ss") or pytest.skip("ss is not installed")
    lines = subprocess.run([ss, "-ltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [line for line in lines if f"pid={server.process.pid}," in line]
    assert len(ours) == 1
    assert ours[0].split()[3] == f"127.0.0.1:{server.port}"
    assert not any("warning" in line for line in server.lines)


def test_request__unknown_key__says_which_there_are(server: Process, tracker: Address) -> None:
    with pytest.raises(DeviceError, match=r"no board with the key 'nobody' .*keys there: .*(agent|serve)") as caught:
        RpcDevice(tracker, "nobody")
    assert "\n" not in str(caught.value)


def test_list_servers__not_a_tracker__named(server: Process) -> None:
    with pytest.raises(DeviceError, match=r"not TVM's tracker|closed the connection"):
        list_servers(Address("127.0.0.1", server.port))


def _all_of(connection: socket.socket) -> bytes:
    data = b""
    try:
        while part := connection.recv(4096):
            data += part
    except OSError:
        pass  # it closed with bytes of ours unread
    return data


def _commands() -> list[str]:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
