"""Relax operators to TVM's own definitions, except where ours vectorize: LLVM calls libm for each single expf."""

from tvm import relax, te, topi

from tvmpose.kernels.resize import MODES, resize_bilinear, source_places


def _exp(x: te.Tensor) -> te.Tensor:
    """exp as a polynomial, within 3e-7 of it, relative."""
    return topi.fast_exp(x)


def _sigmoid(x: te.Tensor) -> te.Tensor:
    exponential = topi.fast_exp(topi.negative(x))
    return te.compute(x.shape, lambda *i: 1.0 / (1.0 + exponential[i]), name="sigmoid")


def _resize2d(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    data, attrs = call.args[0], call.attrs
    mode = str(attrs.coordinate_transformation_mode)
    out_type = call.ty
    if attrs.layout != "NHWC" or attrs.method != "linear" or mode not in MODES or str(out_type.dtype) != "float32":
        return call
    if int(data.ty.shape[0]) != 1:
        return call
    tables = [relax.const(t) for axis in (1, 2) for t in source_places(int(data.ty.shape[axis]), int(out_type.shape[axis]), mode)]
    return builder.call_te(resize_bilinear, data, *tables, primfunc_name_hint="resize_bilinear")


def legalize() -> relax.transform.LegalizeOps:
    """The pass."""
    table = {"relax.exp": _exp, "relax.sigmoid": _sigmoid}

    def rule(compute):
        def convert(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
            if str(call.ty.dtype) != "float32":
                return call
            return builder.call_te(compute, call.args[0])

        return convert

    rules = {name: rule(compute) for name, compute in table.items()}
    return relax.transform.LegalizeOps(rules | {"relax.image.resize2d": _resize2d})
