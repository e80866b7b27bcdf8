"""From CUDA source to what a library carries of it: a cubin for each named GPU, and PTX for later ones.

A driver runs cubins of its own CUDA's major release and of older ones; from CUDA 11 on it need not be the same minor
release. PTX it takes up to its own release's version. (NVIDIA, CUDA Compatibility, "Minor Version Compatibility".) So
kernels are compiled by the oldest release that will do, which is the one of the oldest driver that a target names, and
where that is older than CUDA 11, as on JetPack 4, whose own compiler no registry has, PTX of its version goes along.

ptxas keeps to as few registers as let several blocks run side by side, and where a kernel needs a few more it saves
addresses in memory, in every iteration. Kernels where that happens are told to leave room for two blocks alone.
"""

import re
from collections.abc import Container, Sequence

from tvmpose.codegen.cubin import kernel_resources
from tvmpose.codegen.gpu_source import Image
from tvmpose.codegen.nvrtc import Nvrtc, find_nvrtc
from tvmpose.errors import InputError

# NVIDIA, PTX ISA, table "PTX Release History": the newest PTX that a CUDA release's driver takes.
PTX_OF_CUDA = {
    (10, 2): "6.5",
    **{(11, minor): f"7.{minor}" for minor in range(9)},
    **dict(zip([(12, minor) for minor in range(10)], "8.0 8.1 8.2 8.3 8.4 8.5 8.5 8.6 8.7 8.8".split(), strict=True)),
    (13, 0): "9.0",
}
_OLDEST = 11  # CUDA's oldest major release that pip has
_BLOCKS = 2  # that must fit a multiprocessor, of a kernel that spills otherwise


def capability_of(architecture: str) -> int:
    """ "sm_87" -> 87. Raises InputError for what is no such name."""
    found = re.fullmatch(r"sm_(\d{2,3})", architecture)
    if not found:
        raise InputError(f"{architecture!r} is no GPU architecture: sm_ and a compute capability, as sm_87")
    return int(found[1])


def cuda_images(source: str, architectures: Sequence[str], driver: str) -> tuple[Image, ...]:
    """A cubin for each of the architectures ("sm_87"), and PTX for the least of them, which the driver translates.

    source: TVM's CUDA source. driver: the CUDA release of the oldest driver to run with, as "11.4".
    Raises SetupError where NVRTC is missing, InputError for an architecture that it does not know.
    """
    nvrtc = nvrtc_for(driver)
    capabilities = sorted(map(capability_of, architectures))
    known = nvrtc.architectures()
    for capability in capabilities:
        if capability not in known:
            names = ", ".join(f"sm_{name}" for name in known)
            version = "{}.{}".format(*nvrtc.release)
            raise InputError(f"NVRTC {version}, for drivers of CUDA {driver}, knows no sm_{capability}; it has {names}")
    roomy = [without_spills(nvrtc, source, f"sm_{number}") for number in capabilities]
    cubins = [Image("CUBIN", cubin, number) for number, (cubin, _) in zip(capabilities, roomy, strict=True)]
    ptx = nvrtc.compile(roomy[0][1], f"compute_{capabilities[0]}").decode()
    older = min(_release(driver), nvrtc.release)
    return (*cubins, Image("PTX", _lowered(ptx, PTX_OF_CUDA[older]).encode(), capabilities[0]))


def without_spills(nvrtc: Nvrtc, source: str, architecture: str) -> tuple[bytes, str]:
    """The cubin, and the source that it is of: kernels that spill registers may have more of them there.

    One that then spills as much as before is left as it was.
    """
    cubin = nvrtc.compile(source, architecture)
    if not (spilled := _spilled(cubin)):
        return cubin, source
    roomy = _with_room(source, spilled)
    after = _spilled(roomy_cubin := nvrtc.compile(roomy, architecture))
    helped = {name for name, size in spilled.items() if after.get(name, 0) < size}
    if len(helped) == len(spilled):
        return roomy_cubin, roomy
    source = _with_room(source, helped)
    return nvrtc.compile(source, architecture), source


def _spilled(cubin: bytes) -> dict[str, int]:
    """Kernel -> bytes of local memory; our kernels' arrays are all in registers, so that nothing else is there."""
    return {kernel.name: kernel.local_bytes for kernel in kernel_resources(cubin) if kernel.local_bytes}


def _with_room(source: str, kernels: Container[str]) -> str:
    """As many registers as two blocks side by side leave each (CUDA C++ Programming Guide, "Launch Bounds")."""

    def bounds(found: re.Match[str]) -> str:
        room = f", {_BLOCKS}" if found[2] in kernels else ""
        return f"__launch_bounds__({found[1]}{room}) {found[2]}("

    return re.sub(r"__launch_bounds__\((\d+)\) (\w+)\(", bounds, source)


def nvrtc_for(driver: str) -> Nvrtc:
    """The compiler for GPUs with a driver of this CUDA release. Raises InputError for one that never was."""
    return find_nvrtc(max(_release(driver)[0], _OLDEST))


def _release(driver: str) -> tuple[int, int]:
    major, _, minor = driver.partition(".")
    release = (int(major), int(minor)) if f"{major}{minor}".isdecimal() and minor else None
    if release not in PTX_OF_CUDA:
        known = ", ".join(f"{major}.{minor}" for major, minor in PTX_OF_CUDA)
        raise InputError(f"driver {driver!r} is no CUDA release that we compile for: {known}")
    return release


def _lowered(ptx: str, version: str) -> str:
    """The same PTX as of an older version of the language: the driver reads no newer one, whatever it says.

    A version only adds to the one before, and what our kernels use was there in 6.5; tests have ptxas confirm it, which
    refuses an instruction that is younger than the version.
    """
    return re.sub(r"^\.version [\d.]+$", f".version {version}", ptx, count=1, flags=re.MULTILINE)
