"""Groups of candidates, measured on a device: what its program printed, as values or as reasons why there is none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tvmpose.devices.device import Device, DeviceState
from tvmpose.errors import DeviceError

ROUNDS = 2
SECONDS = 0.01  # of a repeat, at least
_STEPS = 5  # calls or repeats of a kernel in a round: two to warm up, three that count
_SLACK = 20.0  # how many times longer than the default a candidate may take
_LEAST_LIMIT = 10.0
_NOISE = 1.01  # times as long: what counts as no slower
_FLOAT_TOLERANCE = 1e-4
_MOST_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Settings:
    """How candidates are measured. limit: seconds for one in a round, None: as the work asks; flush: bytes.

    threads: 0 is as many as the library takes by default. other_threads: to measure with as well.
    """

    threads: int
    rounds: int = ROUNDS
    seconds: float = SECONDS
    limit: float | None = None
    flush: int = 0
    other_threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """One candidate's. error: "" or the class of failure and the reason, "crash: signal 11"."""

    value: float = math.inf
    repeats: tuple[float, ...] = ()
    difference: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Measured:
    """A group, in its order, the default first; state: of the device, afterwards; others: with the other threads."""

    outcomes: tuple[Outcome, ...]
    device: str
    state: DeviceState
    others: tuple[Outcome, ...] = ()

    def is_slower_elsewhere(self, index: int) -> bool:
        """Than the default, with the other number of threads."""
        return bool(self.others) and self.others[index].value > _NOISE * self.others[0].value


def measure(
    device: Device, program: Path, data: Path, count: int, settings: Settings, estimate: float, is_float: bool
) -> Measured:
    """Run a group's program. estimate: seconds of the default's call, if known, else 0.

    Raises DeviceError where the device fails: nothing is known of the candidates then.
    """
    usual = settings.seconds * _STEPS + _STEPS * estimate
    limit = settings.limit or max(_LEAST_LIMIT, math.ceil(_SLACK * usual))
    whole = limit + settings.rounds * count * usual * _SLACK + 30
    arguments = [data.name, *(str(n) for n in (settings.threads, settings.rounds, settings.seconds, int(limit)))]
    finished = device.run(program, [*arguments, str(settings.flush)], timeout=whole, files=[data])
    text = finished.output.decode(errors="replace")
    if not text.strip():
        why = "killed at the time limit" if finished.code is None else f"exit code {finished.code}"
        raise DeviceError(f"{device.name}: the measuring program said nothing: {why} {finished.error[-200:]}".strip())
    return Measured(tuple(parse(text, count, is_float, finished.code is None)), device.name, device.state())


def parse(text: str, count: int, is_float: bool, cut_off: bool = False) -> list[Outcome]:
    """What measure.c printed for `count` kernels. A candidate whose results differ from those expected has failed.

    Beyond rounding nothing may differ that does not differ with the default, kernel 0, too. cut_off: the program was
    killed at its time limit: what has no line ran too long.
    """
    repeats: list[list[float]] = [[] for _ in range(count)]
    rounds: list[list[float]] = [[] for _ in range(count)]
    differences, errors = [0.0] * count, [""] * count
    seen = [False] * count
    for line in text.splitlines():
        number, _, rest = line.partition(" ")
        if not number.isdigit() or int(number) >= count:
            continue
        index, words = int(number), rest.split()
        seen[index] = True
        if words[:1] == ["ok"] and len(words) > 1:
            values = [float(word) for word in words[2:]]
            difference = float(words[1])
            differences[index] = max(differences[index], math.inf if math.isnan(difference) else difference)
            repeats[index] += values
            rounds[index] += [min(values)] if values else []
        else:
            errors[index] = errors[index] or _failure(rest)
    own = differences[0] if differences[0] <= (_MOST_TOLERANCE if is_float else 1.0) else 0.0
    tolerance = max(_FLOAT_TOLERANCE if is_float else 0.0, own)
    outcomes = []
    for index in range(count):
        error = errors[index]
        if not error and not seen[index]:
            error = "timeout: the program was killed" if cut_off else "crash: the program ended before it"
        if not error and differences[index] > tolerance:
            error = f"wrong result: differs by {differences[index]:.2g}"
        value = median(rounds[index]) if rounds[index] and not error else math.inf
        outcomes.append(Outcome(value, tuple(repeats[index]), differences[index], error))
    return outcomes


def _failure(rest: str) -> str:
    reason = rest.removeprefix("failed ").strip() or "no message"
    if reason.startswith("not done"):
        return f"timeout: {reason} (--run-timeout)"
    return f"crash: {reason}" if reason.startswith("signal") else f"failed: {reason}"


def spread(outcomes: Sequence[Outcome]) -> float:
    """How far the default's rounds lie apart, as a share: the machine's unrest while the group was measured."""
    values = outcomes[0].repeats
    third = max(len(values) // ROUNDS, 1)
    rounds = [min(values[i : i + third]) for i in range(0, len(values), third)]
    return max(rounds) / min(rounds) - 1 if rounds and min(rounds) > 0 else 0.0
