"""How far bundles for OpenCL are from their source models: the gate's own figures, for the tables of docs/gpu.md.

    python -m benchmarks.opencl_gate [--write]

Needs an OpenCL device, PoCL's for one, and TVMPOSE_DATA. No time is taken, so it does not matter what else runs.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.fp32 import MODELS as FLOAT_MODELS
from benchmarks.measuring import ROOT, Benchmark, arguments, compiled, run
from benchmarks.report import markdown_table
from tvmpose import __version__
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.codegen.bundle import MANIFEST

DOCUMENT = ROOT / "docs" / "gpu.md"
RESULT = ROOT / "benchmarks" / "opencl_gate.json"
TARGET = "host-opencl"
MODELS = ("blazepose-lite", "edvardhua-cpm", "mobilenetv2-deconv")
OPTIONS: Mapping[str, tuple[str, ...]] = {  # by precision; what it loses is to be shown, not refused
    "float32": (),
    "float16": ("--precision", "float16", "--accept-accuracy-loss"),
}
HEADER = ("model, precision", "joints", "median", "95th percentile", "at most")


@dataclass(frozen=True)
class Row:
    """Of one bundle what its manifest says; distances in pixels of the network's input, over all samples."""

    model: str
    precision: str
    judge: str
    joints: int
    median_px: float
    p95_px: float
    max_px: float


def main(given: Sequence[str] | None = None) -> int:
    """Compile, read, print; write the table where asked to."""
    options = arguments("opencl_gate", __doc__ or "", MODELS).parse_args(given)
    options.noisy = True

    def measure() -> list[Row]:
        return [row(model, precision, options.build) for model in options.models for precision in OPTIONS]

    return run(Benchmark("opencl_gate", (DOCUMENT,), RESULT, measure, describe, numbers), options)


def row(model: str, precision: str, folder: Path) -> Row:
    """Compile one bundle into a folder of ``folder``. Ends the command where it was not run by OpenCL."""
    made = compiled(FLOAT_MODELS[model], folder / f"{model}-opencl-{precision}", OPTIONS[precision], TARGET)
    manifest = json.loads((made.bundle / MANIFEST).read_bytes())
    said = manifest["libraries"][0]["verification"]
    if said["status"] != "verified":
        raise SystemExit(f"{model}: {said['status']}: no OpenCL here: apt install pocl-opencl-icd ocl-icd-libopencl1")
    return Row(model, precision, said["judge"], *(said[key] for key in ("joints", "median_px", "p95_px", "max_px")))


def numbers(rows: Sequence[Row]) -> dict[str, Any]:
    return {"rows": [asdict(row) for row in rows]}


def describe(rows: Sequence[Row], machine: Machine, disturbance: Disturbance) -> str:
    """Markdown, with a line for each bundle."""
    cells = [
        (f"{row.model}, {row.precision}", str(row.joints), *map(_pixels, (row.median_px, row.p95_px, row.max_px)))
        for row in rows
    ]
    judges = ", ".join(sorted({row.judge for row in rows}))
    versions = f"tvmpose {__version__}, apache-tvm {version('apache-tvm')}, {judges}"
    return f"{markdown_table(HEADER, cells)}\n\n{machine}; {versions}."


def _pixels(distance: float) -> str:
    return f"{distance:.4f} px"


if __name__ == "__main__":
    sys.exit(main())
