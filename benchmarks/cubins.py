"""What the heaviest kernels ask of each Jetson's GPU: registers, shared memory, spills; read off the cubins.

    python -m benchmarks.cubins [--write]

No GPU is needed, and no time is taken: the numbers are the same on every machine.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.gpu_estimates import JETSONS, kernels_by_target
from benchmarks.gpu_network import NETWORKS, GpuKernel
from benchmarks.measuring import ROOT, Benchmark, arguments, run
from benchmarks.report import markdown_table
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.targets import load_target

HEAVIEST = 10
HEADER = ("target: kernel", "million multiply-adds", "threads", "registers", "shared", "local")
HALF = "blazepose-lite"  # whose float16 kernels are counted


@dataclass(frozen=True)
class Measured:
    """By target: the heaviest kernels in float32, and all of HALF in float16."""

    heaviest: dict[str, list[GpuKernel]]
    half: dict[str, list[GpuKernel]]


def main(given: Sequence[str] | None = None) -> int:
    """Compile, read, print; write the table where asked to."""
    options = arguments("cubins", __doc__ or "", list(NETWORKS)).parse_args(given)
    options.noisy = True

    def measure() -> Measured:
        single = {target: heaviest(kernels) for target, kernels in kernels_by_target(options.models).items()}
        return Measured(single, kernels_by_target([HALF], half=True))

    documents = (ROOT / "docs" / "cuda.md",)
    return run(Benchmark("cubins", documents, ROOT / "benchmarks" / "cubins.json", measure, describe, numbers), options)


def heaviest(kernels: Sequence[GpuKernel]) -> list[GpuKernel]:
    return sorted(kernels, key=lambda kernel: -kernel.multiply_adds)[:HEAVIEST]


def numbers(measured: Measured) -> dict[str, Any]:
    return asdict(measured)


def describe(measured: Measured, machine: Machine, disturbance: Disturbance) -> str:
    """Markdown. Local memory of 0 bytes means that no register is spilled."""
    cells = []
    for target in JETSONS:
        gpu = load_target(target).gpu
        where = f"{target} ({gpu.arch if gpu else ''})"
        cells += [_cells(f"{where}: {kernel.network}", kernel) for kernel in measured.heaviest[target]]
    spilling = sum(kernel.resources.local_bytes > 0 for kernels in measured.heaviest.values() for kernel in kernels)
    count = sum(map(len, measured.heaviest.values()))
    foot = f"{count} kernels, {spilling} of which use local memory, where spilled registers would be."
    halves = "\n".join(f"- `{target}`: {_in_half(kernels)}" for target, kernels in measured.half.items())
    title = f"Tensor cores, {HALF} with `--precision float16`:"
    return f"{markdown_table(HEADER, cells)}\n\n{foot}\n\n{title}\n\n{halves}"


def _in_half(kernels: Sequence[GpuKernel]) -> str:
    users = [kernel for kernel in kernels if kernel.resources.tensor_core.get("HMMA")]
    instructions = sum(kernel.resources.tensor_core["HMMA"] for kernel in users)
    spilling = sum(kernel.resources.local_bytes > 0 for kernel in users)
    registers = max((kernel.resources.registers for kernel in users), default=0)
    part = f"{len(users)} of {len(kernels)} kernels"
    return f"{part}, with {instructions} HMMA instructions; {registers} registers at most, {spilling} spill"


def _cells(where: str, kernel: GpuKernel) -> tuple[str, ...]:
    resources = kernel.resources
    block = "×".join(str(n) for n in kernel.block if n > 1) or "1"
    name = kernel.name.removeprefix("fused_")
    megas, shared = f"{kernel.multiply_adds / 1e6:.1f}", f"{kernel.shared_bytes / 1024:.1f} KiB"
    return (f"{where} `{name}`", megas, block, str(resources.registers), shared, f"{resources.local_bytes} B")


if __name__ == "__main__":
    sys.exit(main())
