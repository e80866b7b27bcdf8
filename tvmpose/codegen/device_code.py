"""PrimFuncs with bound threads to device source and a list of launches, told apart from TVM's host code.

TVM splits each function into kernels and a host function that calls them. We take the kernels' source and read the
calls off the host function: it is a straight line, and our own table in C (gpu.h) replaces it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import tvm
from tvm import tirx
from tvm.ir import IRModule
from tvm.target import Target
from tvm.tirx import PrimFunc

from tvmpose.errors import ModelError
from tvmpose.targets import Gpu


@dataclass(frozen=True)
class Kernel:
    """A function of the device code."""

    entry: str
    block: tuple[int, int, int]  # threads
    shared_bytes: int  # static
    dynamic_shared_bytes: int
    num_args: int


@dataclass(frozen=True)
class Scratch:
    """Memory between two kernels of one function, for the time of its call."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Launch:
    """args: a parameter of the function by its position, or its scratch."""

    kernel: str
    grid: tuple[int, int, int]  # blocks
    args: tuple[int | Scratch, ...]


@dataclass(frozen=True)
class DeviceCode:
    """launches: by function, in order."""

    source: str
    kernels: Mapping[str, Kernel]
    launches: Mapping[str, tuple[Launch, ...]]


def compile_device(functions: Mapping[str, PrimFunc], name: str, gpu: Gpu, host: Target) -> DeviceCode:
    """Source for the GPU of scheduled functions by name; name: the bundle's, a prefix of the kernels' names."""
    named = {key: f.with_attr("global_symbol", f"{name}_{key}") for key, f in functions.items()}
    split = _AfterSplit()
    config = {"tirx.disable_assert": True}
    with tvm.transform.PassContext(opt_level=3, config=config, instruments=[split]):
        module = tvm.tirx.build(IRModule(named), target=gpu.tvm(host))
    assert split.module is not None
    hosts = {var.name_hint: f for var, f in split.module.functions_items() if not _is_device(f)}
    source = _DECLARATIONS.sub("", module.imports[0].inspect_source())
    bodies = bodies_of(source)
    kernels: dict[str, Kernel] = {}
    launches: dict[str, tuple[Launch, ...]] = {}
    for key in functions:
        calls = _HostFunction(hosts[key]).calls
        kernels |= {call.entry: _kernel(call, bodies[call.entry]) for call in calls}
        launches[key] = tuple(Launch(call.entry, call.grid, call.args) for call in calls)
    _refuse_too_large(kernels.values(), gpu)
    return DeviceCode(source, kernels, launches)


def _refuse_too_large(kernels: Iterable[Kernel], gpu: Gpu) -> None:
    """Templates keep to the GPU's limits by what they estimate; this is what came of it."""
    for kernel in kernels:
        threads, shared = prod(kernel.block), kernel.shared_bytes + kernel.dynamic_shared_bytes
        if threads > gpu.max_threads or shared > gpu.shared_bytes:
            has = f"{gpu.max_threads} threads and {gpu.shared_bytes} bytes of shared memory"
            raise ModelError(f"{kernel.entry} wants {threads} threads and {shared} bytes, a block of the GPU has {has}")


@tvm.ir.instrument.pass_instrument
class _AfterSplit:
    """Keeps the module as SplitHostDevice leaves it."""

    def __init__(self) -> None:
        self.module: IRModule | None = None

    def run_after_pass(self, module: IRModule, info: object) -> None:
        if str(getattr(info, "name", "")).endswith("SplitHostDevice"):
            self.module = module


@dataclass(frozen=True)
class _Call:
    entry: str
    args: tuple[int | Scratch, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_shared_bytes: int


def _is_device(function: PrimFunc) -> bool:
    return "tirx.is_global_func" in function.attrs


class _HostFunction:
    """Reads the calls off a host function: allocations, views and calls of kernels, one after the other."""

    def __init__(self, function: PrimFunc) -> None:
        self.places: list[tuple[object, int | Scratch]] = [(var, i) for i, var in enumerate(function.params)]
        self.calls: list[_Call] = []
        self._visit(function.body)

    def _visit(self, statement: object) -> None:
        if isinstance(statement, tirx.SeqStmt):
            for part in statement.seq:
                self._visit(part)
        elif isinstance(statement, tirx.AttrStmt):
            self._visit(statement.body)
        elif isinstance(statement, tirx.AllocBuffer):
            buffer = statement.buffer
            self.places.append((buffer, Scratch(tuple(int(n) for n in buffer.shape), str(buffer.dtype))))
        elif isinstance(statement, tirx.DeclBuffer):
            self.places.append((statement.buffer, self._place(statement.data)))
        elif isinstance(statement, tirx.Evaluate) and _is_kernel_call(statement.value):
            self._call(statement.value)
        elif not (isinstance(statement, tirx.Evaluate) and isinstance(statement.value, tirx.IntImm)):
            raise ModelError(f"a kernel computes on the host, between its launches on a GPU: {statement}")

    def _place(self, data: tvm.ir.Call) -> int | Scratch:
        (variable,) = data.args  # of tirx.buffer_data
        return next(place for other, place in self.places if variable.same_as(other))

    def _call(self, call: tvm.ir.Call) -> None:
        parameters = [str(name) for name in call.attrs.launch_params]
        entry, *values = call.args
        arguments, extents = values[: len(values) - len(parameters)], values[len(values) - len(parameters) :]
        launch = {name: int(extent) for name, extent in zip(parameters, extents, strict=True)}
        grid, block = (_extents(launch, axis) for axis in ("blockIdx", "threadIdx"))
        dynamic = launch.get("tirx.use_dyn_shared_memory", 0)
        self.calls.append(_Call(entry.value, tuple(map(self._place, arguments)), grid, block, dynamic))


def _is_kernel_call(value: object) -> bool:
    return isinstance(value, tvm.ir.Call) and getattr(value.op, "name", "") == "tirx.call_ffi_kernel"


def _extents(launch: Mapping[str, int], axis: str) -> tuple[int, int, int]:
    x, y, z = (launch.get(f"{axis}.{name}", 1) for name in "xyz")
    return x, y, z


# TVM repeats the declarations of all kernels before each.
_DECLARATIONS = re.compile(r'^(?:__kernel|extern "C" __global__) [^\n]*;\n', re.MULTILINE)
_DEFINITION = re.compile(r'^(?:__kernel|extern "C" __global__) [^\n]*?(\w+)\([^()\n]*\) \{$', re.MULTILINE)
# Static arrays that the threads of a block share, as TVM's code generators write them.
_SHARED = re.compile(r"(?:__local|__shared__)\s+(?:alignas\(\d+\)\s+)?(\w+)\s+\w+\[(\d+)\]")
_BYTES = {"char": 1, "uchar": 1, "half": 2, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8}


def _kernel(call: _Call, source: str) -> Kernel:
    """source: that of the kernel alone."""
    shared = 0
    for kind, count in _SHARED.findall(source):
        scalar = re.sub(r"(_t|\d+)+$", "", kind)
        lanes = re.search(r"(\d+)$", kind)
        shared += _BYTES[scalar] * int(lanes[1] if lanes else 1) * int(count)
    return Kernel(call.entry, call.block, shared, call.dynamic_shared_bytes, len(call.args))


def bodies_of(source: str) -> Mapping[str, str]:
    """The text of each kernel from its definition to the next."""
    starts = [(m[1], m.start()) for m in _DEFINITION.finditer(source)]
    ends = [start for _, start in starts[1:]] + [len(source)]
    return {name: source[start:end] for (name, start), end in zip(starts, ends, strict=True)}
