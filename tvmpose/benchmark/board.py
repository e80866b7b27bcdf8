"""A bundle beside LiteRT on a board at the tracker: the very library, the same inputs, in turns, there."""

import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tvmpose
from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.board_programs import compare_programs
from tvmpose.benchmark.compare import Comparison, noise, why_unreadable
from tvmpose.benchmark.duel import Contestant, Outcome, Refusal, Rounds
from tvmpose.benchmark.facts import Facts, read_facts
from tvmpose.benchmark.model_files import file_for, model_files
from tvmpose.benchmark.timing import Timing
from tvmpose.devices.device import Finished
from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.errors import DeviceError

PEERS_ON_BOARDS = ("litert", "ncnn")
_PYTHON_SECONDS = 120.0
_JOB, _BUNDLE = "job.tar", "bundle"
# What the board's Python begins with: it unpacks what was sent and goes on in that.
_BEGIN = """\
import os, runpy, sys, tarfile
tarfile.open("job.tar").extractall(".")
sys.path.insert(0, os.getcwd())
os.environ["PYTHONPATH"] = os.getcwd()
runpy.run_module("tvmpose.benchmark.on_board", run_name="__main__", alter_sys=True)
"""


def compare_on_board(
    device: RpcDevice,
    bundle: Path,
    peers: Sequence[str],
    threads: Sequence[int],
    given: Sequence[Path] = (),
    rounds: Rounds = Rounds(),  # noqa: B008 - frozen
    time_limit: float = 1800.0,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Comparison]:
    """A Comparison for each number of threads, through the board's Python where that has NumPy, else through programs.

    peers: of PEERS_ON_BOARDS; given: model files, see model_files; time_limit: seconds on the board for each number of
    threads. Raises InputError, VerifyError, SetupError, DeviceError.
    """
    facts = read_facts(bundle)
    files = model_files(facts, given) if peers else []
    inputs = [noise(spec) for spec in facts.inputs]
    if not _has_python(device):
        progress(f"{device.name} has no Python with NumPy: programs take its place")
        return compare_programs(device, bundle, facts, peers, threads, files, inputs, rounds, time_limit, progress)
    missing = {name: str(why_unreadable(PEERS[name], files)) for name in peers if not file_for(PEERS[name], files)}
    models = {name: path for name in peers if (path := file_for(PEERS[name], files))}
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder:
        job = Path(folder) / _JOB
        job.write_bytes(pack_job(bundle, models, inputs))
        comparisons = []
        for count in threads:
            progress(f"{facts.name}, {count} thread{'s' * (count != 1)}, on {device.name}")
            entries = [f"tvmpose:{_BUNDLE}:{count}", *(f"{name}:{path.name}:{count}" for name, path in models.items())]
            arguments = ["-c", _BEGIN, str(rounds.count), str(rounds.seconds), *entries]
            done = device.run_own("python3", arguments, timeout=time_limit, files=[job])
            comparisons.append(_comparison(facts, count, _results(device.name, done, time_limit), missing))
    return comparisons


def pack_job(bundle: Path, models: Mapping[str, Path], inputs: Sequence[np.ndarray]) -> bytes:
    """All that the board needs, in a tar: this package's Python, the bundle, the peers' models, the inputs."""
    package, data = Path(tvmpose.__file__).parent, io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path in sorted(package.rglob("*.py")):
            tar.add(path, f"tvmpose/{path.relative_to(package)}", recursive=False)
        for path in sorted(bundle.iterdir()):
            tar.add(path, f"{_BUNDLE}/{path.name}", recursive=False)
        for path in models.values():
            tar.add(path, path.name, recursive=False)
        tensors = io.BytesIO()
        np.savez(tensors, *inputs)
        about = tarfile.TarInfo("inputs.npz")
        about.size = tensors.tell()
        tensors.seek(0)
        tar.addfile(about, tensors)
    return data.getvalue()


def _has_python(device: RpcDevice) -> bool:
    try:
        return device.run_own("python3", ["-c", "import numpy"], timeout=_PYTHON_SECONDS).code == 0
    except DeviceError as error:
        if "no such program" in str(error):
            return False
        raise


def _results(where: str, done: Finished, time_limit: float) -> list[dict[str, Any]]:
    if done.code is None:
        raise DeviceError(f"{where}: not done in {time_limit:g} s; raise --time-limit")
    if done.code:
        lines = done.error.strip().splitlines() or [f"exit code {done.code}"]
        raise DeviceError(f"{where}: {lines[-1]}")
    return list(json.loads(done.output.splitlines()[-1]))


def _comparison(
    facts: Facts, threads: int, results: Sequence[dict[str, Any]], missing: Mapping[str, str]
) -> Comparison:
    outcomes, refused = [], []
    for result in results:
        who = result["contestant"]
        contestant = Contestant(who["runtime"], Path(who["path"]), who["threads"])
        if "reason" in result:
            refused.append(Refusal(contestant, result["reason"]))
        else:
            timing = Timing(**result["timing"])
            outcomes.append(Outcome(contestant, result["name"], result["settings"], timing, result["difference"]))
    ours, *others = outcomes
    absent = (*missing.items(), *((refusal.contestant.runtime, refusal.reason) for refusal in refused))
    return Comparison(facts.name, threads, facts.multiply_adds, ours, tuple(others), None, absent)
