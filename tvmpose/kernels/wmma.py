"""Four instructions for tiles of 16 × 16 on NVIDIA's tensor cores (nvcuda::wmma), by what they compute.

As TVM's tensor_intrin.cuda, whose package takes half a minute to import for the sake of hundreds of others.
"""

from functools import cache

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T
from tvm.tirx import PrimFunc

_SIDE = 16


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


def _fragment(buffer, stride):
    """A tile's number among those of its buffer."""
    row, column = buffer.elem_offset // stride, buffer.elem_offset % stride
    return row // _SIDE * (stride // _SIDE) + column // _SIDE


def _fill() -> tuple[PrimFunc, PrimFunc]:
    @T.prim_func(s_tir=True)
    def description(c: T.handle) -> None:
        C = T.match_buffer(c, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator")
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
        C = T.match_buffer(
            c, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator", strides=[d1, d0]
        )
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:16, 0:16])
            T.evaluate(T.tvm_fill_fragment(C.data, 16, 16, 16, _fragment(C, d1), T.float32(0), dtype="void"))

    return description, implementation


def _load(scope: str) -> tuple[PrimFunc, PrimFunc]:
    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (16, 16), "float16", align=64, offset_factor=16, scope="shared")
        C = T.match_buffer(c, (16, 16), "float16", align=64, offset_factor=16, scope=scope)
        with T.sblock("root"):
            T.reads(A[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            for i, j in T.grid(16, 16):
                with T.sblock("load"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = A[vi, vj]

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        s1 = T.int32()
        s0 = T.int32()
        d1 = T.int32()
        d0 = T.int32()
        A = T.match_buffer(a, (16, 16), "float16", align=64, offset_factor=16, scope="shared", strides=[s1, s0])
        C = T.match_buffer(c, (16, 16), "float16", align=64, offset_factor=16, scope=scope, strides=[d1, d0])
        with T.sblock("root"):
            T.reads(A[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            T.evaluate(
                T.tvm_load_matrix_sync(
                    C.data,
                    16,
                    16,
                    16,
                    _fragment(C, d1),
                    A.access_ptr("r", ptr_type="float16"),
                    s1,
                    "row_major",
                    dtype="void",
                )
            )

    return description, implementation


def _multiply() -> tuple[PrimFunc, PrimFunc]:
    @T.prim_func(s_tir=True)
    def description(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (16, 16), "float16", align=64, offset_factor=16, scope="wmma.matrix_a")
        B = T.match_buffer(b, (16, 16), "float16", align=64, offset_factor=16, scope="wmma.matrix_b")
        C = T.match_buffer(c, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator")
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
        A = T.match_buffer(a, (16, 16), "float16", align=64, offset_factor=16, scope="wmma.matrix_a", strides=[a1, a0])
        B = T.match_buffer(b, (16, 16), "float16", align=64, offset_factor=16, scope="wmma.matrix_b", strides=[b1, b0])
        C = T.match_buffer(
            c, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator", strides=[c1, c0]
        )
        with T.sblock("root"):
            T.reads(C[0:16, 0:16], A[0:16, 0:16], B[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            T.evaluate(
                T.tvm_mma_sync(
                    C.data,
                    _fragment(C, c1),
                    A.data,
                    _fragment(A, a1),
                    B.data,
                    _fragment(B, b1),
                    C.data,
                    _fragment(C, c1),
                    dtype="void",
                )
            )

    return description, implementation


def _store() -> tuple[PrimFunc, PrimFunc]:
    @T.prim_func(s_tir=True)
    def description(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator")
        C = T.match_buffer(c, (16, 16), "float32", align=64, offset_factor=16, scope="shared")
        with T.sblock("root"):
            T.reads(A[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            for i, j in T.grid(16, 16):
                with T.sblock("store"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = A[vi, vj]

    @T.prim_func(s_tir=True)
    def implementation(a: T.handle, c: T.handle) -> None:
        s1 = T.int32()
        s0 = T.int32()
        d1 = T.int32()
        d0 = T.int32()
        A = T.match_buffer(
            a, (16, 16), "float32", align=64, offset_factor=16, scope="wmma.accumulator", strides=[d1, d0]
        )
        C = T.match_buffer(c, (16, 16), "float32", align=64, offset_factor=16, scope="shared", strides=[s1, s0])
        with T.sblock("root"):
            T.reads(A[0:16, 0:16])
            T.writes(C[0:16, 0:16])
            T.evaluate(
                T.tvm_store_matrix_sync(
                    A.data,
                    16,
                    16,
                    16,
                    _fragment(A, d1),
                    C.access_ptr("w", ptr_type="float32"),
                    s1,
                    "row_major",
                    dtype="void",
                )
            )

    return description, implementation
