"""What this machine can do at most, measured: multiply-adds a second, and bytes a second from two places of its memory.

roofline.c is compiled for the instructions that the bundle's kernels use and runs on as many threads as they do.
"""

import ctypes
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvmpose.codegen.toolchain import build_here
from tvmpose.errors import SetupError

ATTEMPTS = 50  # the best counts: what disturbs can only slow down
SECONDS = 0.004  # of each: short enough that some are not interrupted


@dataclass(frozen=True)
class Vectors:
    """An instruction set's float vectors: bytes of one, chains that its registers hold, and the compiler's flags."""

    bytes: int
    accumulators: int
    flags: tuple[str, ...] = ()


# architecture, feature that has to be there ("": none) -> the widest first
VECTORS: Sequence[tuple[str, str, Vectors]] = (
    ("x86_64", "avx512f", Vectors(64, 24, ("-mavx512f", "-mfma"))),
    ("x86_64", "fma", Vectors(32, 12, ("-mavx2", "-mfma"))),
    ("x86_64", "", Vectors(16, 12)),
    ("aarch64", "", Vectors(16, 24)),
    ("arm", "", Vectors(16, 12, ("-mfpu=neon-vfpv4",))),
)


@dataclass(frozen=True)
class Roofline:
    """The limits for a number of threads together. Memory is read and written; ``frame`` is all that a frame uses."""

    threads: int
    multiply_adds: float  # a second
    l2_bytes: int  # of one core
    l2_bandwidth: float  # bytes a second, in a working set of half the L2 of each core
    frame_bandwidth: float  # in one of the size of arena and weights, wherever that lies

    def compute_seconds(self, multiply_adds: int) -> float:
        return multiply_adds / self.multiply_adds

    def memory_seconds(self, count: int) -> float:
        """For bytes that the threads share: from L2 where each one's part fits."""
        return count / (self.l2_bandwidth if count <= self.l2_bytes * self.threads else self.frame_bandwidth)


def measure_roofline(triple: str, features: Sequence[str], l2_bytes: int, frame_bytes: int, threads: int) -> Roofline:
    """Raises SetupError where there is no compiler, or none that knows the instructions."""
    vectors = vectors_for(triple, features)
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as folder, ThreadPoolExecutor(threads) as pool:
        library = _compile(triple, vectors, Path(folder))
        adds = _best_rate(pool, threads, [_compute(library, vectors) for _ in range(threads)])
        l2, frame = (
            _best_rate(pool, threads, [_memory(library, vectors, size) for _ in range(threads)])
            for size in (l2_bytes // 2, max(l2_bytes, frame_bytes // threads))
        )
    return Roofline(threads, adds, l2_bytes, l2, frame)


def vectors_for(triple: str, features: Sequence[str]) -> Vectors:
    """The widest vectors that the kernels may use. Raises SetupError for an architecture that is not in the table."""
    architecture = triple.partition("-")[0]
    for name, feature, vectors in VECTORS:
        if architecture.startswith(name) and (not feature or feature in features):
            return vectors
    raise SetupError(f"the limits of {architecture} cannot be measured: roofline.py has no vectors for it")


def _compile(triple: str, vectors: Vectors, folder: Path) -> ctypes.CDLL:
    source, output = Path(__file__).with_name("roofline.c"), folder / "roofline.so"
    defines = (f"-DVECTOR_BYTES={vectors.bytes}", f"-DACCUMULATORS={vectors.accumulators}")
    build_here(source, output, triple, ("-O3", "-ffp-contract=fast", *vectors.flags, *defines))
    library = ctypes.CDLL(str(output))
    library.multiply_add.argtypes = [ctypes.c_int64, ctypes.c_float, ctypes.c_float]
    library.multiply_add.restype = ctypes.c_float
    library.scale_memory.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_float]
    library.scale_memory.restype = None
    return library


Work = tuple[Callable[[int], None], int]
"""What runs N times, and what it gets done in each."""


def _compute(library: ctypes.CDLL, vectors: Vectors) -> Work:
    block = 1000
    each = block * vectors.accumulators * vectors.bytes // 4

    def run(times: int) -> None:
        library.multiply_add(block * times, 0.5, 1.0)  # converges to 2: no denormals, no infinities

    return run, each


def _memory(library: ctypes.CDLL, vectors: Vectors, working_set: int) -> Work:
    """Source and destination are half of the working set each."""
    size = max(working_set // 2 // vectors.bytes, 1) * vectors.bytes
    source, destination = (_aligned(size) for _ in range(2))

    def run(times: int) -> None:
        library.scale_memory(source.ctypes.data, destination.ctypes.data, size, times, 0.5)

    return run, 2 * size


def _aligned(size: int) -> np.ndarray:
    memory = np.ones(size + 64, np.uint8)  # written: an untouched page would be the one page of zeros
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


def _best_rate(pool: ThreadPoolExecutor, threads: int, works: Sequence[Work]) -> float:
    """What all threads together get done in a second."""
    times, elapsed = 1, 0.0
    while elapsed < SECONDS / 2:
        times, elapsed = times * 2, _elapsed(works[0], times * 2)
    times = max(1, round(times * SECONDS / elapsed))
    return max(
        sum(work[1] * times for work in works) / max(pool.map(_elapsed, works, [times] * threads))
        for _ in range(ATTEMPTS)
    )


def _elapsed(work: Work, times: int) -> float:
    start = time.perf_counter()
    work[0](times)
    return time.perf_counter() - start
