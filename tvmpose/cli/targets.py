"""``tvmpose targets``: the devices, one a line, and what is known and resolved of one."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvmpose.targets import Gpu, Target

_HEADER = ("name", "device", "cpu", "system")


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser("targets", help="list the devices to compile for", description=__doc__)
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(metavar="show TARGET")
    show = actions.add_parser("show", help="print what is known of a target and what follows from it")
    show.add_argument("target", metavar="TARGET", help="a name of `tvmpose targets`, or a .toml file")
    show.set_defaults(run=run_show)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from tvmpose.targets import shipped_targets

    host = ("host", "this machine", "as it finds itself", "")
    rows = [_HEADER, host, *((t.name, t.title, _cpus(t), _system(t)) for t in shipped_targets())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Print the target, a fact a line."""
    from tvmpose.extras import require
    from tvmpose.targets import load_target

    require("tvm", extra="compiler")
    for key, value in _facts(load_target(args.target)):
        print(f"{key:>9}  {value}".rstrip())
    return 0


def _facts(target: "Target") -> Iterator[tuple[str, str]]:
    from tvmpose.errors import SetupError

    yield "target", f"{target.name}: {target.title}"
    yield "triple", target.triple
    if not target.levels:
        yield "cpu", _cpu(target)
    yield "system", _system(target)
    for cores in target.cores:
        caches = {"L1 data": cores.l1d_bytes, "L2": cores.l2_bytes}
        sizes = [f"{size // 1024} KiB {name}" for name, size in caches.items() if size]
        yield "cores", ", ".join([f"{cores.count} x {cores.name}", *sizes])
    if target.levels:
        yield from _levels(target)
    elif target.gpu:
        yield "gpu", _gpu(target.gpu)
        yield "checked", "the device's limits, when a bundle is opened"
    else:
        yield "vectors", _vectors(target)
        yield "checked", f"{', '.join(_needs(target)) or 'nothing'} when a bundle is opened"
    pages = f"segments aligned to pages of {target.page_bytes // 1024} KiB"
    if target.linker == "none":
        yield "result", "an archive (libNAME.a): link it into a program"
    elif target.levels:
        yield "result", f"libNAME.so of the first level, libNAME-LEVEL.so of the others, {pages}"
        yield "choice", "when a bundle is opened: the last of these that the CPU runs"
    else:
        yield "result", f"libNAME.so, {pages}"
    try:
        yield "compiler", _compiler(target)
    except SetupError as error:
        yield "compiler", f"missing: {error}"


def _levels(target: "Target") -> Iterator[tuple[str, str]]:
    """What it is, what it needs beyond the first level, what it is for; of the first all that it needs."""
    common: frozenset[str] = frozenset()
    for level, variant in zip(target.levels, target.variants, strict=True):
        yield "level", f"{level.name}: {level.title}"
        own = [feature for feature in _needs(variant) if feature not in common]
        common = common or frozenset(own)
        yield "", f"{_cpu(variant)}; {_vectors(variant)}"
        yield "", f"checked: {', '.join(own)}" + ("; for quantized models alone" if level.integers_only else "")


def _gpu(gpu: "Gpu") -> str:
    shared = f"{gpu.shared_bytes // 1024} KiB {'shared' if gpu.shared_is_fast else 'shared, as slow as any'}"
    arch = f" {gpu.arch}" if gpu.arch else ""
    return f"{gpu.api}{arch}: {gpu.max_threads} threads a block, {gpu.warp} at once, {shared}"


def _cpu(target: "Target") -> str:
    return " ".join([target.cpu, *target.attributes])


def _needs(target: "Target") -> list[str]:
    from tvmpose.targets import needed_features

    return sorted(needed_features(target))


def _vectors(target: "Target") -> str:
    from tvmpose.kernels.isa import vector_isa

    isa = vector_isa(target.llvm())
    dots = ", ".join(dict.fromkeys(dot.name for dot in isa.dot_products))
    return f"{isa.registers} registers of {isa.lanes} floats; small integers by {dots}"


def _compiler(target: "Target") -> str:
    from tvmpose.codegen.toolchain import toolchain_for

    toolchain = toolchain_for(target)
    stubs = "; no Android NDK (ANDROID_NDK_HOME): names of its functions in place of its libraries"
    return " ".join(toolchain.cc) + (stubs if toolchain.bionic else "")


def _cpus(target: "Target") -> str:
    return ", ".join(level.name for level in target.levels) or target.cpu


def _system(target: "Target") -> str:
    version = f" {target.libc_version} or later" if target.libc_version else ""
    names = {"bionic": "Android API level", "apple": target.triple.partition("apple-")[2], "wasi": "WASI"}
    return names.get(target.libc, target.libc) + version
