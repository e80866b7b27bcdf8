"""Tuning while everything breaks: boards, tracker, workers, disk, the tuner itself. No valid record is lost by it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.devices.servers import (
    Process,
    build_agent_here,
    is_registered,
    started,
    tvm_tracker,
    wait_until,
)
from tests.tiny import Tiny
from tests.tuning.running import Tuning, start_tuning
from tvmpose.devices.tracker import Address
from tvmpose.targets import host_target
from tvmpose.tuning.records import Record, read_file, user_file

pytest.importorskip("xgboost", reason="the tune extra is not installed")
pytestmark = pytest.mark.slow

KEY = "board"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TVMPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tracker() -> Iterator[Address]:
    with tvm_tracker() as address:
        yield address


def agents(tmp_path: Path, stack: ExitStack, tracker: Address, count: int) -> list[Process]:
    """So many boards under the key."""
    agent = build_agent_here(tmp_path / "agent")
    command = [agent, "--key", KEY, "--tracker", str(tracker)]
    servers = [stack.enter_context(started(command, tmp_path / f"tmp-{index}")) for index in range(count)]
    wait_until(lambda: is_registered(tracker, KEY, count), "registered")
    return servers


def records() -> list[Record]:
    path = user_file(host_target())
    return list(read_file(path)) if path.is_file() else []


def trials() -> list[Record]:
    return [record for record in records() if record.stage != "final"]


def at_boards(tracker: Address, *options: str) -> list[str]:
    return ["--key", KEY, "--tracker", str(tracker), "--wait", "2", "--answer", "2", *options]


def end_well(tuning: Tuning, least: int) -> None:
    """Of every candidate that was tried there is a record, of results that were right."""
    assert tuning.end() == 0, tuning.lines
    tried = int(tuning.lines[-1].split(" candidates in")[0])
    assert len(trials()) == tried >= least, tuning.lines
    assert all(record.value > 0 and record.difference < 1e-4 for record in trials() if not record.error)


def groups_measured(tuning: Tuning) -> list[int]:
    """By each board, as the summary says."""
    return [int(line.split(": ")[1].split()[0]) for line in tuning.lines if line.startswith("  device  ")]


def test_tune__a_board_is_killed__the_other_takes_its_trials(tiny: Tiny, tmp_path: Path, tracker: Address) -> None:
    with ExitStack() as stack:
        first, _ = agents(tmp_path, stack, tracker, 2)
        tuning = start_tuning(tiny, *at_boards(tracker, "--trials", "64"))
        tuning.until("round 1")
        for process in [*psutil.Process(first.process.pid).children(recursive=True), first.process]:
            process.kill()
        end_well(tuning, 48)
        assert any("it rests for 5 s" in line for line in tuning.lines), tuning.lines
        assert sum(groups_measured(tuning)) >= 4


def test_tune__two_boards__share_the_groups(tiny: Tiny, tmp_path: Path, tracker: Address) -> None:
    with ExitStack() as stack:
        agents(tmp_path, stack, tracker, 2)
        tuning = start_tuning(tiny, *at_boards(tracker, "--trials", "48"))
        end_well(tuning, 48)
        assert len(groups_measured(tuning)) == 2 and min(groups_measured(tuning)) >= 1, tuning.lines


def test_tune__the_tracker_is_killed__the_boards_that_it_has_are_enough(tiny: Tiny, tmp_path: Path) -> None:
    from tests.devices.servers import tvmpose

    with ExitStack() as stack:
        tracker = stack.enter_context(started(tvmpose("tracker", "--port", "0"), tmp_path / "tmp"))
        tracker.wait_for("tracker on 127.0.0.1:")
        line = next(line for line in tracker.lines if "tracker on" in line)
        address = Address("127.0.0.1", int(line.split("tracker on ")[1].split()[0].rpartition(":")[2]))
        agents(tmp_path, stack, address, 1)
        tuning = start_tuning(tiny, *at_boards(address, "--trials", "48"))
        tuning.until("round 1")
        tracker.process.kill()
        end_well(tuning, 48)


def test_tune__a_board_is_suspended__it_rests_and_is_used_again(tiny: Tiny, tmp_path: Path, tracker: Address) -> None:
    """Its program's own time limit has to pass first: nothing else tells a board that stands still from a slow one."""
    with ExitStack() as stack:
        first, _ = agents(tmp_path, stack, tracker, 2)
        tuning = start_tuning(tiny, *at_boards(tracker, "--trials", "20000", "--budget", "20m", "--run-timeout", "1"))
        tuning.until("round 1")
        family = [psutil.Process(first.process.pid), *psutil.Process(first.process.pid).children(recursive=True)]
        for process in family:
            process.suspend()
        rests = tuning.until("it rests for")
        before = len(trials())
        for process in family:
            process.resume()
        while not any(record.device in rests for record in trials()[before:]):
            tuning.until("round")
        os.killpg(tuning.process.pid, signal.SIGINT)
        assert tuning.end() == 130, tuning.lines
        assert all(record.difference < 1e-4 for record in trials() if not record.error)


def test_tune__its_workers_are_killed__their_groups_are_built_again(tiny: Tiny) -> None:
    tuning = start_tuning(tiny, "--trials", "48")
    tuning.until("round 1")
    workers = psutil.Process(tuning.process.pid).children(recursive=True)
    assert workers
    for worker in workers:
        worker.kill()
    end_well(tuning, 48)
    assert not any(record.error for record in trials()), tuning.lines


def test_tune__disk_full__one_line_and_the_next_run_continues(tiny: Tiny, tmp_path: Path, cache: Path) -> None:
    cache.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(cache)], capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        tuning = start_tuning(tiny, "--trials", "100000")
        assert tuning.end() == 6
        assert "No space left on device; what it has is whole" in tuning.lines[-1], tuning.lines
        before = records()
        assert before and user_file(host_target()).read_bytes().endswith(b"\n")
        subprocess.run(["mount", "-o", "remount,size=4m", str(cache)], check=True)
        tuning = start_tuning(tiny, "--trials", "16")
        assert tuning.end() == 0
        assert any(f"{len(before)} candidates known" in line for line in tuning.lines), tuning.lines
        assert records()[: len(before)] == before and len(records()) > len(before)
    finally:
        subprocess.run(["umount", str(cache)], check=True)


def test_tune__interrupted__exit_130_and_the_rounds_before_are_kept(tiny: Tiny) -> None:
    tuning = start_tuning(tiny, "--trials", "100000")
    tuning.until("round 1")
    os.killpg(tuning.process.pid, signal.SIGINT)
    assert tuning.end() == 130
    assert records() and "Traceback" not in "".join(tuning.lines)


def test_tune__killed_within_a_line__its_workers_go_and_the_next_run_continues(tiny: Tiny) -> None:
    tuning = start_tuning(tiny, "--trials", "100000")
    tuning.until("round 1")
    workers = psutil.Process(tuning.process.pid).children(recursive=True)
    tuning.process.kill()
    tuning.process.wait(60)
    assert workers and not psutil.wait_procs(workers, timeout=60)[1]
    path, before = user_file(host_target()), records()
    assert len(before) > 1
    path.write_bytes(path.read_bytes()[:-40])
    again = start_tuning(tiny, "--trials", "4")
    assert again.end() == 0 and any(f"{len(before) - 1} candidates known" in line for line in again.lines)
    assert records()[: len(before) - 1] == before[:-1] and len(records()) > len(before)
