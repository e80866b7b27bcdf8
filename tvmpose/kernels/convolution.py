"""Convolutions in NHWC as register-tiled direct convolutions: the float workhorses.

The computations pad their input and pack their weights; the schedules are one shape for all of them: an output tile of
rows x columns x vectors stays in registers while the reduction runs over kernel rows, columns and input channels. The
padded rows that a band of output rows needs are copied once, in cache, at the band's loop; whatever FuseOps put behind
the convolution (bias, activation, residual) is applied to the register tile before it is stored.

Measured on Zen 4, one core, 112-117 GFLOP/s of about 118 for MobileNetV2's 1x1 shapes, 107-115 for its 3x3 depthwise.
"""

from dataclasses import dataclass

import numpy as np
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from tvmpose.kernels.isa import VectorISA

TEMPLATE = "tvmpose.template"  # block annotation that tells the scheduler which template a reduction belongs to


@dataclass(frozen=True)
class Window:
    """Strides, dilation (rows, columns) and padding (top, left, bottom, right) of a convolution."""

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]

    def output_size(self, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
        height, width = (
            (size[axis] + self.padding[axis] + self.padding[axis + 2] - (kernel[axis] - 1) * self.dilation[axis] - 1)
            // self.strides[axis]
            + 1
            for axis in (0, 1)
        )
        return height, width


def pack_weights(weight: np.ndarray, lanes: int) -> np.ndarray:
    """(height, width, inputs, outputs) -> (blocks, height, width, inputs, lanes), outputs zero-padded to whole vectors."""
    height, width, inputs, outputs = weight.shape
    blocks = -(-outputs // lanes)
    padded = np.zeros((height, width, inputs, blocks * lanes), weight.dtype)
    padded[..., :outputs] = weight
    return np.ascontiguousarray(padded.reshape(height, width, inputs, blocks, lanes).transpose(3, 0, 1, 2, 4))


def conv2d(data: te.Tensor, packed: te.Tensor, window: Window, outputs: int) -> te.Tensor:
    """data (1, H, W, I) float, packed (blocks, kh, kw, I, lanes) -> (1, OH, OW, outputs)."""
    blocks, kernel_height, kernel_width, inputs, lanes = (int(n) for n in packed.shape)
    padded = _pad(data, window.padding)
    height, width = window.output_size(tuple(int(n) for n in data.shape[1:3]), (kernel_height, kernel_width))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    ri = te.reduce_axis((0, inputs), "ri")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    conv = te.compute(
        (1, height, width, blocks * lanes),
        lambda n, y, x, c: te.sum(
            padded[n, y * sy + ry * dy, x * sx + rx * dx, ri] * packed[c // lanes, ry, rx, ri, c % lanes],
            axis=[ry, rx, ri],
        ),
        name="conv",
        attrs={TEMPLATE: "conv2d"},
    )
    return _crop(conv, outputs)


def planar_conv2d(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """For one to three outputs: data (1, H, W, I) float, weight (kh, kw, I, O) -> (1, OH, OW, O).

    Too few channels for a vector, so the padded copy is planar and vectors run along the rows of pixels.
    """
    kernel_height, kernel_width, inputs, outputs = (int(n) for n in weight.shape)
    padded = _pad(data, window.padding)
    height, width = window.output_size(tuple(int(n) for n in data.shape[1:3]), (kernel_height, kernel_width))
    planes = te.compute(
        (1, inputs, *padded.shape[1:3]), lambda n, c, y, x: padded[n, y, x, c], name="planes"
    )
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    ri = te.reduce_axis((0, inputs), "ri")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    return te.compute(
        (1, height, width, outputs),
        lambda n, y, x, c: te.sum(
            planes[n, ri, y * sy + ry * dy, x * sx + rx * dx] * weight[ry, rx, ri, c], axis=[ry, rx, ri]
        ),
        name="conv",
        attrs={TEMPLATE: "planar_conv2d"},
    )


def pack_transposed_weights(weight: np.ndarray, lanes: int, strides: tuple[int, int], padding: tuple[int, int]) -> np.ndarray:
    """(inputs, outputs, kh, kw) -> (blocks, sy, sx, taps_y, taps_x, inputs, lanes): one small kernel per output phase.

    Output y = s i + a takes kernel row (a + p) % s + s t from input row i + (a + p) // s - t; rows past the end are zero.
    """
    inputs, outputs, height, width = weight.shape
    (sy, sx), (taps_y, taps_x) = strides, (-(-height // strides[0]), -(-width // strides[1]))
    phases = np.zeros((sy, sx, taps_y, taps_x, inputs, outputs), weight.dtype)
    for a, b, ty, tx in np.ndindex(sy, sx, taps_y, taps_x):
        ky, kx = (a + padding[0]) % sy + sy * ty, (b + padding[1]) % sx + sx * tx
        if ky < height and kx < width:
            phases[a, b, ty, tx] = weight[:, :, ky, kx]
    blocks = -(-outputs // lanes)
    padded = np.zeros((*phases.shape[:-1], blocks * lanes), weight.dtype)
    padded[..., :outputs] = phases
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*phases.shape[:-1], blocks, lanes), -2, 0))


def conv2d_transpose(
    data: te.Tensor, packed: te.Tensor, padding: tuple[int, int], size: tuple[int, int], outputs: int
) -> te.Tensor:
    """data (1, H, W, I) -> (1, *size, outputs), as sub-pixel convolutions: no multiplication by an inserted zero.

    size must be a whole number of strides; padding is (top, left).
    """
    blocks, sy, sx, taps_y, taps_x, inputs, lanes = (int(n) for n in packed.shape)
    rows, columns = size[0] // sy, size[1] // sx
    before = (taps_y - 1, taps_x - 1)
    after = tuple(
        max(0, n - 1 + (stride - 1 + p) // stride - (int(extent) - 1))
        for n, stride, p, extent in zip((rows, columns), (sy, sx), padding, data.shape[1:3], strict=True)
    )
    padded = _pad(data, (*before, *after))
    ty, tx = te.reduce_axis((0, taps_y), "ty"), te.reduce_axis((0, taps_x), "tx")
    ri = te.reduce_axis((0, inputs), "ri")
    top, left = padding
    conv = te.compute(
        (1, rows, columns, sy, sx, blocks * lanes),
        lambda n, i, j, a, b, c: te.sum(
            padded[n, i + (a + top) // sy + (taps_y - 1 - ty), j + (b + left) // sx + (taps_x - 1 - tx), ri]
            * packed[c // lanes, a, b, ty, tx, ri, c % lanes],
            axis=[ty, tx, ri],
        ),
        name="conv",
        attrs={TEMPLATE: "conv2d_transpose"},
    )
    return te.compute((1, *size, outputs), lambda n, y, x, c: conv[n, y // sy, x // sx, y % sy, x % sx, c], name="shuffle")


def depthwise_conv2d(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """data (1, H, W, C) float, weight (kh, kw, C, zero-padded to whole vectors) -> (1, OH, OW, C)."""
    kernel_height, kernel_width, channels = (int(n) for n in weight.shape)
    padded = _pad(data, window.padding, channels)
    height, width = window.output_size(tuple(int(n) for n in data.shape[1:3]), (kernel_height, kernel_width))
    ry, rx = te.reduce_axis((0, kernel_height), "ry"), te.reduce_axis((0, kernel_width), "rx")
    (sy, sx), (dy, dx) = window.strides, window.dilation
    conv = te.compute(
        (1, height, width, channels),
        lambda n, y, x, c: te.sum(padded[n, y * sy + ry * dy, x * sx + rx * dx, c] * weight[ry, rx, c], axis=[ry, rx]),
        name="conv",
        attrs={TEMPLATE: "depthwise_conv2d"},
    )
    return _crop(conv, int(data.shape[3]))


def _pad(data: te.Tensor, padding: tuple[int, int, int, int], channels: int | None = None) -> te.Tensor:
    """Zeros around the picture, and behind its channels up to `channels`."""
    top, left, bottom, right = padding
    batch, height, width, depth = (int(n) for n in data.shape)
    channels = channels or depth
    if not any(padding) and channels == depth:
        return data
    zero = tirx.const(0, data.dtype)

    def value(n, y, x, c):
        inside = [y >= top, y < top + height, x >= left, x < left + width]
        inside += [c < depth] if channels != depth else []
        return tirx.if_then_else(tirx.all(*inside), data[n, y - top, x - left, c], zero)

    return te.compute((batch, height + top + bottom, width + left + right, channels), value, name="pad")


def _crop(conv: te.Tensor, channels: int) -> te.Tensor:
    """Without the channels that only fill up the last vector."""
    if int(conv.shape[3]) == channels:
        return conv
    return te.compute((*conv.shape[:3], channels), lambda n, y, x, c: conv[n, y, x, c], name="crop")


# -- schedules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegisterTile:
    """The part of the output that one innermost kernel step keeps in registers."""

    rows: int
    columns: int
    vectors: int
    lanes: int


def conv2d_tile(height: int, width: int, vectors: int, lanes: int, registers: int) -> RegisterTile:
    """The tile with most multiply-adds per load: points * vectors of them for points + vectors loads.

    Beside the accumulators a step holds its weight vectors and one broadcast input.
    """
    candidates = [
        RegisterTile(rows, columns, count, lanes)
        for count in _divisors(vectors, 6)
        for columns in _divisors(width, 16)
        for rows in _divisors(height, 4)
        if rows * columns * count + count + 2 <= registers
    ]

    def multiply_adds_per_load(tile: RegisterTile) -> float:
        points = tile.rows * tile.columns
        return points * tile.vectors / (points + tile.vectors) - 0.01 * tile.rows  # a tie goes to fewer rows

    return max(candidates, key=multiply_adds_per_load)


def depthwise_tile(height: int, width: int, lanes: int, registers: int, kernel: int, stride: int) -> RegisterTile:
    """Inputs are reused only among neighbours: the tile whose accumulators and one input row fill 3/4 of the registers."""

    def registers_used(rows: int, columns: int) -> int:
        return rows * columns + (columns - 1) * stride + kernel + 1

    candidates = [
        (rows, columns)
        for rows in _divisors(height, 2)
        for columns in _divisors(width, 8)
        if registers_used(rows, columns) <= registers * 3 // 4
    ]
    rows, columns = max(candidates, key=lambda tile: (tile[0] * tile[1], tile[1]), default=(1, 1))
    return RegisterTile(rows, columns, 1, lanes)


def schedule_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    lanes = int(schedule.get(conv).reads[1].source.shape[-1])
    _, height, width, channels = _output_shape(schedule, conv)
    tile = conv2d_tile(height, width, channels // lanes, lanes, isa.registers)
    _schedule_tiles(schedule, conv, tile, reductions=3)


def schedule_planar_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    """Loops: band of rows (parallel), row, outputs, vectors of pixels."""
    output, conv = _inline_epilogue(schedule, conv)
    (planes,) = schedule.get_producers(conv)
    for pad in schedule.get_producers(planes):
        schedule.compute_inline(pad)
    _, height, width, _ = _output_shape(schedule, output)
    lanes = max(_divisors(width, isa.lanes))
    n, y, x, c = schedule.get_loops(output)
    band, row = schedule.split(y, [None, _tiles_per_band(height)])
    x_outer, vector, lane = schedule.split(x, [None, max(_divisors(width // lanes, 4)), lanes])
    schedule.reorder(n, band, row, c, x_outer, vector, lane)
    schedule.compute_at(conv, x_outer, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    _vectorize_tile(schedule, [vector], lane)
    *_, conv_x, _, ry, rx, ri = schedule.get_loops(conv)
    conv_vector, conv_lane = schedule.split(conv_x, [None, lanes])
    schedule.reorder(ry, rx, ri, conv_vector, conv_lane)
    _vectorize_tile(schedule, [conv_vector, rx], conv_lane)
    parallel = schedule.fuse(n, band)
    schedule.compute_at(planes, parallel, preserve_unit_loops=True)
    channel, plane_row, plane_column = schedule.get_loops(planes)[-3:]
    channel, few = schedule.split(channel, [None, max(_divisors(_extent(schedule, channel), 16))])
    schedule.reorder(plane_row, channel, plane_column, few)  # read in order
    schedule.unroll(few)
    schedule.parallel(parallel)
    schedule.decompose_reduction(conv, ry)


def schedule_conv2d_transpose(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    lanes = int(schedule.get(conv).reads[1].source.shape[-1])
    _, rows, columns, sy, sx, channels = _output_shape(schedule, conv)
    tile = conv2d_tile(rows, columns, channels // lanes, lanes, isa.registers)
    _schedule_tiles(schedule, conv, tile, reductions=3, phases=(sy, sx))


def schedule_depthwise_conv2d(schedule: Schedule, conv: SBlockRV, isa: VectorISA) -> None:
    _, height, width, channels = _output_shape(schedule, conv)
    padded, weight = (tuple(int(n) for n in read.source.shape) for read in schedule.get(conv).reads)
    stride = max(1, (padded[2] - weight[1]) // max(1, width - 1))
    lanes = max(_divisors(channels, isa.lanes))
    tile = depthwise_tile(height, width, lanes, isa.registers, weight[1], stride)
    _schedule_tiles(schedule, conv, tile, reductions=2)


def _schedule_tiles(
    schedule: Schedule, conv: SBlockRV, tile: RegisterTile, reductions: int, phases: tuple[int, int] = (1, 1)
) -> None:
    """Loops: band of rows (parallel), output channels, rows of tiles, columns of tiles, phases; inside, the register tile.

    All phases of a transposed convolution's tile are made from the same input and stored together.
    """
    depthwise = reductions == 2
    output, conv = _inline_epilogue(schedule, conv)
    n, y, x, c = schedule.get_loops(output)
    height, (sy, sx) = _output_shape(schedule, output)[1], phases
    band, band_row, row = schedule.split(y, [None, _tiles_per_band(height // (tile.rows * sy)), tile.rows * sy])
    x_outer, column = schedule.split(x, [None, tile.columns * sx])
    c_outer, vector, lane = schedule.split(c, [None, tile.vectors, tile.lanes])
    schedule.reorder(n, band, c_outer, band_row, x_outer, row, column, vector, lane)
    schedule.compute_at(conv, x_outer, preserve_unit_loops=True)
    schedule.set_scope(conv, 0, "local")
    _vectorize_tile(schedule, [row, column, vector], lane)
    rank = len(_output_shape(schedule, conv))
    loops = schedule.get_loops(conv)
    _, conv_row, conv_column, *conv_phases, conv_channel = loops[-rank - reductions : -reductions]
    reduction = loops[-reductions:]
    conv_vector, conv_lane = schedule.split(conv_channel, [tile.vectors, tile.lanes])
    schedule.reorder(*conv_phases, *reduction, conv_row, conv_column, conv_vector, conv_lane)
    _vectorize_tile(schedule, [conv_row, conv_column, conv_vector, *(reduction if depthwise else [])], conv_lane)
    parallel = schedule.fuse(n, band)
    for producer in schedule.get_producers(conv):  # the padding: per band, and for depthwise per vector of channels
        schedule.compute_at(producer, c_outer if depthwise else parallel, preserve_unit_loops=True)
        channel = schedule.get_loops(producer)[-1]
        width = max(_divisors(_extent(schedule, channel), tile.lanes))
        schedule.vectorize(schedule.split(channel, [None, width])[1])
    schedule.parallel(parallel)
    if _extent(schedule, c_outer) > 1:  # where the last vector is not whole, only that one tests its lanes
        schedule.annotate(c_outer, "pragma_loop_partition_hint", True)
    schedule.decompose_reduction(conv, reduction[0])


def _inline_epilogue(schedule: Schedule, conv: SBlockRV) -> tuple[SBlockRV, SBlockRV]:
    """Leave two blocks, the convolution and the one that stores the result; returns (output, convolution)."""
    while True:
        consumers = schedule.get_consumers(conv)
        if not consumers:  # nothing was fused behind it: store by a copy out of the registers
            return schedule.cache_write(conv, 0, "local"), conv
        if not schedule.get_consumers(consumers[0]):
            return consumers[0], conv
        schedule.compute_inline(consumers[0])


def _vectorize_tile(schedule: Schedule, unrolled: list, lane) -> None:
    """Before decompose_reduction, so that the initialisation has the same shape and stays in the same registers."""
    schedule.vectorize(lane)
    for loop in unrolled:
        schedule.unroll(loop)


def _tiles_per_band(tiles: int) -> int:
    """Tall bands copy fewer rows twice; at least eight bands keep up to four threads evenly busy."""
    return max(_divisors(tiles, max(1, tiles // 8)))


def _extent(schedule: Schedule, loop: LoopRV) -> int:
    return int(schedule.get(loop).extent)


def _output_shape(schedule: Schedule, block: SBlockRV) -> tuple[int, ...]:
    return tuple(int(n) for n in schedule.get(block).writes[0].source.shape)


def _divisors(number: int, limit: int) -> list[int]:
    return [n for n in range(1, min(number, limit) + 1) if number % n == 0]
