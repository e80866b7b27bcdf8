"""Devices as data: targets/*.toml, and the host as it finds itself."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tvmpose import content
from tvmpose.errors import InputError
from tvmpose.strict import build, read_toml
from tvmpose.suggest import did_you_mean

if TYPE_CHECKING:
    from tvm.target import Target as TvmTarget


@dataclass(frozen=True)
class Cores:
    """Cores of one kind. A cache is what one core can use, its own or its cluster's; None where nobody tells."""

    name: str
    count: int
    l1d_bytes: int | None = None
    l2_bytes: int | None = None

    def __post_init__(self) -> None:
        if min(self.count, self.l1d_bytes or 1, self.l2_bytes or 1) < 1:
            raise ValueError("counts and sizes must be positive")


@dataclass(frozen=True)
class Level:
    """One of several CPUs that a target's machines may have, each of which gets a library of its own."""

    name: str  # part of file names
    title: str  # for people: which machines have it
    cpu: str | None = None  # LLVM's name; None: the target's
    attributes: tuple[str, ...] = ()  # beyond the target's
    integers_only: bool = False  # its instructions are of use to quantized models alone: others get no library
    on_gpu: bool = False  # the target's GPU has its kernels, and the CPU none

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.name):
            raise ValueError(f"level name {self.name!r}: must be lower-case letters, digits, dots and dashes")


@dataclass(frozen=True)
class Peaks:
    """What a board's GPU can do at most, by its data sheet: multiply-adds count twice."""

    name: str
    gflops: float  # float32
    gb_per_second: float  # memory
    half_gflops: float | None = None  # float16, by tensor cores where it has them, without sparsity; None: not told


@dataclass(frozen=True)
class Gpu:
    """A GPU that kernels are made for: what one block of threads can have. The target's cpu runs the host's side."""

    api: Literal["opencl", "cuda"]
    max_threads: int  # of a block
    shared_bytes: int  # of a block; OpenCL calls it local memory
    warp: int  # threads that execute together
    registers: int = 64  # 32-bit ones that a thread may have before fewer blocks fit
    shared_is_fast: bool = True  # memory of its own: on Mali it is the same memory as any other
    fp16: bool = False  # arithmetic in half precision
    any_device: bool = False  # OpenCL: one that is no GPU will do
    alignment: int = 256  # bytes, of every tensor: CL_DEVICE_MEM_BASE_ADDR_ALIGN at least
    arch: str | None = None  # CUDA: "sm_87"; the least demanding where there are others
    also: tuple[str, ...] = ()  # CUDA: others that get a cubin of the same kernels
    driver: str | None = None  # CUDA: release of the oldest driver to run with, as "11.4"
    boards: tuple[Peaks, ...] = ()  # what the estimates of docs/cuda.md are made of

    def __post_init__(self) -> None:
        if {self.api == "cuda"} != {bool(self.arch), bool(self.driver)} or (self.also and not self.arch):
            raise ValueError('arch and driver are for api = "cuda", and needed there')
        if self.warp < 1 or self.max_threads < self.warp or self.shared_bytes < 0:
            raise ValueError("max_threads must be at least a warp, and neither warp nor shared_bytes negative")
        if self.alignment < 64 or self.alignment & (self.alignment - 1):
            raise ValueError(f"alignment must be a power of two from 64 on, not {self.alignment}")

    @property
    def tensor_cores(self) -> bool:
        """Whether it multiplies 16 × 16 halves in an instruction: NVIDIA's from sm_70 on."""
        return self.arch is not None and int(self.arch.removeprefix("sm_")) >= 70

    def tvm(self, host: "TvmTarget") -> "TvmTarget":
        """The tvm.target.Target of the device's kernels."""
        from tvm.target import Target as TvmTarget

        options: dict[str, object] = {
            "kind": self.api,
            "max_num_threads": self.max_threads,
            "max_threads_per_block": self.max_threads,
            "max_shared_memory_per_block": self.shared_bytes,
            "thread_warp_size": self.warp,
        }
        if self.arch:
            options["arch"] = self.arch
        return TvmTarget(options, host=host)


