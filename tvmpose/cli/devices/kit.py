"""``tvmpose devices kit``: what a board needs to be one at the tracker, in a folder."""

import argparse
from pathlib import Path


def add(kinds: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the kind."""
    kit = kinds.add_parser(
        "kit",
        help="what a board needs, in a folder",
        description="Build the agent, one static program, for a target and write it into a folder, with a service unit "
        "and a README that has the commands.",
    )
    kit.add_argument("--target", required=True, help="what the board is: `tvmpose targets`")
    kit.add_argument("--key", help="of the board at the tracker (default: the target's name)")
    kit.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the folder")
    kit.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it; the last line is where the commands are."""
    from tvmpose.devices.kit import write_kit
    from tvmpose.targets import load_target

    target = load_target(args.target)
    print(f"building the agent for {target.name} ({target.title})", flush=True)
    for file in reversed(write_kit(target, args.output, args.key)):
        print(f"{file}  {file.stat().st_size} bytes")
    print(f"what to do with it: {args.output / 'README.md'}")
    return 0
