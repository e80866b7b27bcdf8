"""``tvmpose quantize``: a float model and pictures in, a file of choices for ``tvmpose compile --quantization`` out."""

import argparse
import time
from pathlib import Path


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "quantize",
        help="calibrate a float model on pictures, for integer arithmetic",
        description="Choose ranges, biases and the layers that stay float, so that a float model computes in int8. "
        "The result is a small JSON file that `tvmpose compile MODEL --quantization FILE` takes.",
    )
    parser.add_argument(
        "model", metavar="MODEL|FILE", help="a name of `tvmpose models`, or a .tflite, .onnx, .pt2 or net.py file"
    )
    parser.add_argument("--card", metavar="CARD", help="model card of a FILE: a name, or a .toml file")
    add_calibration(parser, required=True)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: the model's name + .quant.json")
    parser.set_defaults(run=run, reads=lambda args: args.model)


def add_calibration(parser: argparse.ArgumentParser, required: bool) -> None:
    """The options that `compile --precision int8` has as well."""
    parser.add_argument(
        "--calibrate", type=Path, required=required, metavar="DIR", help="pictures of what the model will see"
    )
    parser.add_argument(
        "--boxes", type=Path, metavar="JSON", help="COCO annotations of the people in them (default: whole pictures)"
    )
    parser.add_argument(
        "--recipe", metavar="NAME", help="balanced, minmax, percentile, mse or entropy (default: balanced)"
    )
    parser.add_argument(
        "--budget",
        metavar="BUDGET",
        help="pixels of the input that half of the keypoints may move, or, as 1.0ap, points of average precision; "
        "layers that cost most stay float until that holds; none: all become integer (default: 1.0 with a card)",
    )


def run(args: argparse.Namespace) -> int:
    """Quantize; the last line says where the file lies."""
    from tvmpose.cards import sha256_of
    from tvmpose.compile import resolve
    from tvmpose.extras import require
    from tvmpose.quantize.request import calibration_of
    from tvmpose.targets import load_target

    require("tvm", extra="compiler")
    from tvmpose.quantize.choices import SUFFIX, write_choices
    from tvmpose.quantize.quantizer import quantize

    started = last = time.perf_counter()
    options = resolve(args.model, card=args.card, target=load_target("host"), output=None)

    def progress(step: str, result: str) -> None:
        nonlocal last
        now = time.perf_counter()
        print(f"{step:>9}  {result}  ({now - last:.1f} s)", flush=True)
        last = now

    module, spec = options.source.load()
    calibration = calibration_of(args.calibrate, args.boxes, args.recipe, args.budget, options.card is not None)
    outcome = quantize(module, spec, options.card, sha256_of(options.source.path), calibration, progress)
    output = args.output or Path(f"{options.name}{SUFFIX}")
    write_choices(outcome.choices, output)
    print(
        f"\n{output}: quantized in {time.perf_counter() - started:.1f} s; next: "
        f"tvmpose compile {args.model} --quantization {output}"
    )
    return 0
