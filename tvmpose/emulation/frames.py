"""One runtime with one model, on a board: runs so many frames and ends.

    python3 -m tvmpose.emulation.frames RUNTIME PATH TENSORS OUTPUTS FRAMES

TENSORS and OUTPUTS are .npz files: the inputs, and what the last frame gave. Prints a line of JSON with the runtime's
name and settings. Needs NumPy and the runtime, as tvmpose.benchmark.contestant does, which measures time.
"""

import json
import sys
from pathlib import Path

import numpy as np

from tvmpose.baselines.peers import OURS, PEERS


def main() -> int:
    runtime, path, tensors, outputs, frames = sys.argv[1:]
    model = {"tvmpose": OURS, **PEERS}[runtime].open(Path(path), threads=1)
    with np.load(tensors, allow_pickle=False) as file:
        inputs = [file[f"arr_{i}"] for i in range(len(file.files))]
    for _ in range(int(frames)):
        found = model.run(inputs)
    np.savez(outputs, *found)
    print(json.dumps({"name": model.name, "settings": model.settings}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
