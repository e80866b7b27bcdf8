"""Half precision in memory: a GPU's kernels read and write float16 there, and compute in float32 as before.

In OpenCL conversion happens in the load and in the store, vload_half and vstore_half, which every device has, whether
it computes in half or not. TVM writes half loads for devices that have the extension for arithmetic; so the text of its
kernels is changed: what a pointer that holds halves is loaded or stored by. Rounding to the nearest is asked for:
left to the device it may be towards zero, by which each layer shrinks a little.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tvmpose.codegen.device_code import DeviceCode, Kernel, Launch, bodies_of
from tvmpose.codegen.plan import Call, Plan

_PARAMETER = re.compile(r"__global \w+\* restrict (\w+)")
KEPT_BYTES = 1 << 17  # of a tensor of float32, up to which it stays so
_SUFFIX = "_half_{:x}"  # of a kernel: which of its arguments are


@dataclass(frozen=True)
class HalfCode:
    """The device code, and by call of the network, or by part around it, its launches."""

    code: DeviceCode
    launches: Mapping[int | str, tuple[Launch, ...]]


def halve_activations(plan: Plan) -> None:
    """What lies between two kernels of the network: float32 storages that nobody outside reads, before plan.place.

    Small ones stay: they hold what a network has gathered from far and wide, and cost little.
    """
    outside = {plan.tensors[index].storage for index in (*plan.inputs, *plan.outputs)}
    by_storage: dict[int, list[int]] = {}
    for index, tensor in enumerate(plan.tensors):
        if tensor.storage is not None:
            by_storage.setdefault(tensor.storage, []).append(index)
    for storage, indices in by_storage.items():
        place = plan.storages[storage]
        kept = storage in outside or place.host or place.first < 0 or place.bytes <= KEPT_BYTES
        if kept or any(plan.tensors[index].dtype != "float32" for index in indices):
            continue
        for index in indices:
            plan.tensors[index] = replace(plan.tensors[index], dtype="float16")
        plan.storages[storage].bytes //= 2


def with_half_arguments(code: DeviceCode, plan: Plan, calls: Mapping[int | str, Call]) -> HalfCode:
    """Kernels for the dtypes that the calls' tensors have; one that is called with several gets a copy for each."""
    bodies = bodies_of(code.source)
    texts: dict[str, str] = {}
    kernels: dict[str, Kernel] = {}
    launches: dict[int | str, tuple[Launch, ...]] = {}
    for key, call in calls.items():
        made = []
        for launch in code.launches[call.kernel]:
            halves = [isinstance(arg, int) and plan.tensors[call.args[arg]].dtype == "float16" for arg in launch.args]
            mask = sum(1 << position for position, half in enumerate(halves) if half)
            entry = launch.kernel + (_SUFFIX.format(mask) if mask else "")
            if entry not in texts:
                text = bodies[launch.kernel].replace(f"{launch.kernel}(", f"{entry}(", 1)
                texts[entry] = _in_half(text, [n for n, half in zip(_pointers(text), halves, strict=True) if half])
                kernels[entry] = replace(code.kernels[launch.kernel], entry=entry)
            made.append(replace(launch, kernel=entry))
        launches[key] = tuple(made)
    return HalfCode(DeviceCode("\n".join(texts.values()), kernels, code.launches), launches)


def _pointers(text: str) -> list[str]:
    return _PARAMETER.findall(text[: text.index("{")])


def _in_half(text: str, pointers: list[str]) -> str:
    for pointer in pointers:
        text = text.replace(f"__global float* restrict {pointer}", f"__global half* restrict {pointer}")
        text = re.sub(rf"\bvload(\d+)\((\w+), {pointer}\b", rf"vload_half\1(\2, {pointer}", text)
        text = "\n".join(_line(line, pointer) for line in text.split("\n"))
    return text


def _line(line: str, pointer: str) -> str:
    """A line of a kernel, which is a statement at most."""
    place = re.compile(rf"(?<![\w.]){pointer}\[")
    stripped = line.lstrip()
    indent = line[: len(line) - len(stripped)]
    if stripped.startswith(f"{pointer}["):
        end = _closing(stripped, len(pointer))
        index, value = stripped[len(pointer) + 1 : end], stripped[end + 1 :].removeprefix(" = ").removesuffix(";")
        return f"{indent}vstore_half_rte({_line(value, pointer)}, {index}, {pointer});"
    if (match := re.match(r"vstore(\d+)\(", stripped)) and re.search(rf", \w+, {pointer} \+ ", stripped):
        line = f"{indent}vstore_half{match[1]}_rte({stripped[match.end() :]}"
    while found := place.search(line):
        end = _closing(line, found.end() - 1)
        line = f"{line[: found.start()]}vload_half({line[found.end() : end]}, {pointer}){line[end + 1 :]}"
    return line


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at start closes."""
    depth = 0
    for position in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"no closing bracket in {text!r}")
