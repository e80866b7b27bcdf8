"""pad with zeros, then convolve: the convolution pads its own input, so the padded copy need not exist.

Keras writes every strided SAME convolution this way, with asymmetric padding.
"""

from tvm import relax
from tvm.ir import IRModule
from tvm.ir.transform import PassContext, module_pass
from tvm.relax.dpl import is_op, rewrite_call, wildcard


@module_pass(opt_level=0, name="FoldPadding")
class FoldPadding:
    def transform_module(self, mod: IRModule, _: PassContext) -> IRModule:
        data, weight = wildcard(), wildcard()
        padded = is_op("relax.nn.pad")(data)
        convolution = is_op("relax.nn.conv2d")(padded, weight)

        def fold(call: relax.Call, matched: dict) -> relax.Expr:
            pad, attrs = matched[padded], call.attrs
            widths = [int(n) for n in pad.attrs.pad_width]
            spatial = [widths[2], widths[4], widths[3], widths[5]]  # NHWC: top, left, bottom, right
            if attrs.data_layout != "NHWC" or pad.attrs.pad_mode != "constant" or pad.attrs.pad_value != 0:
                return call
            if any(widths[:2] + widths[6:]) or min(widths) < 0:
                return call
            return relax.op.nn.conv2d(
                matched[data],
                matched[weight],
                strides=attrs.strides,
                padding=tuple(int(a) + b for a, b in zip(attrs.padding, spatial, strict=True)),
                dilation=attrs.dilation,
                groups=attrs.groups,
                data_layout=attrs.data_layout,
                kernel_layout=attrs.kernel_layout,
            )

        mod = mod.clone()
        mod.update_func(mod.get_global_var("main"), rewrite_call(convolution, fold, mod["main"]))
        return relax.transform.Normalize()(mod)
