"""Options of the verbs that use boards at a tracker."""

import argparse
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvmpose.devices.rpc_device import RpcDevice

_TRACKER = "127.0.0.1:9190"


def add_tracker(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """--tracker."""
    help = "TVM's tracker" + ("" if required else f" (default: {_TRACKER})")
    parser.add_argument(
        "--tracker", metavar="HOST:PORT", required=required, default=None if required else _TRACKER, help=help
    )


def add_patience(parser: argparse.ArgumentParser) -> None:
    """--wait and --answer, which errors name."""
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="until a board must be free (default: 60)"
    )
    parser.add_argument(
        "--answer",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="for a board to answer, beyond what a program may take (default: 20)",
    )


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
