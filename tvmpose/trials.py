"""What the gate can run of a bundle, and where; and what stands in for libraries that run nowhere here.

The gate runs the very library that is to be written: on this machine, or on its target's virtual board where that is
up. For most targets there is neither. But importing, passes, warp and decode are the same for every CPU, and so are
most mistakes: what comes of the model for this machine is run in place of all the bundle's libraries, and the manifest
says "host-equivalent only". For a GPU that is its very schedules, as OpenCL, where this machine has a device for that,
PoCL's or another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.codegen.bundle import Status
from tvmpose.codegen.library import Library, Work, finish_library
from tvmpose.codegen.names import Names
from tvmpose.devices.machine import Machine, board_of
from tvmpose.targets import Target, gpu_stand_in, host_target, needed_features

if TYPE_CHECKING:
    from tvm.ir import IRModule


@dataclass(frozen=True)
class Trial:
    """A library that the gate can run, and where."""

    library: Library
    machine: Machine
    status: Status


def find_trials(libraries: Sequence[Library], name: str) -> list[Trial]:
    """Those of a bundle's libraries that can be run themselves, in their order. name: the bundle's."""
    trials = (_trial(library, name) for library in libraries)
    return [trial for trial in trials if trial]


def stand_in(module: "IRModule", target: Target, name: str, folder: Path, work: Work) -> Trial:
    """What is run where none of the target's libraries can be: compiled for this machine, in a folder of FOLDER.

    module: what begin_pipeline returned.
    """
    for machine, where in ((gpu_stand_in(target, host_target()), "gpu-host"), (host_target(), "host")):
        if machine:
            (folder / where).mkdir(exist_ok=True)
            its = replace(work, dump=work.dump and work.dump / where)
            library = finish_library(module, machine, Names(name), folder / where, its)
            if not machine.gpu or _opens(library, name):
                break
    return Trial(library, Machine(library.target), "host-equivalent only")


def runs_here(target: Target) -> bool:
    """Whether this machine can load the target's libraries: the same system and C library, and all features."""
    host = host_target()
    return target.triple == host.triple and needed_features(target) <= needed_features(host)


def _trial(library: Library, name: str) -> Trial | None:
    if runs_here(library.target) and (not library.target.gpu or _opens(library, name)):
        return Trial(library, Machine(library.target), "verified")
    board = board_of(library.target)
    return Trial(library, Machine(library.target, board), "emulated") if board else None


def _opens(library: Library, name: str) -> bool:
    """Whether this machine has the GPU that a library needs, and its driver."""
    from tvmpose.runtime.pose import MachineError, open_library

    try:
        open_library(library.path, name).close()
    except MachineError:
        return False
    return True
