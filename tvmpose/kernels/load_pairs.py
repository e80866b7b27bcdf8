"""One instruction of 64-bit ARM that TIR has no word for, as LLVM IR that a kernel imports.

LD4R loads four neighbouring 16-bit words, each into every lane of a register of its own. Its LLVM intrinsic returns a
struct, which no expression of TVM's can hold: so it is wrapped.
"""

from tvm import tirx
from tvm.ir import Expr

IMPORT = "pragma_import_llvm"  # annotation of a loop: LLVM IR that TVM links with the kernel and inlines

_STRUCT = "{ <8 x i16>, <8 x i16>, <8 x i16>, <8 x i16> }"


def _joined(lanes: int) -> str:
    return f"<{lanes} x i32> <{', '.join(f'i32 {n}' for n in range(lanes))}>"


LOAD_PAIRS = f"""
define linkonce_odr hidden <32 x i16> @tvmpose_load_pairs(ptr %bytes) alwaysinline nounwind {{
  %loaded = call {_STRUCT} @llvm.aarch64.neon.ld4r.v8i16.p0(ptr %bytes)
  %a = extractvalue {_STRUCT} %loaded, 0
  %b = extractvalue {_STRUCT} %loaded, 1
  %c = extractvalue {_STRUCT} %loaded, 2
  %d = extractvalue {_STRUCT} %loaded, 3
  %ab = shufflevector <8 x i16> %a, <8 x i16> %b, {_joined(16)}
  %cd = shufflevector <8 x i16> %c, <8 x i16> %d, {_joined(16)}
  %all = shufflevector <16 x i16> %ab, <16 x i16> %cd, {_joined(32)}
  ret <32 x i16> %all
}}
declare {_STRUCT} @llvm.aarch64.neon.ld4r.v8i16.p0(ptr)
"""


def load_pairs(first: Expr) -> list[Expr]:
    """From the address of eight bytes: each pair of them, eight times in a vector (int8x16)."""
    words = tirx.call_pure_extern("int16x32", "tvmpose_load_pairs", first)
    eights = (tirx.Shuffle([words], list(range(8 * pair, 8 * pair + 8))) for pair in range(4))
    return [tirx.reinterpret("int8x16", eight) for eight in eights]
