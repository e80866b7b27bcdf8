"""What every frontend does last: make ``main`` return a tuple, and write down what goes in and out."""

from collections.abc import Sequence
from math import prod

import tvm
from tvm import relax

from tvmpose.errors import ModelError
from tvmpose.frontend.quantized_constants import settle_constants
from tvmpose.modelspec import ModelSpec, TensorSpec

LARGEST = 2**31 - 1  # elements of a tensor, which kernels count in int32
# What TVM's importers raise for attributes, arguments and shapes that they cannot handle.
REFUSED = (
    NotImplementedError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    IndexError,
    RuntimeError,
)


def with_spec(
    module: tvm.IRModule, source_format: str, inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[tvm.IRModule, ModelSpec]:
    """The module in the form that ModelSpec promises, and its ModelSpec.

    ``inputs`` and ``outputs`` are the source's own tensor names, in order.
    Raises ModelError for a tensor without a static shape, or one that no memory holds.
    """
    module = settle_constants(relax.transform.Normalize()(returning_tuple(module)))
    main = module["main"]
    for block in main.body.blocks:
        for binding in block.bindings:
            _refuse_impossible(binding.var)
    spec = ModelSpec(
        source_format,
        tuple(tensor_spec(name, parameter.ty) for name, parameter in zip(inputs, main.params, strict=True)),
        tuple(tensor_spec(name, field) for name, field in zip(outputs, main.ret_ty.fields, strict=True)),
    )
    return module, spec


def _refuse_impossible(variable: relax.Var) -> None:
    """A shape that importers compute from attributes which do not fit together."""
    shape = variable.ty.shape if isinstance(variable.ty, relax.TensorType) else None
    if shape is None or not all(isinstance(extent, tvm.tirx.IntImm) for extent in shape.values):
        return
    extents = [int(extent) for extent in shape.values]
    if min(extents, default=0) < 0 or prod(extents) > LARGEST:
        raise ModelError(f"tensor {variable.name} would have the shape {extents}")


def tensor_spec(name: str, type_: relax.TensorType) -> TensorSpec:
    """The specification of one tensor by its Relax type."""
    shape = type_.shape
    if shape is None or not all(isinstance(extent, tvm.tirx.IntImm) for extent in shape.values):
        raise ModelError(f"tensor {name} has no static shape: {shape}")
    return TensorSpec(name, tuple(int(extent) for extent in shape.values), str(type_.dtype))


def returning_tuple(module: tvm.IRModule) -> tvm.IRModule:
    """``main`` returning a tuple also where it has a single output."""
    main = module["main"]
    if isinstance(main.ret_ty, relax.TupleType):
        return module
    *blocks, last = main.body.blocks
    outputs = relax.Tuple([main.body.body])
    result = relax.Var("outputs", relax.TupleType([main.ret_ty]))
    last = relax.DataflowBlock([*last.bindings, relax.VarBinding(result, outputs)])
    function = relax.Function(main.params, relax.SeqExpr([*blocks, last], result), result.ty, attrs=main.attrs)
    module = tvm.IRModule(module.functions, attrs=module.attrs)
    module["main"] = function
    return module


def first_line(error: Exception) -> str:
    """An exception's message, cut to its first line that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
