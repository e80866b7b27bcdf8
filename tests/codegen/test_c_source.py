"""The generated C: it compiles without a warning whatever the tensors are called, and says what the plan says."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmpose.codegen.c_source import LibraryFacts, PixelSteps, library_source
from tvmpose.codegen.names import Names
from tvmpose.codegen.plan import Call, Plan
from tvmpose.codegen.toolchain import RUNTIME_SOURCES

NAMES = [
    'say "cheese"',
    "C:\\new\\x41",
    "what??/ trigraph??'",
    "posé/関節:0;Größe 🦴",
    "%s%n */ // /* \\",
    "tab\tline\nnull\0end",
    "",
    "\\",
    "1" * 3000,
]
FACTS = LibraryFacts(Names("net"), "1.2.3", "host", cpu_features=1 << 63 | 5, workspace_bytes=1 << 33, guard_bytes=64)
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on this machine")


def weird_plan() -> Plan:
    """Two kernels over tensors of every dtype, scalars and weights among them."""
    plan = Plan()
    dtypes = ["float32", "bool", "int64", "uint8", "float16", "int8", "float64", "int32", "uint16"]
    shapes = [(1, 2, 3), (), (5,), (2**31, 1), (1,) * 6, (0,), (), (7,), (1, 1)]
    for name, dtype, shape in zip(NAMES, dtypes, shapes, strict=True):
        plan.add_permanent(name, shape, dtype)
    plan.inputs, plan.outputs = [0, 1, 2, 3], [4, 1]
    plan.calls += [Call("conv2d", (0, 1, 4)), Call("fused_add", (4, 5))]
    plan.weights += bytes(256)
    return plan


def pixel_steps(plan: Plan) -> PixelSteps:
    tensors = range(6)
    return PixelSteps(
        Call("warp_packed", (0, 1, 2)),
        Call("warp_nv12", (0, 1)),
        Call("decode", (3,)),
        *tensors,
        keypoint_names=tuple(NAMES),
        input_width=192,
        input_height=256,
        crop_padding=1.25,
        half_pixel_centers=True,
    )


def compile_c(source: str, folder: Path, *flags: str) -> None:
    """With warnings as errors. The runtime's own sources have tests of theirs; here they are only declarations."""
    (folder / "net.c").write_text(source)
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{RUNTIME_SOURCES}", "net.c", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_cc
@pytest.mark.parametrize("pixels", [False, True], ids=["tensors", "pixels"])
def test_library_source__weird_names_shapes_and_dtypes__compiles_without_a_warning(tmp_path, pixels):
    plan = weird_plan()
    compile_c(library_source(plan, FACTS, pixel_steps(plan) if pixels else None), tmp_path, "-c", "-trigraphs")


@needs_cc
def test_library_source__network_without_kernels__compiles_without_a_warning(tmp_path):
    plan = Plan()
    plan.inputs = plan.outputs = [plan.add_permanent("x", (3,), "float32")]
    compile_c(library_source(plan, FACTS, None), tmp_path, "-c")


PROBE = """
#include <stdio.h>
#define KERNEL(name) \\
  int32_t name(void *a, const TVMFFIAny *b, int32_t c, TVMFFIAny *d) { (void)a, (void)b, (void)d; return c; }
KERNEL(__tvm_ffi_net_conv2d)
KERNEL(__tvm_ffi_net_fused_add)
const uint8_t net_weights[1] = {0};
int main(void) {
  for (int i = 0; i < model.num_tensors; ++i) {
    const tvmpose_tensor *t = &tensors[i];
    for (const char *s = t->info.name; *s; ++s) printf("%02x", (unsigned char)*s);
    printf(",%d,%d,%d,%llu,%d,%llu", t->info.ndim, t->info.dtype_code, t->info.dtype_bits,
           (unsigned long long)t->info.bytes, t->where, (unsigned long long)t->offset);
    for (int k = 0; k < t->info.ndim; ++k) printf(",%lld", (long long)t->info.shape[k]);
    puts("");
  }
  printf("%llx ", (unsigned long long)model.cpu_features);
  printf("%llu %u\\n", (unsigned long long)model.workspace_bytes, model.guard_bytes);
  return 0;
}
"""


@needs_cc
def test_library_source__compiled__says_what_the_plan_says(tmp_path):
    plan = weird_plan()
    plan.place(FACTS.guard_bytes)
    compile_c(library_source(plan, FACTS, None) + PROBE, tmp_path, "-o", "probe", "-pthread", "-lm")
    *rows, facts = subprocess.run([tmp_path / "probe"], capture_output=True, text=True, check=True).stdout.splitlines()
    codes = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLPack's
    for row, tensor in zip(rows, plan.tensors, strict=True):
        name, *numbers = row.split(",")
        dtype = np.dtype(tensor.dtype)
        expected = [len(tensor.shape), codes[dtype.kind], dtype.itemsize * 8, tensor.bytes, 0]
        assert bytes.fromhex(name) == tensor.name.encode().split(b"\0")[0]
        assert list(map(int, numbers)) == [*expected, plan.storages[tensor.storage].offset, *tensor.shape]
    assert facts == f"{FACTS.cpu_features:x} {FACTS.workspace_bytes} {FACTS.guard_bytes}"


@given(st.text())
def test_library_source__any_name__stays_in_its_own_line_of_ascii(name):
    plan = Plan()
    plan.inputs = plan.outputs = [plan.add_permanent(name, (3,), "float32")]
    other = Plan()
    other.inputs = other.outputs = [other.add_permanent("x", (3,), "float32")]
    source, plain = library_source(plan, FACTS, None), library_source(other, FACTS, None)
    assert source.isascii()
    assert source.count("\n") == plain.count("\n")
    assert source.count('"') == plain.count('"')
