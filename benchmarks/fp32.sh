#!/bin/sh
# The float models beside the peers: the one command behind the table in benchmarks/README.md. Under ten minutes; run it
# when nothing else runs. Needs `make bench`'s environment, and TVMPOSE_DATA set to the folder of the test data.
set -eu
cd "$(dirname "$0")/.."
exec .venv/bin/python -m benchmarks.fp32 --write "$@"
