"""Imported modules in TVM's virtual machine, unscheduled; and what the QDQ form promises of them."""

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

CONVOLUTIONS = {"relax.nn.conv2d", "relax.nn.conv2d_transpose", "relax.matmul"}


def run(module: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    """What main() returns."""
    machine = relax.VirtualMachine(tvm.compile(module, tvm.target.Target("llvm")), tvm.cpu())
    return [result.numpy() for result in machine["main"](*map(tvm.runtime.tensor, inputs))]


def calls(module: tvm.IRModule) -> dict[relax.Var, relax.Call]:
    """The operator calls of main, by the variables they are bound to."""
    bindings = (binding for block in module["main"].body.blocks for binding in block.bindings)
    return {binding.var: binding.value for binding in bindings if isinstance(binding.value, relax.Call)}


def operators(module: tvm.IRModule) -> list[str]:
    return [call.op.name.removeprefix("relax.") for call in calls(module).values()]


def assert_qdq_form(module: tvm.IRModule) -> None:
    """Scales and zero points are constants of the one type; weights and int32 constants are dequantized constants."""
    bound = calls(module)
    for call in bound.values():
        if call.op.name in ("relax.quantize", "relax.dequantize"):
            scale, zero_point = call.args[1:3]
            assert isinstance(scale, GenericConst) and str(scale.ty.dtype) == "float32"
            assert isinstance(zero_point, GenericConst) and str(zero_point.ty.dtype) == "int32"
            assert scale.value.numpy().shape == zero_point.value.numpy().shape
            assert not isinstance(call.args[0], GenericConst) or call.op.name == "relax.dequantize"
        elif call.op.name in CONVOLUTIONS:
            weight = bound[call.args[1]]
            assert weight.op.name == "relax.dequantize" and isinstance(weight.args[0], GenericConst), call
            assert str(weight.args[0].ty.dtype) in ("int8", "uint8")
