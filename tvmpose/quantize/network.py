"""A float network as the quantizer sees it: layers and the few operators that integers have kernels for.

Everything else, such as the arithmetic of a head, is float and stays so; what a layer reads of it is quantized.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst, IRModule

from tvmpose.errors import ModelError
from tvmpose.passes.convert_layout import to_nhwc
from tvmpose.passes.fold_batch_norm import fold_batch_norm
from tvmpose.passes.fold_padding import FoldPadding

# Kernel layout of a convolution: the axes of its inputs and of its outputs. A depthwise one has 1 input.
KERNEL_AXES = {"HWIO": (2, 3), "HWOI": (3, 2), "IOHW": (0, 1)}
LAYERS = {"relax.nn.conv2d", "relax.nn.conv2d_transpose"}
SUMS = {"relax.add", "relax.subtract", "relax.multiply"}
MOVEMENTS = {
    f"relax.{name}"
    for name in "reshape permute_dims strided_slice concat nn.pad nn.max_pool2d squeeze expand_dims".split()
} | {"relax.image.resize2d"}
ACTIVATIONS = {"relax.nn.relu", "relax.clip"}
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Unit:
    """Operators that become one integer kernel: the first of them, a bias, activations. Identified by its name."""

    name: str  # of the tensor that it makes
    chain: tuple[relax.Var, ...] = field(compare=False)
    operands: tuple[str, ...]  # the tensors it reads
    call: relax.Call = field(compare=False)  # the first of the chain
    activations: tuple[relax.Call, ...] = field(compare=False)  # the last

    @property
    def is_movement(self) -> bool:
        """Whether it returns elements of its operands, or what lies between them, so that their range is its own."""
        return self.call.op.name in MOVEMENTS

    @property
    def bounds(self) -> Bounds:
        """What the activations leave of all numbers."""
        low, high = -np.inf, np.inf
        for call in self.activations:
            first, last = (0.0, np.inf) if call.op.name == "relax.nn.relu" else map(_number, call.args[1:3])
            low, high = min(max(low, first), last), max(min(high, last), first)
        return low, high


@dataclass(frozen=True)
class Layer(Unit):
    """A convolution with constant weights. bias: float32 (outputs,), zeros where there is none."""

    weight: np.ndarray = field(compare=False)
    bias: np.ndarray = field(compare=False)

    @property
    def is_depthwise(self) -> bool:
        return int(self.call.attrs.groups) > 1

    @property
    def outputs_axis(self) -> int:
        """Of the weights."""
        return KERNEL_AXES[str(self.call.attrs.kernel_layout)][1]

    @property
    def inputs_axis(self) -> int:
        """Of the weights; for a depthwise layer the axis of its channels."""
        return self.outputs_axis if self.is_depthwise else KERNEL_AXES[str(self.call.attrs.kernel_layout)][0]

    @property
    def multiply_adds(self) -> int:
        """For one picture."""
        at = self.call.args[0] if self.call.op.name == "relax.nn.conv2d_transpose" else self.call
        return int(at.ty.shape[1]) * int(at.ty.shape[2]) * self.weight.size


@dataclass(frozen=True)
class Network:
    """main's units in order, and what the tensors between them are called."""

    module: IRModule
    units: tuple[Unit, ...]
    names: Mapping[relax.Var, str]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(unit for unit in self.units if isinstance(unit, Layer))

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Those that a unit reads or makes, in order."""
        used = {name for unit in self.units for name in (*unit.operands, unit.name)}
        return tuple(name for name in self.names.values() if name in used)

    @cached_property
    def variables(self) -> Mapping[str, relax.Var]:
        return {name: var for var, name in self.names.items()}

    @cached_property
    def producers(self) -> Mapping[str, Unit]:
        return {unit.name: unit for unit in self.units}

    @cached_property
    def readers(self) -> Mapping[str, tuple[Unit, ...]]:
        """The units that read each tensor."""
        return {name: tuple(unit for unit in self.units if name in unit.operands) for name in self.tensors}

    def is_moved(self, name: str) -> bool:
        """Whether a movement makes it."""
        return name in self.producers and self.producers[name].is_movement

    @cached_property
    def read_elsewhere(self) -> frozenset[str]:
        """Tensors that something other than a unit reads, or main returns."""
        inside = {var for unit in self.units for var in unit.chain}
        bindings = [b for block in self.module["main"].body.blocks for b in block.bindings]
        return frozenset(self.names[var] for b in bindings if b.var not in inside for var in variables_in(b.value))

    @cached_property
    def groups(self) -> Mapping[str, str]:
        """For each tensor the one that stands for all that share its scale, as a movement's ends do."""
        parents = {name: name for name in self.tensors}

        def root(name: str) -> str:
            while parents[name] != name:
                name = parents[name]
            return name

        for unit in self.integer_units():
            if unit.is_movement:
                for operand in unit.operands:
                    parents[root(unit.name)] = root(operand)
        return {name: root(name) for name in self.tensors}

    def integer_units(self, float_layers: Sequence[str] = ()) -> tuple[Unit, ...]:
        """Layers that are not to stay float, and between them what makes the bytes that they read."""
        chosen: list[Unit] = []
        needed: set[str] = set()
        for unit in reversed(self.units):
            if unit.name not in float_layers if isinstance(unit, Layer) else unit.name in needed:
                chosen.append(unit)
                needed.update(unit.operands)
        return tuple(reversed(chosen))


