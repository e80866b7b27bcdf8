"""The kernels' object file: whose symbols it needs and shows, and how much scratch its kernels really ask for."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from tvm import relax
from tvm.ir import IRModule
from tvm.tirx import PrimFunc

from tests.native import network
from tvmpose.codegen.kernel_object import compile_kernels, kernel_symbol, rename_backend
from tvmpose.codegen.plan import Plan, plan_module
from tvmpose.codegen.toolchain import RUNTIME_SOURCES
from tvmpose.passes.pipeline import run_pipeline
from tvmpose.targets import Target, host_target, load_target

NHWC = {"data_layout": "NHWC", "kernel_layout": "HWIO"}
LIBC = {"memcpy", "memset", "memmove"}
LIBM = {"expf", "exp", "logf", "powf", "erff", "tanhf", "roundf", "floorf", "ceilf", "nearbyintf", "fmodf", "sqrtf"}


def networks(x: relax.Expr) -> list[relax.Expr]:
    """Kernels that need scratch, parallel loops, libm and half precision."""
    random = np.random.default_rng(1)
    shapes = [(5, 5, 1, 40), (3, 3, 40, 24), (3, 3, 40, 2), (40, 9, 4, 4)]
    depthwise, dense, narrow, transposed = (random.standard_normal(shape, dtype="float32") for shape in shapes)
    convolved = relax.op.nn.conv2d(x, relax.const(depthwise), padding=2, groups=40, **NHWC)
    return [
        convolved,
        relax.op.nn.conv2d(x, relax.const(dense), padding=1, strides=2, **NHWC),
        relax.op.nn.softmax(relax.op.nn.conv2d(x, relax.const(narrow), padding=1, **NHWC)),
        relax.op.nn.conv2d_transpose(
            x, relax.const(transposed), strides=2, padding=1, data_layout="NHWC", kernel_layout="IOHW"
        ),
        relax.op.nn.softmax(x),
        relax.op.erf(x),
        relax.op.astype(relax.op.astype(x, "float16"), "float32"),
        relax.op.mean(relax.op.power(x, relax.const(np.float32(1.5))), [1, 2]),
    ]


def scheduled(target: Target) -> tuple[IRModule, dict[str, PrimFunc]]:
    module = run_pipeline(network(networks, (1, 33, 31, 40)), target.llvm())
    return module, {v.name_hint: f for v, f in module.functions_items() if isinstance(f, PrimFunc)}


def symbols(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Name, visibility and whether defined, of what an object shares with others."""
    with path.open("rb") as file:
        for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols():
            if symbol["st_info"]["bind"] != "STB_LOCAL" and symbol.name:
                yield symbol.name, symbol["st_other"]["visibility"], symbol["st_shndx"] != "SHN_UNDEF"


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "host"])
def test_compile_kernels__object__needs_our_symbols_and_libm_and_shows_nothing(tmp_path, target):
    _, functions = scheduled(load_target(target))
    compile_kernels(functions, "alpha", load_target(target).llvm(), tmp_path / "alpha.o")
    found = list(symbols(tmp_path / "alpha.o"))
    defined = {name for name, _, is_defined in found if is_defined}
    assert defined == {kernel_symbol("alpha", name) for name in functions}
    needed = {name for name, _, is_defined in found if not is_defined} - LIBC - LIBM
    assert all(re.fullmatch(r"alpha_(__TVMBackend|TVMFFI)\w+", name) for name in needed), needed
    assert not [name for name, visibility, is_defined in found if is_defined and visibility != "STV_HIDDEN"]


