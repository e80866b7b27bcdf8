"""One activation layout: every convolution, pooling and resize works on N x H x W x C.

Vector lanes then run over channels, which are many and contiguous in every layer of a pose network, and a 1x1
convolution is a matrix product without any rearrangement. TFLite is in this layout already; ONNX and torch are not.
"""

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.passes.sink_transposes import sink_transposes

TO_NHWC = [0, 2, 3, 1]
TO_NCHW = [0, 3, 1, 2]
CONVOLUTIONS = {
    # kernel layout before, after, and the axes of the one in the other
    "relax.nn.conv2d": ("OIHW", "HWIO", (2, 3, 1, 0)),
    "relax.nn.conv2d_transpose": ("IOHW", "IOHW", (0, 1, 2, 3)),
}
POOLINGS = {
    "relax.nn.max_pool2d",
    "relax.nn.avg_pool2d",
    "relax.nn.adaptive_avg_pool2d",
}


def to_nhwc(module: tvm.IRModule) -> tvm.IRModule:
    """Convert ``main`` to NHWC activations; its inputs and outputs keep their layout.

    Kernels become constants in HWIO (depthwise: H x W x 1 x C), those of deconvolutions stay in IOHW. The transposes
    this needs meet and cancel in sink_transposes; those that stay do so because the source's own layout demands it.
    """
    module = relax.transform.FoldConstant()(module)
    converter = _Converter(module)
    function = converter.visit_expr(module["main"])
    converter.builder_.update_func(module.get_global_var("main"), function)
    return sink_transposes(converter.builder_.get())


@mutator
class _Converter(PyExprMutator):
    """Puts a transpose before and after each NCHW operator, and its NHWC form between."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        name = getattr(call.op, "name", "")
        if (
            name in CONVOLUTIONS
            and call.attrs.data_layout == "NCHW"
            and call.attrs.kernel_layout == CONVOLUTIONS[name][0]
        ):
            return self.convolution(call)
        if name in POOLINGS and call.attrs.layout == "NCHW":
            return self.between_transposes(call, [], layout="NHWC", out_layout="NHWC")
        if name == "relax.image.resize2d" and call.attrs.layout == "NCHW":
            return self.between_transposes(call, call.args[1:], layout="NHWC")
        return call

    def convolution(self, call: relax.Call) -> relax.Expr:
        _, layout, axes = CONVOLUTIONS[call.op.name]
        kernel = self.transposed_kernel(call.args[1], axes)
        layouts = {"data_layout": "NHWC", "kernel_layout": layout, "out_layout": "NHWC"}
        return self.between_transposes(call, [kernel], **layouts)

    def transposed_kernel(self, kernel: relax.Expr, axes: tuple[int, ...]) -> relax.Expr:
        if isinstance(kernel, tvm.ir.GenericConst):
            return relax.const(np.ascontiguousarray(kernel.value.numpy().transpose(axes)))
        return self.builder_.emit(relax.op.permute_dims(kernel, list(axes)))

    def between_transposes(self, call: relax.Call, operands: list[relax.Expr], **attributes: str) -> relax.Expr:
        data = self.builder_.emit(relax.op.permute_dims(call.args[0], TO_NHWC))
        result = self.builder_.emit(rebuild_call(call, [data, *operands], **attributes))
        return relax.op.permute_dims(result, TO_NCHW)
