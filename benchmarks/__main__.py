"""``python -m benchmarks``: every benchmark in turn, with these arguments for each; ``--list`` names them."""

import sys
from importlib import import_module

NAMES = (
    "accuracy",
    "arm",
    "boards",
    "cubins",
    "deployment",
    "families",
    "fp32",
    "fusion_bound",
    "gpu_estimates",
    "int8",
    "limits",
    "opencl_gate",
    "quantized_accuracy",
    "quantized_exports",
    "smallest",
    "smoothing",
    "startup",
    "tuned",
    "tuning",
)


def main() -> int:
    """Run them all; the exit code is the first that is not 0."""
    if sys.argv[1:] == ["--list"]:
        print("\n".join(NAMES))
        return 0
    codes = []
    for name in NAMES:
        print(f"== {name}", flush=True)
        codes.append(import_module(f"benchmarks.{name}").main(sys.argv[1:]))
    return next(filter(None, codes), 0)


if __name__ == "__main__":
    sys.exit(main())
