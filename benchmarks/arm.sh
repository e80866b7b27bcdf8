#!/bin/sh
# Instructions of a frame on emulated ARM CPUs, ours beside LiteRT's: the one command behind the table in
# benchmarks/README.md. Half an hour at most; the counts do not depend on what else runs. Needs `make bench`'s
# environment, qemu-user and (for cycles) llvm, and TVMPOSE_DATA set to the folder of the test data.
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python -m benchmarks.arm --write "$@"
