"""Options of the verbs that use boards at a tracker."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvmpose.devices.rpc_device import RpcDevice

_TRACKER = "127.0.0.1:9190"


def add_tracker(parser: argparse.ArgumentParser, *, required: bool = False, inherited: bool = False) -> None:
    """--tracker. inherited: by a sub-command, whose default is what was said before it."""
    default = argparse.SUPPRESS if inherited else None if required else _TRACKER
    help = "TVM's tracker" + ("" if required else f" (default: {_TRACKER})")
    parser.add_argument("--tracker", metavar="HOST:PORT", required=required, default=default, help=help)


def add_patience(parser: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """--wait and --answer, which errors name."""
    for name, default, what in (
        ("--wait", 60.0, "until a board must be free"),
        ("--answer", 20.0, "for a board to answer, beyond what a program may take"),
    ):
        text = f"{what} (default: {default:g})"
        value = argparse.SUPPRESS if inherited else default
        parser.add_argument(name, type=float, default=value, metavar="SECONDS", help=text)


def request_device(args: argparse.Namespace, key: str) -> "RpcDevice":
    """The board that these options ask for. Raises InputError or DeviceError."""
    from tvmpose.devices.rpc_device import RpcDevice
    from tvmpose.devices.tracker import parse_address
    from tvmpose.errors import InputError

    if not args.wait > 0 or not args.answer > 0:
        raise InputError(f"--wait {args.wait:g}, --answer {args.answer:g}: must be positive")
    return RpcDevice(parse_address(args.tracker), key, wait=args.wait, answer=args.answer)


def log_line(text: str) -> None:
    """With the time, to standard error."""
    print(f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} tvmpose: {text}", file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the cells of a column below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
