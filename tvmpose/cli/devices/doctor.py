"""``tvmpose devices doctor``: is all well between this machine, the tracker and a board."""

import argparse

from tvmpose.cli.devices.options import add_patience, add_tracker


def add(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the kind."""
    doctor = kinds.add_parser(
        "doctor",
        help="is all well between this machine, the tracker and a board",
        description="Try every part of the way to a board, down to a kernel that runs there, and say what mends those "
        "that fail.",
    )
    add_tracker(doctor, inherited=True)
    add_patience(doctor, inherited=True)
    doctor.add_argument("--key", required=True, help="of the board at the tracker")
    doctor.add_argument("--target", help="what the board is (default: what it says of itself)")
    doctor.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """A line for each part; the exit code is that of an unreachable device where one failed."""
    from tvmpose.devices.doctor import examine
    from tvmpose.devices.tracker import parse_address
    from tvmpose.errors import DeviceError

    well = True
    for finding in examine(parse_address(args.tracker), args.key, args.target, args.wait, args.answer):
        print(f"{'ok  ' if finding.well else 'FAIL'}  {finding.what}: {finding.found}", flush=True)
        for command in finding.commands:
            print(f"      {command}", flush=True)
        well &= finding.well
    return 0 if well else DeviceError.exit_code
