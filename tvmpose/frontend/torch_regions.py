"""The operators of nets/region_operators.py: each becomes a call of a kernel that is written down loop by loop."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx
from tvm import relax
from tvm.tirx import PrimFunc

from tvmpose.frontend.torch_quantized import Converter
from tvmpose.kernels.boxes import best_kernel, suppress_kernel
from tvmpose.kernels.heatmap_keypoints import heatmap_keypoints_kernel
from tvmpose.kernels.roi_align import Level, roi_align_kernel
from tvmpose.nets.region_operators import CANONICAL_LEVEL, CANONICAL_SIDE, LEVEL_MARGIN
from tvmpose.passes.convert_layout import TO_NCHW, TO_NHWC

Emit = Callable[[relax.Expr], relax.Var]
Kernel = Callable[..., relax.Expr]
"""(name, function, types of its results, operands) -> its call."""


def best(emit: Emit, kernel: Kernel, scores: relax.Expr, count: int) -> relax.Expr:
    (size,) = extents(scores)
    return kernel("best", best_kernel(size, count), [((count,), "int64")], scores)


def suppress(
    emit: Emit,
    kernel: Kernel,
    boxes: relax.Expr,
    scores: relax.Expr,
    groups: relax.Expr,
    overlap: float,
    most: int,
) -> relax.Expr:
    results = [((most,), "int64"), ((1,), "int64")]
    return kernel("suppress", suppress_kernel(extents(scores)[0], overlap, most), results, boxes, scores, groups)


def roi_align(
    emit: Emit,
    kernel: Kernel,
    features: Sequence[relax.Expr],
    boxes: relax.Expr,
    strides: Sequence[int],
    size: int,
    samples: int,
) -> relax.Expr:
    """The cells of all levels that boxes may be of lie in one table."""
    levels = reachable(strides)
    channels, tables, found = extents(features[0])[1], [], []
    for feature, (stride, from_area) in zip(features, levels, strict=False):
        _, _, rows, columns = extents(feature)
        pixels = emit(relax.op.permute_dims(feature, TO_NHWC))
        tables.append(emit(relax.op.reshape(pixels, (rows * columns, channels))))
        found.append(Level(stride, rows, columns, from_area))
    table = tables[0] if len(tables) == 1 else emit(relax.op.concat(tables, 0))
    count = extents(boxes)[0]
    function = roi_align_kernel(found, channels, count, size, samples)
    result = kernel("roi_align", function, [((count, size, size, channels), "float32")], table, boxes)
    return relax.op.permute_dims(emit(result), TO_NCHW)


def reachable(strides: Sequence[int]) -> list[tuple[int, float]]:
    """The levels that level_of returns, each with the smallest area of a box that it returns it for."""
    first, last = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    sides = (CANONICAL_SIDE * 2 ** (level - CANONICAL_LEVEL - LEVEL_MARGIN) for level in range(first, last + 1))
    return [(stride, side**2) for stride, side in zip(strides, sides, strict=False)]


def heatmap_keypoints(emit: Emit, kernel: Kernel, maps: relax.Expr, boxes: relax.Expr, largest: int) -> relax.Expr:
    people, keypoints, rows, columns = extents(maps)
    function = heatmap_keypoints_kernel(people, keypoints, (rows, columns), largest)
    pixels = emit(relax.op.permute_dims(maps, TO_NHWC))
    return kernel("heatmap_keypoints", function, [((people, keypoints, 3), "float32")], pixels, boxes)


def extents(tensor: relax.Expr) -> tuple[int, ...]:
    return tuple(int(extent) for extent in tensor.ty.shape)


def converter(build: Callable[..., relax.Expr]) -> Converter:
    def convert(node: fx.Node, importer: Any) -> relax.Var:
        builder = importer.block_builder

        def kernel(
            name: str, function: PrimFunc, results: Sequence[tuple[tuple[int, ...], str]], *operands: relax.Expr
        ) -> relax.Expr:
            types = [relax.TensorType(shape, dtype) for shape, dtype in results]
            variable = builder.add_func(function, name)
            return relax.call_tir(variable, list(operands), types if len(types) > 1 else types[0])

        return builder.emit(build(builder.emit, kernel, *importer.retrieve_args(node)))

    return convert


REGION_CONVERTERS: dict[str, Converter] = {
    f"{build.__name__}.default": converter(build) for build in (best, suppress, roi_align, heatmap_keypoints)
}
