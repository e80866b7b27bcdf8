"""What NVIDIA's boards could do at best with each network: an estimate, replaced by what was measured where it was.

    python -m benchmarks.gpu_estimates [--write]

A kernel takes at least as long as its multiply-adds at the GPU's peak, and as its bytes at the memory's; their sum over
a frame is the estimate. Launches, warp, decode and copies are not in it, nor how far a kernel stays behind its limits.
Boards and peaks are those of the targets' files.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_measured import RESULT as MEASURED
from benchmarks.gpu_measured import measured_milliseconds
from benchmarks.gpu_network import NETWORKS, GpuKernel, gpu_kernels
from benchmarks.measuring import ROOT, Benchmark, arguments, run
from benchmarks.report import markdown_table
from tvmpose.benchmark.machine import Disturbance, Machine
from tvmpose.targets import Peaks, load_target

JETSONS = ("jetson-nano", "jetson-tx2", "jetson-xavier", "jetson-orin", "jetson-thor")
HEADER = ("board, network", "MFLOP", "MB", "launches", "float32, at least", "float16, at least", "measured")


@dataclass(frozen=True)
class Estimate:
    """Milliseconds of a frame's kernels at the limits; half: numbers and arithmetic in float16, None: no peak told."""

    board: str
    network: str
    mflop: float
    megabytes: float
    launches: int
    single: float
    half: float | None
    measured: float | None


def main(given: Sequence[str] | None = None) -> int:
    """Compile, count, print; write the table where asked to."""
    options = arguments("gpu_estimates", __doc__ or "", list(NETWORKS)).parse_args(given)
    options.noisy = True

    def measure() -> list[Estimate]:
        rows = []
        for target, kernels in kernels_by_target(options.models).items():
            gpu = load_target(target).gpu
            for board in gpu.boards if gpu else ():
                rows += [estimate(board, name, kernels) for name in options.models]
        return rows

    result = ROOT / "benchmarks" / "gpu_estimates.json"
    return run(Benchmark("gpu_estimates", (ROOT / "docs" / "cuda.md",), result, measure, describe, numbers), options)


def kernels_by_target(networks: Sequence[str], half: bool = False) -> dict[str, list[GpuKernel]]:
    """Of every Jetson, all kernels of these networks; half: of those that have tensor cores, for these."""
    folder = Path(os.environ.get("TVMPOSE_DATA", "")) / "models"

    def kernels(network: str, target: str) -> tuple[GpuKernel, ...]:
        model, card = NETWORKS[network]
        path = folder / model if card else ROOT / model if "/" in model else Path(model)
        return gpu_kernels(network, path, card, target, half)

    gpus = {target: load_target(target).gpu for target in JETSONS}
    targets = [target for target, gpu in gpus.items() if not half or (gpu and gpu.tensor_cores)]
    return {target: [kernel for network in networks for kernel in kernels(network, target)] for target in targets}


def estimate(board: Peaks, network: str, kernels: Sequence[GpuKernel]) -> Estimate:
    its = [kernel for kernel in kernels if kernel.network == network]
    flop = sum(2 * kernel.multiply_adds for kernel in its)
    moved = sum(kernel.calls * kernel.cost.bytes for kernel in its)
    single = sum(seconds(kernel, board.gflops, board.gb_per_second) for kernel in its)
    half = board.half_gflops and sum(seconds(kernel, board.half_gflops, 2 * board.gb_per_second) for kernel in its)
    return Estimate(
        board.name,
        network,
        flop / 1e6,
        moved / 1e6,
        sum(kernel.launches for kernel in its),
        single * 1e3,
        half and half * 1e3,
        measured_milliseconds(MEASURED, board.name, network),
    )


def seconds(kernel: GpuKernel, gflops: float, gb_per_second: float) -> float:
    """Of all calls of a kernel, by the limit that it meets first."""
    computing = 2 * kernel.cost.multiply_adds / (gflops * 1e9)
    moving = kernel.cost.bytes / (gb_per_second * 1e9)
    return kernel.calls * max(computing, moving)


def numbers(rows: Sequence[Estimate]) -> dict[str, Any]:
    return {"estimates": [asdict(row) for row in rows]}


def describe(rows: Sequence[Estimate], machine: Machine, disturbance: Disturbance) -> str:
    """Markdown; what was measured is in bold."""
    cells = [
        (
            f"{row.board}, {row.network}",
            f"{row.mflop:.0f}",
            f"{row.megabytes:.1f}",
            str(row.launches),
            f"{row.single:.2f} ms",
            "–" if row.half is None else f"{row.half:.2f} ms",
            "–" if row.measured is None else f"**{row.measured:.2f} ms**",
        )
        for row in rows
    ]
    return markdown_table(HEADER, cells)


if __name__ == "__main__":
    sys.exit(main())
