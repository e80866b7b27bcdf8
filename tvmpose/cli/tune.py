"""``tvmpose tune``: better schedules for a network's kernels, measured on the devices that they are for."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.cli.devices.options import add_patience, add_tracker
from tvmpose.errors import InputError

if TYPE_CHECKING:
    from tvmpose.tuning.session import Request

_EXAMPLES = """\
on this machine, for ten minutes at most; compile uses what was found
    tvmpose tune blazepose-lite --budget 10m
    tvmpose compile blazepose-lite

on every board that is at a tracker under a key
    tvmpose tune blazepose-lite --target raspberry-pi-4 --key pi4

without a board: by counted instructions, on a virtual one
    tvmpose tune blazepose-lite --target raspberry-pi-4 --count
    tvmpose compile blazepose-lite --target raspberry-pi-4 --records count
"""
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "tune",
        help="search better schedules for a model's kernels, on the devices that they are for",
        description=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL|FILE", help="as of `tvmpose compile`")
    parser.add_argument("--card", metavar="CARD", help="as of `tvmpose compile`")
    parser.add_argument("--target", default="host", metavar="TARGET", help="device to tune for (default: host)")
    parser.add_argument("--rounding", metavar="NAME", help="as of `tvmpose compile`")
    parser.add_argument("--quantization", type=Path, metavar="FILE", help="as of `tvmpose compile`")
    where = parser.add_argument_group("where (default: on this machine)")
    where.add_argument("--key", metavar="KEY", help="on all boards that are at the tracker under this key")
    add_tracker(parser)
    add_patience(parser)
    where.add_argument("--count", action="store_true", help="by executed instructions, on the target's virtual board")
    where.add_argument("--threads", type=_whole, default=0, metavar="N", help="of a kernel (default: the library's)")
    where.add_argument("--flush", type=_whole, default=0, metavar="BYTES", help="of memory, overwritten before a call")
    much = parser.add_argument_group("how much")
    much.add_argument("--budget", type=_seconds, metavar="TIME", help="stop after 90s, 10m, 2h (default: 10m)")
    much.add_argument("--trials", type=_whole, metavar="N", help="stop after so many candidates")
    much.add_argument("--tasks", nargs="?", const="", metavar="N,N-M", help="only these; without a number, list them")
    much.add_argument("--seed", type=int, default=0, metavar="N", help="of the search (default: 0)")
    much.add_argument("--fresh", action="store_true", help="forget what earlier runs for this target have found")
    slow = parser.add_argument_group("time limits")
    slow.add_argument("--build-timeout", type=float, default=120.0, metavar="S", help="of a group (default: 120)")
    slow.add_argument("--run-timeout", type=float, metavar="S", help="of a candidate (default: as its work asks)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tune; the last lines say what was found and where the records are."""
    from tvmpose.extras import require

    request = _request(args)
    require("tvm", extra="compiler")
    require("xgboost", extra="tune")
    from tvmpose.tuning.progress import progress
    from tvmpose.tuning.session import list_tasks, tune

    if args.tasks == "":
        print("\n".join(list_tasks(request)))
        return 0
    with progress() as shown:
        summary = tune(request, shown)
    print("\n".join(summary))
    return 0


def _request(args: argparse.Namespace) -> "Request":
    from tvmpose.targets import load_target
    from tvmpose.tuning.session import Request

    if args.count and args.key:
        raise InputError("--count is for virtual boards: without --key")
    if args.trials == 0:
        raise InputError("--trials 0: must be at least 1")
    return Request(
        model=args.model,
        card=args.card,
        target=load_target(args.target),
        rounding=args.rounding,
        quantization=args.quantization,
        key=args.key,
        tracker=args.tracker,
        wait=args.wait,
        answer=args.answer,
        count=args.count,
        threads=args.threads,
        flush=args.flush,
        seconds=args.budget or (None if args.trials else 600.0),
        trials=args.trials,
        tasks=args.tasks or None,
        seed=args.seed,
        fresh=args.fresh,
        build_timeout=args.build_timeout,
        run_timeout=args.run_timeout,
    )


def _whole(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text}: must not be negative")
    return int(text)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text}: must be a time, as 90s, 10m or 2h")
    return float(match[1]) * _UNITS[match[2]]
