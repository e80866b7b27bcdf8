"""``python -m benchmarks``: every benchmark in turn, with these arguments for each; ``--list`` names them."""

import sys

from benchmarks import (
    arm,
    boards,
    deployment,
    fp32,
    fusion_bound,
    int8,
    quantized_accuracy,
    quantized_exports,
    smallest,
    startup,
)

BENCHMARKS = {
    "arm": arm.main,
    "boards": boards.main,
    "deployment": deployment.main,
    "fp32": fp32.main,
    "fusion_bound": fusion_bound.main,
    "int8": int8.main,
    "quantized_accuracy": quantized_accuracy.main,
    "quantized_exports": quantized_exports.main,
    "smallest": smallest.main,
    "startup": startup.main,
}


def main() -> int:
    """Run them all; the exit code is the first that is not 0."""
    if sys.argv[1:] == ["--list"]:
        print("\n".join(BENCHMARKS))
        return 0
    codes = [run(sys.argv[1:]) for run in BENCHMARKS.values()]
    return next(filter(None, codes), 0)


if __name__ == "__main__":
    sys.exit(main())
