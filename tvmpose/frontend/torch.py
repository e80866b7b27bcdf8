"""PyTorch: exported programs (.pt2), and modules defined in a net.py, through torch.export and TVM's importer."""

import copy
import importlib.util
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import ModuleType

import torch
import tvm
from torch import fx, nn
from torch.export import ExportedProgram
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvmpose.errors import ModelError
from tvmpose.frontend.alternatives import listed
from tvmpose.frontend.module_spec import REFUSED, first_line, with_spec
from tvmpose.frontend.torch_quantized import Converter, quantized_converters
from tvmpose.frontend.torch_regions import REGION_CONVERTERS
from tvmpose.modelspec import ModelSpec


def load(path: str | Path, *, outputs: Sequence[str] | None = None) -> tuple[tvm.IRModule, ModelSpec]:
    """Import a program saved by torch.export.save (.pt2).

    ``outputs`` names nodes of the program's graph to return in place of its own outputs, to compare intermediate
    results. Raises ModelError for a file that is none or is damaged, dynamic shapes, or operators we lack.
    """
    return from_program(read(path), outputs=outputs)


def load_module(
    module: nn.Module, example_input: torch.Tensor, *, outputs: Sequence[str] | None = None
) -> tuple[tvm.IRModule, ModelSpec]:
    """Import a module in eval mode with one input; its shape and dtype are those of ``example_input``."""
    return from_program(export(module, example_input), outputs=outputs)


def load_net(path: str | Path, function: str = "build") -> nn.Module:
    """The network that a net.py builds: by its ``build() -> nn.Module``, in eval mode. The file is executed."""
    return build_net(load_definition(path), path, function)


def load_definition(path: str | Path) -> ModuleType:
    """A net.py, executed. Raises ModelError for whatever it raises."""
    spec = importlib.util.spec_from_file_location("tvmpose_net", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ModelError(f"{path}: not a Python file")
    definition = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(definition)
    except Exception as error:  # whatever the user's file raises, it is theirs to mend
        raise ModelError(f"{path}: {type(error).__name__}: {first_line(error)}") from error
    return definition


def build_net(definition: ModuleType, path: str | Path, function: str) -> nn.Module:
    """What a function of a net.py returns, in eval mode. Raises ModelError where that is no module."""
    if not callable(getattr(definition, function, None)):
        raise ModelError(f"{path}: defines no {function}()")
    net = getattr(definition, function)()
    if not isinstance(net, nn.Module):
        raise ModelError(f"{path}: {function}() returns {type(net).__name__}, not a torch.nn.Module")
    return net.eval()


def read(path: str | Path) -> ExportedProgram:
    """The program in a .pt2 file. Raises ModelError."""
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a program saved by torch.export.save, or truncated")
    try:
        return torch.export.load(path)
    except Exception as error:  # of a damaged file anything may be missing, wherever it is looked for
        raise ModelError(f"{path}: not a program saved by torch.export.save: {type(error).__name__}") from error


def export(module: nn.Module, example_input: torch.Tensor) -> ExportedProgram:
    """The module as a graph of operators. Raises ModelError in training mode, where batch norm depends on the batch."""
    if module.training:
        raise ModelError(f"{type(module).__name__} is in training mode; call eval() first")
    return torch.export.export(module, (example_input,))


def from_program(program: ExportedProgram, *, outputs: Sequence[str] | None = None) -> tuple[tvm.IRModule, ModelSpec]:
    """Import an exported program; see load."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, about its tree specifications
        if outputs is not None:
            program = select_outputs(program, outputs)
        inputs, names = program.graph_signature.user_inputs, outputs or program.graph_signature.user_outputs
        # The importer needs the decomposed program: without it, batch norm comes out wrong.
        program = _decomposed(program)
        converters = CONVERTERS | quantized_converters(program)
        refuse_unsupported(program, converters.keys())
        try:
            module = from_exported_program(program, custom_convert_map=converters)
        except REFUSED as error:
            raise ModelError(f"the program cannot be imported: {first_line(error)}") from error
    return with_spec(module, "torch", inputs, names)


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    try:
        return program.run_decompositions()
    except Exception as error:  # a damaged file's arguments that do not fit together, found by whichever operator
        raise ModelError(f"the program does not fit together: {first_line(error)}") from error


def tensor_names(program: ExportedProgram) -> list[str]:
    """The float32 and byte values that the program's nodes compute, in order: what from_program can return."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "call_function"}
    kinds = (torch.float32, torch.int8, torch.uint8)
    return [name for name, value in values.items() if getattr(value, "dtype", None) in kinds]


def select_outputs(program: ExportedProgram, names: Sequence[str]) -> ExportedProgram:
    """The program returning the named nodes' values, as a tuple."""
    module = copy.deepcopy(program.module())
    nodes = {node.name: node for node in module.graph.nodes}
    if unknown := [name for name in names if name not in nodes]:
        raise ModelError(f"the program has no node {', '.join(unknown)}")
    module.graph.set_codegen(fx.graph.CodeGen())  # drops the calling convention of the original outputs
    module.graph.output_node().args = (tuple(nodes[name] for name in names),)
    module.graph.eliminate_dead_code()
    module.recompile()
    return torch.export.export(module, program.example_inputs[0])


def refuse_unsupported(program: ExportedProgram, ours: Collection[str]) -> None:
    """Raise ModelError naming every operator that has no converter, and each node that uses it."""
    known = {*ExportedProgramImporter().create_convert_map(), *ours}
    lacking = defaultdict(list)
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target.__name__ not in known:
            lacking[node.target.__name__].append(node.name)
    if lacking:
        raise ModelError(f"unsupported torch operators: {listed(lacking, known)}")


def amax(data: relax.Expr, axes: Sequence[int] = (), keepdims: bool = False) -> relax.Expr:
    """torch.amax; no axes means all."""
    return relax.op.max(data, list(axes) or None, keepdims)


def adaptive_max_pool2d(data: relax.Expr, output_size: Sequence[int]) -> relax.Expr:
    """torch's, where the output divides the input; in place of the indices, its second result, stand the maxima."""
    extents = [int(extent) for extent in data.ty.shape.values[-2:]]
    if any(extent % size for extent, size in zip(extents, output_size, strict=True)):
        raise NotImplementedError(f"adaptive_max_pool2d from {extents} to {list(output_size)}")
    window = [extent // size for extent, size in zip(extents, output_size, strict=True)]
    pooled = relax.op.nn.max_pool2d(data, window, strides=window)
    return relax.Tuple([pooled, pooled])


def index_select(data: relax.Expr, axis: int, indices: relax.Expr) -> relax.Expr:
    """torch.index_select; TVM's converter reads whatever an index that is too large points at, and warns of it."""
    return relax.op.take(data, indices, axis, mode="clip")


def select(data: relax.Expr, axis: int, index: int) -> relax.Expr:
    """torch.select; TVM's converter reads outside of the tensor where the index counts from the end."""
    axis, extent = axis % data.ty.ndim, int(data.ty.shape[axis])
    index = index % extent
    return relax.op.squeeze(relax.op.strided_slice(data, [axis], [index], [index + 1]), [axis])


def converter(build: Callable[..., relax.Expr]) -> Converter:
    """What TVM's importer calls, from a function of the operator's arguments."""
    return lambda node, importer: importer.block_builder.emit(build(*importer.retrieve_args(node)))


CONVERTERS: dict[str, Converter] = {
    "amax.default": converter(amax),
    "adaptive_max_pool2d.default": converter(adaptive_max_pool2d),
    "index_select.default": converter(index_select),
    "select.int": converter(select),
    **REGION_CONVERTERS,
}
