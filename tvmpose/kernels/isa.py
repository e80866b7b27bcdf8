"""What a kernel template needs to know of an instruction set: data, so that one template serves them all."""

from dataclasses import dataclass

from tvm.target import Target


@dataclass(frozen=True)
class VectorISA:
    """Vector unit of one core. lanes: float32 lanes of the widest register; registers: architectural count."""

    lanes: int
    registers: int

    def lanes_for(self, channels: int) -> int:
        """The vector width in which this many channels cost least, counting what fills up the last vector.

        Where two half-width vectors issue in a cycle (Zen 4), they cost as much as a whole one; narrower ones gain
        nothing more.
        """
        narrowest = min(self.lanes, 8)
        widths = (width for width in (self.lanes, self.lanes // 2, self.lanes // 4) if width >= 4)
        return min(widths, key=lambda width: (-(-channels // width) * max(width, narrowest), -channels % width, -width))


def vector_isa(target: Target) -> VectorISA:
    """Derive the vector unit from LLVM's own feature list of the target's cpu."""
    has = target_features(target)
    triple = str(target.attrs.get("mtriple", ""))
    if triple.startswith("aarch64"):
        return VectorISA(lanes=4, registers=32)
    if triple.startswith("arm"):
        return VectorISA(lanes=4, registers=16)
    if "avx512f" in has:
        return VectorISA(lanes=16, registers=32)
    if "avx" in has:
        return VectorISA(lanes=8, registers=16)
    return VectorISA(lanes=4, registers=16)


def target_features(target: Target) -> frozenset[str]:
    """LLVM's feature names that are on for the target."""
    from tvm.target import codegen

    return frozenset(str(name) for name in codegen.llvm_get_cpu_features(target))
