"""NVRTC, NVIDIA's compiler of CUDA C++ as a library: from pip or a CUDA toolkit, called through ctypes."""

import contextlib
import ctypes
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tvmpose.errors import SetupError

# What TVM's source includes of NVIDIA's C++ library (23 MB of headers); pose kernels need no more of it than this.
_HEADERS = {
    "cuda/std/cstdint": """\
namespace cuda { namespace std {
using int8_t = signed char; using int16_t = short; using int32_t = int; using int64_t = long long;
using uint8_t = unsigned char; using uint16_t = unsigned short; using uint32_t = unsigned;
using uint64_t = unsigned long long;
} }
""",
    "cuda/std/type_traits": """\
namespace cuda { namespace std {
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <class A> struct is_integral; template <class A> struct is_signed; template <class A> struct is_unsigned;
template <class A> struct is_floating_point;
template <bool C, class A = void> struct enable_if;
template <bool C, class A, class B> struct conditional;
} }
""",
}

# The extra that brings a CUDA release's NVRTC and its headers, and where they are in site-packages/nvidia.
_PIP = {
    11: ("cuda", "cuda_nvrtc/lib/libnvrtc.so.11*", ("cuda_runtime/include", "cuda_nvcc/include")),
    13: ("cuda13", "cu13/lib/libnvrtc.so.13*", ("cu13/include",)),
}


@dataclass(frozen=True)
class Nvrtc:
    """One NVRTC: its library, the folders of CUDA's headers for it, its release as (major, minor)."""

    library: ctypes.CDLL
    includes: tuple[Path, ...]
    release: tuple[int, int]

    def architectures(self) -> list[int]:
        """The compute capabilities that it compiles for, as 87."""
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return list(found)

    def compile(self, source: str, architecture: str) -> bytes:
        """A cubin for "sm_87", PTX for "compute_87". The same source gives the same bytes.

        Raises RuntimeError with the compiler's log where it refuses the source, which is generated.
        """
        program = ctypes.c_void_p()
        texts, names = ((ctypes.c_char_p * len(_HEADERS))(*(t.encode() for t in part)) for part in _columns(_HEADERS))
        name = ctypes.c_char_p(b"kernels.cu")
        text = ctypes.c_char_p(source.encode())
        self._call("nvrtcCreateProgram", ctypes.byref(program), text, name, len(_HEADERS), texts, names)
        try:
            with _locale_kept():
                return self._compiled(program, architecture)
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _compiled(self, program: ctypes.c_void_p, architecture: str) -> bytes:
        folders = (f"--include-path={folder}" for folder in self.includes)
        options = [f"--gpu-architecture={architecture}", "--std=c++17", "-w", *folders]
        arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if self.library.nvrtcCompileProgram(program, len(options), arguments):
            log = self._read("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")
            raise RuntimeError(f"NVRTC refuses the generated kernels for {architecture}:\n{log}")
        if architecture.startswith("sm_"):
            return self._read("nvrtcGetCUBIN", program)
        return self._read("nvrtcGetPTX", program).rstrip(b"\0")

    def _read(self, function: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{function}Size", program, ctypes.byref(size))
        data = ctypes.create_string_buffer(size.value)
        self._call(function, program, data)
        return data.raw

    def _call(self, function: str, *arguments: object) -> None:
        if status := getattr(self.library, function)(*arguments):
            raise RuntimeError(f"{function} of NVRTC {self.release[0]}.{self.release[1]} failed with {status}")


@contextlib.contextmanager
def _locale_kept() -> Iterator[None]:
    """NVRTC leaves its caller's thread in the locale "C", in which Python would read files as ASCII from then on."""
    uselocale = ctypes.CDLL(None).uselocale
    uselocale.argtypes, uselocale.restype = [ctypes.c_void_p], ctypes.c_void_p
    before = uselocale(None)  # asks
    try:
        yield
    finally:
        uselocale(before)


def _columns(headers: dict[str, str]) -> tuple[list[str], list[str]]:
    return list(headers.values()), list(headers)


@cache
def find_nvrtc(major: int) -> Nvrtc:
    """CUDA `major`'s NVRTC: that of the extra, else of the toolkit at CUDA_HOME or in /usr/local.

    Raises SetupError with the extra to install where there is none, and where it cannot be loaded.
    """
    places = [*_of_pip(major), *_of_toolkits(major)]
    if not places:
        extra = _PIP.get(major, (f"of CUDA {major}",))[0]
        command = f"pip install 'tvmpose[{extra}]'" if major in _PIP else f"install CUDA {major} and set CUDA_HOME"
        raise SetupError(f"kernels for this GPU need NVRTC of CUDA {major}, which is not installed: {command}")
    path, includes = places[0]
    try:
        for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")):  # it would look only where the linker does
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise SetupError(f"NVRTC of CUDA {major} cannot be loaded: {error}") from error
    version = (ctypes.c_int(), ctypes.c_int())
    library.nvrtcVersion(ctypes.byref(version[0]), ctypes.byref(version[1]))
    return Nvrtc(library, includes, (version[0].value, version[1].value))


def _of_pip(major: int) -> list[tuple[Path, tuple[Path, ...]]]:
    package = importlib.util.find_spec("nvidia")
    if package is None or major not in _PIP:
        return []
    _, library, includes = _PIP[major]
    folders = [Path(folder) for folder in package.submodule_search_locations or ()]
    found = [(path, tuple(folder / name for name in includes)) for folder in folders for path in folder.glob(library)]
    return [(path, headers) for path, headers in found if (headers[0] / "cuda_fp16.h").is_file()]


def _of_toolkits(major: int) -> list[tuple[Path, tuple[Path, ...]]]:
    homes = [Path(home) for home in (os.environ.get("CUDA_HOME"),) if home]
    homes += sorted(path for path in Path("/usr/local").glob("cuda*") if re.fullmatch(r"cuda(-[\d.]+)?", path.name))
    found = [(path, (home / "include",)) for home in homes for path in (home / "lib64").glob("libnvrtc.so.*")]
    return [(path, headers) for path, headers in found if re.search(rf"\.so\.{major}\b", path.name)]
