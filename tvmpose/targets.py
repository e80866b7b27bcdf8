"""Devices as data: targets/*.toml, and the host as it finds itself."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose import content
from tvmpose.errors import InputError
from tvmpose.strict import build, read_toml
from tvmpose.suggest import did_you_mean

if TYPE_CHECKING:
    from tvm.target import Target as TvmTarget


@dataclass(frozen=True)
class Target:
    """A device to compile for. The fields after name are those of its TOML file."""

    name: str
    title: str
    triple: str  # LLVM's; also the cross-linker's
    cpu: str  # LLVM's name
    attributes: tuple[str, ...] = ()  # LLVM features beyond the cpu's, as "+dotprod"

    def llvm(self) -> "TvmTarget":
        """The tvm.target.Target of the kernels."""
        from tvm.target import Target as TvmTarget

        options = {"kind": "llvm", "mtriple": self.triple, "mcpu": self.cpu}
        return TvmTarget(options | ({"mattr": list(self.attributes)} if self.attributes else {}))


def load_target(name_or_path: str) -> Target:
    """A shipped target by name, "host", or a TOML file by path. Raises InputError, with the names there are."""
    if name_or_path == "host":
        return host_target()
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = content.folder("targets") / f"{name_or_path}.toml"
    if not path.is_file():
        known = list_targets()
        hint = did_you_mean(name_or_path, known, f"there are {', '.join(known)}, or give a .toml file")
        raise InputError(f"no target {name_or_path!r}; {hint}")
    target = build(Target, read_toml(path), str(path), name=path.stem)
    _refuse_unknown(target, str(path))
    return target


def _refuse_unknown(target: Target, where: str) -> None:
    """LLVM itself takes an unknown cpu for the plainest one, and crashes at an unknown architecture."""
    from tvm.target import Target as TvmTarget
    from tvm.target import codegen

    if not re.match(r"(x86_64|i686|aarch64|armv\w+|riscv64|wasm32)-", target.triple):
        raise InputError(f"{where}: triple {target.triple!r} is of no architecture that we compile for")
    known = {str(cpu) for cpu in codegen.llvm_get_cpu_archlist(TvmTarget({"kind": "llvm", "mtriple": target.triple}))}
    if target.cpu not in known:
        hint = did_you_mean(target.cpu, known, "`llc -mcpu=help` lists them")
        raise InputError(f"{where}: LLVM knows no cpu {target.cpu!r} for {target.triple}; {hint}")


def list_targets() -> list[str]:
    return ["host", *sorted(path.stem for path in content.folder("targets").glob("*.toml"))]


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
