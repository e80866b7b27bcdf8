"""Instructions that multiply small integers and add the products into 32 bits, as tensor intrinsics.

Each multiplies a few neighbouring integers of one input, the same in every lane, with as many weights of each lane's
own. Where an instruction set has nothing for bytes, inputs are widened to 16 bits when they are padded, and weights
when they are loaded.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T


@dataclass(frozen=True)
class DotProduct:
    """taken: integers of each side in a lane; data: the dtype it takes; llvm: the LLVM intrinsic, "" for plain IR.

    pairwise: two products of bytes are summed in 16 bits and then, with their neighbours', in 32; `llvm` is that second
    sum. multiply, broadcast: its instructions, and those that bring its input into every lane.
    """

    name: str
    lanes: int
    taken: int
    data: str
    llvm: str = ""
    pairwise: bool = False
    multiply: int = 1
    broadcast: int = 0

    @property
    def widens(self) -> bool:
        """Whether it takes 16-bit integers: then zero points are subtracted before, and weights may have 9 bits."""
        return self.data == "int16"

    def intrinsic(self, weight: str) -> str:
        """Its name as a tensor intrinsic of TVM's for weights of that dtype, registered on first use."""
        _register(self, weight)
        return f"tvmpose.{self.name}.{weight}"

    def arranged(self, packed: np.ndarray) -> np.ndarray:
        """Weights (..., lanes, taken) with the bytes of each vector in the order in which it takes them."""
        if not self.pairwise:
            return packed
        *outer, lanes, _ = packed.shape
        halves = packed.reshape(*outer, lanes // self.lanes, self.lanes, 2, 2).swapaxes(-2, -3)
        return np.ascontiguousarray(halves).reshape(packed.shape)

    def summed_pairs(self, sums: Expr, data: Expr, weights: Expr) -> Expr:
        """As `multiplied`, of int8 data as it is loaded (4) and arranged weights (16)."""
        words = tirx.reinterpret("int16x2", data)
        products = None
        for half in (0, 1):
            word = tirx.Broadcast(tirx.Shuffle([words], [half]), 4)
            pair, weight = tirx.reinterpret("int8x8", word), tirx.Shuffle([weights], list(range(8 * half, 8 * half + 8)))
            product = tirx.Cast("int16x8", pair) * tirx.Cast("int16x8", weight)
            products = product if products is None else products + product
        return sums + tirx.call_llvm_pure_intrin("int32x4", self.llvm, products)

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
FUSED = DotProduct("fused", 4, 1, "float32")  # a multiply-add of floats, by the same measure
MULL = DotProduct(  # smull, smlal, sadalp
    "mull", 4, 4, "int8", "llvm.aarch64.neon.saddlp.v4i32.v8i16", pairwise=True, multiply=3, broadcast=2
)
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

    def summed(sums: Expr, data: Expr, weights: Expr) -> Expr:
        if dot.pairwise:
            return dot.summed_pairs(sums, data, weights)
        return dot.multiplied(sums, broadcast(data), widened(weights))

    @T.prim_func(s_tir=True)
    def implementation(
        x: T.Buffer((taken,), data, offset_factor=1),
        w: T.Buffer((lanes, taken), weight, offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], x[0:taken], w[0:lanes, 0:taken])
            T.writes(sums[0:lanes])
            sums[T.ramp(T.int32(0), 1, lanes)] = summed(
                sums.vload([0], dtype=f"int32x{lanes}"),
                x.vload([0], several),
                w.vload([0, 0], dtype=f"{weight}x{lanes * taken}"),
            )

    TensorIntrin.register(f"tvmpose.{dot.name}.{weight}", description, implementation)
