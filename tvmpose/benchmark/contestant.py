"""One runtime with one model in a process of its own, which runs frames when it is told to.

    python -m tvmpose.benchmark.contestant RUNTIME PATH THREADS TENSORS OUTPUTS FRAME

FRAME is 1280x720 for ours from pixels to keypoints, or empty: then the inputs are those of the file TENSORS. Answers on
standard output, a line of JSON each: first its name and settings, having written what the first frame gave into the
file OUTPUTS; then for every line SECONDS of its input the nanoseconds of each frame that it ran in that time. Whatever
the runtime itself prints goes to standard error. Ends with its input.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tvmpose.baselines.peers import OURS, PEERS
from tvmpose.benchmark.frame import parse_frame_size

FEWEST_FRAMES = 5
UNTIMED_FRAMES = 3  # of every round: caches and clock speed were another process's

Frame = Callable[[], list[np.ndarray]]


def main() -> int:
    runtime, path, threads, tensors, outputs, size = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    model = {"tvmpose": OURS, **PEERS}[runtime].open(Path(path), int(threads))
    if size:
        pixels = parse_frame_size(size)
        picture, box = pixels.picture(), pixels.box
        frame: Frame = lambda: model.run_pixels(picture, box)  # type: ignore[attr-defined]  # noqa: E731
    else:
        with np.load(tensors, allow_pickle=False) as file:
            inputs = [file[f"arr_{i}"] for i in range(len(file.files))]
        frame = lambda: model.run(inputs)  # noqa: E731
    np.savez(outputs, *frame())
    print(json.dumps({"name": model.name, "settings": model.settings}), file=answers)
    for line in sys.stdin:
        print(json.dumps(run_frames(frame, float(line))), file=answers)
    return 0


def run_frames(frame: Frame, seconds: float) -> list[int]:
    """Nanoseconds of each frame: as many as fit into the time, but not fewer than FEWEST_FRAMES."""
    for _ in range(UNTIMED_FRAMES):
        frame()
    clock = time.perf_counter_ns
    times: list[int] = []
    end = clock() + round(seconds * 1e9)
    while len(times) < FEWEST_FRAMES or clock() < end:
        start = clock()
        frame()
        times.append(clock() - start)
    return times


if __name__ == "__main__":
    sys.exit(main())