def byte_readers(network: Network, units: Sequence[Unit], name: str) -> list[Unit]:
    """Of these integer units, those that read a tensor in bytes.

    Additions read in 16 bits what layers and other additions make: in a residual stream errors would add up.
    """
    is_wide = not network.is_moved(name)
    return [unit for unit in units if name in unit.operands and not (is_wide and unit.call.op.name in SUMS)]


def byte_operands(network: Network, units: Sequence[Unit]) -> set[str]:
    """The tensors that these integer units read in bytes."""
    return {name for name in network.tensors if byte_readers(network, units, name)}


def wide_operands(network: Network, units: Sequence[Unit]) -> set[str]:
    """The tensors of these integer units that anything else reads, main's caller included."""
    made = {unit.name for unit in units if not unit.is_movement}
    return {
        name
        for name in made
        if len(byte_readers(network, units, name)) < len(network.readers[name]) or name in network.read_elsewhere
    }


def prepare(module: IRModule) -> IRModule:
    """The float module in the form that Network reads: NHWC, batch norms and paddings in their convolutions.

    Running the pipeline over it again changes nothing. Raises ModelError for a network with kernels of its own in it.
    """
    if len(module.functions) > 1:
        raise ModelError("networks of two stages cannot be quantized: compile without --precision int8")
    T = relax.transform
    with tvm.transform.PassContext(opt_level=3):
        module = to_nhwc(fold_batch_norm(T.Normalize()(module)))
        cleanup = [
            *(T.Normalize(), T.FoldConstant(), FoldPadding(), T.CanonicalizeBindings()),
            *(T.EliminateCommonSubexpr(), T.DeadCodeElimination(), T.Normalize()),
        ]
        return tvm.transform.Sequential(cleanup)(module)


def read_network(module: IRModule) -> Network:
    """The units of a prepared module."""
    return _Reader(module).network()