@dataclass(frozen=True)
class Target:
    """A device to compile for. The fields after name are those of its TOML file."""

    name: str
    title: str
    triple: str  # LLVM's
    cpu: str  # LLVM's name
    attributes: tuple[str, ...] = ()  # LLVM features beyond the cpu's, as "+dotprod"
    cores: tuple[Cores, ...] = ()  # the fastest first; () where it is no one device
    libc_version: str | None = None  # the oldest to run with: glibc's, as "2.31", or Android's API level, as "29"
    linker: str = "zig"  # or "none", an archive and nothing linked, or the name of a compiler on the PATH
    page_bytes: int = 4096  # of its kernel: what the library's segments are aligned to
    levels: tuple[Level, ...] = ()  # the least demanding first, which all of its machines can run; () for one library
    gpu: Gpu | None = None  # what kernels are for, in place of the cpu

    def __post_init__(self) -> None:
        if self.levels and (self.linker == "none" or not self.is_elf):
            raise ValueError("levels are for targets that get shared libraries (ELF), which are chosen at run time")
        if self.levels and self.levels[0].integers_only:
            raise ValueError(f"the first level, {self.levels[0].name}, must be for every model: no integers_only")
        names = [re.sub("[.-]", "_", level.name) for level in self.levels]
        if len(set(names)) < len(names):
            raise ValueError(f"two levels have the same name in C: {', '.join(names)}")
        pattern = r"[1-9]\d*" if self.libc == "bionic" else r"\d+\.\d+"
        if self.libc_version is not None and not (
            self.libc in ("glibc", "bionic") and re.fullmatch(pattern, self.libc_version)
        ):
            raise ValueError(f"libc_version {self.libc_version!r}: {self.libc} has no such version to ask for")
        if self.libc == "bionic" and not self.libc_version:
            raise ValueError("libc_version is missing: Android's API level")
        if self.page_bytes < 4096 or self.page_bytes & (self.page_bytes - 1):
            raise ValueError(f"page_bytes must be a power of two from 4096 on, not {self.page_bytes}")

    @property
    def architecture(self) -> str:
        """The triple's, as Linux's uname calls it; every 32-bit ARM is arm."""
        first = self.triple.partition("-")[0]
        return "arm" if first.startswith("armv") else first

    @property
    def libc(self) -> str:
        """ "glibc", "musl", "bionic", "apple", "wasi", or the system part of another triple."""
        system = self.triple.split("-", 1)[-1]
        known = {"gnu": "glibc", "musl": "musl", "android": "bionic", "apple": "apple", "wasi": "wasi"}
        return next((libc for part, libc in known.items() if part in system), system)

    @property
    def is_elf(self) -> bool:
        return self.libc in ("glibc", "musl", "bionic")

    @property
    def hard_float(self) -> bool:
        """Whether a 32-bit ARM passes floats in vector registers: a library of the other kind cannot be loaded."""
        return self.architecture == "arm" and self.triple.endswith("hf")

    @property
    def variants(self) -> "tuple[Target, ...]":
        """A target for each library of a bundle, the least demanding first: each level, or where it has none itself."""
        return tuple(map(self.at, self.levels)) or (self,)

    def at(self, level: Level) -> "Target":
        """The target of one level alone."""
        cpu, attributes = level.cpu or self.cpu, (*self.attributes, *level.attributes)
        gpu = self.gpu if level.on_gpu else None
        return replace(self, name=f"{self.name}:{level.name}", cpu=cpu, attributes=attributes, levels=(), gpu=gpu)

    def with_fallback(self) -> "Target":
        """One with a GPU, as two levels: machines that lack the GPU, or its driver, get the CPU's kernels."""
        if not self.gpu or self.levels:
            raise InputError(f"--fallback cpu: {self.name} has no GPU, its kernels are the CPU's")
        levels = (Level("cpu", "where there is no such GPU"), Level("gpu", self.title, on_gpu=True))
        return replace(self, levels=levels)

    def llvm(self) -> "TvmTarget":
        """The tvm.target.Target of the kernels."""
        from tvm.target import Target as TvmTarget

        options: dict[str, object] = {"kind": "llvm", "mtriple": self.triple, "mcpu": self.cpu}
        if self.attributes:
            options["mattr"] = list(self.attributes)
        if self.hard_float:
            options["mfloat-abi"] = "hard"
        return TvmTarget(options)


_CPU_ALONE = Level("cpu", "its CPU")  # of a target with a GPU; by name, TARGET:cpu


def load_target(name_or_path: str) -> Target:
    """A shipped target by name, "host", or a TOML file by path, whose CPU LLVM knows; NAME:LEVEL for a single level.

    Raises InputError: for an unknown name with the nearest ones or all there are, for a file with what is wrong in it.
    """
    name_or_path, _, level = name_or_path.partition(":")
    if name_or_path == "host":
        return _at_level(host_target(), level)
    path = _target_file(name_or_path)
    target = _read(path)
    for variant in target.variants:
        _refuse_unknown(variant, str(path))
    _refuse_disorder(target, str(path))
    return _at_level(target, level)


def _at_level(target: Target, name: str) -> Target:
    if not name:
        return target
    if target.gpu and name == _CPU_ALONE.name:
        return target.at(_CPU_ALONE)
    known = [level.name for level in target.levels]
    if name not in known:
        hint = did_you_mean(name, known, f"it has {', '.join(known) or 'none'}")
        raise InputError(f"target {target.name} has no level {name!r}; {hint}")
    return target.at(target.levels[known.index(name)])


