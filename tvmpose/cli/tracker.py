"""``tvmpose tracker``: where boards register and programs ask for one."""

import argparse


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "tracker",
        help="start the tracker at which boards register",
        description="Start TVM's tracker, at which boards register under a key and programs ask for one of a key.",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="to listen on (default: 127.0.0.1; there is no authentication: boards reach it through ssh)",
    )
    parser.add_argument("--port", type=int, default=9190, help="to listen on (default: 9190)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Until it is stopped."""
    from tvmpose.cli.devices.options import log_line
    from tvmpose.devices.tracker_server import serve_tracker

    serve_tracker(args.host, args.port, log_line)
    return 0
