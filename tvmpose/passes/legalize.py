"""Relax operators to TVM's own definitions, except where ours vectorize: LLVM calls libm for each single expf."""

from collections.abc import Callable

from tvm import relax, te, topi

from tvmpose.kernels.resize import MODES, resize_bilinear, source_places

Rule = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]


def _exp(x: te.Tensor) -> te.Tensor:
    """exp as a polynomial, within 3e-7 of it, relative."""
    return topi.fast_exp(x)


def _sigmoid(x: te.Tensor) -> te.Tensor:
    exponential = topi.fast_exp(topi.negative(x))
    return te.compute(x.shape, lambda *i: 1.0 / (1.0 + exponential[i]), name="sigmoid")


def _by_tvm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """As it would be without a rule of ours; a rule that returns its call leaves it as it is."""
    return call.op.get_attr("FLegalize")(builder, call)


def _resize2d(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    data, attrs = call.args[0], call.attrs
    mode = str(attrs.coordinate_transformation_mode)
    out_type = call.ty
    if attrs.layout != "NHWC" or attrs.method != "linear" or mode not in MODES or str(out_type.dtype) != "float32":
        return _by_tvm(builder, call)
    if int(data.ty.shape[0]) != 1:
        return _by_tvm(builder, call)
    tables = [
        relax.const(t)
        for axis in (1, 2)
        for t in source_places(int(data.ty.shape[axis]), int(out_type.shape[axis]), mode)
    ]
    return builder.call_te(resize_bilinear, data, *tables, primfunc_name_hint="resize_bilinear")


def legalize(for_gpu: bool = False) -> relax.transform.LegalizeOps:
    """The pass. A GPU has an exp of its own."""
    if for_gpu:
        return relax.transform.LegalizeOps({"relax.image.resize2d": _resize2d})
    ours = {"relax.exp": _elementwise(_exp), "relax.sigmoid": _elementwise(_sigmoid), "relax.image.resize2d": _resize2d}
    return relax.transform.LegalizeOps(ours)


def _elementwise(compute: Callable[[te.Tensor], te.Tensor]) -> Rule:
    def convert(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        return builder.call_te(compute, call.args[0]) if str(call.ty.dtype) == "float32" else _by_tvm(builder, call)

    return convert
