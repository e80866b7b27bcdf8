"""Boards, trackers and clients that break in the middle: the others find their way."""

import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from tests.devices.servers import (
    Process,
    build_agent_here,
    is_registered,
    processes_with,
    started,
    tvm_tracker,
    tvmpose,
    wait_until,
)
from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.devices.tracker import Address
from tvmpose.errors import DeviceError

pytest.importorskip("tornado", reason="the extra tune is not installed")
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on this machine")

Start = Callable[..., AbstractContextManager[Process]]


@pytest.fixture(scope="module")
def tracker() -> Iterator[Address]:
    with tvm_tracker() as address:
        yield address


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_agent_here(tmp_path_factory.mktemp("agent") / "agent")


# Each start of the second loads TVM.
@pytest.fixture(params=["agent", pytest.param("serve", marks=pytest.mark.slow)])
def start(request: pytest.FixtureRequest, agent: Path, tmp_path: Path) -> Start:
    """``start(tracker, key)``: one of the servers."""

    def run(tracker: Address, key: str) -> AbstractContextManager[Process]:
        command = [agent] if request.param == "agent" else tvmpose("serve")
        return started([*command, "--key", key, "--tracker", str(tracker)], tmp_path / "tmp")

    return run


@pytest.fixture
def key() -> str:
    return f"board-{uuid.uuid4()}"[:20]


def test_server__killed_during_a_run__error_and_nothing_left(
    start: Start, tracker: Address, key: str, tmp_path: Path
) -> None:
    mark, program = uuid.uuid4().hex, tmp_path / "program"
    program.write_text(f"#!/bin/sh\nsetsid sh -c 'sleep 1000; : {mark}' &\nsh -c 'sleep 1000; : {mark}'\n")
    with start(tracker, key) as server:
        wait_until(lambda: is_registered(tracker, key), "registered")
        device = RpcDevice(tracker, key)
        failed: list[Exception] = []

        def run() -> None:
            try:
                device.run(program, [], timeout=500)
            except DeviceError as error:
                failed.append(error)

        runner = threading.Thread(target=run)
        runner.start()
        wait_until(lambda: len(processes_with(mark)) >= 2, "the program's processes")
        server.process.kill()
        runner.join(60)
        assert len(failed) == 1 and "\n" not in str(failed[0]), failed
        wait_until(lambda: not processes_with(mark), "its end")
        wait_until(lambda: not list((tmp_path / "tmp").iterdir()), "its folder's end")


def test_device__server_that_was_killed_and_is_back__next_call_works(
    start: Start, tracker: Address, key: str, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho on\n")
    with start(tracker, key) as server:
        wait_until(lambda: is_registered(tracker, key), "registered")
        device = RpcDevice(tracker, key)
        assert device.run(program, [], timeout=20).output == b"on\n"
        before = device.name
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not device._session.is_alive(), "the session's end")
    with start(tracker, key), device:
        assert device.run(program, [], timeout=20).output == b"on\n"
        assert device.name != before


def test_client__killed_during_a_run__board_is_free_again(
    start: Start, tracker: Address, key: str, tmp_path: Path
) -> None:
    mark, program = uuid.uuid4().hex, tmp_path / "program"
    program.write_text(f"#!/bin/sh\nsh -c 'sleep 1000; : {mark}'\n")
    client = (
        "import sys; from pathlib import Path; from tvmpose.devices.rpc_device import RpcDevice; "
        "from tvmpose.devices.tracker import parse_address; "
        "RpcDevice(parse_address(sys.argv[1]), sys.argv[2]).run(Path(sys.argv[3]), [], timeout=500)"
    )
    with start(tracker, key):
        wait_until(lambda: is_registered(tracker, key), "registered")
        command = [*tvmpose()[:1], "-c", client, str(tracker), key, str(program)]
        with subprocess.Popen(command) as process:
            wait_until(lambda: processes_with(f": {mark}"), "the program")
            process.kill()
        wait_until(lambda: not processes_with(mark), "its end")
        wait_until(lambda: is_registered(tracker, key), "free")


