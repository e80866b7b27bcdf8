"""What tuning found, kept: a file of JSON lines for each target, to which whole lines are added and nothing is changed.

A line is one candidate that was measured, or that failed. Only lines of the same version of the templates and of TVM,
and of the same CPU, are of use. A last line that a crash cut off is dropped when the file is opened to write.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Literal

from tvmpose import content
from tvmpose.cards.cache import cache_folder
from tvmpose.errors import InputError, SetupError
from tvmpose.targets import Target

Decisions = Mapping[str, int | tuple[int, ...]]
Unit = Literal["seconds", "instructions"]
UNITS: dict[str, Unit | None] = {"time": "seconds", "count": "instructions", "none": None}
"""By what `tvmpose compile --records` calls them."""
FILE = "records.jsonl"
MARGIN = 0.98  # of the default's time: what a final measurement must reach, or the default stays
_TRIAL_MARGIN = 0.9  # what a single trial must: it was measured beside many others, and for a moment


@dataclass(frozen=True)
class Record:
    """One candidate. value: of a call, in the unit; default: the template's own choice, measured beside it."""

    workload: str
    title: str
    target: str
    cpu: str  # LLVM's name and attributes
    threads: int
    unit: Unit
    decisions: dict[str, int | tuple[int, ...]]
    version: int  # of the templates: choices.VERSION
    tvm: str
    stage: Literal["trial", "final", "failed"] = "trial"
    value: float = 0.0
    default: float = 0.0
    repeats: tuple[float, ...] = ()
    difference: float = 0.0  # from the unscheduled kernel: of floats a share of the largest, else steps
    error: str = ""  # of one that failed
    device: str = ""
    load: float | None = None
    clock: float | None = None  # MHz
    clock_limit: float | None = None
    temperature: float | None = None  # degrees Celsius
    seed: int = 0
    date: str = ""  # UTC

    @property
    def ratio(self) -> float:
        """Of the default's value: less is better."""
        return self.value / self.default if self.default else 1.0

    def line(self) -> str:
        known = {name: value for name, value in asdict(self).items() if value not in (None, "", ())}
        return json.dumps(known, separators=(",", ":")) + "\n"


_NAMES = {item.name for item in fields(Record)}


def read_line(line: str) -> Record | None:
    """None of a line that is no record of this format."""
    try:
        values = json.loads(line)
        if not isinstance(values, dict) or not values.keys() <= _NAMES:
            return None
        decisions = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values["decisions"].items()
        }
        return Record(**{**values, "decisions": decisions, "repeats": tuple(values.get("repeats", ()))})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def cpu_of(target: Target) -> str:
    return " ".join([target.cpu, *target.attributes])


def user_file(target: Target) -> Path:
    """Where this user's records of the target are; it need not exist."""
    return cache_folder() / "schedules" / target.name.replace(":", "-") / FILE


def files_of(target: Target) -> list[Path]:
    """Those that exist: shipped ones, the user's."""
    name = target.name.replace(":", "-")
    try:
        shipped = [content.folder("schedules") / name / FILE]
    except SetupError:
        shipped = []
    return [path for path in (*shipped, user_file(target)) if path.is_file()]


def read_file(path: Path) -> Iterator[Record]:
    """Its records; lines that are none are passed over. Raises InputError where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from (record for line in lines if line.endswith("\n") and (record := read_line(line)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def best_of(records: Iterable[Record], unit: Unit, versions: tuple[int, str], cpu: str) -> dict[str, Record]:
    """By workload, what beats the default: by a final measurement, or else by a trial that leaves no doubt.

    versions: of the templates and of TVM. Where the last final measurement found the default no worse, nothing is.
    """
    finals: dict[str, Record] = {}
    trials: dict[str, Record] = {}
    for record in records:
        if (record.version, record.tvm) != versions or record.unit != unit or record.cpu != cpu:
            continue
        if record.stage == "final":
            finals[record.workload] = record
        elif record.stage == "trial" and record.ratio < trials.get(record.workload, record).ratio + 1e-12:
            trials[record.workload] = record
    sure = {workload: record for workload, record in trials.items() if record.ratio <= _TRIAL_MARGIN}
    chosen = {**sure, **finals}
    return {workload: record for workload, record in chosen.items() if record.ratio <= MARGIN}


@dataclass
class Log:
    """A file of records that is open to be added to. One process at a time; a ``with`` closes it."""

    path: Path
    records: list[Record] = field(default_factory=list)  # those it has, and those added
    _descriptor: int = -1

    def __enter__(self) -> "Log":
        """Raises SetupError where it cannot be made, or another process adds to it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SetupError(f"{self.path}: another tvmpose adds to it; wait for its end") from error
        except OSError as error:
            raise SetupError(f"{self.path}: cannot be written: {error.strerror}") from error
        whole = self.path.read_bytes()
        os.ftruncate(self._descriptor, whole.rfind(b"\n") + 1)
        os.lseek(self._descriptor, 0, os.SEEK_END)
        self.records = list(read_file(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if not self.path.stat().st_size:
            self.path.unlink()

    def add(self, records: Sequence[Record]) -> None:
        """All of them or none, on the disk when this returns. Raises SetupError where there is no room."""
        if not records:
            return
        before = os.fstat(self._descriptor).st_size
        data = "".join(record.line() for record in records).encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            os.lseek(self._descriptor, 0, os.SEEK_END)
            raise SetupError(f"{self.path}: cannot be written: {error.strerror}; what it has is whole") from error
        self.records.extend(records)


def replace_file(path: Path, records: Iterable[Record]) -> None:
    """Write the file anew, by another name that is then renamed. Raises SetupError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w") as file:
            file.writelines(record.line() for record in records)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SetupError(f"{path}: cannot be written: {error.strerror}") from error


def merged(files: Sequence[Iterable[Record]]) -> list[Record]:
    """The records of all of them, each once, by date."""
    once = {record.line(): record for records in files for record in records}
    return sorted(once.values(), key=lambda record: record.date)


def pruned(records: Iterable[Record], versions: tuple[int, str]) -> list[Record]:
    """For each workload, CPU and unit the last final record, or where there is none the best trial; old versions go."""
    kept: dict[tuple[str, str, str], Record] = {}
    for record in records:
        if (record.version, record.tvm) != versions or record.stage == "failed":
            continue
        key = (record.workload, record.cpu, record.unit)
        other = kept.get(key)
        is_better = not other or record.stage == "final" or (other.stage == "trial" and record.ratio < other.ratio)
        if is_better:
            kept[key] = record
    return list(kept.values())
