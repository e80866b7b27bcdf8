"""``tvmpose devices``: who is at the tracker; and a file for each kind of help with boards."""

import argparse
import sys

from tvmpose.cli.devices import doctor, kit, options, virtual

_EXAMPLES = """\
boards to run on: who is at the tracker, free or busy, its load, clock and temperature

    tvmpose tracker                                                where boards register
    tvmpose serve --key pi4 --tracker HOST:PORT --ssh pi@board --target raspberry-pi-4
    tvmpose devices                                                who is there
    tvmpose devices doctor --key pi4                               is all well between us
    tvmpose devices kit --target raspberry-pi-4 -o kit             what a board needs, in a folder
    tvmpose devices virtual raspberry-pi-4 --up                    a board that is emulated here
"""
_HEADER = ("key", "address", "", "load", "clock", "temperature", "machine", "server")


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "devices",
        help="boards to run on: who is there, and how to get one there",
        description=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_tracker(parser)
    options.add_patience(parser)
    parser.set_defaults(run=run)
    kinds = parser.add_subparsers(metavar="KIND")
    for kind in (virtual, kit, doctor):
        kind.add(kinds)


def run(args: argparse.Namespace) -> int:
    """List."""
    from tvmpose.devices.rpc_device import who_is_there
    from tvmpose.devices.tracker import parse_address

    tracker = parse_address(args.tracker)
    present = who_is_there(tracker, args.answer, _progress)
    _progress("")
    if not present:
        print(f"nobody is at the tracker {tracker}; on a board: tvmpose serve --key KEY --tracker HOST:PORT")
        return 0
    rows = [_HEADER]
    for server in present:
        known, state = server.known, "free" if server.free else "busy"
        numbers = (_load(known), _clock(known), _text(known.get("temperature"), " °C"))
        what = (str(known.get("machine", "")), str(known.get("server", server.reason)))
        rows.append((server.server.key, str(server.server.address), state, *numbers, *what))
    print("\n".join(options.table(rows)))
    return 0


def _load(known: dict[str, object]) -> str:
    return _text(known.get("load"), "", 2)


def _clock(known: dict[str, object]) -> str:
    clock, limit = known.get("clock"), known.get("clock_limit")
    if clock is None and limit is None:
        return "–" if known else ""
    return f"{_text(clock)} of {_text(limit)} MHz"


def _text(value: object, unit: str = "", digits: int = 0) -> str:
    return f"{value:.{digits}f}{unit}" if isinstance(value, int | float) else "–"


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
