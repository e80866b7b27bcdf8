"""A run of `tvmpose tune`, from a model's name to records: tasks, devices, search, summary."""

import contextlib
import math
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tvmpose.devices.device import Device
from tvmpose.errors import DeviceError, InputError, SetupError
from tvmpose.selection import parse
from tvmpose.targets import Target
from tvmpose.tuning.records import Log, cpu_of, user_file

if TYPE_CHECKING:
    from tvmpose.tuning.count import Counter
    from tvmpose.tuning.tasks import Task
    from tvmpose.tuning.tuner import Round, Search, Tuner

_ERRORS_SHOWN = 5
_RAISE = {"timeout": " (raise --run-timeout)", "not built in": " (raise --build-timeout)"}


@dataclass(frozen=True)
class Request:
    """What the command was asked for; see its --help."""

    model: str
    card: str | None
    target: Target
    rounding: str | None = None
    quantization: Path | None = None
    key: str | None = None
    tracker: str = "127.0.0.1:9190"
    wait: float = 60.0
    answer: float = 20.0
    count: bool = False
    threads: int = 0
    flush: int = 0
    seconds: float | None = 600.0
    trials: int | None = None
    tasks: str | None = None
    seed: int = 0
    fresh: bool = False
    build_timeout: float = 120.0
    run_timeout: float | None = None


class Shown(Protocol):
    """Where progress goes."""

    def message(self, text: str) -> None:
        """A line for people."""

    def round(self, tuner: "Tuner", done: "Round", left: float | None) -> None:
        """After each round. left: seconds of the budget."""


def list_tasks(request: Request) -> list[str]:
    """A line for each task, with the number that --tasks takes."""
    return [
        f"{number:>4}  {task.calls:>3} x {task.cost.multiply_adds / 1e6:8.2f} M multiply-adds  {task.workload}  "
        f"{task.title}"
        for number, task in enumerate(tasks_of(request))
    ]


