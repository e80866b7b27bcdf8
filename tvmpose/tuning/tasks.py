"""What there is to tune in a network: its kernels before they are scheduled, each once, with real arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import tvm
from tvm import relax
from tvm.ir import IRModule, Op
from tvm.tirx import PrimFunc

from tvmpose.kernels.choices import Choices
from tvmpose.kernels.cost import Cost, is_written_out, kernel_cost
from tvmpose.kernels.dispatch import schedule_kernel, template_of
from tvmpose.kernels.isa import VectorISA
from tvmpose.passes.schedule_kernels import workload_of

_RANGES = {"float32": (-1.0, 1.0), "int8": (-128, 128), "uint8": (0, 256)}  # of activations; others may be indices


@dataclass(frozen=True)
class Argument:
    """A tensor that a kernel reads or writes; value: of a constant."""

    shape: tuple[int, ...]
    dtype: str
    value: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Task:
    """A kernel of a network to find a schedule for. calls: how often a frame calls it."""

    name: str
    workload: str
    function: PrimFunc
    template: str
    inputs: tuple[Argument, ...]
    results: tuple[Argument, ...]
    calls: int
    cost: Cost

    @property
    def is_float(self) -> bool:
        return self.results[0].dtype.startswith("float")

    @property
    def title(self) -> str:
        """For people: the template, and the shapes of what it reads and makes."""
        shapes = [*(a.shape for a in self.inputs if a.value is None), "→", *(a.shape for a in self.results)]
        return f"{self.template} " + " ".join("×".join(map(str, s[1:] or s)) if s != "→" else "→" for s in shapes)


def extract(module: IRModule, isa: VectorISA) -> list[Task]:
    """The tasks of a module as it is before the pipeline's last phase, those first that cost most.

    Left out is what no template decides anything about.
    """
    calls: dict[str, list[relax.Call]] = {}
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call) and binding.value.op == Op.get("relax.call_tir"):
                calls.setdefault(binding.value.args[0].name_hint, []).append(binding.value)
    tasks: dict[str, Task] = {}
    for name, its in calls.items():
        function = module[name]
        workload = workload_of(function)
        if known := tasks.get(workload):
            tasks[workload] = Task(**{**vars(known), "calls": known.calls + len(its)})
        elif task := _task(name, workload, function, its, isa):
            tasks[workload] = task
    return sorted(tasks.values(), key=lambda task: -task.calls * (task.cost.multiply_adds + task.cost.bytes))


def _task(name: str, workload: str, function: PrimFunc, calls: Sequence[relax.Call], isa: VectorISA) -> Task | None:
    if is_written_out(function) or not all(_is_static(p) for p in function.params):
        return None
    choices = Choices()
    schedule_kernel(function, isa, choices)
    if not any(len(taken.options) > 1 for taken in choices.taken.values()):
        return None
    given = calls[0].args[1].fields
    inputs = tuple(
        Argument(*_shape_and_dtype(parameter), _constant(expression))
        for parameter, expression in zip(function.params, given, strict=False)
    )
    results = tuple(Argument(*_shape_and_dtype(parameter)) for parameter in function.params[len(given) :])
    if any(argument.value is None and argument.dtype not in _RANGES for argument in inputs):
        return None
    return Task(name, workload, function, template_of(function), inputs, results, len(calls), kernel_cost(function))


def arguments(task: Task, seed: int = 0) -> list[np.ndarray]:
    """A call's: constants as they are, activations at random."""
    rng = np.random.default_rng(seed)

    def values(argument: Argument) -> np.ndarray:
        if argument.value is not None:
            return argument.value
        low, high = _RANGES[argument.dtype]
        drawn = rng.random(argument.shape) * (high - low) + low
        return np.ascontiguousarray(np.floor(drawn) if argument.dtype != "float32" else drawn, argument.dtype)

    return [values(argument) for argument in task.inputs]


def expected(task: Task, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the kernel makes of them as it is defined, unscheduled, on this machine."""
    function = task.function.with_attr("global_symbol", "reference")
    library = tvm.tirx.build(IRModule({"reference": function}), target=tvm.target.Target("llvm"))
    results = [np.zeros(result.shape, result.dtype) for result in task.results]
    tensors = [tvm.runtime.tensor(array) for array in (*inputs, *results)]
    library["reference"](*tensors)
    return [tensor.numpy() for tensor in tensors[len(inputs) :]]


def _constant(expression: relax.Expr) -> np.ndarray | None:
    return expression.value.numpy() if isinstance(expression, tvm.ir.GenericConst) else None


def _shape_and_dtype(parameter: tvm.tirx.Buffer) -> tuple[tuple[int, ...], str]:
    return tuple(int(n) for n in parameter.shape), str(parameter.dtype)


def _is_static(parameter: object) -> bool:
    return hasattr(parameter, "shape")
