"""A bundle beside LiteRT on a board: here this machine with the agent, and a board that is emulated."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Compile, Compiled, FakeBundle
from tests.devices.servers import build_agent_here, is_registered, started, tvm_tracker, tvmpose, wait_until
from tvmpose.benchmark.board import compare_on_board
from tvmpose.benchmark.board_programs import parse_benchmark
from tvmpose.benchmark.duel import Rounds
from tvmpose.cli.main import main
from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.devices.tracker import Address
from tvmpose.errors import DeviceError

pytest.importorskip("tornado", reason="the extra tune is not installed")
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on this machine")

QUICK = Rounds(count=2, seconds=0.001)

# In place of LiteRT's benchmark_model, which no package brings: its flags, its words, and LiteRT itself behind them.
STAND_IN = """\
#!{python}
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
print("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", file=sys.stderr)
interpreter = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
interpreter.allocate_tensors()
files = dict(pair.rsplit(":", 1) for pair in flags["input_layer_value_files"].split(","))
for detail in interpreter.get_input_details():
    shape = [int(extent) for extent in flags["input_layer_shape"].split(",")]
    data = np.fromfile(files[detail["name"].replace(":", "::")], detail["dtype"]).reshape(shape)
    interpreter.set_tensor(detail["index"], data)
start = time.monotonic()
interpreter.invoke()
microseconds = (time.monotonic() - start) * 1e6
outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
open(flags["output_filepath"], "wb").write(b"".join(output.tobytes() for output in outputs))
print(f"INFO: Inference timings in us: Init: 5811, First inference: 67743, Warmup (avg): 65539, "
      f"Inference (avg): {{microseconds:.1f}}")
"""


@pytest.fixture(scope="module")
def tracker() -> Iterator[Address]:
    with tvm_tracker() as address:
        yield address


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_agent_here(tmp_path_factory.mktemp("agent") / "agent")


@pytest.fixture
def device(agent: Path, tracker: Address, tmp_path: Path) -> Iterator[RpcDevice]:
    """This machine, whose python3 is the one of the tests."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    with on_this_machine(agent, tracker, tmp_path, "python") as device:
        yield device


@contextmanager
def on_this_machine(agent: Path, tracker: Address, folder: Path, key: str) -> Iterator[RpcDevice]:
    """The agent, which finds programs in folder/bin alone."""
    path = f"PATH={folder / 'bin'}"
    with started(["/usr/bin/env", path, agent, "--key", key, "--tracker", str(tracker)], folder / "tmp"):
        wait_until(lambda: is_registered(tracker, key), "registered")
        with RpcDevice(tracker, key) as device:
            yield device


def test_compare_on_board__board_with_python__ours_runs_there(device: RpcDevice, fake_bundle: FakeBundle) -> None:
    one, two = compare_on_board(device, fake_bundle(), ["litert", "ncnn"], [1, 2], rounds=QUICK)
    assert (one.threads, two.threads) == (1, 2)
    assert one.ours.name == "tvmpose 0.0.0" and one.ours.settings == "compiled for host"
    assert one.ours.timing.frames >= 10 and one.ours.timing.median_ms > 0
    assert dict(one.missing).keys() == {"litert", "ncnn"} and one.peers == ()


def test_compare_on_board__library_that_does_not_open_there__its_words(
    device: RpcDevice, fake_bundle: FakeBundle
) -> None:
    with pytest.raises(DeviceError, match=r"python@127\.0\.0\.1:\d+: .*avx9000"):
        compare_on_board(device, fake_bundle("FAKE_NEEDS=1"), [], [1], rounds=QUICK)


def test_compare_on_board__too_slow__named_with_the_option(device: RpcDevice, fake_bundle: FakeBundle) -> None:
    with pytest.raises(DeviceError, match=r"not done in 0\.01 s; raise --time-limit"):
        compare_on_board(device, fake_bundle(), [], [1], rounds=QUICK, time_limit=0.01)


@pytest.mark.slow
def test_compare_on_board__no_python__programs_and_the_same_outputs(
    agent: Path, tracker: Address, tmp_path: Path, blazepose_lite: Compiled, data: Path
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("sh", "cat"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    model = data / "models" / "pose_landmark_lite.tflite"
    with on_this_machine(agent, tracker, tmp_path, "programs") as device:
        (without,) = compare_on_board(device, blazepose_lite.bundle, ["litert"], [1], [model], QUICK)
        assert without.peers == () and "put LiteRT's benchmark_model into the PATH" in dict(without.missing)["litert"]
        assert without.ours.timing.frames >= 10
        (tmp_path / "bin" / "benchmark_model").write_text(STAND_IN.format(python=sys.executable))
        (tmp_path / "bin" / "benchmark_model").chmod(0o755)
        (beside,) = compare_on_board(device, blazepose_lite.bundle, ["litert"], [1], [model], QUICK)
    (peer,) = beside.peers
    assert peer.settings == "XNNPACK delegate" and peer.timing.frames == QUICK.count
    assert peer.difference is not None and peer.difference < 1e-3


@pytest.mark.slow
def test_bench_device__emulated_raspberry_pi_4__both_rows(
    virtual: Callable[[str], VirtualBoard],
    compiled: Compile,
    data: Path,
    tracker: Address,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    virtual("raspberry-pi-4")
    bundle = compiled("pose_landmark_lite.tflite", "blazepose-lite", target="raspberry-pi-4").bundle
    model, out = data / "models" / "pose_landmark_lite.tflite", tmp_path / "out.json"
    at = ["--tracker", str(tracker)]
    with started(
        tvmpose("devices", "virtual", "raspberry-pi-4", "--serve", "--key", "pi4", *at), tmp_path / "tmp"
    ) as server:
        wait_until(lambda: is_registered(tracker, "pi4"), f"registered: {server.lines}", 300)
        quick = ["--threads", "1", "--rounds", "1", "--seconds", "0.001", "--answer", "60", "--json", str(out)]
        command = ["bench", str(bundle), "--device", "pi4", *at, "--against", "litert", "--model", str(model), *quick]
        assert main(command) == 0
    (comparison,) = json.loads(out.read_text())["comparisons"]
    (peer,) = comparison["peers"]
    assert "XNNPACK on" in peer["settings"] and "raspberry-pi-4" in comparison["ours"]["settings"]
    assert peer["difference"] < 1e-3
    assert "aarch64" in capsys.readouterr().out


def test_parse_benchmark__its_words__average_and_delegate() -> None:
    # As TensorFlow's source prints them: tflite/tools/benchmark/benchmark_model.cc
    text = (
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
        "INFO: Inference timings in us: Init: 66002, First inference: 637079, Warmup (avg): 637079, "
        "Inference (avg): 1885.74\n"
    )
    assert parse_benchmark(text) == (1_885_740, "XNNPACK delegate")
    assert parse_benchmark("Inference (avg): 2e+06")[0] == 2_000_000_000
    with pytest.raises(DeviceError, match="benchmark_model: ERROR: no such graph"):
        parse_benchmark("INFO: hello\nERROR: no such graph\n")
