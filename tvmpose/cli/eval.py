"""``tvmpose eval``: bundles and source models over annotated people, in the measures of the field."""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "eval",
        help="measure accuracy (COCO AP, PCK, PCKh) of bundles and of their source models",
        description="Measure accuracy of bundles and source models on pictures with annotated people, each person in "
        "the annotated box grown as the model's card says: average precision as COCO defines it, the percentage of "
        "correct keypoints, errors by joint, and frames a second of the network alone.",
    )
    parser.add_argument(
        "systems", nargs="+", metavar="BUNDLE|MODEL", help="folders that `tvmpose compile` wrote, and model files"
    )
    parser.add_argument("--annotations", type=Path, required=True, metavar="COCO.json", help="COCO's keypoint form")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="the pictures that it names")
    parser.add_argument(
        "--detector",
        type=Path,
        metavar="BUNDLE",
        help="finds the people whom the other bundles look at, in place of the annotated boxes; AP alone is left",
    )
    parser.add_argument("--metric", default="oks,pck,pckh", metavar="M,M", help="of oks,pck,pckh (default: all)")
    parser.add_argument("--card", metavar="NAME|FILE", help="of model files whose hash is not known")
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="also on changed pictures: occlusion, motion blur, brightness, JPEG; a row each",
    )
    parser.add_argument(
        "--same-crops",
        action="store_true",
        help="bundles behind the same float64 crop and decode as source models, to compare networks alone: a byte that "
        "rounds to the other side moves joints of a quantized one",
    )
    parser.add_argument(
        "--flip-test",
        action="store_true",
        help="model files with the mean of crop and mirror image; a bundle has it if `compile --flip-test` made it",
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each system (default: 1)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers here")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="write the tables here")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print a line a row as it comes, then the errors by joint."""
    from tvmpose.errors import InputError, translated
    from tvmpose.extras import require

    require("cv2", "images")
    require("pycocotools", "eval")
    from tvmpose.accuracy.dataset import read_dataset
    from tvmpose.accuracy.evaluate import METRICS, evaluate
    from tvmpose.accuracy.robustness import CHANGES
    from tvmpose.accuracy.systems import open_system
    from tvmpose.accuracy.table import by_joint, summary
    from tvmpose.benchmark.table import columns
    from tvmpose.runtime import load

    metrics = [name for name in args.metric.split(",") if name]
    if unknown := [name for name in metrics if name not in METRICS]:
        raise InputError(f"--metric {unknown[0]}: there are {', '.join(METRICS)}")
    if not metrics or not 1 <= args.threads <= 256:
        raise InputError("--metric names none" if not metrics else f"--threads {args.threads}: must be 1 to 256")
    dataset = read_dataset(args.annotations, args.images)
    with translated(), ExitStack() as opened:
        detector = opened.enter_context(load(args.detector, threads=args.threads)) if args.detector else None
        chosen = (args.card, args.threads, args.same_crops, detector, args.flip_test)
        systems = [open_system(path, *chosen) for path in args.systems]
        changes = CHANGES if args.robustness else {}
        rows = list(evaluate(systems, dataset, metrics, changes, _progress))
    _progress("")
    joints = by_joint(rows) if {"pck", "pckh"} & set(metrics) else []
    note = (
        f"{rows[0].people} people in {len(dataset.pictures)} pictures of {args.annotations.name}, in their own "
        f"boxes where nothing else is said; AP, AR, PCK and errors in percent; frames/s: the network alone on "
        f"{args.threads} thread{'s' * (args.threads > 1)}"
    )
    print(note, end="\n\n")
    for table in (summary(rows, metrics), joints):
        if table:
            print("\n".join(columns(table, text_columns=(0, 1, 2) if table is not joints else (0,))), end="\n\n")
    _write(args, note, rows, [summary(rows, metrics), *([joints] if joints else [])])
    return 0


def _write(args: argparse.Namespace, note: str, rows: list, tables: list) -> None:
    from dataclasses import asdict

    from tvmpose.accuracy.table import markdown
    from tvmpose.files import write_file

    if args.json:
        result = {"annotations": args.annotations.name, "rows": [asdict(row) for row in rows]}
        write_file(args.json, (json.dumps(result, indent=2) + "\n").encode())
        print(args.json)
    if args.markdown:
        write_file(args.markdown, ("\n\n".join([*map(markdown, tables), note + "."]) + "\n").encode())
        print(args.markdown)


def _progress(text: str) -> None:
    """One line that is written over, for people only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
