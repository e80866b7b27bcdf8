"""``tvmpose devices virtual``: boards that are emulated here."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.cli.devices.options import add_tracker, log_line, table

if TYPE_CHECKING:
    from tvmpose.devices.virtual import VirtualBoard

_EXAMPLES = """\
boards emulated on this machine, by qemu-user with packages of Debian

    tvmpose devices virtual                                                      which there are, and which are up
    tvmpose devices virtual raspberry-pi-4 --up                                  make it: packages, wheels, links
    tvmpose devices virtual raspberry-pi-4 --run python3 BUNDLE/pose.py --check  run something on it
    tvmpose devices virtual raspberry-pi-4 --serve --key pi4                     a board at the tracker
    tvmpose devices virtual raspberry-pi-4 --down                                delete it
"""
_HEADER = ("name", "cpu", "userland", "where")
_SIGNALED = 128  # as a shell reports a program that died of a signal


def add(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the kind."""
    virtual = kinds.add_parser(
        "virtual",
        help="boards emulated on this machine",
        description=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    virtual.add_argument("name", nargs="?", metavar="NAME", help="a target that a virtual board exists for")
    action = virtual.add_mutually_exclusive_group()
    action.add_argument("--up", action="store_true", help="make it where it is not yet, and say how to use it")
    action.add_argument("--down", action="store_true", help="delete it")
    action.add_argument(
        "--run",
        dest="program",
        nargs=argparse.REMAINDER,
        metavar="PROGRAM [ARGUMENT ...]",
        help="run one of its programs, or a file compiled for it; must come last",
    )
    action.add_argument(
        "--serve", action="store_true", help="make it a board at the tracker, by the agent; needs --key"
    )
    virtual.add_argument("--key", help="with --serve: that programs ask for")
    add_tracker(virtual, inherited=True)
    virtual.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List, make, use or delete."""
    from tvmpose.devices.virtual import take_down, virtual_board
    from tvmpose.errors import InputError

    if args.name is None:
        if args.up or args.down or args.serve or args.program is not None:
            raise InputError("which board? `tvmpose devices virtual` lists them")
        return _list()
    if args.down:
        gone = take_down(args.name)
        print("\n".join(f"deleted {path}" for path in gone) or f"{args.name} is not up")
        return 0
    if args.program == []:
        raise InputError("--run needs a program: --run python3, or the path of a file compiled for the board")
    if args.serve:
        return _serve(args)
    if not args.up and args.program is None:
        return _show(args.name)
    # What a program prints is its own: what precedes it goes to standard error.
    board = virtual_board(args.name, lambda line: print(line, file=sys.stdout if args.up else sys.stderr, flush=True))
    return _run(board, args.program) if args.program else _describe(board)


def _list() -> int:
    from tvmpose.devices.recipe import list_boards, load_recipe
    from tvmpose.devices.virtual import board_that_is_up

    rows = [_HEADER]
    for name in list_boards():
        recipe, board = load_recipe(name), board_that_is_up(name)
        rows.append((name, recipe.cpu, recipe.userland.name, str(board.root) if board else "not up"))
    print("\n".join(table(rows)))
    return 0


def _serve(args: argparse.Namespace) -> int:
    from tvmpose.devices.tracker import parse_address
    from tvmpose.devices.virtual_server import serve_virtual
    from tvmpose.errors import InputError

    if not args.key:
        raise InputError("--serve needs --key: the name that programs ask the tracker for")
    return serve_virtual(args.name, args.key, parse_address(args.tracker), log_line)


def _show(name: str) -> int:
    from tvmpose.devices.recipe import load_recipe
    from tvmpose.devices.virtual import board_that_is_up

    load_recipe(name)
    if board := board_that_is_up(name):
        return _describe(board)
    print(f"{name} is not up: tvmpose devices virtual {name} --up")
    return 0


def _describe(board: "VirtualBoard") -> int:
    from tvmpose.devices.recipe import load_recipe
    from tvmpose.devices.userland import PACKAGES

    recipe = load_recipe(board.name)
    packages = (board.root / PACKAGES).read_text().splitlines()
    count = sum(kind.count for kind in recipe.cores)
    has = recipe.userland.wheels or recipe.userland.packages
    print(f"     board  {board.name}: {board.emulator} -cpu {board.cpu}, {count} cores in its /proc/cpuinfo")
    print(f"      root  {board.root}")
    print(f"       has  {', '.join(has)}; {len(packages)} packages in {PACKAGES}")
    program = "python3" if (board.root / "usr/bin/python3").exists() else "./program"
    print(f"       run  tvmpose devices virtual {board.name} --run {program}")
    print(f"            {' '.join(board.command([program]))}")
    return 0


def _run(board: "VirtualBoard", argv: list[str]) -> int:
    import subprocess

    from tvmpose.errors import InputError

    if "/" in argv[0] and not Path(argv[0]).is_file():
        raise InputError(f"--run: no file {argv[0]}")
    code = subprocess.run(board.command(argv), check=False).returncode
    return code if code >= 0 else _SIGNALED - code
