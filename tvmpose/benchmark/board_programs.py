"""A bundle beside LiteRT on a board without Python: board_run.c opens the library, and LiteRT's benchmark_model times
the model, if the user has put it into the board's PATH.

That program gives an average for each run, and, from 2024 on, its outputs; of older ones they are not compared.
"""

import json
import re
import struct
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import Comparison, why_unreadable
from tvmpose.benchmark.duel import Contestant, Outcome, Rounds, largest_difference, last_remark
from tvmpose.benchmark.facts import Facts
from tvmpose.benchmark.model_files import file_for
from tvmpose.benchmark.timing import summarize
from tvmpose.codegen.bundle import MANIFEST
from tvmpose.codegen.toolchain import build_program, toolchain_for
from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.errors import DeviceError
from tvmpose.modelspec import TensorSpec
from tvmpose.runtime.pose import read_manifest
from tvmpose.targets import load_target

PROGRAM = Path(__file__).with_name("board_run.c")
BENCHMARK = "benchmark_model"
WARM_UP_ROUNDS = 1
_NOT_FOUND = 127  # of a shell
_RUN = f'command -v {BENCHMARK} >/dev/null || exit 127; {BENCHMARK} "$@" >&2 && cat outputs.bin 2>/dev/null; true'


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
    outputs = output_specs(bundle)
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as name:
        folder = Path(name)
        (folder / "inputs.bin").write_bytes(b"".join(np.ascontiguousarray(array).tobytes() for array in inputs))
        ours = _Ours(device, bundle, folder, time_limit)
        theirs = _Theirs(device, model, facts.inputs, folder, time_limit) if model else None
        return [_compare(ours, theirs, facts, outputs, peers, count, rounds, progress) for count in threads]


def output_specs(bundle: Path) -> list[TensorSpec]:
    """Of the bundle's network, in the source's order."""
    tensors = json.loads((bundle / MANIFEST).read_bytes())["model"]["outputs"]
    return [TensorSpec(tensor["name"], tuple(tensor["shape"]), tensor["dtype"]) for tensor in tensors]


class _Ours:
    """The bundle's library that the board runs, and the program for it."""

    def __init__(self, device: RpcDevice, bundle: Path, folder: Path, time_limit: float) -> None:
        self._device, self._limit, self._inputs = device, time_limit, folder / "inputs.bin"
        self.outputs = b""  # of the last run
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
        if done.code is None:
            raise DeviceError(f"{self._device.name}: not done in {self._limit:g} s; raise --time-limit")
        if done.code != 0:
            raise DeviceError(f"{self._library.name} on {self._device.name}: {last_remark(done.error, done.code)}")
        count = struct.unpack_from("<Q", done.output)[0]
        self.outputs = done.output[8 + 8 * count :]
        return [int(time) for time in np.frombuffer(done.output, "<u8", count, 8)]


class _Theirs:
    """LiteRT's benchmark_model with the same inputs."""

    def __init__(
        self, device: RpcDevice, model: Path, inputs: Sequence[TensorSpec], folder: Path, time_limit: float
    ) -> None:
        self._device, self._model, self._limit = device, model, time_limit
        self._files = [model]
        names, shapes, values = [], [], []
        offset, data = 0, (folder / "inputs.bin").read_bytes()
        for number, spec in enumerate(inputs):
            size = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
            file = folder / f"input-{number}.bin"
            file.write_bytes(data[offset : offset + size])
            offset += size
            self._files.append(file)
            names.append(spec.name)
            shapes.append(",".join(map(str, spec.shape)))
            values.append(f"{spec.name.replace(':', '::')}:{file.name}")
        self._flags = [
            f"--graph={model.name}",
            f"--input_layer={','.join(names)}",
            f"--input_layer_shape={':'.join(shapes)}",
            f"--input_layer_value_files={','.join(values)}",
            "--output_filepath=outputs.bin",
            "--use_xnnpack=true",
            "--warmup_runs=3",
        ]
        self.settings, self.outputs = "", b""

    def run(self, threads: int, seconds: float) -> int:
        """Nanoseconds of a frame, on average. Raises DeviceError where it cannot run."""
        flags = [*self._flags, f"--num_threads={threads}", f"--min_secs={seconds}"]
        try:
            done = self._device.run_own("sh", ["-c", _RUN, "sh", *flags], timeout=self._limit, files=self._files)
        except DeviceError as error:
            if "no such program" in str(error):
                raise DeviceError(f"not available: the board has no sh to run LiteRT's {BENCHMARK} with") from None
            raise
        if done.code == _NOT_FOUND:
            raise DeviceError(f"not available: put LiteRT's {BENCHMARK} into the PATH of the board's server")
        self.outputs = done.output
        average, self.settings = parse_benchmark(done.error)
        return average


def _compare(
    ours: _Ours,
    theirs: _Theirs | None,
    facts: Facts,
    outputs: Sequence[TensorSpec],
    peers: Sequence[str],
    threads: int,
    rounds: Rounds,
    progress: Callable[[str], None],
) -> Comparison:
    missing = dict.fromkeys(peers, "not available: no Python with it on the board")
    times: list[list[int]] = []
    peer_times: list[list[int]] = []
    if theirs is None:
        missing["litert"] = str(why_unreadable(PEERS["litert"], []))
    for number in range(-WARM_UP_ROUNDS, rounds.count):
        progress(f"{facts.name}: round {max(number + 1, 0)} of {rounds.count}")
        times += [ours.run(threads, rounds.seconds)] * (number >= 0)
        try:
            average = [theirs.run(threads, rounds.seconds)] if theirs else []
        except DeviceError as error:
            theirs, missing["litert"] = None, str(error)
        else:
            peer_times += [average] * (number >= 0)
    first = Contestant("tvmpose", Path(facts.name), threads)
    row = Outcome(first, "tvmpose", f"compiled for {ours.target}", summarize(times), 0.0)
    others: tuple[Outcome, ...] = ()
    if theirs:
        del missing["litert"]
        found, expected = _tensors(theirs.outputs, outputs), _tensors(ours.outputs, outputs)
        difference = largest_difference(found, expected) if found else None
        contestant = Contestant("litert", Path(facts.source_file), threads)
        name = f"LiteRT's {BENCHMARK}"
        others = (Outcome(contestant, name, theirs.settings, summarize(peer_times), difference),)
    asked = {name: reason for name, reason in missing.items() if name in peers}
    return Comparison(facts.name, threads, facts.multiply_adds, row, others, None, tuple(asked.items()))


def _tensors(data: bytes, specs: Sequence[TensorSpec]) -> list[np.ndarray]:
    """One after the other; [] where there are more or fewer bytes."""
    arrays, at = [], 0
    for spec in specs:
        count = int(np.prod(spec.shape))
        if at + count * np.dtype(spec.dtype).itemsize > len(data):
            return []
        arrays.append(np.frombuffer(data, spec.dtype, count, at).reshape(spec.shape))
        at += arrays[-1].nbytes
    return arrays if at == len(data) else []


def parse_benchmark(text: str) -> tuple[int, str]:
    """What benchmark_model prints: nanoseconds on average, and which delegates computed. Raises DeviceError."""
    found = re.search(r"Inference \(avg\): ([\d.e+]+)", text)  # in microseconds
    if not found:
        raise DeviceError(f"{BENCHMARK}: {(text.strip().splitlines() or ['no output'])[-1]}")
    delegates = sorted(set(re.findall(r"Created TensorFlow Lite (\w+) delegate", text)))
    names = ", ".join(delegates)
    return round(float(found[1]) * 1e3), f"{names} delegate" if names else "names no delegate: XNNPACK may be OFF"
