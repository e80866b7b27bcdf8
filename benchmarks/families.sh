#!/bin/sh
# Every family of pose networks through the compiler, float and int8: the one command behind the table in
# benchmarks/README.md. An hour or two; its times mean something only when nothing else runs. Needs `make bench`'s
# environment, and TVMPOSE_DATA set to the folder of the test data.
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python -m benchmarks.families --write "$@"
