"""1×1 convolutions in half precision on tensor cores: products of 16 × 16 × 16, sums in float32.

A block of four warps computes 64 pixels × 64, 48 or 32 channels, whichever divides the outputs. Pixels are rounded
to halves as they come into shared memory, so the tensors around may stay as they are; the sums go through shared memory
to the kernel's epilogue. The intrinsics (wmma.py) are nvcuda::wmma's, which every GPU from sm_70 on has.
"""

from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.convolution import TEMPLATE
from tvmpose.kernels.wmma import wmma_intrinsics
from tvmpose.targets import Gpu

TENSOR_CORE = "tensor_core_conv2d"
_SIDE = 16  # of what one instruction multiplies
_PIXELS = 64  # of a block
_SHAPES = {  # channels of a block -> its warps along pixels and channels, a warp's tiles likewise
    64: ((2, 2), (2, 2)),
    48: ((4, 1), (1, 3)),
    32: ((2, 2), (2, 1)),
}
_WARPS = 4
_CHUNK = 2  # tiles of inputs that a block holds at once


def suits_tensor_cores(size: tuple[int, int], inputs: int, outputs: int) -> bool:
    """Whether there is a whole number of tiles of everything, and a block's pixels are whole rows, or part of one.

    size: rows and columns.
    """
    height, width = size
    in_rows = _PIXELS % width == 0 or width % _PIXELS == 0
    whole = height * width % _PIXELS == inputs % _SIDE == 0
    return in_rows and whole and any(outputs % channels == 0 for channels in _SHAPES)


def tensor_core_conv2d(data: te.Tensor, weight: te.Tensor) -> te.Tensor:
    """data (1, H, W, I) float32, weight (I, O) float16 -> (1, H, W, O) float32."""
    _, height, width, inputs = (int(n) for n in data.shape)
    outputs = int(weight.shape[1])
    rows = te.compute(
        (height * width, inputs), lambda p, k: data[0, p // width, p % width, k].astype("float16"), name="rows"
    )
    k = te.reduce_axis((0, inputs), "k")
    product = te.compute(
        (height * width, outputs),
        lambda p, o: te.sum(rows[p, k].astype("float32") * weight[k, o].astype("float32"), axis=k),
        name="product",
        attrs={TEMPLATE: TENSOR_CORE},
    )
    return te.compute((1, height, width, outputs), lambda n, y, x, o: product[y * width + x, o], name="picture")


def schedule_gpu_tensor_core(schedule: Schedule, product: SBlockRV, gpu: Gpu, choices: Choices) -> None:
    intrinsics = wmma_intrinsics()
    (rows,) = schedule.get_producers(product)
    output = _inline_after(schedule, product)
    schedule.set_scope(product, 0, "shared")
    p, o, k = schedule.get_loops(product)
    warps, tiles = next(shape for channels, shape in _SHAPES.items() if _extent(schedule, o) % channels == 0)
    p, p_tile = schedule.split(p, [None, _SIDE])
    o, o_tile = schedule.split(o, [None, _SIDE])
    k, k_tile = schedule.split(k, [None, _SIDE])
    schedule.reorder(p, o, k, p_tile, o_tile, k_tile)
    tile = schedule.blockize(p_tile)
    p_block, p_warp, p_inner = schedule.split(p, [None, warps[0], tiles[0]])
    o_block, o_warp, o_inner = schedule.split(o, [None, warps[1], tiles[1]])
    k_block, k_inner = schedule.split(k, [None, _CHUNK if _extent(schedule, k) % _CHUNK == 0 else 1])
    schedule.reorder(p_block, o_block, p_warp, o_warp, k_block, k_inner, p_inner, o_inner)
    schedule.bind(p_block, "blockIdx.x")
    schedule.bind(o_block, "blockIdx.y")
    warp = schedule.fuse(p_warp, o_warp)
    schedule.bind(warp, "threadIdx.y")
    _write_out(schedule, output, o_block)
    _stage_rows(schedule, rows, k_block)
    _stage(schedule, schedule.cache_read(tile, 1, "shared"), k_block)
    for index, (scope, name) in enumerate((("wmma.matrix_a", "load_a"), ("wmma.matrix_b", "load_b"))):
        fragment = schedule.cache_read(tile, index, scope)
        schedule.compute_at(fragment, k_inner)
        schedule.tensorize(_tiled(schedule, fragment), intrinsics[name])
    sums = schedule.cache_write(tile, 0, "wmma.accumulator")
    schedule.reverse_compute_at(sums, warp)
    schedule.tensorize(_tiled(schedule, sums), intrinsics["store"])
    start = schedule.decompose_reduction(tile, k_block)
    schedule.tensorize(schedule.get_loops(schedule.get_child_blocks(start)[0])[-2], intrinsics["fill"])
    schedule.tensorize(schedule.get_loops(schedule.get_child_blocks(tile)[0])[-3], intrinsics["multiply"])


def _inline_after(schedule: Schedule, product: SBlockRV) -> SBlockRV:
    """The last block behind the product, all between inlined into it."""
    while True:
        (consumer,) = schedule.get_consumers(product)
        if not schedule.get_consumers(consumer):
            return consumer
        schedule.compute_inline(consumer)


def _extent(schedule: Schedule, loop: LoopRV) -> int:
    return int(schedule.get(loop).extent)


def _tiled(schedule: Schedule, block: SBlockRV) -> LoopRV:
    """The block's last two loops in tiles; returns the outer one of a tile's."""
    i, j = schedule.get_loops(block)[-2:]
    i, i_tile = schedule.split(i, [None, _SIDE])
    j, j_tile = schedule.split(j, [None, _SIDE])
    schedule.reorder(i, j, i_tile, j_tile)
    return i_tile


def _stage_rows(schedule: Schedule, rows: SBlockRV, chunk: LoopRV) -> None:
    schedule.set_scope(rows, 0, "shared")
    _stage(schedule, rows, chunk)


def _stage(schedule: Schedule, copy: SBlockRV, chunk: LoopRV) -> None:
    """Into shared memory by all threads, four neighbours each."""
    schedule.compute_at(copy, chunk)
    schedule.storage_align(copy, 0, -2, _SIDE, 8)
    fused = schedule.fuse(*schedule.get_loops(copy)[-2:])
    _, warp, lane, vector = schedule.split(fused, [None, _WARPS, 32, 4])
    schedule.bind(warp, "threadIdx.y")
    schedule.bind(lane, "threadIdx.x")
    schedule.vectorize(vector)


def _write_out(schedule: Schedule, output: SBlockRV, o_block: LoopRV) -> None:
    """The epilogue of a block's sums, by all of its threads."""
    schedule.reverse_compute_at(output, o_block)
    loops = schedule.get_loops(output)[2:]
    fused = schedule.fuse(*loops)
    _, warp, lane, vector = schedule.split(fused, [None, _WARPS, 32, 4])
    schedule.bind(warp, "threadIdx.y")
    schedule.bind(lane, "threadIdx.x")
    schedule.vectorize(vector)
