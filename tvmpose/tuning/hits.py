"""What a compilation takes from records: decisions by workload, and how much of the network they cover."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvmpose.targets import Target
from tvmpose.tuning.records import Record, Unit, best_of, cpu_of, files_of, read_file

if TYPE_CHECKING:
    from tvm.ir import IRModule


def usable(target: Target, unit: Unit) -> dict[str, Record]:
    """By workload: the records of the target, shipped ones and the user's, that beat the templates' defaults."""
    from tvmpose.tuning.versions import versions

    files = files_of(target)
    records = (record for path in files for record in read_file(path))
    return best_of(records, unit, versions(), cpu_of(target)) if files else {}


@dataclass(frozen=True)
class Hits:
    """Kernels of a network for which there is a record, of all that have a schedule."""

    kernels: int
    tuned: int
    multiply_adds: float  # share of them that the tuned ones do

    def __str__(self) -> str:
        return f"{self.tuned} of {self.kernels} kernels by records, {self.multiply_adds:.0%} of the multiply-adds"


def count_hits(module: "IRModule", records: Mapping[str, Record]) -> Hits:
    """module: as it is before the pipeline's last phase."""
    from tvm.tirx import PrimFunc

    from tvmpose.kernels.cost import is_written_out, kernel_cost
    from tvmpose.passes.schedule_kernels import workload_of

    kernels = [f for _, f in module.functions_items() if isinstance(f, PrimFunc) and not is_written_out(f)]
    work = {workload_of(kernel): kernel_cost(kernel).multiply_adds for kernel in kernels}
    tuned = sum(adds for workload, adds in work.items() if workload in records)
    hits = sum(workload in records for workload in work)
    return Hits(len(work), hits, tuned / max(sum(work.values()), 1))
