"""Batch norm at inference is one multiplication and one addition a channel: put them into the convolution before it."""

import numpy as np
import tvm
from tvm import relax
from tvm.relax.dpl import DFPattern, TupleGetItemPattern, is_const, is_op, rewrite_call, wildcard

from tvmpose.passes.rebuild_call import rebuild_call


def fold_batch_norm(module: tvm.IRModule) -> tvm.IRModule:
    """Fold every batch norm with constant statistics into the convolution or deconvolution that feeds it.

    Where there is none, a multiplication and an addition remain. Computed in float64, rounded once.
    """
    module = relax.transform.FoldConstant()(module)  # the importers reshape constant biases at run time
    main = module["main"]
    for convolution in (is_op("relax.nn.conv2d"), is_op("relax.nn.conv2d_transpose")):
        convolved = convolution(wildcard(), is_const())
        for source in (convolved, is_op("relax.add")(convolved, is_const())):
            main = _fold(main, source, convolved)
    main = _fold(main, wildcard(), None)
    module = tvm.IRModule(dict(module.functions) | {module.get_global_var("main"): main}, attrs=module.attrs)
    return relax.transform.DeadCodeElimination()(module)


def _fold(main: relax.Function, source: DFPattern, convolved: DFPattern | None) -> relax.Function:
    """Rewrite batch norms of ``source``; ``convolved`` is the convolution in it."""
    parameters = [is_const() for _ in range(4)]
    norm = is_op("relax.nn.batch_norm")(source, *parameters)

    def rewrite(_: relax.Expr, matches: dict[DFPattern, relax.Expr]) -> relax.Expr:
        call = matches[norm]
        gamma, beta, mean, variance = (matches[p].value.numpy().astype("float64") for p in parameters)
        factor = (gamma if call.attrs.scale else 1.0) / np.sqrt(variance + call.attrs.epsilon)
        offset = (beta if call.attrs.center else 0.0) - mean * factor
        along_channel = [1] * call.args[0].ty.ndim
        along_channel[call.attrs.axis] = -1
        dtype = str(call.args[0].ty.dtype)
        if convolved is None:
            scaled = relax.op.multiply(matches[source], relax.const(factor.reshape(along_channel), dtype))
        else:
            producer = matches[convolved]
            weight = scale_weight(producer, factor)
            scaled = rebuild_call(producer, [producer.args[0], relax.const(weight, str(producer.args[1].ty.dtype))])
            if source is not convolved:
                offset = offset + matches[source].args[1].value.numpy().astype("float64").reshape(-1) * factor
        return relax.op.add(scaled, relax.const(offset.reshape(along_channel), dtype))

    return rewrite_call(TupleGetItemPattern(norm, 0), rewrite, main)


def scale_weight(call: relax.Call, factor: np.ndarray) -> np.ndarray:
    """The float64 weight of a convolution whose output channels are multiplied by ``factor``."""
    weight = call.args[1].value.numpy().astype("float64")
    layout, groups = call.attrs.kernel_layout, call.attrs.groups
    if call.op.name == "relax.nn.conv2d":
        along_output = [1] * weight.ndim
        along_output[layout.index("O")] = -1
        return weight * factor.reshape(along_output)
    # A deconvolution's weight (I, O / groups, H, W) holds one group after another along I.
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    return (grouped * factor.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)
