"""Candidates into one program that times them, built apart from the tuner: what hangs or crashes there loses a group.

A group of candidates of one task is compiled, linked and run as one: what that costs is shared.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tvmpose.codegen.toolchain import RUNTIME_SOURCES, toolchain_for
from tvmpose.errors import SetupError
from tvmpose.kernels.choices import Value
from tvmpose.targets import Target, host_target
from tvmpose.tools import run_tool
from tvmpose.tuning.tasks import Task

BUILD_SECONDS = 120.0  # of a group; --build-timeout
_GROUPS_OF_A_WORKER = 32  # then it is replaced: LLVM's memory grows
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_NAME = "measured"
_ALIGNMENT = 64

Decisions = Mapping[str, Value]


@dataclass(frozen=True)
class Built:
    """A program, or why there is none."""

    program: Path | None
    error: str = ""


@dataclass(frozen=True)
class _Order:
    """What a worker needs: all of it can be pickled."""

    task: str  # the PrimFunc, as JSON
    arguments: str  # the table of arguments, C
    decisions: tuple[Decisions, ...]
    target: Target
    folder: Path


class Builder:
    """Builds groups in processes of its own, as many as there are workers."""

    def __init__(self, target: Target, folder: Path, workers: int, timeout: float = BUILD_SECONDS) -> None:
        """target: of the kernels; folder: for what is built. Raises SetupError where there is no compiler for it."""
        from tvm.support.popen_pool import PopenPoolExecutor

        self.target, self.timeout, self._folder = target, timeout, folder
        self._pool = PopenPoolExecutor(
            max_workers=workers,
            timeout=timeout,
            initializer=_import_compiler,
            maximum_process_uses=_GROUPS_OF_A_WORKER,
        )
        self._count = 0
        _warm_linker(target, folder)

    def __enter__(self) -> "Builder":
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the workers first: TVM's shutdown closes pipes that its threads read from, which may hang then."""
        import psutil

        for worker in list(self._pool._worker_map.values()):
            with contextlib.suppress(psutil.NoSuchProcess, AttributeError):
                process = psutil.Process(worker._proc.pid)
                for each in (*process.children(recursive=True), process):
                    each.kill()
        self._pool._threadpool.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown()

    def submit(self, task: Task, group: Sequence[Decisions]) -> "Pending":
        """Start building a program of the group's candidates, in their order."""
        from tvm.ir import save_json

        self._count += 1
        place = self._folder / f"{self._count}"
        place.mkdir(parents=True)
        table = arguments_table(task)
        order = _Order(save_json(task.function), table, tuple(group), self.target, place)
        return Pending(self._pool.submit(_build, order), self.timeout)


@dataclass(frozen=True)
class Pending:
    """A program that is being built."""

    future: object
    timeout: float

    def result(self) -> Built:
        try:
            return Built(self.future.result())  # type: ignore[attr-defined]
        except TimeoutError:
            return Built(None, f"not built in {self.timeout:g} s (--build-timeout)")
        except Exception as error:  # noqa: BLE001
            # whatever a worker died of is that group's failure
            return Built(None, one_line(error))


def one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"[:300]


def program_target(target: Target) -> Target:
    """What programs for a board are linked for: musl, statically, which runs with any C library, on phones too."""
    if target.triple == host_target().triple:
        return host_target()
    system = "linux-musleabihf" if target.architecture == "arm" else "linux-musl"
    architecture = target.triple.partition("-")[0]
    return replace(target, triple=f"{architecture}-{system}", libc_version=None, linker="zig", levels=())


