"""What a measuring program prints, as outcomes; and a crew of devices that fail in every way."""

import math
from pathlib import Path

import pytest

from tvmpose.devices.device import DeviceState, Finished
from tvmpose.errors import DeviceError
from tvmpose.tuning.crew import Crew, Job
from tvmpose.tuning.measure import Measured, Outcome, Settings, measure, parse, spread


class Board:
    """A device that answers as it was told, again and again."""

    def __init__(self, name: str, answers: list, seconds: float = 1.0) -> None:
        self.name, self.answers, self.calls, self.seconds = name, answers, 0, seconds

    def run(self, program, arguments, *, timeout, files=()):
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def state(self) -> DeviceState:
        return DeviceState()

    def close(self) -> None:
        pass


def test_parse__two_rounds__median_of_the_best_of_each():
    text = "0 ok 0 2e-3 3e-3 4e-3\n1 ok 1e-6 5e-3 6e-3 7e-3\n0 ok 0 4e-3 5e-3 6e-3\n1 ok 2e-6 1e-3 2e-3 3e-3\n"
    default, other = parse(text, 2, is_float=True)
    assert default.value == pytest.approx(3e-3) and other.value == pytest.approx(3e-3)
    assert len(other.repeats) == 6 and other.difference == 2e-6 and not other.error


@pytest.mark.parametrize(
    ("line", "is_float", "says"),
    [
        ("1 failed signal 11", True, "crash: signal 11"),
        ("1 failed not done after 10 s", True, "timeout: not done after 10 s (--run-timeout)"),
        ("1 failed no memory for 10 bytes", True, "failed: no memory for 10 bytes"),
        ("1 ok 0.5 1e-3 1e-3 1e-3", True, "wrong result: differs by 0.5"),
        ("1 ok nan 1e-3 1e-3 1e-3", True, "wrong result: differs by inf"),
        ("1 ok 1 1e-3 1e-3 1e-3", False, "wrong result: differs by 1"),
        ("", True, "crash: the program ended before it"),
    ],
)
def test_parse__candidate_that_failed__its_class_and_reason(line, is_float, says):
    default, other = parse(f"0 ok 0 1e-3 1e-3 1e-3\n{line}\n", 2, is_float)
    assert other.error == says and math.isinf(other.value) and not default.error


def test_parse__program_killed__what_has_no_line_ran_too_long():
    assert parse("0 ok 0 1 1 1\n", 2, True, cut_off=True)[1].error == "timeout: the program was killed"


def test_parse__default_is_a_step_off_its_definition__others_may_be_too_but_no_further():
    text = "0 ok 1 1 1 1\n1 ok 1 1 1 1\n2 ok 2 1 1 1\n"
    assert [bool(outcome.error) for outcome in parse(text, 3, is_float=False)] == [False, False, True]
    assert parse("0 ok 7 1 1 1\n", 1, is_float=False)[0].error.startswith("wrong result")


def test_measure__program_says_nothing__is_the_devices_failure():
    board = Board("pi", [Finished(1, b"", "data.bin: missing", 0.1)])
    with pytest.raises(DeviceError, match=r"pi: the measuring program said nothing: exit code 1 data.bin: missing"):
        measure(board, Path("p"), Path("data.bin"), 1, Settings(1), 0.0, True)


def test_spread__rounds_that_differ__by_how_much():
    assert spread([Outcome(1.0, (1.0, 1.1, 1.2, 1.5, 1.6, 1.7))]) == pytest.approx(0.5)


def test_is_slower_elsewhere__with_other_threads__beyond_noise_alone():
    seconds = (1.0, 1.009, 1.02, 0.5, math.inf)
    outcomes = tuple(map(Outcome, seconds))
    measured = Measured(outcomes, "pi", DeviceState(), outcomes)
    assert [measured.is_slower_elsewhere(index) for index in range(5)] == [False, False, True, False, True]
    assert not Measured(outcomes, "pi", DeviceState()).is_slower_elsewhere(2)


def work(device: Board) -> Measured:
    device.run(None, (), timeout=1)
    return Measured((Outcome(device.seconds),), device.name, DeviceState())


JOB = Job("conv", work)


def test_crew__one_device_always_fails__is_left_out_and_the_other_does_all():
    good, bad = Board("good", [None]), Board("bad", [DeviceError("gone")])
    said: list[str] = []
    with Crew([bad, good], said.append, pauses=(0.0, 0.01)) as crew:
        while "bad" not in crew.out:
            assert all(result.device == "good" for result in crew.measure([JOB] * 8))
    assert crew.counts["good"] % 8 == 0 and crew.counts["bad"] == 0
    assert crew.out == {"bad": "gone"} and crew.devices == [good]
    assert said == [
        "bad: gone; it rests for 0 s",
        "bad: gone; it rests for 0.01 s",
        "left out after 3 failures: bad: gone",
    ]


def test_crew__device_that_hangs__the_others_do_not_wait_for_its_recovery():
    good, bad = Board("good", [None]), Board("bad", [DeviceError("suspended")])
    with Crew([bad, good], pauses=(1000.0,)) as crew:
        for _ in range(3):
            assert len(crew.measure([JOB] * 8)) == 8


def test_crew__device_fails_once__stays():
    board = Board("pi", [DeviceError("busy"), None])
    with Crew([board], pauses=(0.0,)) as crew:
        assert all(isinstance(result, Measured) for result in crew.measure([JOB] * 3))
        assert crew.devices == [board] and not crew.out


def test_crew__every_device_gone__says_why():
    with (
        Crew([Board("pi", [DeviceError("no route")])], pauses=()) as crew,
        pytest.raises(DeviceError, match="no device is left: pi: no route"),
    ):
        crew.measure([JOB])


def test_crew__device_that_drifts__its_groups_go_to_the_others():
    slow, fast = Board("slow", [None], seconds=1.6), Board("fast", [None])
    said: list[str] = []
    with Crew([slow, fast], said.append, pauses=(1000.0,)) as crew:
        while not said:
            crew.measure([JOB] * 4)
        before = crew.counts["slow"]
        results = crew.measure([JOB] * 8)
    assert all(result.device == "fast" for result in results) and crew.counts["slow"] == before
    assert said == ["slow: its kernels take 1.6 times as long as on the others; it rests for 1000 s"]


def test_crew__defect_in_a_job__is_raised_where_it_is_waited_for():
    def broken(device):
        raise ZeroDivisionError

    with Crew([Board("pi", [None])]) as crew, pytest.raises(ZeroDivisionError):
        crew.measure([Job("conv", broken)])
