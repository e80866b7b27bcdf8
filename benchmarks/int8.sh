#!/bin/sh
# The quantized models beside LiteRT and OpenVINO: the one command behind the table in benchmarks/README.md. A few
# minutes; run it when nothing else runs. Needs `make bench`'s environment, and TVMPOSE_DATA set to the folder of the
# test data.
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python -m benchmarks.int8 --write "$@"
