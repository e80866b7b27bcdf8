"""Instructions that multiply small integers and add the products into 32 bits, as tensor intrinsics.

Each multiplies a few neighbouring integers of one input, the same in every lane, with as many weights of each lane's
own. Where an instruction set has nothing for bytes, inputs are widened to 16 bits when they are padded, and weights
when they are loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from tvmpose.kernels.load_pairs import LOAD_PAIRS, load_pairs


@dataclass(frozen=True)
class DotProduct:
    """taken: integers of each side in a lane; data: the dtype it takes; llvm: the LLVM intrinsic, "" for plain IR.

    pairwise: two products of bytes are summed in 16 bits and then, with their neighbours', in 32; `llvm` is that second
    sum. multiply, broadcast: its instructions, and those that bring its input into every lane. in_flight: how many must
    not wait for each other, for a core to be always busy.
    """

    name: str
    lanes: int
    taken: int
    data: str
    llvm: str = ""
    pairwise: bool = False
    points: int = 1
    multiply: int = 1
    broadcast: int = 0
    in_flight: int = 8

    @property
    def widens(self) -> bool:
        """Whether it takes 16-bit integers: then zero points are subtracted before, and weights may have 9 bits."""
        return self.data == "int16"

    @property
    def inputs_held(self) -> int:
        """Registers that hold what it takes of one point."""
        return {8: 4, 4: 3}[self.taken] if self.pairwise else 1

    @property
    def imported(self) -> str:
        """LLVM IR that its intrinsic calls."""
        return LOAD_PAIRS if self.pairwise and self.taken == 8 else ""

    def intrinsic(self, weight: str) -> str:
        """Its name as a tensor intrinsic of TVM's for weights of that dtype, registered on first use."""
        _register(self, weight)
        return f"tvmpose.{self.name}.{weight}"

    def arranged(self, packed: np.ndarray) -> np.ndarray:
        """Weights (..., lanes, taken) with the bytes of each vector in the order in which it takes them."""
        if not self.pairwise:
            return packed
        *outer, lanes, taken = packed.shape
        by_pairs = packed.reshape(*outer, lanes // self.lanes, self.lanes, taken // 2, 2).swapaxes(-2, -3)
        return np.ascontiguousarray(by_pairs).reshape(packed.shape)

    def summed_pairs(self, sums: Expr, pairs: Sequence[Expr], weights: Sequence[Expr]) -> Expr:
        """sums + the products: each pair of inputs in all lanes (int8x16), arranged weights of two pairs (int8x16)."""
        for i, weight in enumerate(weights):
            products = None
            for half in (0, 1):
                part = list(range(8 * half, 8 * half + 8))
                data, weight_part = (tirx.Shuffle([vector], part) for vector in (pairs[2 * i + half], weight))
                product = tirx.Cast("int16x8", data) * tirx.Cast("int16x8", weight_part)
                products = product if products is None else products + product
            sums = sums + tirx.call_llvm_pure_intrin("int32x4", self.llvm, products)
        return sums

    def multiplied(self, sums: Expr, data: Expr, weights: Expr) -> Expr:
        """sums (int32 x lanes) + data (lanes * taken) . weights (lanes * taken), as vectors."""
        if self.llvm.startswith("llvm.x86.") and self.widens:
            return sums + tirx.call_llvm_pure_intrin(f"int32x{self.lanes}", self.llvm, data, weights)
        if self.llvm:
            operands = (weights, data) if self.data == "int8" else (data, weights)  # sdot's last may be one element
            return tirx.call_llvm_pure_intrin(f"int32x{self.lanes}", self.llvm, sums, *operands)
        raise ValueError(f"{self.name} is no intrinsic: its loops are made vectors as they are")


VNNI = tuple(DotProduct(f"vnni_{n * 32}", n, 4, "uint8", f"llvm.x86.avx512.vpdpbusd.{n * 32}") for n in (16, 8, 4))
MADD = tuple(  # a product, whose register is needed beside all others, and a sum, which alone waits for the last one
    DotProduct(f"madd_{lanes * 32}", lanes, 2, "int16", f"llvm.x86.{name}", multiply=2, in_flight=2)
    for lanes, name in ((16, "avx512.pmaddw.d.512"), (8, "avx2.pmadd.wd"), (4, "sse2.pmadd.wd"))
)
SDOT = DotProduct("sdot", 4, 4, "int8", "llvm.aarch64.neon.sdot.v4i32.v16i8")
SMMLA = DotProduct("smmla", 4, 8, "int8", "llvm.aarch64.neon.smmla.v4i32.v16i8", points=2)
FUSED = DotProduct("fused", 4, 1, "float32")  # a multiply-add of floats, by the same measure
MULL = tuple(  # smull, smlal, sadalp; inputs by ld4r, or two dup
    DotProduct(f"mull_{taken}", 4, taken, "int8", "llvm.aarch64.neon.saddlp.v4i32.v8i16", True, 1, *instructions)
    for taken, *instructions in ((8, 6, 1), (4, 3, 2))
)
MULTIPLY_ADD = DotProduct("multiply_add", 4, 1, "int16")  # LLVM makes multiply-add-long of it where there is one


@cache
def _register(dot: DotProduct, weight: str) -> None:
    """One point: of each lane a sum. Two: of each the sums of two lanes, one point's behind the other's."""
    taken, data, pair = dot.taken, dot.data, dot.points > 1
    lanes, count = (2, 4) if pair else (dot.lanes, dot.lanes)
    shape = (2, taken) if pair else (taken,)
    summed = _with_two_points if pair else _with_one_pairwise if dot.pairwise else _with_one

    def strides() -> "list[Expr | int] | None":
        return [T.int32(), 1] if pair else None

    def data_of(x: tirx.Buffer, i: Expr, k: Expr) -> Expr:
        return x[i // 2, k] if pair else x[k]

    def weight_of(w: tirx.Buffer, i: Expr, k: Expr) -> Expr:
        return w[i % 2 if pair else i, k]

    def whole(buffer: tirx.Buffer) -> tirx.BufferRegion:
        return buffer[tuple(slice(0, extent) for extent in buffer.shape)]

    @T.prim_func(s_tir=True)
    def description(
        x: T.Buffer(shape, data, strides=strides(), offset_factor=1),
        w: T.Buffer((lanes, taken), weight, offset_factor=1),
        sums: T.Buffer((count,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(whole(sums), whole(x), whole(w))
            T.writes(whole(sums))
            for i in T.serial(0, count):
                for k in T.serial(0, taken):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        product = T.meta_var(
                            T.cast(data_of(x, vi, vk), "int32") * T.cast(weight_of(w, vi, vk), "int32")
                        )
                        sums[vi] = sums[vi] + product

    @T.prim_func(s_tir=True)
    def implementation(
        x: T.Buffer(shape, data, strides=strides(), offset_factor=1),
        w: T.Buffer((lanes, taken), weight, offset_factor=1),
        sums: T.Buffer((count,), "int32", offset_factor=1, scope="local"),
    ) -> None:
        with T.sblock("root"):
            T.reads(whole(sums), whole(x), whole(w))
            T.writes(whole(sums))
            sums[T.ramp(T.int32(0), 1, count)] = summed(dot, sums.vload([0], dtype=f"int32x{count}"), x, w)

    TensorIntrin.register(f"tvmpose.{dot.name}.{weight}", description, implementation)


def _with_one(dot: DotProduct, sums: Expr, x: tirx.Buffer, w: tirx.Buffer) -> Expr:
    lanes, integers = dot.lanes, dot.lanes * dot.taken
    weights = w.vload([0, 0], dtype=f"{w.dtype}x{integers}")
    if dot.widens and w.dtype != "int16":
        weights = tirx.Cast(f"int16x{integers}", weights)
    bits = {"uint8": 8, "int8": 8, "int16": 16}[dot.data] * dot.taken  # of one lane
    word = tirx.reinterpret(f"int{bits}", x.vload([0], f"{dot.data}x{dot.taken}"))
    data = tirx.reinterpret(f"{dot.data}x{integers}", tirx.Broadcast(word, lanes))
    return dot.multiplied(sums, data, weights)


def _with_one_pairwise(dot: DotProduct, sums: Expr, x: tirx.Buffer, w: tirx.Buffer) -> Expr:
    taken = dot.taken
    if taken == 8:
        pairs = load_pairs(tirx.address_of(x[0]))
    else:
        words = tirx.reinterpret("int16x2", x.vload([0], f"{dot.data}x{taken}"))
        pairs = [tirx.reinterpret("int8x16", tirx.Broadcast(tirx.Shuffle([words], [i]), 8)) for i in (0, 1)]
    weights = [w.vload([16 * i // taken, 16 * i % taken], dtype="int8x16") for i in range(taken // 4)]
    return dot.summed_pairs(sums, pairs, weights)


def _with_two_points(dot: DotProduct, sums: Expr, x: tirx.Buffer, w: tirx.Buffer) -> Expr:
    taken = dot.taken
    points = [x.vload([point, 0], dtype=f"{dot.data}x{taken}") for point in (0, 1)]
    weights = w.vload([0, 0], dtype=f"{w.dtype}x{2 * taken}")
    data = tirx.Shuffle(points, list(range(2 * taken)))
    return tirx.call_llvm_pure_intrin("int32x4", dot.llvm, sums, data, weights)