def test_compile_kernels__two_bundles_one_name_the_others_prefix__link_into_one_object(tmp_path):
    _, functions = scheduled(host_target())
    for name in ("net", "net_2", "net_TVM"):
        compile_kernels(functions, name, host_target().llvm(), tmp_path / f"{name}.o")
    command = ["cc", "-nostdlib", "-r", "net.o", "net_2.o", "net_TVM.o", "-o", "all.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    defined = {name for name, _, is_defined in symbols(tmp_path / "all.o") if is_defined}
    assert len(defined) == 3 * len(functions)


def test_rename_backend__everything_of_tvms__is_prefixed_and_hidden():
    text = (
        "@__TVMBackendAllocWorkspace = linkonce dllexport local_unnamed_addr global ptr null, align 8\n"
        "define dllexport i32 @__tvm_ffi_net_conv(ptr %0) {\n  %1 = load ptr, ptr @__TVMBackendAllocWorkspace\n"
        "  tail call void @TVMFFIErrorSetRaisedFromCStr(ptr @.str, ptr @.str.1)\n"
    )
    renamed = rename_backend(text, "net")
    assert renamed.splitlines()[0] == "@net___TVMBackendAllocWorkspace = external hidden global ptr"
    assert "define hidden i32 @__tvm_ffi_net_conv(" in renamed
    assert not re.search(r"@(__TVMBackend|TVMFFI)", renamed)


HARNESS = """
#define TVMPOSE_NAME alpha
#include "model.h"
#include <stdio.h>
#define HIDDEN __attribute__((visibility("hidden")))
typedef struct {{ void *barrier; int32_t num_tasks; }} environment;
typedef int (*task)(int, environment *, void *);

static _Alignas(64) char scratch[1 << 24];
static uint64_t used, peak;
static void *allocate(int a, int b, uint64_t bytes, int c, int d) {{
  (void)a, (void)b, (void)c, (void)d;
  char *piece = scratch + used;
  used += (bytes + 63) / 64 * 64;
  if (used > peak) peak = used;
  return piece;
}}
static int release(int a, int b, void *piece) {{
  (void)a, (void)b;
  used = (uint64_t)((char *)piece - scratch);
  return 0;
}}
static int launch(task body, void *closure, int count) {{
  environment whole = {{NULL, count > 0 ? count : 1}};
  for (int i = 0; i < whole.num_tasks; ++i) if (body(i, &whole, closure)) return -1;
  return 0;
}}
HIDDEN void alpha_TVMFFIErrorSetRaisedFromCStrParts(const char *k, const char **p, int32_t n) {{
  (void)k, (void)p, (void)n;
}}
HIDDEN void alpha_TVMFFIErrorSetRaisedFromCStr(const char *k, const char *t) {{ (void)k, (void)t; }}
HIDDEN void *(*const alpha___TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
HIDDEN int (*const alpha___TVMBackendFreeWorkspace)(int, int, void *) = release;
HIDDEN int (*const alpha___TVMBackendParallelLaunch)(task, void *, int) = launch;
{tensors}
int main(void) {{
  int status = 0;
{calls}
  printf("%llu %llu", (unsigned long long)peak, (unsigned long long)used);
  return status;
}}
"""


def harness(plan: Plan) -> str:
    """A program that makes every call of the plan once and prints the most scratch it held, and what it still holds."""
    tensors, calls = [], []
    codes = {"i": 0, "u": 1, "f": 2}
    for index, tensor in enumerate(plan.tensors):
        dtype = np.dtype(tensor.dtype)
        kind = f"{{{codes[dtype.kind]}, {dtype.itemsize * 8}, 1}}"
        shape = ", ".join(map(str, tensor.shape)) or "0"
        tensors.append(
            f"static _Alignas(64) char data_{index}[{tensor.bytes}]; static int64_t shape_{index}[] = {{{shape}}};"
        )
        place = f"data_{index}, {{1, 0}}, {len(tensor.shape)}, {kind}, shape_{index}, 0, 0"
        tensors.append(f"static DLTensor tensor_{index} = {{{place}}};")
    for number, call in enumerate(plan.calls):
        symbol = kernel_symbol("alpha", call.kernel)
        tensors.append(f"HIDDEN int32_t {symbol}(void *, const TVMFFIAny *, int32_t, TVMFFIAny *);")
        arguments = ", ".join(f"{{7, 0, {{.v_ptr = &tensor_{index}}}}}" for index in call.args)
        calls.append(f"  TVMFFIAny args_{number}[] = {{{arguments}}}, result_{number} = {{0}};")
        calls.append(f"  status |= {symbol}(NULL, args_{number}, {len(call.args)}, &result_{number});")
    return HARNESS.format(tensors="\n".join(tensors), calls="\n".join(calls))


@pytest.mark.parametrize("target", ["x86-64-v2", "host"])
def test_compile_kernels__workspace_bytes__are_what_the_neediest_kernel_takes(tmp_path, target):
    module, functions = scheduled(load_target(target))
    claimed = compile_kernels(functions, "alpha", load_target(target).llvm(), tmp_path / "alpha.o")
    (tmp_path / "main.c").write_text(harness(plan_module(module)))
    command = ["cc", "-std=c11", "-Wall", "-Werror", f"-I{RUNTIME_SOURCES}", "main.c", "alpha.o", "-o", "main", "-lm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, left = map(
        int, subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.split()
    )
    assert (peak, left) == (claimed, 0)
    assert claimed > 0
