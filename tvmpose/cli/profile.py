"""``tvmpose profile``: a bundle's kernels, one by one, beside what this machine can do."""

import argparse
import json
import sys
from pathlib import Path


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "profile",
        help="say for each kernel of a bundle how close it comes to the machine's limits",
        description="Time each step of a frame (one box; tensors where the bundle has no card), and "
        "measure what this machine can multiply and move at most. Bound by: what would limit a perfect kernel. Of "
        "limit: that kernel's time over this one's. Balance: the time on one thread over that on all of them together.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that `tvmpose compile` wrote")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="(default: 100)")
    parser.add_argument("--frame", default="1280x720", metavar="WxH", help="size of the picture (default: 1280x720)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers here")
    parser.add_argument("--plot", type=Path, metavar="OUT.svg", help="draw a bar for each step")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; the last line says what is left on the table."""
    from dataclasses import asdict

    from tvmpose.benchmark.facts import read_facts
    from tvmpose.benchmark.frame import parse_frame_size
    from tvmpose.benchmark.machine import Watch, this_machine
    from tvmpose.benchmark.profile import profile_bundle
    from tvmpose.benchmark.profile_plot import profile_svg
    from tvmpose.benchmark.profile_table import limits_line, profile_lines
    from tvmpose.benchmark.roofline import measure_roofline
    from tvmpose.errors import InputError, SetupError

    if args.frames < 1:
        raise InputError(f"--frames {args.frames}: must be at least 1")
    if args.plot and args.plot.suffix != ".svg":
        raise InputError(f"--plot {args.plot}: pictures are .svg files")
    facts, machine, watch = read_facts(args.bundle), this_machine(), Watch()
    profile = profile_bundle(args.bundle, facts, args.threads, args.frames, parse_frame_size(args.frame))
    try:
        sizes = (machine.l2_bytes, facts.memory_bytes)
        roofline = measure_roofline(facts.triple, facts.cpu_features, *sizes, profile.threads)
    except SetupError as error:
        roofline = None
        print(f"warning: no limits to compare with: {error}", file=sys.stderr)
    print(machine, *([limits_line(roofline)] if roofline else []), "", sep="\n")
    for complaint in watch.stop().complaints():
        print(f"warning: not trustworthy: {complaint}", file=sys.stderr)
    if args.json:
        result = {
            "machine": asdict(machine),
            "limits": asdict(roofline) if roofline else None,
            "profile": asdict(profile),
        }
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    if args.plot:
        args.plot.write_text(profile_svg(profile, roofline, f"{facts.name}, {machine.cpu}, {profile.threads} threads"))
    print("\n".join(profile_lines(profile, roofline)))
    return 0
