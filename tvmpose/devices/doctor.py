"""Is all well between this machine, the tracker and a board? Each part by itself, and what to type where one is not."""

import os
import platform
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.devices.tracker import Address, list_servers
from tvmpose.errors import DeviceError, TvmposeError

ROUND_TRIP_BYTES = 64 << 20
_BUSY_LOAD = 0.5
# Of what the board says that it is, the target with the least that such a machine has.
_LEAST_TARGETS = {"x86_64": "x86-64-v2", "aarch64": "raspberry-pi-3", "armv7l": "raspberry-pi-3-32bit"}


@dataclass(frozen=True)
class Finding:
    """One part of the way."""

    what: str
    well: bool
    found: str
    commands: tuple[str, ...] = ()  # that mend it


def examine(tracker: Address, key: str, target: str | None, wait: float, answer: float) -> Iterator[Finding]:
    """Until something fails on which the rest depends. Raises InputError for an unknown target."""
    resolved = _resolve(tracker)
    yield resolved
    if not resolved.well:
        return
    registered = _registered(tracker, key)
    yield registered
    if not registered.well:
        return
    try:
        with RpcDevice(tracker, key, wait=wait, answer=answer) as device:
            yield Finding("connect", True, f"{device.name}: from here to the board, as the board reaches the tracker")
            yield from _of_the_board(device, target)
    except DeviceError as error:
        yield Finding("connect", False, str(error), _ways(tracker, key))


def _resolve(tracker: Address) -> Finding:
    try:
        found = socket.getaddrinfo(tracker.host, tracker.port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        return Finding("tracker", False, f"{tracker.host}: {error.strerror}", (f"getent hosts {tracker.host}",))
    try:
        with socket.create_connection((tracker.host, tracker.port), 10):
            return Finding("tracker", True, f"{tracker} ({found}) can be reached")
    except OSError as error:
        start = f"tvmpose tracker --port {tracker.port}"
        return Finding("tracker", False, f"{tracker} ({found}): {error.strerror or error}", (start,))


def _registered(tracker: Address, key: str) -> Finding:
    try:
        servers = list_servers(tracker)
    except DeviceError as error:
        return Finding("registered", False, str(error), (f"tvmpose tracker --port {tracker.port}",))
    ours = [server for server in servers if server.key == key]
    if not ours:
        there = ", ".join(sorted({server.key for server in servers})) or "nobody"
        return Finding("registered", False, f"no {key}; there: {there}", _ways(tracker, key))
    addresses = ", ".join(str(server.address) for server in ours)
    return Finding("registered", True, f"{len(ours)} as {key}: {addresses}; {ours[0].free} free")


def _ways(tracker: Address, key: str) -> tuple[str, ...]:
    """To a board that is not there, or not to be reached."""
    return (
        f"tvmpose serve --key {key} --tracker {tracker} --ssh USER@BOARD --target TARGET",
        f"on the board: tvmpose serve --key {key} --tracker {tracker}",
        f"a phone: tvmpose devices kit --target android-arm64 --key {key} -o kit, and kit/README.md",
    )


def _of_the_board(device: RpcDevice, target: str | None) -> Iterator[Finding]:
    known = device.describe()
    machine, server = str(known.get("machine")), str(known.get("server"))
    yield Finding(
        "versions", True, f"{server} on {known.get('system')} {machine}; here Python {platform.python_version()}"
    )
    yield _state(known)
    yield _round_trip(device)
    name = target or _LEAST_TARGETS.get(machine)
    if name is None:
        yield Finding("kernel", False, f"which target is a {machine}?", ("tvmpose devices doctor ... --target TARGET",))
        return
    yield _kernel(device, name)
    yield _peers(device)


def _state(known: dict[str, object]) -> Finding:
    load, temperature = known.get("load"), known.get("temperature")
    clock, limit = known.get("clock"), known.get("clock_limit")
    texts = [f"load {load}", f"clock {clock} of {limit} MHz", f"temperature {temperature} °C"]
    quiet = not isinstance(load, int | float) or load < _BUSY_LOAD
    found = ", ".join(text.replace("None", "unknown") for text in texts)
    return Finding("state", True, found + ("" if quiet else "; something runs there: times will vary"))


def _round_trip(device: RpcDevice) -> Finding:
    data = os.urandom(ROUND_TRIP_BYTES)
    start = time.monotonic()
    try:
        same = device.send_there_and_back(data) == data
    except DeviceError as error:
        return Finding("64 MB there and back", False, str(error), ("df -h /tmp on the board; --answer 120",))
    seconds = time.monotonic() - start
    found = f"{seconds:.1f} s, {2 * ROUND_TRIP_BYTES / seconds / 1e6:.0f} MB/s" if same else "other bytes came back"
    return Finding("64 MB there and back", same, found)


def _kernel(device: RpcDevice, target_name: str) -> Finding:
    from tvmpose.devices.kernel_check import check_kernel
    from tvmpose.targets import load_target

    target = load_target(target_name)
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder:
        try:
            found = check_kernel(device, target, Path(folder))
        except TvmposeError as error:
            return Finding(
                "kernel", False, str(error), ("tvmpose targets", "tvmpose devices doctor ... --target TARGET")
            )
    return Finding("kernel", True, found)


def _peers(device: RpcDevice) -> Finding:
    """What `tvmpose bench --device` compares with."""
    try:
        code = "import ai_edge_litert, numpy; from importlib.metadata import version as v; print(v('ai-edge-litert'))"
        done = device.run_own("python3", ["-c", code], timeout=60)
        if done.code == 0:
            return Finding("bench", True, f"Python with LiteRT {done.output.decode().strip()}")
        reason = (done.error.strip().splitlines() or ["no LiteRT"])[-1]
    except DeviceError:
        reason = "no python3"
    advice = "on the board: pip install numpy ai-edge-litert; without Python: LiteRT's benchmark_model in its PATH"
    return Finding("bench", True, f"only tvmpose's own time there: {reason}. To compare, {advice}")
