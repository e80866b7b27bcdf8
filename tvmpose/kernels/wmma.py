"""Four instructions for tiles of 16 × 16 on NVIDIA's tensor cores (nvcuda::wmma), by what they compute.

As TVM's tensor_intrin.cuda, whose package takes half a minute to import for the sake of hundreds of others.
"""

from collections.abc import Callable
from functools import cache

from tvm.ir import Expr
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm.tirx import Buffer, PrimFunc

_SIDE = 16
_ACCUMULATOR = "wmma.accumulator"


@cache
def wmma_intrinsics() -> dict[str, str]:
    """By "fill", "load_a", "load_b", "multiply" and "store" the name under which each is registered."""
    made = {
        "fill": _fill(),
        "load_a": _load("wmma.matrix_a"),
        "load_b": _load("wmma.matrix_b"),
        "multiply": _multiply(),
        "store": _store(),
    }
    for name, (description, implementation) in made.items():
        TensorIntrin.register(f"tvmpose.wmma.{name}", description, implementation, override=True)
    return {name: f"tvmpose.wmma.{name}" for name in made}


def _tile(handle, dtype, scope, strides=None):
    """The buffer of one tile, wherever it begins in a larger one."""
    return T.match_buffer(handle, (_SIDE, _SIDE), dtype, strides=strides, align=64, offset_factor=_SIDE, scope=scope)


def _fragment(buffer, stride):
    """A tile's number among those of its buffer."""
    row, column = buffer.elem_offset // stride, buffer.elem_offset % stride
    return row // _SIDE * (stride // _SIDE) + column // _SIDE


def _fill() -> tuple[PrimFunc, PrimFunc]:
    @T.prim_func(s_tir=True)
    def description(c: T.handle) -> None:
        C = _tile(c, "float32", _ACCUMULATOR)
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:16, 0:16])
            for i, j in T.grid(16, 16):
                with T.sblock("init"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = T.float32(0)

    @T.prim_func(s_tir=True)
    def implementation(c: T.handle) -> None:
        d1 = T.int32()
        d0 = T.int32()
        C = _tile(c, "float32", _ACCUMULATOR, [d1, d0])
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:16, 0:16])
            T.evaluate(T.tvm_fill_fragment(C.data, 16, 16, 16, _fragment(C, d1), T.float32(0), dtype="void"))

    return description, implementation


def _load(scope: str) -> tuple[PrimFunc, PrimFunc]:
    def load(source, target, source_stride, target_stride):
        memory = source.access_ptr("r", ptr_type="float16"), source_stride, "row_major"
        return T.tvm_load_matrix_sync(target.data, 16, 16, 16, _fragment(target, target_stride), *memory, dtype="void")

    return _move("float16", "shared", scope, load)


def _store() -> tuple[PrimFunc, PrimFunc]:
    def store(source, target, source_stride, target_stride):
        memory = target.access_ptr("w", ptr_type="float32"), target_stride, "row_major"
        return T.tvm_store_matrix_sync(source.data, 16, 16, 16, _fragment(source, source_stride), *memory, dtype="void")

    return _move("float32", _ACCUMULATOR, "shared", store)


def _move(
    dtype: str, source_scope: str, target_scope: str, instruction: Callable[[Buffer, Buffer, Expr, Expr], Expr]
) -> tuple[PrimFunc, PrimFunc]:
    """A tile from one memory to another; instruction: of source, target and the stride of each."""

    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = _tile(a, dtype, source_scope)
        C = _tile(c, dtype, target_scope)
        with T.sblock("root"):
            T.reads(A[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            for i, j in T.grid(16, 16):
                with T.sblock("move"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = A[vi, vj]

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        a1 = T.int32()
        a0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = _tile(a, dtype, source_scope, [a1, a0])
        C = _tile(c, dtype, target_scope, [c1, c0])
        with T.sblock("root"):
            T.reads(A[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            T.evaluate(instruction(A, C, a1, c1))

    return description, implementation


def _multiply() -> tuple[PrimFunc, PrimFunc]:
    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = _tile(a, "float16", "wmma.matrix_a")
        B = _tile(b, "float16", "wmma.matrix_b")
        C = _tile(c, "float32", _ACCUMULATOR)
        with T.sblock("root"):
            T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            for i, j, k in T.grid(16, 16, 16):
                with T.sblock(""):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + T.Cast("float32", A[vi, vk]) * T.Cast("float32", B[vk, vj])

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, b: T.handle, c: T.handle) -> None:
        a1 = T.int32()
        a0 = T.int32()
        b1 = T.int32()
        b0 = T.int32()
        c1 = T.int32()
        c0 = T.int32()
        A = _tile(a, "float16", "wmma.matrix_a", [a1, a0])
        B = _tile(b, "float16", "wmma.matrix_b", [b1, b0])
        C = _tile(c, "float32", _ACCUMULATOR, [c1, c0])
        with T.sblock("root"):
            T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            sums = T.meta_var((C.data, _fragment(C, c1)))
            factors = T.meta_var((A.data, _fragment(A, a1), B.data, _fragment(B, b1)))
            T.evaluate(T.tvm_mma_sync(*sums, *factors, *sums, dtype="void"))

    return description, implementation
