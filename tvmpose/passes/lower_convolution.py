"""Convolutions with constant weights become calls of our kernels, their weights packed for the target's vectors."""

from collections.abc import Callable, Iterable

import numpy as np
import tvm
from tvm import relax, te
from tvm.ir import IRModule
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm_ffi import register_error

from tvmpose.compact import Compact
from tvmpose.errors import ModelError
from tvmpose.kernels.convolution import (
    Window,
    conv2d,
    conv2d_transpose,
    depthwise_conv2d,
    pack_transposed_weights,
    pack_weights,
    planar_conv2d,
)
from tvmpose.kernels.few_outputs import folded_conv2d, folded_lanes, pack_folded_weights
from tvmpose.kernels.isa import VectorISA
from tvmpose.kernels.tiling import packed_lanes
from tvmpose.kernels.winograd import pays, transform_weights, winograd_conv2d

NARROW = 16  # channels that a group has at least, else it is joined with its neighbours

register_error("ModelError", ModelError)  # else it leaves TVM's C++, which calls the passes, as a RuntimeError


@tvm.transform.module_pass(opt_level=0, name="LowerConvolution")
class LowerConvolution:
    """NHWC conv2d (HWIO, or HWOI for depthwise) and conv2d_transpose (IOHW) -> call_tir of tvmpose.kernels.

    So does a matrix of several rows times constant weights: a 1x1 convolution of a picture as wide as it has rows.
    weights: the format that they are rounded to, once packed; None: as they are.
    """

    def __init__(self, isa: VectorISA, weights: Compact | None = None):
        self.isa, self.weights = isa, weights

    def transform_module(self, mod: IRModule, _: tvm.transform.PassContext) -> IRModule:
        relax.analysis.post_order_visit(mod["main"], refuse_unsupported)
        lowering = Lowering(mod, self.isa, self.weights)
        lowering.builder_.update_func(mod.get_global_var("main"), lowering.visit_expr(mod["main"]))
        return lowering.builder_.get()


