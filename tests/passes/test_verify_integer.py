"""The verifier finds sums and floats between kernels, and the summary says what stayed in float."""

import pytest
from tvm import relax, te
from tvm.ir import IRModule

from tests.native import network
from tvmpose.errors import ModelError
from tvmpose.passes.integer_walk import Refusal
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.passes.verify_integer import integer_summary, refusals_of, verify_integer, with_refusals
from tvmpose.qdq import dequantize, per_tensor, quantize
from tvmpose.targets import host_target

SOME = per_tensor(0.1, 3, "int8")


def kernels(*dtypes: str) -> IRModule:
    """A straight line of kernels from bytes, that store these dtypes."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 9), "int8"))
    with builder.function("main", [x]):
        with builder.dataflow():
            value: relax.Expr = x
            for dtype in dtypes:
                cast = lambda t, dtype=dtype: te.compute(t.shape, lambda *i: t[i].astype(dtype), name="cast")  # noqa: E731
                value = builder.emit_te(cast, value, primfunc_name_hint=f"to_{dtype}")
            output = builder.emit_output(value)
        builder.emit_func_output(output)
    return builder.get()


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_verify__lowered_kernel_stores_sums_or_floats__is_named(dtype: str):
    with pytest.raises(ModelError, match=f"to_{dtype} stores {dtype}"):
        verify_integer(with_refusals(kernels("uint8", dtype, "int8"), []), kernels("int8"))


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_verify__later_pass_stores_sums_or_floats__is_named(dtype: str):
    with pytest.raises(ModelError, match=f"to_{dtype} stores 36 of {dtype}"):
        verify_integer(with_refusals(kernels("int8"), []), kernels("int8", dtype, "int8"))


def test_verify__bytes_from_kernel_to_kernel__is_content():
    verify_integer(with_refusals(kernels("uint8", "int8"), []), kernels("uint8", "int8"))


def test_verify__floats_that_were_not_refused__are_counted():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 9), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            cast = lambda t: te.compute(t.shape, lambda *i: t[i].astype("int8"), name="cast")  # noqa: E731
            output = builder.emit_output(builder.emit_te(cast, x, primfunc_name_hint="quantize"))
        builder.emit_func_output(output)
    module = builder.get()
    verify_integer(with_refusals(module, [Refusal("t", "softmax", "no row")]), module)
    with pytest.raises(ModelError, match="1 kernels read floats, 0 operators were refused"):
        verify_integer(with_refusals(module, []), module)


def test_pipeline__quantized_network__verifies_and_says_what_is_float():
    def build(x: relax.Expr) -> list[relax.Expr]:
        number = dequantize(x, SOME)
        table = quantize(relax.op.sigmoid(number), SOME)
        return [
            quantize(relax.op.nn.log_softmax(number), SOME),
            quantize(relax.op.add(number, dequantize(table, SOME)), SOME),
        ]

    said = []

    def on_phase(name: str, module: IRModule) -> None:
        if name == "integers":
            said.append(integer_summary(module, refusals_of(module) or []))

    module = relax.transform.Normalize()(network(build, (4, 9), dtype="int8"))
    run_pipeline(module, host_target().llvm(), on_phase)
    assert len(said) == 1 and said[0].endswith("1 operator in float: nn.log_softmax (no integer kernel for it)")
    assert int(said[0].split()[0]) >= 2


def test_summary__equal_refusals__are_counted_once():
    refusals = [Refusal(name, "divide", "it has several operands") for name in ("a", "b")]
    line = integer_summary(kernels(*["int8"] * 5), refusals)
    assert line == "3 integer kernels, 2 operators in float: divide (it has several operands) x2"


def test_refusals_of__module_that_was_not_lowered__is_none():
    assert refusals_of(network(lambda x: relax.op.nn.softmax(x), (4, 9))) is None
