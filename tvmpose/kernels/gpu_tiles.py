"""How a convolution is shared out on a GPU, by a small model of what a multiply-add costs there.

A block of threads computes rows x columns x channels of the output, a thread a few of them, which stay in its registers
while it runs over kernel rows, columns and inputs. A thread's time is its multiply-adds, the loads that they share, and
what the block has to fetch from memory; all of it is lost where there are too few threads to keep the device busy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from tvmpose.kernels.tiling import divisors
from tvmpose.targets import Gpu

LANES = 4  # channels of a thread's vector
_LOAD = 1.5  # a load out of shared memory, in multiply-adds
_FETCH = 16  # a number out of the device's memory, likewise
_BUSY = 4096  # threads that keep a small GPU busy
_SPARE = 16  # registers for addresses and counters


@dataclass(frozen=True)
class GpuTile:
    """Of a thread: rows x columns x channels. Of a block: so many threads along each of the three."""

    rows: int
    columns: int
    channels: int
    threads: tuple[int, int, int]

    @property
    def points(self) -> int:
        return self.rows * self.columns

    @property
    def block_channels(self) -> int:
        return self.channels * self.threads[2]

    @property
    def shape(self) -> tuple[int, ...]:
        """For Choices."""
        return (self.rows, self.columns, self.channels, *self.threads)


@dataclass(frozen=True)
class Work:
    """A convolution: size of the output (rows, columns; of a transposed one those of a phase), and the rest."""

    size: tuple[int, int]
    outputs: int
    inputs: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    phases: int = 1
    span: tuple[int, int] = (1, 1)  # rows and columns of the input that an output reaches over


def gpu_tiles(work: Work, gpu: Gpu, block_channels: int | None = None) -> list[GpuTile]:
    """All that fit, the fastest by the model first. block_channels: those of a block, where the weights are packed."""
    return sorted(_candidates(work, gpu, block_channels), key=lambda tile: (_time(work, tile), tile.shape))


def packed_channels(work: Work, gpu: Gpu) -> int:
    """How many output channels' weights lie side by side: a block's."""
    return gpu_tiles(work, gpu)[0].block_channels


def chunk_of_inputs(work: Work, tile: GpuTile, gpu: Gpu, item_bytes: int) -> int:
    """Inputs that a block holds at once, with their weights: the most that a third of the memory has room for."""
    room = gpu.shared_bytes // 3
    fitting = [n for n in divisors(work.inputs, 32) if n * item_bytes * _held(work, tile) <= room]
    return max(fitting, default=1)


def fits_shared(work: Work, tile: GpuTile, gpu: Gpu, item_bytes: int) -> bool:
    return item_bytes * _held(work, tile) <= gpu.shared_bytes


def _held(work: Work, tile: GpuTile) -> int:
    """Numbers for each input channel: the block's part of the picture and the weights."""
    spread = [
        (tile.threads[axis] * extent - 1) * work.strides[axis] + work.span[axis]
        for axis, extent in enumerate((tile.rows, tile.columns))
    ]
    return prod(spread) + prod(work.kernel) * work.phases * tile.block_channels


def _candidates(work: Work, gpu: Gpu, block_channels: int | None) -> Iterator[GpuTile]:
    height, width = work.size
    for columns in divisors(width, 8):
        for rows in divisors(height, 2):
            points = rows * columns
            if (points * work.phases + 1) * LANES + points > gpu.registers - _SPARE and points > 1:
                continue
            for threads in _threads(height // rows, width // columns, work.outputs, gpu):
                tile = GpuTile(rows, columns, LANES, threads)
                if block_channels in (None, tile.block_channels):
                    yield tile


def _threads(rows: int, columns: int, outputs: int, gpu: Gpu) -> Iterator[tuple[int, int, int]]:
    most = min(gpu.max_threads, 256)
    for across in (1, 2, 4, 8, 16, 32):
        if across > 1 and across * LANES >= 2 * outputs:
            break
        for x in divisors(columns, 32):
            for y in divisors(rows, 16):
                if across * x * y <= most:
                    yield y, x, across


def _time(work: Work, tile: GpuTile) -> float:
    """Of a useful multiply-add."""
    blocks = -(-work.outputs // tile.block_channels)
    waste = blocks * tile.block_channels / work.outputs
    points = tile.points * work.phases
    loads = _LOAD * (points / work.phases + tile.channels / LANES) / (points * tile.channels)
    pixels = tile.points * tile.threads[0] * tile.threads[1]
    fetches = _FETCH * (1 / (tile.block_channels * prod(work.kernel)) + 1 / (pixels * work.phases))
    threads = prod(tile.threads)
    all_threads = blocks * threads * (work.size[0] * work.size[1]) / pixels
    idle = max(1, _BUSY / all_threads) * max(1, 64 / threads)
    return (1 + loads + fetches) * waste * idle
