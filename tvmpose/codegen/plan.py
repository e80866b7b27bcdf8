"""From a scheduled module to a straight line: tensors, calls, and one arena with every tensor at a fixed offset."""

from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import tvm
from tvm import relax
from tvm.ir import IRModule, Op

from tvmpose.compact import Compact, compacted
from tvmpose.modelspec import ModelSpec

ALIGNMENT = 64  # what TVM's kernels assume of every data pointer
_FOREVER = 1 << 30  # later than any call
_SMALLEST_HALF = 1024  # elements: what is smaller, biases and tables of places, weighs nothing and decides much
_SMALLEST_COMPACT = 64  # elements: below, expanding is not worth its entry


@dataclass(frozen=True)
class Tensor:
    """A view of a storage (activations) or of the weights."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    storage: int | None  # index into Plan.storages, or None for weights and for the caller's pixels
    weight_offset: int | None = None
    storage_offset: int = 0  # from the start of its storage
    frame_offset: int | None = None  # on a GPU: in what comes in with a frame

    @property
    def bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass
class Storage:
    """Bytes of the arena that are taken from the first call that writes them to the last that reads them.

    host: of a network on a GPU those that lie in the host's arena, the others being the device's.
    """

    bytes: int
    first: int
    last: int
    offset: int = 0
    host: bool = False


@dataclass(frozen=True)
class CompactWeights:
    """float32 weights that are exact in a smaller format, expanded into a storage of the arena when a handle opens."""

    tensor: int
    weight_offset: int
    count: int
    form: Compact


@dataclass(frozen=True)
class Call:
    kernel: str
    args: tuple[int, ...]  # indices into Plan.tensors, outputs last


@dataclass
class Plan:
    """Everything the generated C needs; grown in place by planning, then by the pixels-to-keypoints kernels."""

    tensors: list[Tensor] = field(default_factory=list)
    storages: list[Storage] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    weights: bytearray = field(default_factory=bytearray)
    compact_weights: list[CompactWeights] = field(default_factory=list)
    arena_bytes: int = 0
    host_bytes: int = 0  # of the host's arena, where the other is a device's
    alignment: int = ALIGNMENT
    half_weights: bool = False  # large ones of float32 as float16, and left so

    def add_tensor(
        self, name: str, shape: tuple[int, ...], dtype: str, first: int, last: int, host: bool = False
    ) -> int:
        """A tensor with a storage of its own, live from call `first` to call `last`."""
        tensor = Tensor(name, shape, dtype, len(self.storages))
        self.storages.append(Storage(tensor.bytes, first, last, host=host))
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def name_ends(self, spec: ModelSpec) -> None:
        """Give inputs and outputs the names that the source model has for them."""
        for indices, named in ((self.inputs, spec.inputs), (self.outputs, spec.outputs)):
            for index, tensor in zip(indices, named, strict=True):
                self.tensors[index] = replace(self.tensors[index], name=tensor.name)

    def add_permanent(self, name: str, shape: tuple[int, ...], dtype: str, host: bool = False) -> int:
        """A tensor that nothing else may overlap."""
        return self.add_tensor(name, shape, dtype, -1, _FOREVER, host)

    def add_weights(self, name: str, array: np.ndarray) -> int:
        """A constant, in less space where a smaller format holds every value of it exactly."""
        if self.half_weights and array.dtype == np.float32 and array.size >= _SMALLEST_HALF:
            array = _in_half(array)
        compact = compacted(array) if array.dtype == np.float32 and array.size >= _SMALLEST_COMPACT else None
        self.weights.extend(bytes(-len(self.weights) % self.alignment))
        offset = len(self.weights)
        if compact:
            form, stored = compact
            self.weights.extend(stored.tobytes())
            index = self.add_permanent(name, array.shape, str(array.dtype))
            self.compact_weights.append(CompactWeights(index, offset, array.size, form))
            return index
        self.weights.extend(array.tobytes())
        self.tensors.append(Tensor(name, array.shape, str(array.dtype), None, weight_offset=offset))
        return len(self.tensors) - 1

    def place(self, guard_bytes: int = 0) -> None:
        """Give every storage its offset: largest first, each as low as those alive at the same time allow.

        Greedy by size comes within a few percent of the lower bound on such nets (arXiv:2001.03288). guard_bytes keeps
        a band free before and after each storage, for builds that check that no kernel oversteps.
        """
        self.arena_bytes = self._place([s for s in self.storages if not s.host], guard_bytes)
        self.host_bytes = self._place([s for s in self.storages if s.host], guard_bytes)

    def summary(self, also: str = "") -> str:
        """For people, once it is placed. also: to be said behind the number of calls."""
        sizes = f"arena {self.arena_bytes / 1e6:.2f} MB, weights {len(self.weights) / 1e6:.2f} MB"
        return f"{len(self.calls)} calls{also}, {sizes}"

    def _place(self, storages: list[Storage], guard_bytes: int) -> int:
        """Returns how many bytes they take together."""
        placed: list[Storage] = []
        for storage in sorted(storages, key=lambda s: -s.bytes):
            offset = self._aligned(guard_bytes)
            rivals = (
                other  # a guard band must stay untouched for ever, so with bands nothing shares memory
                for other in placed
                if guard_bytes or (other.first <= storage.last and storage.first <= other.last)
            )
            for other in sorted(rivals, key=lambda s: s.offset):
                if offset + storage.bytes + guard_bytes <= other.offset:
                    break
                offset = max(offset, self._aligned(other.offset + other.bytes + guard_bytes))
            storage.offset = offset
            placed.append(storage)
        return self._aligned(max((s.offset + s.bytes + guard_bytes for s in storages), default=0))

    def _aligned(self, size: int) -> int:
        return -(-size // self.alignment) * self.alignment


def _in_half(array: np.ndarray) -> np.ndarray:
    """As it is where a number is out of the format's range."""
    with np.errstate(over="ignore"):
        half = array.astype("float16")
    return half if np.isfinite(half).all() else array


