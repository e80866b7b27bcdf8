"""Android's C library to compile and link against: the NDK's where there is one, else declarations and names of ours.

The NDK's own libc.so and libm.so are stubs as well: the linker needs names, the phone has the code.
"""

from pathlib import Path

from tvmpose.codegen.elf import LIBC_SYMBOLS, LIBDL_SYMBOLS, LIBM_SYMBOLS
from tvmpose.errors import SetupError
from tvmpose.targets import Target

DECLARATIONS = Path(__file__).parent / "bionic.h"
STUBS = {"libc.so": LIBC_SYMBOLS, "libm.so": LIBM_SYMBOLS, "libdl.so": LIBDL_SYMBOLS}
STUB_FLAGS = ("-nostdlib", "-ffreestanding", "-fno-builtin", "-w", "-shared")
_HEADERS = (
    *("dlfcn", "math", "pthread", "sched", "signal", "stdio", "stdlib", "string"),
    *("sys/auxv", "sys/mman", "time", "unistd"),
)


def ndk_tools(ndk: Path, target: Target) -> tuple[str, str]:
    """The NDK's clang for the target's API level and its archiver. Raises SetupError where the folder has none."""
    system = {"arm": "armv7a-linux-androideabi"}.get(target.architecture, f"{target.architecture}-linux-android")
    clang = f"{system}{target.libc_version}-clang"
    for folder in sorted(ndk.glob("toolchains/llvm/prebuilt/*/bin")):
        if (folder / clang).is_file() and (folder / "llvm-ar").is_file():
            return str(folder / clang), str(folder / "llvm-ar")
    raise SetupError(f"ANDROID_NDK_HOME={ndk}: no toolchains/llvm/prebuilt/*/bin with {clang} and llvm-ar")


def refuse_without_ndk(target: Target) -> None:
    """Raises SetupError for what only the NDK can build."""
    reason = None
    if target.architecture != "aarch64":
        reason = "other than 64-bit ARM"
    elif int(target.libc_version or 0) < 29:
        reason = "before API level 29, whose loader knows no thread-local variables,"
    if reason:
        raise SetupError(f"{target.name}: Android {reason} needs the NDK: set ANDROID_NDK_HOME to its folder")


def write_headers(folder: Path) -> None:
    """The C library's headers, every one of which is bionic.h."""
    for name in _HEADERS:
        path = folder / f"{name}.h"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#include "{DECLARATIONS}"\n')


def write_stubs(folder: Path) -> list[tuple[str, ...]]:
    """The sources of the libraries to link with, and the arguments that compile each of them in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    commands: list[tuple[str, ...]] = []
    for library, symbols in STUBS.items():
        source = f"{library}.c"
        (folder / source).write_text("".join(f"void {symbol}(void) {{}}\n" for symbol in sorted(symbols)))
        commands.append((*STUB_FLAGS, f"-Wl,-soname,{library}", source, "-o", library))
    return commands