def _refuse_disorder(target: Target, where: str) -> None:
    """Levels are tried from the last to the first, so each must need something that those after it do not."""
    first, *others = needs = [needed_features(variant) for variant in target.variants]
    for level, features in zip(target.levels[1:], others, strict=True):
        if lacking := first - features:
            least = f"the first level, {target.levels[0].name}"
            raise InputError(f"{where}: level {level.name} needs less than {least}: not {', '.join(sorted(lacking))}")
    for index, features in enumerate(needs):
        for level, later in zip(target.levels[index + 1 :], needs[index + 1 :], strict=True):
            if later <= features:
                hidden = target.levels[index].name
                raise InputError(
                    f"{where}: level {hidden} would never be chosen: {level.name}, after it, needs no more"
                )


def shipped_targets() -> list[Target]:
    """What is shipped, in the order of the names; read without asking LLVM."""
    return [_read(_target_file(name)) for name in list_targets() if name != "host"]


def list_targets() -> list[str]:
    return ["host", *sorted(path.stem for path in content.folder("targets").glob("*.toml"))]


def _target_file(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = content.folder("targets") / f"{name_or_path}.toml"
    if not path.is_file():
        known = list_targets()
        hint = did_you_mean(name_or_path, known, f"there are {', '.join(known)}, or give a .toml file")
        raise InputError(f"no target {name_or_path!r}; {hint}")
    return path


def _read(path: Path) -> Target:
    return build(Target, read_toml(path), str(path), name=path.stem)


def _refuse_unknown(target: Target, where: str) -> None:
    """LLVM itself takes an unknown cpu for the plainest one, and crashes at an unknown architecture."""
    from tvm.target import Target as TvmTarget
    from tvm.target import codegen

    if not re.match(r"(x86_64|i686|aarch64|armv\w+|riscv64|wasm32)-", target.triple):
        raise InputError(f"{where}: triple {target.triple!r} is of no architecture that we compile for")
    plain = {"kind": "llvm", "mtriple": target.triple}
    known = {str(cpu) for cpu in codegen.llvm_get_cpu_archlist(TvmTarget(plain))}
    if target.cpu not in known:
        hint = did_you_mean(target.cpu, known, "`llc -mcpu=help` lists them")
        raise InputError(f"{where}: LLVM knows no cpu {target.cpu!r} for {target.triple}; {hint}")
    if not target.attributes:
        return
    features = {str(name) for cpu in known for name in codegen.llvm_get_cpu_features(TvmTarget({**plain, "mcpu": cpu}))}
    for attribute in target.attributes:
        if attribute[:1] not in ("+", "-") or attribute[1:] not in features:
            signed = [("-" if attribute.startswith("-") else "+") + name for name in features]
            hint = did_you_mean(attribute, signed, "a sign and a feature that some cpu of this architecture has")
            raise InputError(f"{where}: LLVM knows no attribute {attribute!r} for {target.triple}; {hint}")


def host_target() -> Target:
    """This machine. A virtual machine may hide features of its CPU: then the highest x86-64 level that it does have."""
    from tvm.target import codegen

    triple = re.sub(r"-(conda|unknown|pc|none)-", "-", str(codegen.llvm_get_system_triple()))
    host = Target("host", "this machine", triple, str(codegen.llvm_get_system_cpu()))
    if not triple.startswith("x86_64"):
        return host
    for cpu in (host.cpu, "x86-64-v4", "x86-64-v3", "x86-64-v2"):
        candidate = Target("host", host.title, triple, cpu)
        if needed_features(candidate) <= _cpu_flags():
            return candidate
    return Target("host", host.title, triple, "x86-64")


def gpu_stand_in(target: Target, host: Target) -> Target | None:
    """The host with OpenCL, whose kernels are those of the target's GPU; None where the target has none."""
    gpu = target.gpu
    return (
        replace(host, gpu=replace(gpu, api="opencl", arch=None, also=(), driver=None, any_device=True)) if gpu else None
    )


def needed_features(target: Target) -> frozenset[str]:
    """LLVM's names of the features that the kernels may use and that a library checks when it is opened."""
    from tvmpose.kernels.isa import target_features

    return target_features(target.llvm()) & frozenset(checked_features())


def checked_features() -> dict[str, int]:
    """Feature name -> bit, from the very header that the library's check is compiled from."""
    header = Path(__file__).parent / "runtime" / "csrc" / "cpu_features.h"
    rows = re.findall(r'^TVMPOSE_CPU_FEATURE\((\d+), "([^"]+)"', header.read_text(), re.MULTILINE)
    return {name: int(bit) for bit, name in rows}


# Linux's name of a feature where it is not LLVM's with dots and dashes as underscores
_LINUX_NAMES = {"sse3": "pni", "lzcnt": "abm", "bmi": "bmi1", "fullfp16": "fphp", "avx512vnni": "avx512_vnni"} | {
    f"avx512{name}": f"avx512_{name}" for name in ("bf16", "vbmi2", "bitalg", "vpopcntdq", "fp16")
}


def _cpu_flags() -> frozenset[str]:
    """The features that Linux reports, in LLVM's names."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    return frozenset(name for name in checked_features() if _LINUX_NAMES.get(name, re.sub("[.-]", "_", name)) in flags)
