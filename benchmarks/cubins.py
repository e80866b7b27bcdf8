"""What the heaviest kernels ask of each Jetson's GPU: registers, shared memory, spills; read off the cubins.

    python -m benchmarks.cubins [--write]

No GPU is needed, and no time is taken: the numbers are the same on every machine.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.gpu_estimates import JETSONS, kernels_by_target
from benchmarks.gpu_network import NETWORKS, GpuKernel
from benchmarks.measuring import ROOT, Benchmark, arguments, run
from benchmarks.report import markdown_table
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.targets import load_target

HEAVIEST = 10
HEADER = ("target: kernel", "million multiply-adds", "threads", "registers", "shared", "local", "tensor cores")


def main(given: Sequence[str] | None = None) -> int:
    """Compile, read, print; write the table where asked to."""
    options = arguments("cubins", __doc__ or "", list(NETWORKS)).parse_args(given)
    options.noisy = True

    def measure() -> dict[str, list[GpuKernel]]:
        return {target: heaviest(kernels) for target, kernels in kernels_by_target(options.models).items()}

    documents = (ROOT / "docs" / "cuda.md",)
    return run(Benchmark("cubins", documents, ROOT / "benchmarks" / "cubins.json", measure, describe, numbers), options)


def heaviest(kernels: Sequence[GpuKernel]) -> list[GpuKernel]:
    return sorted(kernels, key=lambda kernel: -kernel.multiply_adds)[:HEAVIEST]


def numbers(rows: dict[str, list[GpuKernel]]) -> dict[str, Any]:
    return {"kernels": {target: [asdict(kernel) for kernel in kernels] for target, kernels in rows.items()}}


def describe(rows: dict[str, list[GpuKernel]], machine: Machine, disturbance: Disturbance) -> str:
    """Markdown. Local memory of 0 bytes means that no register is spilled."""
    cells = []
    for target in JETSONS:
        gpu = load_target(target).gpu
        cells += [_cells(f"{target} ({gpu.arch if gpu else ''}): {kernel.network}", kernel) for kernel in rows[target]]
    spilling = sum(kernel.resources.local_bytes > 0 for kernels in rows.values() for kernel in kernels)
    count = sum(map(len, rows.values()))
    foot = f"{count} kernels, {spilling} of which use local memory, where spilled registers would be."
    return f"{markdown_table(HEADER, cells)}\n\n{foot}"


def _cells(where: str, kernel: GpuKernel) -> tuple[str, ...]:
    resources = kernel.resources
    block = "×".join(str(n) for n in kernel.block if n > 1) or "1"
    used = ", ".join(f"{count} {name}" for name, count in resources.tensor_core.items()) or "–"
    name = kernel.name.removeprefix("fused_")
    megas, shared = f"{kernel.multiply_adds / 1e6:.1f}", f"{kernel.shared_bytes / 1024:.1f} KiB"
    return (f"{where} `{name}`", megas, block, str(resources.registers), shared, f"{resources.local_bytes} B", used)


if __name__ == "__main__":
    sys.exit(main())