def arguments_table(task: Task) -> str:
    """C: the arguments of the task's kernel, and where DATA has them."""
    shapes, rows, offset = [], [], 0
    tensors = [*((a, "false") for a in task.inputs), *((r, "true") for r in task.results)]
    for index, (tensor, is_result) in enumerate(tensors):
        dtype = np.dtype(tensor.dtype)
        shapes.append(f"static const int64_t shape_{index}[] = {{{', '.join(map(str, tensor.shape)) or '0'}}};")
        described = f"{{{_CODES[dtype.kind]}, {dtype.itemsize * 8}, 1}}, {len(tensor.shape)}, shape_{index}"
        rows.append(f"    {{{described}, {tensor.bytes}, {offset}, {is_result}}},")
        offset += -(-tensor.bytes // _ALIGNMENT) * _ALIGNMENT
    head = f"enum {{ NUM_TENSORS = {len(rows)} }};\nstatic const uint64_t DATA_BYTES = {offset};"
    return "\n".join([head, *shapes, "static const measured_tensor TENSORS[] = {", *rows, "};"])


def write_data(path: Path, tensors: Iterable[np.ndarray]) -> None:
    """DATA: the arguments of a call, then what is expected, each aligned."""
    with path.open("wb") as file:
        for tensor in tensors:
            file.write(np.ascontiguousarray(tensor).tobytes())
            file.write(bytes(-file.tell() % _ALIGNMENT))


def _warm_linker(target: Target, folder: Path) -> None:
    """Zig builds the C library at its first use, which takes longer than a group may."""
    place = folder / "warm"
    place.mkdir(parents=True)
    empty = '#include "measure.h"\nint main(void) { return 0; }\n'
    (place / "measured.c").write_text(empty)
    link(place, target)


def _import_compiler() -> None:
    """In a new worker, before its time counts."""
    import tvmpose.codegen.kernel_object
    import tvmpose.kernels.dispatch  # noqa: F401


def _build(order: _Order) -> Path:
    from tvm.ir import load_json

    from tvmpose.codegen.kernel_object import compile_kernels, kernel_symbol
    from tvmpose.kernels.choices import Choices, given
    from tvmpose.kernels.dispatch import schedule_kernel
    from tvmpose.kernels.isa import vector_isa

    llvm = order.target.llvm()
    with llvm:
        function, isa = load_json(order.task), vector_isa(llvm)
        kernels = {
            f"k{index}": schedule_kernel(function, isa, Choices(given(decisions)))
            for index, decisions in enumerate(order.decisions)
        }
        workspace = compile_kernels(kernels, _NAME, llvm, order.folder / "kernels.o")
    symbols = [kernel_symbol(_NAME, name) for name in kernels]
    parameters = "(void *, const TVMFFIAny *, int32_t, TVMFFIAny *)"
    lines = [
        '#include "measure.h"',
        *(f'extern __attribute__((visibility("hidden"))) int32_t {symbol}{parameters};' for symbol in symbols),
        f"enum {{ NUM_KERNELS = {len(symbols)} }};",
        f"static const tvmpose_kernel KERNELS[] = {{{', '.join(symbols)}}};",
        f"static const uint64_t WORKSPACES[] = {{{', '.join([str(workspace)] * len(symbols))}}};",
        order.arguments,
        '#include "measure.c"',
    ]
    (order.folder / "measured.c").write_text("\n".join(lines) + "\n")
    return link(order.folder, order.target, "kernels.o")


def link(folder: Path, target: Target, *objects: str) -> Path:
    """The program of measured.c and the objects, which lie in the folder. Raises SetupError."""
    toolchain = toolchain_for(program_target(target))
    static = () if toolchain.cc == ("cc",) else ("-static",)
    includes = (f"-I{RUNTIME_SOURCES}", f"-I{Path(__file__).parent}")
    flags = ("-std=c11", "-O2", "-pthread", f"-DTVMPOSE_NAME={_NAME}", *includes, "-s", *static)
    program = folder / "measure"
    # the source by its whole path: zig's cache knows files by name, whatever folder it was called in
    run_tool((*toolchain.cc, *flags, str(folder / "measured.c"), *objects, "-o", program.name, "-lm"), folder)
    if not program.is_file():
        raise SetupError(f"{toolchain.cc[-1]} made no program")
    return program
