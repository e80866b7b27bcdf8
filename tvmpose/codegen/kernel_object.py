"""PrimFuncs to one object file whose only foreign symbols are ours, prefixed with the bundle's name."""

import re
import tempfile
from pathlib import Path

import tvm
from tvm.ir import IRModule
from tvm.target import Target
from tvm.tirx import PrimFunc

# What TVM's generated code expects of a runtime. Two bundles in one program must not share them, and TVM's own loader
# overwrites every visible __TVMBackend* of a library it loads: so they are renamed, and hidden.
_BACKEND = re.compile(r"@(__TVMBackend\w+|TVMFFI\w+)")
_BACKEND_POINTER = re.compile(r"^@(__TVMBackend\w+) = .*$", re.MULTILINE)
_FUNCTION_NAME = re.compile(r'@"?([\w.$]+)"?\(')
_BODY = re.compile(r'@"?([\w.$]*__tvm_parallel_lambda[\w.$]*)"?')
# A vector rounded to integers, for which LLVM 22 makes two instructions on 64-bit ARM where there is one.
_ROUNDED = re.compile(
    r"^  %([\w.]+) = .*call <(\d+) x i32> @llvm\.lrint\.v\d+i32\.v\d+f32\(<\d+ x float> (%[\w.]+)\).*$", re.M
)
_ROUND_TO_EVEN = "llvm.aarch64.neon.fcvtns.v4i32.v4f32"
_WORKSPACE_REQUEST = re.compile(r"call ptr %\w+\(i32 [^,]+, i32 [^,]+, i64 (?:noundef )?(\d+), i32")


def kernel_symbol(name: str, kernel: str) -> str:
    """The C symbol of a kernel in the bundle called name."""
    return f"__tvm_ffi_{name}_{kernel}"


def kernels_of(module: IRModule) -> dict[str, PrimFunc]:
    """Those of a module that is scheduled, by name."""
    return {var.name_hint: f for var, f in module.functions_items() if isinstance(f, PrimFunc)}


def compile_kernels(kernels: dict[str, PrimFunc], name: str, target: Target, output: Path) -> int:
    """Compile into the object file `output`; returns the scratch bytes that the neediest kernel asks for in a call.

    The kernels' own argument checks are left out: every argument comes from tables of ours.
    """
    functions = {f"{name}_{key}": kernel.with_attr("global_symbol", f"{name}_{key}") for key, kernel in kernels.items()}
    triple = str(target.attrs.get("mtriple", ""))
    # it would let wide vectors share the accumulators' memory, which LLVM then keeps in registers as badly as those
    config = {"tirx.disable_assert": True, "tirx.disable_storage_rewrite": triple.startswith(("aarch64", "arm"))}
    with tvm.transform.PassContext(opt_level=3, config=config):
        module = tvm.tirx.build(IRModule(functions), target=target)
    source = rename_backend(module.inspect_source("ll"), name)
    if triple.startswith("aarch64"):
        source = round_by_fcvtns(source)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kernels.ll"
        path.write_text(source)
        tvm.runtime.load_module(str(path)).write_to_file(str(output), "o")
    return workspace_bytes(source)


def rename_backend(llvm_ir: str, name: str) -> str:
    """Prefix TVM's backend symbols with the bundle's name; make them and the kernels hidden."""
    llvm_ir = _BACKEND_POINTER.sub(r"@\1 = external hidden global ptr", llvm_ir)
    llvm_ir = _BACKEND.sub(rf"@{name}_\1", llvm_ir)
    llvm_ir = llvm_ir.replace("define dllexport ", "define hidden ")
    return llvm_ir.replace("define weak dso_local ", "define internal ")  # its fp16 helpers, one set for each object


def round_by_fcvtns(llvm_ir: str) -> str:
    """Vectors of 4, 8 or 16 floats rounded by the instruction for it, four at a time."""

    def vector(start: int, count: int) -> str:
        return f"<{count} x i32> <{', '.join(f'i32 {start + n}' for n in range(count))}>"

    def rounded(match: re.Match) -> str:
        name, lanes, value = match[1], int(match[2]), match[3]
        if lanes not in (4, 8, 16):
            return match[0]
        floats, lines, parts = f"<{lanes} x float>", [], []
        for start in range(0, lanes, 4):
            part = f"%round.{name}.{start}"
            lines += [
                f"  {part}.f = shufflevector {floats} {value}, {floats} poison, {vector(start, 4)}",
                f"  {part} = call <4 x i32> @{_ROUND_TO_EVEN}(<4 x float> {part}.f)",
            ]
            parts.append(part)
        width = 4
        while width < lanes:
            half, width = f"<{width} x i32>", 2 * width
            joined = [f"{left}.{width}" for left in parts[::2]]
            for whole, left, right in zip(joined, parts[::2], parts[1::2], strict=True):
                lines.append(f"  {whole} = shufflevector {half} {left}, {half} {right}, {vector(0, width)}")
            parts = joined
        lines[-1] = lines[-1].replace(f"{parts[0]} =", f"%{name} =")
        return "\n".join(lines)

    changed, count = _ROUNDED.subn(rounded, llvm_ir)
    return changed + f"\ndeclare <4 x i32> @{_ROUND_TO_EVEN}(<4 x float>)\n" if count else llvm_ir


def workspace_bytes(llvm_ir: str) -> int:
    """Scratch that a thread needs at most: what a kernel itself asks for, and the body of a parallel loop inside it.

    Each request is rounded up to 64 bytes, as the runtime does.
    """
    functions = {}
    for text in llvm_ir.split("\ndefine ")[1:]:
        head, _, body = text.partition("{")
        if name := _FUNCTION_NAME.search(head):
            functions[name[1]] = body
    own = {
        name: sum(-(-int(n) // 64) * 64 for n in _WORKSPACE_REQUEST.findall(body)) for name, body in functions.items()
    }
    bodies = {name: set(_BODY.findall(body)) for name, body in functions.items()}
    return max((own[name] + max((own.get(b, 0) for b in bodies[name]), default=0) for name in functions), default=0)