def tune(request: Request, shown: Shown) -> list[str]:
    """Search until the budget is spent; returns the summary. Interrupted, what was measured is on the disk.

    Raises InputError, ModelError, SetupError or DeviceError.
    """
    from tvmpose.devices.local import cores
    from tvmpose.tuning.build import Builder
    from tvmpose.tuning.crew import Crew
    from tvmpose.tuning.measure import Settings
    from tvmpose.tuning.tuner import Limits, Tuner

    started, target = time.monotonic(), request.target
    if len(target.variants) > 1:
        raise InputError(
            f"--target {target.name}: has several levels; tune for a target of one CPU, as `tvmpose targets` lists them"
        )
    path = user_file(target)
    with tempfile.TemporaryDirectory(prefix="tvmpose-tune-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        counter = _counter(request, folder) if request.count else None
        crew = None
        if not counter:
            crew = stack.enter_context(Crew(stack.enter_context(_devices(request, shown)), shown.message))
        tasks = _picked(tasks_of(request), request.tasks)
        if request.fresh:
            path.unlink(missing_ok=True)
        log = stack.enter_context(Log(path))
        builder = stack.enter_context(Builder(target, folder / "built", cores(), request.build_timeout))
        settings = Settings(request.threads, limit=request.run_timeout, flush=request.flush)
        tuner = Tuner(tasks, target, log, builder, folder, crew, counter, settings, request.seed, shown.message)
        again = f"; {tuner.reused} candidates known from earlier runs" if tuner.reused else ""
        where = ", ".join(crew.counts) if crew else f"the virtual {target.name}, counted"
        shown.message(f"{len(tasks)} tasks for {target.name} on {where}{again}; records: {path}")
        deadline = time.monotonic() + (request.seconds or math.inf)
        interrupted = stack.enter_context(_noted_interrupt())

        def on_round(tuner: "Tuner", done: "Round") -> None:
            shown.round(tuner, done, None if deadline == math.inf else max(0.0, deadline - time.monotonic()))
            if interrupted.is_set():
                raise KeyboardInterrupt

        tuner.run(Limits(deadline, request.trials or 1 << 62), on_round)
        return _summary(tuner, crew, path, started)


@contextlib.contextmanager
def _noted_interrupt() -> Iterator[threading.Event]:
    """Set by SIGINT, which raises KeyboardInterrupt as ever: one that a callback from C++ has swallowed is not lost."""
    event, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def note(*_: object) -> None:
        event.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield event
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def tasks_of(request: Request) -> "list[Task]":
    from tvm.ir import IRModule

    from tvmpose.compile import import_network, resolve
    from tvmpose.kernels.isa import vector_isa
    from tvmpose.kernels.requantize import Rounding
    from tvmpose.passes.pipeline import begin_pipeline, finish_pipeline
    from tvmpose.quantize.request import Request as Quantization
    from tvmpose.tuning.tasks import extract

    if request.target.gpu:
        raise InputError(f"{request.target.name}: kernels for GPUs cannot be tuned yet; they have their defaults")
    options = resolve(
        request.model,
        card=request.card,
        target=request.target,
        output=None,
        verify=False,
        rounding=request.rounding,
        quantization=Quantization(choices=request.quantization) if request.quantization else None,
    )
    network, llvm = import_network(options), request.target.llvm()
    after: dict[str, IRModule] = {}
    finish_pipeline(begin_pipeline(network.module), llvm, after.__setitem__, network.rounding or Rounding.XNNPACK)
    return extract(after["fuse"], vector_isa(llvm))


def _picked(tasks: "list[Task]", text: str | None) -> "list[Task]":
    if text is None:
        return tasks
    return [tasks[index] for index in parse(text, [task.workload for task in tasks], "--tasks")]


@contextlib.contextmanager
def _devices(request: Request, shown: Shown) -> Iterator[list[Device]]:
    """All boards of the key that are free, or this machine.

    Raises InputError where this machine is none of the target's, DeviceError where there is no board.
    """
    from tvmpose.devices.local import LocalDevice
    from tvmpose.devices.rpc_device import RpcDevice
    from tvmpose.devices.tracker import list_servers, parse_address
    from tvmpose.targets import host_target, needed_features

    devices: list[Device] = []
    if request.key is None:
        host = host_target()
        if request.target.triple != host.triple or not needed_features(request.target) <= needed_features(host):
            raise InputError(
                f"--target {request.target.name}: this machine is none; --key KEY for boards at a tracker, or --count "
                "for a virtual one"
            )
        devices.append(LocalDevice())
    else:
        tracker = parse_address(request.tracker)
        there = [server for server in list_servers(tracker) if server.key == request.key]
        for index in range(max(len(there), 1)):  # asked of an empty tracker, too: it says what to do
            try:
                wait = request.wait if not devices else min(request.wait, 1.0)
                devices.append(RpcDevice(tracker, request.key, wait=wait, answer=request.answer))
            except DeviceError as error:
                if not devices and index + 1 >= len(there):
                    raise
                shown.message(str(error))
    try:
        yield devices
    finally:
        for device in devices:
            device.close()


def _counter(request: Request, folder: Path) -> "Counter":
    from tvmpose.devices.virtual import board_that_is_up
    from tvmpose.tuning.count import Counter

    board = board_that_is_up(request.target.name)
    if board is None:
        name = request.target.name
        raise SetupError(f"--count: the virtual {name} is not up: tvmpose devices virtual {name} --up")
    return Counter(board, folder)


def _summary(tuner: "Tuner", crew: object, path: Path, started: float) -> list[str]:
    """started: of time.monotonic."""
    from tvmpose.tuning.crew import Crew
    from tvmpose.tuning.progress import show

    unit = tuner.unit
    default, best = tuner.total()
    faster = [search for search in tuner.searches if search.is_faster]

    def gain(search: "Search") -> float:
        return search.task.calls * (search.settled_default - search.settled)

    lines = [""]
    for search in sorted(faster, key=gain, reverse=True):
        values = f"{show(search.settled_default, unit)} -> {show(search.settled, unit)}"
        decided = ", ".join(f"{name} {value}" for name, value in (search.settled_decisions or {}).items())
        lines.append(f"{search.task.calls:>4} x {values}  {search.task.title}: {decided}")
    lines += [
        f"  failed  {search.task.title}: {search.reason}; it keeps its default"
        for search in tuner.searches
        if search.reason
    ]
    for what, count in tuner.errors.most_common(_ERRORS_SHOWN):
        advice = next((text for start, text in _RAISE.items() if what.startswith(start)), "")
        lines.append(f"  errors  {count} x {what}{advice}")
    if isinstance(crew, Crew):
        lines += [f"  device  {name}: {count} groups of candidates" for name, count in crew.counts.items()]
        lines += [f"left out  {name}: {why}" for name, why in crew.out.items()]
    kernels = f"a frame's kernels {show(default, unit)} -> {show(best, unit)}" if default else "nothing was measured"
    lines.append(f"{len(faster)} of {len(tuner.searches)} tasks are faster than by default; {kernels}")
    lines.append(_times(tuner, started))
    seconds = time.monotonic() - started
    lines.append(f"{tuner.trials} candidates in {seconds:.0f} s for {cpu_of(tuner.target)}; records: {path}")
    return lines


def _times(tuner: "Tuner", started: float) -> str:
    """Where the time went."""
    parts = (
        ("searching", sum(done.search_seconds for done in tuner.rounds)),
        ("building", sum(done.build_seconds for done in tuner.rounds)),
        ("measuring", sum(done.measure_seconds for done in tuner.rounds)),
    )
    first = f"first candidate measured after {tuner.first_trial - started:.1f} s; " if tuner.first_trial else ""
    slow = sum(done.search_seconds > done.measure_seconds for done in tuner.rounds)
    times = ", ".join(f"{seconds:.1f} s {name}" for name, seconds in parts)
    return f"{first}{times}; rounds that searched for longer than they measured: {slow} of {len(tuner.rounds)}"
