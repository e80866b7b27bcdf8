"""The same operator call again with other operands or attributes."""

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax


def rebuild_call(call: relax.Call, operands: Sequence[relax.Expr], **attributes: Any) -> relax.Call:
    """``call``'s operator on ``operands``, its attributes kept but for those given."""
    kept = call.attrs
    if attributes:
        kind = type(call.attrs).__tvm_ffi_type_info__
        fields = {field.name: getattr(call.attrs, field.name) for field in kind.fields}
        if unknown := attributes.keys() - fields.keys():
            raise AttributeError(f"{call.op.name} has no attribute {', '.join(unknown)}")
        kept = tvm.ir.make_node(kind.type_key, **(fields | attributes))
    return relax.Call(call.op, operands, kept)