class _Reader:
    def __init__(self, module: IRModule) -> None:
        self.module, main = module, module["main"]
        self.bindings = [binding for block in main.body.blocks for binding in block.bindings]
        self.calls = {b.var: b.value for b in self.bindings if isinstance(b.value, relax.Call)}
        self.users: dict[relax.Var, list[relax.Var]] = {}
        for binding in self.bindings:
            for operand in variables_in(binding.value):
                self.users.setdefault(operand, []).append(binding.var)
        self.names: dict[relax.Var, str] = {}
        taken: dict[str, int] = {}
        for var in [*main.params, *(binding.var for binding in self.bindings)]:
            count = taken[var.name] = taken.get(var.name, 0) + 1
            self.names[var] = var.name if count == 1 else f"{var.name}#{count}"

    def network(self) -> Network:
        units: list[Unit] = []
        inside: set[relax.Var] = set()
        for binding in self.bindings:
            if binding.var not in inside and (unit := self.unit(binding.var)):
                units.append(unit)
                inside.update(unit.chain)
        return Network(self.module, tuple(units), self.names)

    def unit(self, var: relax.Var) -> Unit | None:
        if (call := self.calls.get(var)) is None:
            return None
        name = getattr(call.op, "name", "")
        if name in LAYERS and isinstance(call.args[1], GenericConst) and str(call.attrs.data_layout) == "NHWC":
            return self.layer(var, call)
        if name not in SUMS | MOVEMENTS | ACTIVATIONS or not _is_float(var):
            return None
        data = call.args[0].fields if isinstance(call.args[0], relax.Tuple) else call.args[:1]
        operands = call.args if name in SUMS else data
        if not all(isinstance(operand, relax.Var) and _is_float(operand) for operand in operands):
            return None
        activations = [] if name in MOVEMENTS else self.activations_of(var)
        chain = (var, *activations)
        calls = tuple(self.calls[after] for after in activations)
        return Unit(self.names[chain[-1]], chain, tuple(self.names[o] for o in operands), call, calls)

    def layer(self, var: relax.Var, call: relax.Call) -> Layer | None:
        weight = call.args[1].value.numpy()
        outputs = int(call.ty.shape[3])
        if int(call.attrs.groups) not in (1, outputs) or not isinstance(call.args[0], relax.Var):
            return None
        if int(call.ty.shape[0]) != 1:  # integer kernels look at one picture; of many boxes it stays float
            return None
        chain, bias = [var], np.zeros(outputs, "float32")
        after = self.only_user(var)
        if after is not None and (found := self.bias_in(after, var, outputs)) is not None:
            chain, bias = [var, after], found
        activations = self.activations_of(chain[-1])
        chain = [*chain, *activations]
        calls = tuple(self.calls[after] for after in activations)
        operands = (self.names[call.args[0]],)
        return Layer(self.names[chain[-1]], tuple(chain), operands, call, calls, weight, bias)

    def only_user(self, var: relax.Var) -> relax.Var | None:
        users = self.users.get(var, [])
        return users[0] if len(users) == 1 and users[0] in self.calls else None

    def bias_in(self, var: relax.Var, data: relax.Var, outputs: int) -> np.ndarray | None:
        """The constant that an addition adds to each channel of ``data``."""
        call = self.calls[var]
        if call.op.name != "relax.add":
            return None
        other = call.args[1] if call.args[0].same_as(data) else call.args[0]
        if not isinstance(other, GenericConst):
            return None
        value = other.value.numpy()
        if value.size not in (1, outputs) or (value.ndim and value.shape[-1] != value.size):
            return None
        return np.broadcast_to(value.astype("float32").reshape(-1), (outputs,)).copy()

    def activations_of(self, var: relax.Var) -> list[relax.Var]:
        """Those that follow one another right behind a value."""
        found: list[relax.Var] = []
        while (after := self.only_user(var)) is not None and self.calls[after].op.name in ACTIVATIONS:
            found.append(after)
            var = after
        return found


def _number(bound: relax.Expr) -> float:
    return float(getattr(bound, "value", bound))


def variables_in(expression: relax.Expr) -> list[relax.Var]:
    """Those that an expression reads, once for each time."""
    if isinstance(expression, relax.Var):
        return [expression]
    if isinstance(expression, relax.TupleGetItem):
        return variables_in(expression.tuple_value)
    parts = expression.fields if isinstance(expression, relax.Tuple) else getattr(expression, "args", ())
    return [var for part in parts for var in variables_in(part)]


def _is_float(var: relax.Var) -> bool:
    return isinstance(var.ty, relax.TensorType) and str(var.ty.dtype) == "float32"
