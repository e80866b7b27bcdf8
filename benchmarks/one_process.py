"""One model in one runtime in a process of its own: prints what it measured as a line of JSON.

    python one_process.py tvmpose|litert|none PATH THREADS FRAMES

Run as a file and not as a module, so that nothing of tvmpose but the bundle's own pose.py is ever in memory. "none" is
Python with NumPy alone, whose memory the others include. Imports are not part of the time to open, and the files are
in the page cache: what a device pays once for reading them depends on its disk.
"""

import importlib.util
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

IMAGE_SHAPE = (480, 640, 3)
WARM_UP = 3

Frame = Callable[[], object]


def open_bundle(path: str, threads: int) -> tuple[Frame, Frame | None]:
    """The bundle, hashes checked: (tensors to tensors, pixels to keypoints or None)."""
    pose = _binding(path).load(path, threads=threads)
    tensors = [_random(tensor.shape, tensor.dtype) for tensor in pose.info.inputs]
    image = _random(IMAGE_SHAPE, np.uint8)
    return lambda: pose.run_tensors(tensors), (lambda: pose(image)) if pose.keypoint_names else None


def open_litert(path: str, threads: int) -> tuple[Frame, None]:
    """LiteRT with XNNPACK, as it comes."""
    interpreter = _interpreter_class()(path, num_threads=threads)
    interpreter.allocate_tensors()
    inputs = [
        (detail["index"], _random(detail["shape"], detail["dtype"])) for detail in interpreter.get_input_details()
    ]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def frame() -> list[np.ndarray]:
        for index, array in inputs:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return frame, None


def _binding(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("pose", Path(path) / "pose.py")
    assert spec and spec.loader
    module = sys.modules.setdefault("pose", importlib.util.module_from_spec(spec))
    if not hasattr(module, "load"):
        spec.loader.exec_module(module)
    return module


def _interpreter_class() -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter


def _random(shape: Any, dtype: Any) -> np.ndarray:
    """Made in the dtype itself: a float64 array on the way would count into the peak."""
    generator, dtype = np.random.default_rng(0), np.dtype(dtype)
    if dtype.kind == "f":
        return generator.random(tuple(shape), np.float32).astype(dtype, copy=False)
    return generator.integers(0, 100, tuple(shape), dtype)


def peak_bytes() -> int:
    """Not ru_maxrss: Linux lets a child inherit its parent's there."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def measure(runtime: str, path: str, threads: int, frames: int) -> dict[str, float | None]:
    """Milliseconds and bytes; None for what this runtime does not do."""
    if runtime == "none":
        return {"peak_bytes": peak_bytes()}
    prepare, opener = {
        "tvmpose": (lambda: _binding(path), open_bundle),
        "litert": (_interpreter_class, open_litert),
    }[runtime]
    prepare()
    start = time.perf_counter()
    network, from_pixels = opener(path, threads)
    opened = time.perf_counter()
    network()
    first = time.perf_counter()
    return {
        "open_ms": 1e3 * (opened - start),
        "first_ms": 1e3 * (first - opened),
        "frame_ms": _median_ms(network, frames),
        "pixels_ms": _median_ms(from_pixels, frames) if from_pixels else None,
        "peak_bytes": peak_bytes(),
    }


def _median_ms(frame: Frame, frames: int) -> float:
    times = []
    for _ in range(WARM_UP + frames):
        start = time.perf_counter()
        frame()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
