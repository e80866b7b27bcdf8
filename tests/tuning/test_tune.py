"""The whole road on this machine with a small network: tasks, candidates, records, and a library made of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm.ir import IRModule

from tests.tiny import Tiny
from tvmpose.cli.main import main
from tvmpose.kernels.choices import Choices
from tvmpose.kernels.dispatch import schedule_kernel
from tvmpose.kernels.isa import vector_isa
from tvmpose.targets import host_target, load_target
from tvmpose.tuning.records import read_file, user_file
from tvmpose.tuning.session import Request, tasks_of
from tvmpose.tuning.tasks import arguments, expected

pytest.importorskip("xgboost", reason="the tune extra is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TVMPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("target", ["host", "raspberry-pi-4"])
def test_schedule_kernel__any_decisions__same_results(tiny: Tiny, target: str) -> None:
    """On this machine's vectors; for the other the templates only have to take the decisions."""
    rng = np.random.default_rng(0)
    llvm = load_target(target).llvm()
    for task in tasks_of(Request(str(tiny.model), None, load_target(target))):
        inputs = arguments(task)
        reference = expected(task, inputs)
        for _ in range(3):
            choices = Choices(lambda name, options, default: int(rng.integers(len(options))))
            kernel = schedule_kernel(task.function, vector_isa(llvm), choices)
            if target != "host":
                continue
            library = tvm.tirx.build(IRModule({"main": kernel.with_attr("global_symbol", "main")}), target=llvm)
            results = [np.zeros(result.shape, result.dtype) for result in task.results]
            tensors = [tvm.runtime.tensor(array) for array in (*inputs, *results)]
            library["main"](*tensors)
            for found, wanted in zip(tensors[len(inputs) :], reference, strict=True):
                assert np.allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max()), choices.values


def test_tune__a_few_trials__records_that_a_second_run_and_compile_use(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tune", str(tiny.model), "--trials", "12", "--tasks", "0", "--threads", "1"]
    assert main(command) == 0
    first = capsys.readouterr().out
    path = user_file(host_target())
    records = list(read_file(path))
    assert "8 tried, 8 built" in first and "4 tried, 4 built" in first and str(path) in first
    trials = [record for record in records if record.stage != "final"]
    assert len(trials) == 12 and len({json.dumps(record.decisions) for record in trials}) == 12
    assert all(
        record.value > 0 and record.default > 0 and record.difference < 1e-4 for record in trials if not record.error
    )

    assert main(command) == 0
    assert f"{len(records)} candidates known from earlier runs" in capsys.readouterr().out
    again = [record for record in read_file(path) if record.stage != "final"]
    assert len({json.dumps(record.decisions) for record in again}) == len(again), "nothing is measured twice"

    # a record that compile must use
    with path.open("a") as file:
        file.write(replace(trials[0], stage="final", value=0.5, default=1.0).line())
    assert main(["compile", str(tiny.model), "--samples", str(tiny.samples), "-o", str(tmp_path / "bundle")]) == 0
    assert "tuned  1 of " in capsys.readouterr().out
    assert main(["records", "host"]) == 0
    assert "0.500" in capsys.readouterr().out
    assert main(["records", "host", "--export", str(tmp_path / "best.jsonl")]) == 0
    path.unlink()
    assert main(["records", "host", "--merge", str(tmp_path / "best.jsonl")]) == 0
    assert "1 records added" in capsys.readouterr().out


def test_tune__list_of_tasks__costs_and_names(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(tiny.model), "--tasks"]) == 0
    assert "multiply-adds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "raspberry-pi-4"], "this machine is none; --key KEY for boards at a tracker, or --count"),
        (["--target", "x86-64"], "has several levels"),
        (["--count", "--key", "a"], "--count is for virtual boards"),
        (["--tasks", "999"], "--tasks"),
        (["--key", "nobody", "--tracker", "127.0.0.1:9"], "tracker 127.0.0.1:9"),
    ],
)
def test_tune__what_cannot_be__one_line(
    tiny: Tiny, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    assert main(["tune", str(tiny.model), *arguments]) in (3, 7)
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (cache / "schedules").exists() or not list((cache / "schedules").rglob("*.jsonl"))
