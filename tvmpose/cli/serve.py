"""``tvmpose serve``: this machine, or one that ssh reaches, as a board at the tracker."""

import argparse

from tvmpose.cli.devices.options import add_tracker


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "serve",
        help="make this machine a board at the tracker",
        description="Make this machine a board at the tracker, by TVM's RPC server and two functions of ours; or, with "
        "--ssh, another one: the agent is built, copied there and started, with a tunnel for each direction.",
    )
    parser.add_argument("--key", required=True, help="that programs ask for")
    add_tracker(parser, required=True)
    parser.add_argument(
        "--host", default="127.0.0.1", help="to listen on (default: 127.0.0.1; there is no authentication)"
    )
    parser.add_argument("--port", type=int, default=0, help="to listen on (default: a free one)")
    parser.add_argument(
        "--address",
        metavar="HOST[:PORT]",
        help="that the tracker tells clients, where they see another than the tracker does",
    )
    parser.add_argument("--through", default="", metavar="WORDS", help="run programs with it, as 'taskset -c 3'")
    parser.add_argument("--memory", type=int, metavar="MB", help="of a program's data (default: three quarters)")
    parser.add_argument("--ssh", metavar="USER@BOARD", help="start the agent there; needs --target")
    parser.add_argument("--ssh-option", action="append", default=[], metavar="X=Y", help="ssh -o X=Y; repeat for more")
    parser.add_argument("--target", help="with --ssh: what the board is")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Until it is stopped."""
    from tvmpose.cli.devices.options import log_line
    from tvmpose.devices.tracker import parse_address
    from tvmpose.errors import InputError

    tracker = parse_address(args.tracker)
    _check_key(args.key)
    if args.ssh:
        from tvmpose.devices.ssh import serve_through_ssh
        from tvmpose.targets import load_target

        if not args.target:
            raise InputError("--ssh needs --target: `tvmpose targets` lists them")
        options = [word for option in args.ssh_option for word in ("-o", option)]
        return serve_through_ssh(args.ssh, load_target(args.target), args.key, tracker, options, log_line, args.through)
    from tvmpose.devices.programs import Limits
    from tvmpose.devices.server import Serving, serve

    if args.target or args.ssh_option:
        raise InputError("--target and --ssh-option are for --ssh")
    limits = Limits(memory_bytes=args.memory << 20) if args.memory else Limits()
    through = tuple(args.through.split())
    serve(Serving(args.key, tracker, args.host, args.port, args.address, limits, through), log_line)
    return 0


def _check_key(key: str) -> None:
    import re

    from tvmpose.errors import InputError

    if not re.fullmatch(r"[A-Za-z0-9._-]{1,48}", key):
        raise InputError(f"--key {key!r}: must be letters, digits, dots, dashes and underscores")
