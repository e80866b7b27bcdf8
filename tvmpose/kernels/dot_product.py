"""Instructions that multiply small integers and add the products into 32 bits, as tensor intrinsics.

Each multiplies a few neighbouring integers of one input, the same in every lane, with as many weights of each lane's
own. Where an instruction set has nothing for bytes, inputs are widened to 16 bits when they are padded, and weights
when they are loaded.
"""

from dataclasses import dataclass
from functools import cache

from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T


@dataclass(frozen=True)
class DotProduct:
    """taken: integers of each side in a lane; data: the dtype it takes; llvm: the LLVM intrinsic, "" for plain IR."""

    name: str
    lanes: int
    taken: int
    data: str
    llvm: str = ""

    @property
    def widens(self) -> bool:
        """Whether it takes 16-bit integers: then zero points are subtracted before, and weights may have 9 bits."""
        return self.data == "int16"

    def intrinsic(self, weight: str) -> str:
        """Its name as a tensor intrinsic of TVM's for weights of that dtype, registered on first use."""
        _register(self, weight)
        return f"tvmpose.{self.name}.{weight}"

    def multiplied(self, sums: Expr, data: Expr, weights: Expr) -> Expr:
        """sums (int32 x lanes) + data (lanes * taken) . weights (lanes * taken), as vectors."""
        if self.llvm.startswith("llvm.x86.") and self.widens:
            return sums + tirx.call_llvm_pure_intrin(f"int32x{self.lanes}", self.llvm, data, weights)
        if self.llvm:
            return tirx.call_llvm_pure_intrin(f"int32x{self.lanes}", self.llvm, sums, data, weights)
        raise ValueError(f"{self.name} is no intrinsic: its loops are made vectors as they are")


VNNI = tuple(DotProduct(f"vnni_{n * 32}", n, 4, "uint8", f"llvm.x86.avx512.vpdpbusd.{n * 32}") for n in (16, 8, 4))
MADD = (
    DotProduct("madd_512", 16, 2, "int16", "llvm.x86.avx512.pmaddw.d.512"),
    DotProduct("madd_256", 8, 2, "int16", "llvm.x86.avx2.pmadd.wd"),
    DotProduct("madd_128", 4, 2, "int16", "llvm.x86.sse2.pmadd.wd"),
)
SDOT = DotProduct("sdot", 4, 4, "int8", "llvm.aarch64.neon.sdot.v4i32.v16i8")
MULTIPLY_ADD = DotProduct("multiply_add", 4, 1, "int16")  # LLVM makes multiply-add-long of it where there is one


@cache
def _register(dot: DotProduct, weight: str) -> None:
    lanes, taken, data = dot.lanes, dot.taken, dot.data
    bits = {"uint8": 8, "int8": 8, "int16": 16}[data] * taken  # of one lane
    several = f"{data}x{taken}"

    @T.prim_func(s_tir=True)
    def description(
        x: T.Buffer((taken,), data, offset_factor=1),
        w: T.Buffer((lanes, taken), weight, offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], x[0:taken], w[0:lanes, 0:taken])
            T.writes(sums[0:lanes])
            for i in T.serial(0, lanes):
                for k in T.serial(0, taken):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        sums[vi] = sums[vi] + T.cast(x[vk], "int32") * T.cast(w[vi, vk], "int32")

    def broadcast(loaded: Expr) -> Expr:
        word = tirx.reinterpret(f"int{bits}", loaded)
        return tirx.reinterpret(f"{data}x{lanes * taken}", tirx.Broadcast(word, lanes))

    def widened(loaded: Expr) -> Expr:
        return tirx.Cast(f"int16x{lanes * taken}", loaded) if dot.widens and weight != "int16" else loaded

    @T.prim_func(s_tir=True)
    def implementation(
        x: T.Buffer((taken,), data, offset_factor=1),
        w: T.Buffer((lanes, taken), weight, offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], x[0:taken], w[0:lanes, 0:taken])
            T.writes(sums[0:lanes])
            sums[T.ramp(T.int32(0), 1, lanes)] = dot.multiplied(
                sums.vload([0], dtype=f"int32x{lanes}"),
                broadcast(x.vload([0], several)),
                widened(w.vload([0, 0], dtype=f"{weight}x{lanes * taken}")),
            )

    TensorIntrin.register(f"tvmpose.{dot.name}.{weight}", description, implementation)
