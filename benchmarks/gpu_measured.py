"""Times of a frame's kernels on the GPU of the board that this runs on, for the table of docs/cuda.md.

    python -m benchmarks.gpu_measured BOARD BUNDLE...

BOARD: its name in the target's file, as "Jetson Orin NX". Needs bundles for it and NumPy, neither TVM nor a compiler.
Writes benchmarks/gpu_measured.json; `python -m benchmarks.gpu_estimates --write` puts it beside the estimates.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from tvmpose import runtime

RESULT = Path(__file__).parent / "gpu_measured.json"
FRAMES, WARM_UP = 200, 50


def main(given: Sequence[str] | None = None) -> int:
    """Measure, and add it to what was measured before."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_measured", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("board")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    options = parser.parse_args(given)
    table = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for bundle in options.bundles:
        name, milliseconds = measure(bundle)
        table.setdefault(options.board, {})[name] = milliseconds
        print(f"{options.board}, {name}: {milliseconds:.3f} ms")
    RESULT.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n")
    return 0


def measure(bundle: Path) -> tuple[str, float]:
    """The network's name, and the median over frames of the sum of its kernels' times by the GPU's own clock."""
    frame = np.zeros((720, 1280, 3), np.uint8)
    with runtime.load(bundle) as network:
        for _ in range(WARM_UP):
            network(frame)
        steps, sums = network.profile(), []
        for _ in range(FRAMES):
            steps[:] = 0
            network(frame)
            sums.append(int(steps[1:-1].sum()) / 1e6)  # between warp and decode
        return network.info.name, median(sums)


def measured_milliseconds(path: Path, board: str, network: str) -> float | None:
    """What was measured, where it was."""
    table = json.loads(path.read_text()) if path.exists() else {}
    return table.get(board, {}).get(network)


if __name__ == "__main__":
    sys.exit(main())
