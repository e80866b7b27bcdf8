"""The duel, on a board: what board.py sends there runs this, with the board's Python, NumPy and LiteRT.

    python3 -m tvmpose.benchmark.on_board ROUNDS SECONDS RUNTIME:PATH:THREADS ...

Runs where inputs.npz is. Prints a line of JSON: an outcome or a refusal for each, in order.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tvmpose.benchmark.duel import Contestant, Rounds, duel
from tvmpose.errors import TvmposeError


def main() -> int:
    count, seconds, *texts = sys.argv[1:]
    contestants = []
    for text in texts:
        runtime, path, threads = text.split(":")
        contestants.append(Contestant(runtime, Path(path), int(threads)))
    with np.load("inputs.npz", allow_pickle=False) as file:
        inputs = [file[f"arr_{i}"] for i in range(len(file.files))]
    try:
        results = duel(contestants, inputs, Rounds(int(count), float(seconds)))
    except TvmposeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps([asdict(result) for result in results], default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
