"""Convolutions with constant weights become calls of our kernels, their weights packed for a GPU's blocks."""

import numpy as np
import tvm
from tvm import relax
from tvm.ir import IRModule
from tvm.relax.expr_functor import mutator

from tvmpose.kernels.convolution import (
    Window,
    conv2d,
    conv2d_transpose,
    depthwise_conv2d,
    pack_transposed_weights,
    pack_weights,
)
from tvmpose.kernels.gpu_tensor_core import TENSOR_CORE, suits_tensor_cores, tensor_core_conv2d
from tvmpose.kernels.gpu_tiles import Work, packed_channels
from tvmpose.kernels.isa import VectorISA
from tvmpose.passes.lower_convolution import Lowering, refuse_unsupported
from tvmpose.targets import Gpu


@tvm.transform.module_pass(opt_level=0, name="LowerConvolutionForGpu")
class LowerConvolutionForGpu:
    """As LowerConvolution; direct convolutions alone: there are threads enough without further tricks."""

    def __init__(self, gpu: Gpu, half: bool = False):
        self.gpu, self.half = gpu, half and gpu.tensor_cores  # half: what suits tensor cores goes to them

    def transform_module(self, mod: IRModule, _: tvm.transform.PassContext) -> IRModule:
        relax.analysis.post_order_visit(mod["main"], refuse_unsupported)
        lowering = _GpuLowering(mod, self.gpu, self.half)
        lowering.builder_.update_func(mod.get_global_var("main"), lowering.visit_expr(mod["main"]))
        return lowering.builder_.get()


@mutator
class _GpuLowering(Lowering._cls):  # type: ignore[name-defined]  # what TVM's decorator wraps
    def __init__(self, mod: IRModule, gpu: Gpu, half: bool):
        super().__init__(mod, VectorISA(lanes=4, registers=16), None)
        self.gpu, self.half = gpu, half

    def _plain(self, call: relax.Call, weight: np.ndarray, window: Window) -> relax.Expr:
        height, width, inputs, outputs = weight.shape
        size = (int(call.ty.shape[1]), int(call.ty.shape[2]))
        pointwise = (height, width) == window.strides == (1, 1) and not any(window.padding)
        if self.half and pointwise and suits_tensor_cores(size, inputs, outputs):
            return self._call(TENSOR_CORE, tensor_core_conv2d, call.args[0], weight[0, 0].astype(np.float16))
        work = Work(size, outputs, inputs, (height, width), window.strides)
        packed = pack_weights(weight, packed_channels(work, self.gpu))
        return self._call("conv2d", lambda x, w: conv2d(x, w, window, outputs), call.args[0], packed)

    def _depthwise(self, call: relax.Call, weight: np.ndarray, window: Window) -> relax.Expr:
        compute = lambda x, w: depthwise_conv2d(x, w, window)  # noqa: E731
        return self._call("depthwise_conv2d", compute, call.args[0], weight[:, :, 0])

    def _transposed(
        self, call: relax.Call, weight: np.ndarray, strides: tuple[int, int], padding: tuple[int, int]
    ) -> relax.Expr:
        size = (int(call.ty.shape[1]), int(call.ty.shape[2]))
        inputs, outputs, *kernel = weight.shape
        taps = (-(-kernel[0] // strides[0]), -(-kernel[1] // strides[1]))
        phase = (size[0] // strides[0], size[1] // strides[1])
        work = Work(phase, outputs, inputs, taps, phases=strides[0] * strides[1])
        packed = pack_transposed_weights(weight, packed_channels(work, self.gpu), strides, padding)
        compute = lambda x, w: conv2d_transpose(x, w, padding, size, outputs)  # noqa: E731
        return self._call("conv2d_transpose", compute, call.args[0], packed)

    def _rows(self, data: relax.Expr, weight: np.ndarray) -> relax.Expr:
        rows, (inputs, outputs) = int(data.ty.shape[2]), weight.shape
        packed = pack_weights(weight[None, None], packed_channels(Work((1, rows), outputs, inputs, (1, 1)), self.gpu))
        window = Window((1, 1), (0, 0, 0, 0), (1, 1))
        return self._call("matmul", lambda x, w: conv2d(x, w, window, outputs), data, packed)
