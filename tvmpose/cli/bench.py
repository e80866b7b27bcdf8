"""``tvmpose bench``: bundles beside the runtimes that one could use instead, fairly."""

import argparse
import json
import sys
from pathlib import Path

from tvmpose.cli.devices.options import add_patience, add_tracker, request_device


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "bench",
        help="measure a bundle beside LiteRT, ONNX Runtime, OpenVINO and ncnn",
        description="Measure bundles beside other runtimes: each in a process of its own, in turns, on the same input, "
        "raw tensors in and every output out; and from the pixels of a frame with one box to keypoints. With --emulate "
        "it counts, in place of time, the instructions of a frame on a virtual board.",
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="folder that `tvmpose compile` wrote")
    parser.add_argument(
        "--against",
        metavar="PEERS",
        help="of litert,onnxruntime,openvino,ncnn (default: all that there are; '' is none)",
    )
    parser.add_argument("--threads", default="1,2", metavar="N,N", help="(default: 1,2)")
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="the bundle's source, or a conversion for a peer that reads another format; repeat for more (default: the "
        "file that `tvmpose pull` brings for the bundle's card)",
    )
    parser.add_argument(
        "--frame", default="1280x720", metavar="WxH", help="pixels to keypoints from (default: 1280x720)"
    )
    parser.add_argument("--sweep-threads", action="store_true", help="ours alone, on 1 thread to twice the CPUs")
    parser.add_argument(
        "--emulate",
        action="store_true",
        help="count a frame's instructions, tensors to tensors on one thread, on the virtual board of the bundle's "
        "target (`tvmpose devices virtual`)",
    )
    parser.add_argument(
        "--device", metavar="KEY", help="measure on a board at the tracker, in its Python or through programs"
    )
    add_tracker(parser)
    add_patience(parser)
    parser.add_argument(
        "--time-limit",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="with --device: on the board, for each number of threads (default: 1800)",
    )
    parser.add_argument("--board", metavar="NAME", help="with --emulate: another target's board")
    parser.add_argument("--cpu", metavar="NAME", help="with --emulate: another CPU of qemu's, as max")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="turns of each runtime (default: 9)")
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="of each turn (default: 0.3)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers here")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, or count on an emulated CPU."""
    from tvmpose.errors import InputError

    if args.model and len(args.bundles) > 1:
        raise InputError("--model is for a single bundle")
    if args.emulate:
        return _emulate(args)
    if args.device:
        return _measure_on_board(args)
    if args.board or args.cpu:
        raise InputError("--board and --cpu say where to --emulate")
    return _measure(args)


def _measure(args: argparse.Namespace) -> int:
    """Measure, print a table a bundle and number of threads; doubts about the numbers come last."""
    from dataclasses import asdict

    from tvmpose.benchmark.compare import compare
    from tvmpose.benchmark.duel import Rounds
    from tvmpose.benchmark.frame import parse_frame_size
    from tvmpose.benchmark.machine import Watch, this_machine
    from tvmpose.benchmark.sweep import sweep_lines, thread_counts
    from tvmpose.benchmark.table import comparison_lines, summary_lines
    from tvmpose.errors import InputError

    if args.rounds < 1 or not 0 < args.seconds <= 60:
        raise InputError(
            f"--rounds {args.rounds} must be at least 1, --seconds {args.seconds:g} above 0 and at most 60"
        )
    frame = parse_frame_size(args.frame)
    peers = [] if args.sweep_threads else _peers(args.against)
    threads = thread_counts() if args.sweep_threads else _threads(args.threads)
    machine, watch, comparisons = this_machine(), Watch(), []
    print(f"{machine}; load average {watch.load:.1f}\n", flush=True)
    for bundle in args.bundles:
        rounds = Rounds(args.rounds, args.seconds)
        rows = compare(bundle, peers, threads, args.model, rounds, _progress, None if args.sweep_threads else frame)
        comparisons += rows
        _progress("")
        lines = sweep_lines(rows) if args.sweep_threads else (line for row in rows for line in comparison_lines(row))
        print("\n".join(lines), end="\n\n", flush=True)
    for line in summary_lines(comparisons):
        print(line)
    disturbance = watch.stop()
    for complaint in disturbance.complaints():
        print(f"warning: not trustworthy: {complaint}", file=sys.stderr)
    numbers = [asdict(comparison) for comparison in comparisons]
    _write(args.json, {"machine": asdict(machine), "disturbance": asdict(disturbance), "comparisons": numbers})
    return 0


def _measure_on_board(args: argparse.Namespace) -> int:
    """Measure there, print a table a bundle and number of threads, and what the board says of itself at both ends."""
    from dataclasses import asdict

    from tvmpose.benchmark.board import PEERS_ON_BOARDS, compare_on_board
    from tvmpose.benchmark.duel import Rounds
    from tvmpose.benchmark.table import comparison_lines, summary_lines
    from tvmpose.errors import InputError

    if args.sweep_threads or args.rounds < 1 or not 0 < args.seconds <= 60:
        raise InputError("--device takes no --sweep-threads, and needs --rounds from 1 and --seconds from 0 to 60")
    peers, threads = list(PEERS_ON_BOARDS) if args.against is None else _peers(args.against), _threads(args.threads)
    rounds, comparisons, states = Rounds(args.rounds, args.seconds), [], []
    with request_device(args, args.device) as device:
        states.append(device.describe())
        print(f"{device.name}: {_board_line(states[0])}\n", flush=True)
        for bundle in args.bundles:
            rows = compare_on_board(device, bundle, peers, threads, args.model, rounds, args.time_limit, _progress)
            comparisons += rows
            _progress("")
            print("\n".join(line for row in rows for line in comparison_lines(row)), end="\n\n", flush=True)
        states.append(device.describe())
    for line in summary_lines(comparisons):
        print(line)
    print(f"afterwards: {_board_line(states[1])}")
    numbers = [asdict(comparison) for comparison in comparisons]
    _write(args.json, {"board": {"name": device.name, "before": states[0], "after": states[1]}, "comparisons": numbers})
    return 0


def _board_line(known: dict[str, object]) -> str:
    texts = [f"{name.replace('_', ' ')} {known[name]}" for name in known if known[name] is not None]
    return ", ".join(texts)


def _emulate(args: argparse.Namespace) -> int:
    """Count, print a table a bundle; the ratios come last. What is counted does not depend on this machine."""
    from dataclasses import asdict

    from tvmpose.emulation.comparison import PEERS_ON_BOARDS, emulate
    from tvmpose.emulation.table import emulated_lines, ratio_lines
    from tvmpose.errors import InputError

    if args.sweep_threads:
        raise InputError("--sweep-threads measures time, --emulate counts on one thread")
    peers = list(PEERS_ON_BOARDS) if args.against is None else _peers(args.against)
    counted = []
    for bundle in args.bundles:
        counted.append(emulate(bundle, peers, args.model, args.board, args.cpu, _progress))
        _progress("")
        print("\n".join(emulated_lines(counted[-1])), end="\n\n", flush=True)
    for emulated in counted:
        for line in ratio_lines(emulated):
            print(line)
    _write(args.json, {"emulated": [asdict(emulated) for emulated in counted]})
    return 0


def _write(path: Path | None, result: dict[str, object]) -> None:
    if path:
        path.write_text(json.dumps(result, indent=2, default=str) + "\n")
        print(path)


def _peers(text: str | None) -> list[str]:
    """None is all."""
    from tvmpose.baselines.peers import PEERS
    from tvmpose.errors import InputError

    names = list(PEERS) if text is None else [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in PEERS]:
        raise InputError(f"--against {unknown[0]}: there are {', '.join(PEERS)}")
    return names


def _threads(text: str) -> list[int]:
    from tvmpose.errors import InputError

    counts = [int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(",")]
    if not all(1 <= count <= 256 for count in counts):
        raise InputError(f"--threads {text!r}: must be whole numbers from 1 on, with commas between")
    return counts


def _progress(text: str) -> None:
    """One line that is written over, for people only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
