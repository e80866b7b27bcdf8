"""A bundle beside LiteRT on a board without Python: board_run.c opens the library, and LiteRT's benchmark_model times
the model, if the user has put it into the board's PATH.

That program gives times, an average for each run, but no outputs: they are not compared.
"""

import re
import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import Comparison
from tvmpose.benchmark.duel import Contestant, Outcome, Rounds, last_remark
from tvmpose.benchmark.facts import Facts
from tvmpose.benchmark.model_files import file_for
from tvmpose.benchmark.timing import summarize
from tvmpose.codegen.toolchain import build_program, toolchain_for
from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.errors import DeviceError
from tvmpose.runtime.pose import read_manifest
from tvmpose.targets import load_target

PROGRAM = Path(__file__).with_name("board_run.c")
BENCHMARK = "benchmark_model"
WARM_UP_ROUNDS = 1
_CPU_LACKS = 1  # of board_run.c: the library does not open


def compare_programs(
    device: RpcDevice,
    bundle: Path,
    facts: Facts,
    peers: Sequence[str],
    threads: Sequence[int],
    files: Sequence[Path],
    inputs: Sequence[np.ndarray],
    rounds: Rounds,
    time_limit: float,
    progress: Callable[[str], None],
) -> list[Comparison]:
    """See board.compare_on_board."""
    model = file_for(PEERS["litert"], files) if "litert" in peers else None
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as name:
        folder = Path(name)
        (folder / "inputs.bin").write_bytes(b"".join(np.ascontiguousarray(array).tobytes() for array in inputs))
        ours = _Ours(device, bundle, folder, time_limit)
        return [_compare(device, facts, ours, model, peers, count, rounds, time_limit, progress) for count in threads]


class _Ours:
    """The bundle's library that the board runs, and the program for it."""

    def __init__(self, device: RpcDevice, bundle: Path, folder: Path, time_limit: float) -> None:
        self._device, self._limit, self._inputs = device, time_limit, folder / "inputs.bin"
        reason = ""
        for library in reversed(read_manifest(bundle).libraries):  # the most demanding first
            self.target, self._library = library.target, bundle / library.file
            self._symbol = library.file.removeprefix("lib").removesuffix(".so")
            self._program = folder / f"run-{self._symbol}"
            build_program(PROGRAM, self._program, toolchain_for(load_target(library.target)))
            try:
                self.run(1, 0.0)
                return
            except DeviceError as error:
                reason = str(error)
        raise DeviceError(reason)

    def run(self, threads: int, seconds: float) -> list[int]:
        """Nanoseconds of each frame."""
        arguments = [f"./{self._library.name}", self._symbol, "inputs.bin", str(threads), str(seconds)]
        files = [self._library, self._inputs]
        done = self._device.run(self._program, arguments, timeout=self._limit, files=files)
        if done.code != 0:
            raise DeviceError(f"{self._library.name} on {self._device.name}: {last_remark(done.error, done.code or 0)}")
        count = struct.unpack_from("<Q", done.output)[0]
        return [int(time) for time in np.frombuffer(done.output, "<u8", count, 8)]


def _compare(
    device: RpcDevice,
    facts: Facts,
    ours: _Ours,
    model: Path | None,
    peers: Sequence[str],
    threads: int,
    rounds: Rounds,
    time_limit: float,
    progress: Callable[[str], None],
) -> Comparison:
    reason = "" if model else "no .tflite file was given (--model)"
    times: list[list[int]] = []
    peer_times: list[list[int]] = []
    settings = ""
    for number in range(-WARM_UP_ROUNDS, rounds.count):
        progress(f"{facts.name}: round {max(number + 1, 0)} of {rounds.count} on {device.name}")
        mine = ours.run(threads, rounds.seconds)
        if model and not reason:
            try:
                average, settings = time_litert(device, model, threads, rounds.seconds, time_limit)
            except DeviceError as error:
                reason = str(error)
            else:
                peer_times += [[average]] * (number >= 0)
        times += [mine] * (number >= 0)
    first = Contestant("tvmpose", Path(facts.name), threads)
    row = Outcome(first, "tvmpose", f"compiled for {ours.target}", summarize(times), 0.0)
    missing = [(name, "no Python with it on the board") for name in peers if name != "litert"]
    others: tuple[Outcome, ...] = ()
    if reason and "litert" in peers:
        missing.append(("litert", reason))
    elif model:
        contestant = Contestant("litert", model, threads)
        others = (Outcome(contestant, f"LiteRT's {BENCHMARK}", settings, summarize(peer_times), None),)
    return Comparison(facts.name, threads, facts.multiply_adds, row, others, None, tuple(missing))


def time_litert(device: RpcDevice, model: Path, threads: int, seconds: float, time_limit: float) -> tuple[int, str]:
    """Nanoseconds of a frame, on average, and which delegate computed. Raises DeviceError where it cannot run."""
    arguments = [
        f"--graph={model.name}",
        f"--num_threads={threads}",
        f"--min_secs={seconds}",
        "--warmup_runs=3",
        "--use_xnnpack=true",
    ]
    try:
        done = device.run_own(BENCHMARK, arguments, timeout=time_limit, files=[model])
    except DeviceError as error:
        if "no such program" in str(error):
            raise DeviceError(f"not available: put LiteRT's {BENCHMARK} into the PATH of the board's server") from None
        raise
    return parse_benchmark(done.output.decode(errors="replace") + done.error)


def parse_benchmark(text: str) -> tuple[int, str]:
    """What benchmark_model prints: "Inference (avg): 12345.6", in microseconds, and names of delegates."""
    found = re.search(r"Inference \(avg\): ([\d.e+]+)", text)
    if not found:
        raise DeviceError(f"{BENCHMARK}: {(text.strip().splitlines() or ['no output'])[-1]}")
    delegates = sorted(set(re.findall(r"Created TensorFlow Lite (\w+) delegate|(\w+) delegate created", text)))
    names = ", ".join(one or other for one, other in delegates)
    return round(float(found[1]) * 1e3), f"{names} delegate" if names else "no delegate named: XNNPACK may be OFF"
