"""``tvmpose records``: what `tvmpose tune` has found: list, merge, prune, export."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.errors import InputError

if TYPE_CHECKING:
    from tvmpose.tuning.records import Record

_EXAMPLES = """\
    tvmpose records                                    the targets that there are records of
    tvmpose records raspberry-pi-4                     what was found for one: kernel, default, best
    tvmpose records raspberry-pi-4 --export FILE       the best of each kernel, to give away
    tvmpose records raspberry-pi-4 --merge FILE ...    take over what others have found
    tvmpose records raspberry-pi-4 --prune             keep the best of each kernel alone
"""


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "records",
        help="what tuning has found",
        description=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", nargs="?", metavar="TARGET", help="device that was tuned for")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--merge", nargs="+", type=Path, metavar="FILE", help="add the records of these files")
    action.add_argument("--prune", action="store_true", help="drop all but the best, and those of other versions")
    action.add_argument("--export", type=Path, metavar="FILE", help="write the best ones there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List, or change the user's records of one target."""
    from tvmpose.cards.cache import cache_folder
    from tvmpose.targets import load_target
    from tvmpose.tuning.records import FILE, Log, files_of, merged, pruned, read_file, replace_file, user_file
    from tvmpose.tuning.versions import versions

    if args.target is None:
        if args.merge or args.prune or args.export:
            raise InputError("which target's records? `tvmpose records` lists them")
        found = sorted((cache_folder() / "schedules").glob(f"*/{FILE}"))
        for path in found:
            print(f"{path.parent.name:<24}  {sum(1 for _ in read_file(path)):>6} records  {path}")
        if not found:
            print("no records yet: tvmpose tune MODEL --target TARGET")
        return 0
    target = load_target(args.target)
    path = user_file(target)
    if args.merge:
        with Log(path) as log:
            known = {record.line() for record in log.records}
            added = [
                record for record in merged([read_file(file) for file in args.merge]) if record.line() not in known
            ]
            log.add(added)
        print(f"{path}: {len(added)} records added")
        return 0
    records = [record for file in files_of(target) for record in read_file(file)]
    if not records:
        raise InputError(f"{target.name}: no records; tvmpose tune MODEL --target {target.name}")
    if args.prune or args.export:
        kept = pruned(records, versions())
        replace_file(args.export or path, kept)
        print(f"{args.export or path}: {len(kept)} of {len(records)} records")
        return 0
    _list(records, versions())
    return 0


def _list(records: "Sequence[Record]", versions: tuple[int, str]) -> None:
    from tvmpose.cli.devices.options import table
    from tvmpose.tuning.progress import show
    from tvmpose.tuning.records import pruned

    best = pruned(records, versions)
    rows = [("workload", "unit", "default", "best", "of default", "measured", "on", "kernel")]
    for record in sorted(best, key=lambda record: record.ratio):
        values = (show(record.default, record.unit), show(record.value, record.unit), f"{record.ratio:.3f}")
        rows.append((record.workload, record.unit, *values, record.date[:10], record.device, record.title))
    print("\n".join(table(rows)))
    failed = sum(record.stage == "failed" for record in records)
    old = sum((record.version, record.tvm) != versions for record in records)
    print(f"{len(records)} records of {len(best)} kernels; {failed} of candidates that failed, {old} of other versions")
