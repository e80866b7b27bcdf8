"""What a kernel template needs to know of an instruction set: data, so that one template serves them all."""

from dataclasses import dataclass

from tvm.target import Target


@dataclass(frozen=True)
class VectorISA:
    """Vector unit of one core. lanes: float32 lanes of the widest register; registers: architectural count."""

    lanes: int
    registers: int

    def lanes_for(self, channels: int) -> int:
        """The widest vector that divides the channels, down to four lanes; else the full width (the rest is padding).

        Half-width vectors cost no peak where two of them issue in a cycle (Zen 4), and narrower ones less than padding.
        One to three channels are computed as scalars, several pixels at a time.
        """
        if channels < 4:
            return 1
        lanes = self.lanes
        while lanes >= 4:
            if channels % lanes == 0:
                return lanes
            lanes //= 2
        return self.lanes if channels > self.lanes // 2 else max(4, self.lanes // 2)


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
