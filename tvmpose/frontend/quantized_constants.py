"""Constants of the QDQ form as what they are: integers that nothing but dequantize turns to float.

Weights of a dense layer arrive transposed behind their dequantize, biases of a convolution reshaped behind it, weights
of some exporters as float under quantize. Constant folding would make all of them float.
"""

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvmpose import qdq
from tvmpose.qdq import Quantization

RESHAPES = {"relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten"}


def settle_constants(module: tvm.IRModule) -> tvm.IRModule:
    """``main`` with no quantize of a constant, and no transpose or reshape of a constant or of a dequantized one."""
    settler = _Settler(module)
    settler.builder_.update_func(module.get_global_var("main"), settler.visit_expr(module["main"]))
    cleanup = [relax.transform.CanonicalizeBindings(), relax.transform.DeadCodeElimination()]
    return tvm.transform.Sequential(cleanup)(settler.builder_.get())


@mutator
class _Settler(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        name = getattr(call.op, "name", None)
        if name == "relax.quantize":
            return self.quantized(call)
        return self.moved(call) if name in RESHAPES or name == "relax.permute_dims" else call

    def producer(self, value: relax.Expr) -> relax.Expr:
        """The expression behind a variable."""
        bound = self.lookup_binding(value) if isinstance(value, relax.Var) else None
        return value if bound is None else bound

    def quantized(self, call: relax.Call) -> relax.Expr:
        """quantize(constant) as the integers."""
        value, quantization = self.producer(call.args[0]), qdq.quantization_of(call)
        if quantization is None or not isinstance(value, GenericConst):
            return call
        return relax.const(quantized_array(value.value.numpy(), quantization))

    def moved(self, call: relax.Call) -> relax.Expr:
        """A transpose or reshape of a constant as a constant, and of a dequantized one as a dequantized one."""
        value = self.producer(call.args[0])
        if isinstance(value, GenericConst):
            return relax.const(moved_array(call, value.value.numpy()))
        if not isinstance(value, relax.Call) or getattr(value.op, "name", None) != "relax.dequantize":
            return call
        constant, quantization = self.producer(value.args[0]), qdq.quantization_of(value)
        if quantization is None or not isinstance(constant, GenericConst):
            return call
        array = constant.value.numpy()
        axis = moved_axis(call, array.shape, quantization.axis) if quantization.scale.ndim else 0
        if axis is None:
            return call
        return qdq.dequantize(relax.const(moved_array(call, array)), replace(quantization, axis=axis))


def quantized_array(value: np.ndarray, quantization: Quantization) -> np.ndarray:
    """The integers nearest to float32 numbers, ties to even as ONNX and torch have it."""
    along_axis = [1] * value.ndim
    if quantization.scale.ndim:
        along_axis[quantization.axis] = -1
    scale, zero_point = (a.reshape(along_axis) for a in (quantization.scale, quantization.zero_point))
    limits = np.iinfo(quantization.dtype)
    return np.clip(np.rint(value / scale) + zero_point, limits.min, limits.max).astype(quantization.dtype)


def moved_array(call: relax.Call, array: np.ndarray) -> np.ndarray:
    """What a transpose or reshape makes of an array."""
    if call.op.name == "relax.permute_dims":
        return np.ascontiguousarray(array.transpose(permutation(call, array.ndim)))
    return array.reshape([int(extent) for extent in call.ty.shape])


def moved_axis(call: relax.Call, shape: tuple[int, ...], axis: int) -> int | None:
    """Where an axis is after a transpose or reshape; None where a reshape breaks it up."""
    if call.op.name == "relax.permute_dims":
        return permutation(call, len(shape)).index(axis)
    result = [int(extent) for extent in call.ty.shape]
    before = int(np.prod(shape[:axis]))
    same = (i for i, extent in enumerate(result) if extent == shape[axis] and int(np.prod(result[:i])) == before)
    return next(same, None)


def permutation(call: relax.Call, rank: int) -> list[int]:
    """The axes of a permute_dims; none given means the reverse."""
    axes = call.attrs.axes
    return list(reversed(range(rank))) if axes is None else [int(axis) % rank for axis in axes]
