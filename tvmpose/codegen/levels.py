"""One model, one target, a library for each of its levels: what no level decides is done once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.codegen.elf import same_code
from tvmpose.codegen.library import Library, Work, finish_library
from tvmpose.codegen.names import Names
from tvmpose.codegen.toolchain import build_archive, toolchain_for
from tvmpose.targets import Level, Target, needed_features

if TYPE_CHECKING:
    from tvm.ir import IRModule


def compile_levels(module: "IRModule", target: Target, name: str, directory: Path, work: Work) -> tuple[Library, ...]:
    """DIRECTORY/LEVEL/libNAME-LEVEL.so for each level of the target, the most demanding first; and one archive.

    The least demanding one's file is libNAME.so. A level gets no library where its instructions are of no use to the
    model, or where its kernels come out the same as those of a less demanding one. For a target without levels
    DIRECTORY/libNAME.so. module: what begin_pipeline returned.
    """
    if not target.levels:
        return (finish_library(module, target, Names(name), directory, work),)
    libraries: dict[Names, Library] = {}
    for level in _useful(target, module):
        names = Names(name, level.name, least=not libraries)
        work.progress("level", f"{level.name}: {level.title}")
        its = replace(work, dump=work.dump and work.dump / level.name)
        folder = directory / level.name
        folder.mkdir(exist_ok=True)
        library = finish_library(module, target.at(level), names, folder, its)
        same = (known.level for known, other in libraries.items() if _same((known, other), (names, library)))
        if covered_by := next(same, None):
            work.progress("level", f"{level.name}: left out, its code is that of {covered_by}")
        else:
            libraries[names] = library
    best_first = dict(reversed(libraries.items()))
    archive = build_archive(directory, {str(names.level): names for names in best_first}, toolchain_for(target))
    return tuple(replace(library, archive=archive) for library in best_first.values())


def _useful(target: Target, module: "IRModule") -> Iterator[Level]:
    from tvmpose.qdq import is_quantized

    quantized = is_quantized(module["main"])
    return (level for level in target.levels if quantized or not level.integers_only)


def _same(known: tuple[Names, Library], new: tuple[Names, Library]) -> bool:
    """Whether the known one runs wherever the new one does, and does the very same there."""
    (one, library), (other, candidate) = known, new
    if library.target.gpu or candidate.target.gpu:
        return False
    here, there = library.path.parent, candidate.path.parent
    return (
        needed_features(library.target) <= needed_features(candidate.target)
        and (here / "weights.bin").read_bytes() == (there / "weights.bin").read_bytes()
        and same_code(here / "kernels.o", there / "kernels.o", (one.symbol, other.symbol))
    )
