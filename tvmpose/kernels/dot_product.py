"""Instructions that multiply bytes by fours and add into 32 bits, as tensor intrinsics: data of one kind for them all.

Each multiplies four neighbouring bytes of one input, the same in every lane, with four weights of each lane's own.
"""

from dataclasses import dataclass
from functools import cache

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T


@dataclass(frozen=True)
class DotProduct:
    """data, weight: the operand dtypes it takes; lanes: of 32 bits; llvm: the LLVM intrinsic."""

    name: str
    llvm: str
    lanes: int
    data: str
    weight: str = "int8"

    @property
    def intrinsic(self) -> str:
        """Its name as a tensor intrinsic of TVM's, registered on first use."""
        _register(self)
        return f"tvmpose.{self.name}"


VNNI_512 = DotProduct("vnni_512", "llvm.x86.avx512.vpdpbusd.512", 16, "uint8")
VNNI_256 = DotProduct("vnni_256", "llvm.x86.avx512.vpdpbusd.256", 8, "uint8")
VNNI_128 = DotProduct("vnni_128", "llvm.x86.avx512.vpdpbusd.128", 4, "uint8")
SDOT = DotProduct("sdot", "llvm.aarch64.neon.sdot.v4i32.v16i8", 4, "int8")


@cache
def _register(dot: DotProduct) -> None:
    lanes, data, weight, llvm = dot.lanes, dot.data, dot.weight, dot.llvm
    accumulators, bytes_of_data, bytes_of_weight = f"int32x{lanes}", f"{data}x{4 * lanes}", f"{weight}x{4 * lanes}"
    four = f"{data}x4"

    @T.prim_func(s_tir=True)
    def description(
        x: T.Buffer((4,), data, offset_factor=1),
        w: T.Buffer((lanes, 4), weight, offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], x[0:4], w[0:lanes, 0:4])
            T.writes(sums[0:lanes])
            for i in T.serial(0, lanes):
                for k in T.serial(0, 4):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        sums[vi] = sums[vi] + T.cast(x[vk], "int32") * T.cast(w[vi, vk], "int32")

    @T.prim_func(s_tir=True)
    def implementation(
        x: T.Buffer((4,), data, offset_factor=1),
        w: T.Buffer((lanes, 4), weight, offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], x[0:4], w[0:lanes, 0:4])
            T.writes(sums[0:lanes])
            sums[T.ramp(T.int32(0), 1, lanes)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(llvm),
                sums.vload([0], dtype=accumulators),
                T.reinterpret(
                    T.broadcast(T.reinterpret(x.vload([0], four), dtype="int32"), lanes), dtype=bytes_of_data
                ),
                w.vload([0, 0], dtype=bytes_of_weight),
                dtype=accumulators,
            )

    TensorIntrin.register(f"tvmpose.{dot.name}", description, implementation)
