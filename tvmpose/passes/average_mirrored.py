"""The network twice in one module: on the picture and on its mirror image, their outputs averaged (flip_test.py)."""

from collections.abc import Sequence

import tvm
from tvm import relax
from tvm.relax.utils import copy_with_new_vars

from tvmpose.flip_test import Mirrored


def average_mirrored(module: tvm.IRModule, picture_axis: int, outputs: Sequence[Mirrored]) -> tvm.IRModule:
    """``main`` with a single input, a picture whose width is along ``picture_axis``; other outputs stay as they are."""
    first = module["main"]
    second = copy_with_new_vars(first)
    (picture,), (mirror_image,) = first.params, second.params
    builder = relax.BlockBuilder(module)
    with builder.function("flipped", [picture], attrs=dict(first.attrs) if first.attrs else None):
        with builder.dataflow():
            plain = _emitted(builder, first)
            mirrored = builder.emit(relax.op.flip(picture, picture_axis))
            builder.emit_normalized(relax.VarBinding(mirror_image, mirrored))
            other = _emitted(builder, second)
            results = list(plain)
            for each in outputs:
                back = _back(builder, each, other[each.output])
                total = builder.emit(relax.op.add(plain[each.output], back))
                results[each.output] = builder.emit(relax.op.multiply(total, relax.const(0.5, "float32")))
            result = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(result)
    made = builder.get()
    function = made["flipped"]
    del made["flipped"]
    made["main"] = function.with_attr("global_symbol", "main")
    return relax.transform.CanonicalizeBindings()(relax.transform.Normalize()(made))


def _emitted(builder: relax.BlockBuilder, function: relax.Function) -> list[relax.Expr]:
    """A function's bindings; returns its results."""
    for block in function.body.blocks:
        for binding in block.bindings:
            builder.emit_normalized(binding)
    result = function.body.body
    if isinstance(result, relax.Tuple):
        return list(result.fields)
    return [builder.emit(relax.TupleGetItem(result, index)) for index in range(len(result.ty.fields))]


def _back(builder: relax.BlockBuilder, how: Mirrored, tensor: relax.Expr) -> relax.Expr:
    """See Mirrored.back."""
    order = relax.const(list(how.order), "int32")
    result = builder.emit(relax.op.take(tensor, order, how.joints_axis, mode="clip"))
    if how.width_axis is None:
        return result
    result = builder.emit(relax.op.flip(result, how.width_axis))
    if not how.shift:
        return result
    columns = int(result.ty.shape[how.width_axis])
    first = builder.emit(relax.op.strided_slice(result, [how.width_axis], [0], [1]))
    rest = builder.emit(relax.op.strided_slice(result, [how.width_axis], [0], [columns - 1]))
    return builder.emit(relax.op.concat([first, rest], how.width_axis))