def plan_module(mod: IRModule, alignment: int = ALIGNMENT, half_weights: bool = False) -> Plan:
    """Read main's bindings, all call_tir and reshape, into a Plan whose storages are not placed yet."""
    return _Planner(mod["main"], alignment, half_weights).plan


class _Planner:
    def __init__(self, main: relax.Function, alignment: int, half_weights: bool):
        self.plan = Plan(alignment=alignment, half_weights=half_weights)
        self.indices: dict[relax.Var, list[int]] = {}  # a tuple has several tensors
        self.constants: dict[bytes, int] = {}
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        end = sum(1 for binding in bindings if _is_call_tir(binding.value))
        for parameter in main.params:
            index = self.plan.add_tensor(parameter.name, *_shape_and_dtype(parameter.ty), -1, 0)
            self.indices[parameter] = [index]
            self.plan.inputs.append(index)
        for binding in bindings:
            self.indices[binding.var] = self._bind(binding)
        self.plan.outputs = self._operands(main.body.body)
        for index in self.plan.outputs:
            self._use(index, end)

    def _bind(self, binding: relax.VarBinding) -> list[int]:
        value = binding.value
        if _is_call_tir(value):
            return self._call(binding.var.name, value)
        if isinstance(value, relax.Call) and value.op == Op.get("relax.reshape"):
            (source,) = self._operands(value.args[0])
            shape, dtype = _shape_and_dtype(binding.var.ty)
            self.plan.tensors.append(Tensor(binding.var.name, shape, dtype, self.plan.tensors[source].storage))
            return [len(self.plan.tensors) - 1]
        return self._operands(value)

    def _call(self, name: str, call: relax.Call) -> list[int]:
        position = len(self.plan.calls)
        arguments = self._operands(call.args[1])
        for index in arguments:
            self._use(index, position)
        types = call.ty_args[0].fields if isinstance(call.ty_args[0], relax.TupleType) else [call.ty_args[0]]
        results = [self.plan.add_tensor(name, *_shape_and_dtype(ty), position, position) for ty in types]
        self.plan.calls.append(Call(call.args[0].name_hint, (*arguments, *results)))
        return results

    def _operands(self, expression: relax.Expr) -> list[int]:
        if isinstance(expression, relax.Var):
            return self.indices[expression]
        if isinstance(expression, relax.Tuple):
            return [index for item in expression.fields for index in self._operands(item)]
        if isinstance(expression, relax.TupleGetItem):
            return [self._operands(expression.tuple_value)[expression.index]]
        if isinstance(expression, tvm.ir.GenericConst):
            return [self._constant(expression.value.numpy())]
        raise TypeError(f"main still holds {type(expression).__name__}: {expression}")

    def _constant(self, array: np.ndarray) -> int:
        key = f"{array.dtype}{array.shape}".encode() + array.tobytes()
        if key not in self.constants:
            self.constants[key] = self.plan.add_weights(f"weight_{len(self.constants)}", array)
        return self.constants[key]

    def _use(self, index: int, position: int) -> None:
        storage = self.plan.tensors[index].storage
        if storage is not None:
            self.plan.storages[storage].last = max(self.plan.storages[storage].last, position)


def _is_call_tir(value: relax.Expr) -> bool:
    return isinstance(value, relax.Call) and value.op == Op.get("relax.call_tir")


def _shape_and_dtype(ty: relax.TensorType) -> tuple[tuple[int, ...], str]:
    return tuple(int(n) for n in ty.shape), str(ty.dtype)
