"""How long a user waits before anything happens: ``tvmpose --help``, and ``import tvmpose.runtime`` on a device.

    python -m benchmarks.startup [--write]

The import is timed by ``-X importtime`` in a new virtual environment that holds tvmpose and its one dependency, NumPy.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.measuring import TOO_NOISY
from benchmarks.report import markdown_table, replace_between_marks, write_json
from tvmpose import __version__
from tvmpose.benchmark.machine import noise, this_machine

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "benchmarks" / "README.md"
RESULT = ROOT / "benchmarks" / "startup.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write the JSON."""
    options = _parse(arguments)
    if not options.noisy and (complaint := noise()):
        print(complaint, file=sys.stderr)
        return TOO_NOISY
    with tempfile.TemporaryDirectory() as folder:
        python = options.python or numpy_only_python(Path(folder))
        times = {
            "tvmpose --help": help_ms(options.repeats),
            "import tvmpose.runtime": import_ms(python, options.repeats),
        }
    rows = [
        (f"`{what}`", f"{statistics.median(ms):.0f} ms", f"{min(ms):.0f}–{max(ms):.0f} ms")
        for what, ms in times.items()
    ]
    note = f"{this_machine()}; tvmpose {__version__}. {options.repeats} fresh processes each."
    text = f"{markdown_table(('command', 'median', 'range'), rows)}\n\n{note}"
    print(text)
    result = {"machine": asdict(this_machine()), "tvmpose": __version__, "milliseconds": times}
    write_json(options.json, result)
    if options.write:
        write_json(RESULT, json.loads(options.json.read_text()))
        replace_between_marks(DOCUMENT, "startup", text)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=10, metavar="N")
    parser.add_argument(
        "--python", type=Path, metavar="FILE", help="import with this one instead of a new environment's"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "benchmarks" / "startup.json", metavar="FILE")
    parser.add_argument("--noisy", action="store_true", help="run although others use the machine")
    parser.add_argument("--write", action="store_true", help="write the table into benchmarks/README.md")
    return parser.parse_args(arguments)


def numpy_only_python(folder: Path) -> Path:
    """The Python of a new environment with ``pip install tvmpose``."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(ROOT)], check=True)
    return python


def help_ms(repeats: int) -> list[float]:
    """Wall time, the interpreter's own start included; the first run, which writes caches, is left out."""
    command = [sys.executable, "-m", "tvmpose", "--help"]
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(1e3 * (time.perf_counter() - start))
    return times[1:]


def import_ms(python: Path, repeats: int) -> list[float]:
    """The import alone, NumPy and all, without the interpreter's start; again without the first run."""
    command = [str(python), "-X", "importtime", "-c", "import tvmpose.runtime"]
    runs = (subprocess.run(command, check=True, capture_output=True, text=True).stderr for _ in range(repeats + 1))
    return [top_level_ms(report) for report in runs][1:]


def top_level_ms(report: str) -> float:
    """Sum of the cumulative times of tvmpose's modules that nothing else imported: those that are not indented."""
    columns = (line.split("|") for line in report.splitlines() if line.count("|") == 2)
    return sum(int(time_us) for _, time_us, name in columns if name.startswith(" tvmpose")) / 1e3


if __name__ == "__main__":
    sys.exit(main())