def test_device__board_that_stands_still__named_with_the_option(
    start: Start, tracker: Address, key: str, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho on\n")
    with start(tracker, key):
        wait_until(lambda: is_registered(tracker, key), "registered")
        with RpcDevice(tracker, key, answer=1.0) as device:
            (session,) = [int(path.name) for path in Path("/proc").iterdir() if _is_session(path, tmp_path / "tmp")]
            os.kill(session, signal.SIGSTOP)
            try:
                with pytest.raises(DeviceError, match=rf"{key}: .*: no answer to .* in [\d.]+ s; raise --answer"):
                    device.run(program, [], timeout=0.1)
            finally:
                os.kill(session, signal.SIGCONT)


def test_server__tracker_that_dies_and_comes_back__registers_again(start: Start, key: str) -> None:
    with tvm_tracker() as tracker:
        pass
    with start(tracker, key) as server:
        server.wait_for("trying again")
        for times in (1, 2):
            with tvm_tracker(tracker.port):
                wait_until(lambda: is_registered(tracker, key), "registered")
                with RpcDevice(tracker, key, wait=30) as device:
                    assert device.state().load is not None
            server.wait_for("trying again", times + 1)
        assert sum("registered as" in line for line in server.lines) == 2


def test_server__session_longer_than_its_client_asked_for__ends(start: Start, tracker: Address, key: str) -> None:
    from tvm import rpc

    with start(tracker, key) as server:
        wait_until(lambda: is_registered(tracker, key), "registered")
        session = rpc.connect_tracker(tracker.host, tracker.port).request(key, session_timeout=1)
        session.upload(bytearray(b"#!/bin/sh\nsleep 1000\n"), "program")
        with pytest.raises(Exception, match="session has expired"):
            session.get_function("tvmpose.run")("program", b"", 500.0, b"")
        server.wait_for("session ends")
        wait_until(lambda: is_registered(tracker, key), "free again")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_server__stopped_during_a_run__clean_end(
    start: Start, tracker: Address, key: str, tmp_path: Path, number: signal.Signals
) -> None:
    mark, program = uuid.uuid4().hex, tmp_path / "program"
    program.write_text(f"#!/bin/sh\nsh -c 'sleep 1000; : {mark}'\n")
    with start(tracker, key) as server:
        wait_until(lambda: is_registered(tracker, key), "registered")
        device = RpcDevice(tracker, key)
        runner = threading.Thread(target=lambda: _ignore(lambda: device.run(program, [], timeout=500)))
        runner.start()
        wait_until(lambda: processes_with(f": {mark}"), "the program")
        server.process.send_signal(number)
        assert server.process.wait(60) == 0
        runner.join(60)
        assert not processes_with(mark)
        assert not list((tmp_path / "tmp").iterdir())


def test_agent__file_that_does_not_fit__said_and_on(agent: Path, tracker: Address, key: str, tmp_path: Path) -> None:
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$0" "$@"', str(agent)]
    big, small = tmp_path / "big", tmp_path / "small"
    big.write_bytes(os.urandom(1 << 20))
    small.write_text("#!/bin/sh\necho on\n")
    with started([*limited, "--key", key, "--tracker", str(tracker)], tmp_path / "tmp"):
        wait_until(lambda: is_registered(tracker, key), "registered")
        with RpcDevice(tracker, key) as device:
            with pytest.raises(DeviceError, match="upload: File too large"):
                device.run(big, [], timeout=5)
            assert device.run(small, [], timeout=20).output == b"on\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 9))])
def test_tracker__stopped__no_process_stays(number: int, tmp_path: Path) -> None:
    with started(tvmpose("tracker", "--port", "0"), tmp_path / "tmp") as tracker:
        tracker.wait_for("tracker on 127.0.0.1:")
        pid = tracker.process.pid
        assert not [path for path in Path("/proc").iterdir() if _parent(path) == pid]
        tracker.process.send_signal(number)
        assert tracker.process.wait(60) == (-9 if number == signal.SIGKILL else 0)


def _ignore(call: Callable[[], object]) -> None:
    with suppress(DeviceError):
        call()


def _parent(path: Path) -> int | None:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def _is_session(path: Path, temporary: Path) -> bool:
    """Whether this process has its files in a session's folder, or is told to."""
    if not path.name.isdigit():
        return False
    try:
        environment = (path / "environ").read_bytes()
    except OSError:
        return False
    marked = f"TMPDIR={temporary}\0".encode() in environment
    parent = _parent(path)
    try:
        above = (Path("/proc") / str(parent) / "environ").read_bytes()
    except OSError:
        return False
    return marked and f"TMPDIR={temporary}\0".encode() in above