@mutator
class Lowering(PyExprMutator):
    """What is a convolution, and of which kind; how each kind is computed is a CPU's, or another subclass's."""

    def __init__(self, mod: IRModule, isa: VectorISA, weights: Compact | None):
        super().__init__(mod)
        self.isa, self.weights = isa, weights

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        lowerings = {
            "relax.nn.conv2d": self._conv2d,
            "relax.nn.conv2d_transpose": self._conv2d_transpose,
            "relax.matmul": self._matmul,
        }
        lower = lowerings.get(getattr(call.op, "name", ""))
        return lower(call) if lower else call

    def _conv2d(self, call: relax.Call) -> relax.Expr:
        weight, attrs = self._weight(call), call.attrs
        top, left, bottom, right = (int(n) for n in attrs.padding)
        window = Window(_pair(attrs.strides), (top, left, bottom, right), _pair(attrs.dilation))
        channels = _channels(call)
        if attrs.kernel_layout == "HWOI":
            weight = weight.transpose(0, 1, 3, 2)  # -> HWIO
        if attrs.groups > 1 and weight.shape[2:] != (1, channels):
            return self._grouped(call, weight)
        return (self._depthwise if attrs.groups > 1 else self._plain)(call, weight, window)

    def _depthwise(self, call: relax.Call, weight: np.ndarray, window: Window) -> relax.Expr:
        channels = _channels(call)
        padding = -channels % self.isa.lanes_for(channels)
        packed = np.pad(weight[:, :, 0], ((0, 0), (0, 0), (0, padding)))
        return self._call("depthwise_conv2d", lambda x, w: depthwise_conv2d(x, w, window), call.args[0], packed)

    def _plain(self, call: relax.Call, weight: np.ndarray, window: Window) -> relax.Expr:
        data, (top, left, _, _) = call.args[0], window.padding
        batch = int(data.ty.shape[0])
        lanes = folded_lanes(weight.shape[2], weight.shape[3], self.isa)
        if lanes and batch == 1:
            folded = pack_folded_weights(weight, lanes)
            return self._call("folded_conv2d", lambda x, w: folded_conv2d(x, w, window), data, folded)
        if weight.shape[3] < 4 and weight.shape[:2] != (1, 1) and batch == 1:
            return self._call("planar_conv2d", lambda x, w: planar_conv2d(x, w, window), data, weight)
        height, width, inputs, outputs = weight.shape
        size, lanes = (int(call.ty.shape[1]), int(call.ty.shape[2])), self.isa.lanes_for(outputs)
        is_plain = window.strides == window.dilation == (1, 1) and batch == 1
        if is_plain and pays((height, width), (inputs, outputs), (1, 1), size, lanes):
            compute = lambda x, w: winograd_conv2d(x, w, (top, left), (0, 0), size)  # noqa: E731
            phased = pack_weights(weight, lanes)[:, None, None]
            return self._call("winograd_conv2d", compute, data, transform_weights(phased))
        packed = pack_weights(weight, packed_lanes(size, outputs, inputs, self.isa))
        return self._call("conv2d", lambda x, w: conv2d(x, w, window, outputs), data, packed)

    def _grouped(self, call: relax.Call, weight: np.ndarray) -> relax.Expr:
        """A convolution of a few groups: one of all channels where groups are narrow, else each group by itself.

        Narrow ones would leave most of a vector empty; the zeros between their weights cost less.
        """
        groups, data = int(call.attrs.groups), call.args[0]
        inputs, outputs = weight.shape[2], weight.shape[3] // groups
        together = next((n for n in range(1, groups + 1) if groups % n == 0 and n * min(inputs, outputs) >= NARROW), 0)
        joined = [
            _block_diagonal(part, together or groups) for part in np.split(weight, groups // (together or groups), 3)
        ]
        results = []
        for index, kernel in enumerate(joined):
            wide = kernel.shape[2]
            part = data
            if len(joined) > 1:
                part = relax.op.strided_slice(data, [3], [index * wide], [(index + 1) * wide])
            plain = relax.op.nn.conv2d(
                self.builder_.emit(part),
                relax.const(np.ascontiguousarray(kernel)),
                call.attrs.strides,
                call.attrs.padding,
                call.attrs.dilation,
                data_layout="NHWC",
                kernel_layout="HWIO",
            )
            results.append(self.builder_.emit(self._conv2d(self.builder_.normalize(plain))))
        return relax.op.concat(results, 3) if len(results) > 1 else results[0]

    def _conv2d_transpose(self, call: relax.Call) -> relax.Expr:
        return self._transposed(call, self._weight(call), _pair(call.attrs.strides), _pair(call.attrs.padding[:2]))

    def _transposed(
        self, call: relax.Call, weight: np.ndarray, strides: tuple[int, int], padding: tuple[int, int]
    ) -> relax.Expr:
        data, (top, left) = call.args[0], padding
        size = (int(call.ty.shape[1]), int(call.ty.shape[2]))
        inputs, outputs, *kernel = weight.shape
        taps, lanes = (-(-kernel[0] // strides[0]), -(-kernel[1] // strides[1])), self.isa.lanes_for(outputs)
        if int(data.ty.shape[0]) == 1 and pays(taps, (inputs, outputs), strides, size, lanes):
            packed = pack_transposed_weights(weight, lanes, strides, (top, left))
            flipped = transform_weights(packed[:, :, :, ::-1, ::-1])
            compute = lambda x, w: winograd_conv2d(x, w, (1, 1), (top, left), size)  # noqa: E731
            return self._call("winograd_conv2d_transpose", compute, data, flipped)
        phase = (size[0] // strides[0], size[1] // strides[1])
        lanes = packed_lanes(phase, outputs, inputs, self.isa)
        packed = pack_transposed_weights(weight, lanes, strides, (top, left))
        compute = lambda x, w: conv2d_transpose(x, w, (top, left), size, outputs)  # noqa: E731
        return self._call("conv2d_transpose", compute, data, packed)

    def _matmul(self, call: relax.Call) -> relax.Expr:
        """Left as it is unless a matrix of several rows meets constant weights: then it is worth a register tile."""
        data, weight = call.args[0], self._constant(call.args[1])
        is_plain = weight is not None and weight.ndim == 2 and str(call.ty.dtype) == "float32"
        if weight is None or not is_plain or data.ty.ndim != 2 or int(data.ty.shape[0]) == 1:
            return call
        rows, (inputs, outputs) = int(data.ty.shape[0]), weight.shape
        picture = self.builder_.emit(relax.op.reshape(data, (1, 1, rows, inputs)))
        return relax.op.reshape(self.builder_.emit(self._rows(picture, weight)), (rows, outputs))

    def _rows(self, data: relax.Expr, weight: np.ndarray) -> relax.Expr:
        """A matrix as a picture of one row of pixels."""
        rows, (inputs, outputs) = int(data.ty.shape[2]), weight.shape
        packed = pack_weights(weight[None, None], packed_lanes((1, rows), outputs, inputs, self.isa))
        window = Window((1, 1), (0, 0, 0, 0), (1, 1))
        return self._call("matmul", lambda x, w: conv2d(x, w, window, outputs), data, packed)

    def _call(self, name: str, compute: Callable[..., te.Tensor], data: relax.Expr, weights: np.ndarray) -> relax.Expr:
        stored = np.ascontiguousarray(self.weights.rounded(weights) if self.weights else weights)
        return self.builder_.call_te(compute, data, relax.const(stored), primfunc_name_hint=name)

    def _weight(self, call: relax.Call) -> np.ndarray:
        weight = self._constant(call.args[1])
        if weight is None:
            raise ModelError("a convolution whose weights are computed at run time is not supported")
        return weight

    def _constant(self, expression: relax.Expr) -> np.ndarray | None:
        value = self.lookup_binding(expression) if isinstance(expression, relax.Var) else expression
        return value.value.numpy() if isinstance(value, tvm.ir.GenericConst) else None


def refuse_unsupported(expression: relax.Expr) -> None:
    """Before anything is rewritten: TVM complains on stderr about a rewriting that stops halfway."""
    name = getattr(expression.op, "name", "") if isinstance(expression, relax.Call) else ""
    if name not in ("relax.nn.conv2d", "relax.nn.conv2d_transpose"):
        return
    attrs, batch = expression.attrs, int(expression.args[0].ty.shape[0])
    if batch != 1 and attrs.groups != 1:
        raise ModelError(
            f"a convolution in groups, of a batch of {batch}, is not supported; export the model with batch 1"
        )
    if name == "relax.nn.conv2d_transpose":
        size, strides = _pair(expression.ty.shape.values[1:3]), _pair(attrs.strides)
        whole = all(n % stride == 0 for n, stride in zip(size, strides, strict=True))
        if attrs.groups != 1 or any(n != 1 for n in attrs.dilation) or not whole:
            what = f"a transposed convolution to {size} with stride {strides} and groups {attrs.groups}"
            raise ModelError(f"{what} is not supported")


def _block_diagonal(weight: np.ndarray, groups: int) -> np.ndarray:
    """(kh, kw, inputs of a group, outputs) -> the same convolution without groups, zeros in between."""
    height, width, inputs, outputs = weight.shape
    each, whole = outputs // groups, np.zeros((height, width, inputs * groups, outputs), weight.dtype)
    for group in range(groups):
        mine = slice(group * each, (group + 1) * each)
        whole[:, :, group * inputs : (group + 1) * inputs, mine] = weight[..., mine]
    return whole


def _channels(call: relax.Call) -> int:
    return int(call.args[0].ty.shape[3])


def _pair(numbers: Iterable[int]) -> tuple[int, int]:
    first, second = (int(n) for n in numbers)
    return first, second
