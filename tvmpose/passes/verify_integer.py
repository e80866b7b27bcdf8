"""What integers owe: bytes from kernel to kernel, no sums and no floats but where the source itself has them."""

from collections import Counter
from collections.abc import Sequence
from math import prod

from tvm import relax
from tvm.ir import IRModule

from tvmpose.errors import ModelError
from tvmpose.passes.integer_walk import Refusal
from tvmpose.qdq import operator_name

REFUSALS = "tvmpose.refusals"  # attribute of a module that was lowered: triples of strings
_STORED = ("int8", "uint8", "int16")


def with_refusals(mod: IRModule, refusals: Sequence[Refusal]) -> IRModule:
    return mod.with_attr(REFUSALS, [[refusal.tensor, refusal.operator, refusal.reason] for refusal in refusals])


def refusals_of(mod: IRModule) -> list[Refusal] | None:
    """None of a module that has no quantized tensors."""
    if mod.attrs is None or REFUSALS not in mod.attrs:
        return None
    return [Refusal(*map(str, refusal)) for refusal in mod.attrs[REFUSALS]]


def integer_summary(mod: IRModule, refusals: Sequence[Refusal]) -> str:
    """One line, as "74 integer kernels, 2 operators in float: divide (it has several operands) x2"."""
    line = f"{len(_kernel_calls(mod)) - len(refusals)} integer kernels"
    if not refusals:
        return line
    kinds = Counter(f"{refusal.operator} ({refusal.reason})" for refusal in refusals)
    listed = ", ".join(kind + f" x{count}" * (count > 1) for kind, count in kinds.items())
    return f"{line}, {len(refusals)} operator{'s' * (len(refusals) > 1)} in float: {listed}"


def verify_integer(lowered: IRModule, scheduled: IRModule) -> None:
    """Raises ModelError, naming the kernel. lowered: after lower_integer; scheduled: the same after all passes.

    Integer kernels store bytes and read nothing but bytes and constants, except those that quantize what was refused.
    What the later passes fuse and schedule stores no int32 or float tensor of a size that the graph did not have.
    """
    refusals = refusals_of(lowered)
    assert refusals is not None
    quantizing = 0
    for call in _kernel_calls(lowered):
        name = call.args[0].name_hint
        _require(_dtype(call) in _STORED, f"{name} stores {_dtype(call)}")
        inputs = {_dtype(value) for value in call.args[1].fields if isinstance(value, relax.Var)}
        _require("int32" not in inputs, f"{name} reads sums")
        quantizing += "float32" in inputs
    _require(quantizing <= len(refusals), f"{quantizing} kernels read floats, {len(refusals)} operators were refused")
    known = set().union(*map(_sizes, _values(lowered)))
    for call in _kernel_calls(scheduled):
        for dtype, size in _sizes(call):
            _require(dtype in _STORED or (dtype, size) in known, f"{call.args[0].name_hint} stores {size} of {dtype}")


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise ModelError(f"this quantized model was not lowered as it should be, a fault of tvmpose: {fault}")


def _values(mod: IRModule) -> list[relax.Expr]:
    return [binding.value for block in mod["main"].body.blocks for binding in block.bindings]


def _kernel_calls(mod: IRModule) -> list[relax.Call]:
    return [value for value in _values(mod) if operator_name(value) == "relax.call_tir"]


def _dtype(value: relax.Expr) -> str:
    return str(value.ty.dtype)


def _sizes(value: relax.Expr) -> set[tuple[str, int]]:
    """dtype and number of elements of each tensor that it is."""
    tensors = value.ty.fields if isinstance(value.ty, relax.TupleType) else [value.ty]
    return {(str(tensor.dtype), prod(int(n) for n in tensor.shape)) for tensor in tensors}
