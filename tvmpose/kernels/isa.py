"""What a kernel template needs to know of an instruction set: data, so that one template serves them all."""

from dataclasses import dataclass, replace

from tvm.target import Target

from tvmpose.kernels.dot_product import MADD, MULL, MULTIPLY_ADD, SDOT, SMMLA, VNNI, DotProduct


@dataclass(frozen=True)
class VectorISA:
    """Vector unit of one core. lanes: float32 lanes of the widest register; registers: architectural count.

    by_element: a multiply-add takes one element of a register for all its lanes.
    depthwise_on_stack: tiles of depthwise convolutions are variables too, like all others (see dispatch._to_stack).
    saturating: integers are narrowed with saturation, 16 bytes at a time.
    multiplies_long: a product of 16-bit integers is added to 32 bits by one instruction.
    """

    lanes: int
    registers: int
    dot_products: tuple[DotProduct, ...] = (MULTIPLY_ADD,)  # of small integers, the best first
    by_element: bool = False
    depthwise_on_stack: bool = False
    saturating: bool = False
    multiplies_long: bool = False

    @property
    def byte(self) -> str:
        """The dtype in which quantized activations are stored: what its dot products take, if they take bytes."""
        return "int8" if self.dot_products[0].widens else self.dot_products[0].data

    def dot_product(self, lanes: int, widening: bool = False, inputs: int = 0, points: int = 1) -> DotProduct:
        """The one for vectors of so many 32-bit lanes, one of those that lanes_for returns.

        widening: one that takes 16 bits, even where the CPU has one for bytes. inputs: how many there are to sum; the
        first that takes a whole part of them, if one does. points: how many neighbours there are in a row of outputs;
        one that takes several takes whole parts of inputs and points.
        """
        dots = [dot for dot in self.dot_products if dot.lanes == lanes and (dot.widens or not widening)]
        dots = [dot for dot in dots if dot.points == 1 or not (points % dot.points or inputs % dot.taken)]
        return next((dot for dot in dots if dot.data == dots[0].data and inputs % dot.taken == 0), dots[0])

    def lanes_for(self, channels: int) -> int:
        """The vector width in which this many channels cost least, counting what fills up the last vector.

        Where two half-width vectors issue in a cycle (Zen 4), they cost as much as a whole one; narrower ones gain
        nothing more.
        """
        narrowest = min(self.lanes, 8)
        widths = (width for width in (self.lanes, self.lanes // 2, self.lanes // 4) if width >= 4)
        return min(widths, key=lambda width: (-(-channels // width) * max(width, narrowest), -channels % width, -width))


_NEON = VectorISA(lanes=4, registers=16, depthwise_on_stack=True, saturating=True, multiplies_long=True)


def vector_isa(target: Target) -> VectorISA:
    """Derive the vector unit from LLVM's own feature list of the target's cpu."""
    has = target_features(target)
    triple = str(target.attrs.get("mtriple", ""))
    if triple.startswith("aarch64"):
        products = (SDOT,) if "dotprod" in has else MULL
        dots = (*((SMMLA,) if "i8mm" in has else ()), *products, MULTIPLY_ADD)
        return replace(_NEON, registers=32, dot_products=dots, by_element=True)
    if triple.startswith("arm"):
        return _NEON
    if "avx512f" in has:
        dots = (*VNNI, *MADD) if {"avx512vnni", "avx512vl"} <= has else MADD
        return VectorISA(lanes=16, registers=32, dot_products=dots)
    if "avx" in has:
        return VectorISA(lanes=8, registers=16, dot_products=(*VNNI[1:], *MADD[1:]) if "avxvnni" in has else MADD[1:])
    return VectorISA(lanes=4, registers=16, dot_products=MADD[2:] if "sse2" in has else (MULTIPLY_ADD,))


def target_features(target: Target) -> frozenset[str]:
    """LLVM's feature names that are on for the target."""
    from tvm.target import codegen

    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(target))
