"""``tvmpose compile``: a model in, a bundle out."""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.cli.quantize import add_calibration
from tvmpose.errors import InputError

if TYPE_CHECKING:
    from tvmpose.codegen.bundle import Library
    from tvmpose.quantize.request import Request
    from tvmpose.targets import Target


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        "compile",
        help="compile a model into a bundle: one native library that takes pixels and returns keypoints",
        description="Compile a model into a bundle for one target, verified against the source model's own runtime.",
    )
    parser.add_argument(
        "model", metavar="MODEL|FILE", help="a name of `tvmpose models`, or a .tflite, .onnx, .pt2 or net.py file"
    )
    parser.add_argument("--card", metavar="CARD", help="model card of a FILE: a name, or a .toml file")
    parser.add_argument("--target", default="host", metavar="TARGET", help="device to compile for (default: host)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="bundle folder (default: the model's name)")
    parser.add_argument(
        "--outputs",
        metavar="NAMES",
        help="keep only these outputs: names or indices, as 0,2-3; head: those that the card's head reads",
    )
    parser.add_argument(
        "--keypoints",
        metavar="NAMES",
        help="keep only these keypoints: names or indices, as nose,5-16; others cost less",
    )
    parser.add_argument(
        "--flip-test",
        action="store_true",
        help="average with the mirror image, in the library: heatmaps and SimCC, at twice the time",
    )
    parser.add_argument(
        "--rounding",
        metavar="NAME",
        help="whose arithmetic a quantized model is computed in: reference, xnnpack, ort or torch (default: xnnpack "
        "for a .tflite, ort for an .onnx, torch for a .pt2)",
    )
    parser.add_argument(
        "--precision",
        choices=["int8", "float16", "bfloat16"],
        help="of a float model; int8: quantize it, needs --calibrate; float16, bfloat16: store convolutions' weights "
        "so and compute in float32 (default: as the model has it)",
    )
    parser.add_argument(
        "--quantization", type=Path, metavar="FILE", help="or as `tvmpose quantize` chose for this very model"
    )
    add_calibration(parser, required=False)
    parser.add_argument(
        "--accept-accuracy-loss", action="store_true", help="write the bundle however far --precision moves keypoints"
    )
    parser.add_argument(
        "--records",
        choices=["time", "count", "none"],
        default="time",
        help="of `tvmpose tune`, to compile with: those that were timed, those that counted instructions, or none "
        "(default: time)",
    )
    parser.add_argument("--samples", type=Path, metavar="DIR", help="photos to verify with (default: the sample photo)")
    parser.add_argument(
        "--no-verify", action="store_true", help="do not compare with the source model; the manifest says so"
    )
    parser.add_argument(
        "--fallback", choices=["cpu"], help="of a target with a GPU: where there is none, the CPU's kernels"
    )
    parser.add_argument("--static", action="store_true", help="add libNAME.a, to link into a program")
    parser.add_argument(
        "--dump", type=Path, metavar="DIR", help="write the IR after each phase and the generated C here"
    )
    parser.add_argument(
        "--guard-bytes",
        type=_guard_bytes,
        default=0,
        metavar="N",
        help="check that no kernel writes outside its tensors (slow)",
    )
    parser.set_defaults(run=run, reads=lambda args: args.model)


def _guard_bytes(text: str) -> int:
    if not 0 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError(f"{text}: must be 0 to {1 << 20}")
    return int(text)


def _gpu(target: "Target") -> str:
    return f", GPU by {target.gpu.api}" if target.gpu else ""


def _at_run_time(library: "Library") -> str:
    memory, status = library.memory, library.verification.status
    megabytes = (memory.arena_bytes + memory.weight_bytes) / 1e6
    return f"{status}; at run time {megabytes:.2f} MB and {memory.workspace_bytes / 1e3:.0f} kB a thread"


def _quantization(args: argparse.Namespace, has_card: bool) -> "Request | None":
    from tvmpose.quantize.request import Request, calibration_of

    if args.quantization and args.precision:
        raise InputError("--quantization FILE has been calibrated: without --precision and --calibrate")
    if args.quantization:
        return Request(choices=args.quantization)
    if args.precision != "int8":
        if args.calibrate or args.boxes or args.recipe or args.budget:
            raise InputError("--calibrate and its like quantize a model: add --precision int8")
        return None
    if not args.calibrate:
        raise InputError("--precision int8: needs pictures to calibrate on: --calibrate DIR")
    calibration = calibration_of(args.calibrate, args.boxes, args.recipe, args.budget, has_card)
    return Request(calibration=calibration)


def run(args: argparse.Namespace) -> int:
    """Compile; the last line says where the bundle lies."""
    from tvmpose.compact import Compact
    from tvmpose.compile import compile_model, resolve
    from tvmpose.extras import require
    from tvmpose.frontend.source import FORMATS, Source
    from tvmpose.targets import load_target
    from tvmpose.tuning.records import UNITS

    if Path(args.model).suffix in FORMATS:
        Source(Path(args.model))  # is it there? Asked before TVM, which takes seconds to come
    require("tvm", extra="compiler")
    options = resolve(
        args.model,
        card=args.card,
        target=load_target(args.target).with_fallback() if args.fallback else load_target(args.target),
        output=args.output,
        samples=args.samples,
        verify=not args.no_verify,
        dump=args.dump,
        guard_bytes=args.guard_bytes,
        static=args.static,
        outputs=args.outputs,
        keypoints=args.keypoints,
        rounding=args.rounding,
    )
    options = replace(
        options,
        quantization=_quantization(args, options.card is not None),
        weights=Compact(args.precision) if args.precision in ("float16", "bfloat16") else None,
        accept_loss=args.accept_accuracy_loss,
        records=UNITS[args.records],
        flip_test=args.flip_test,
    )
    target = options.target
    cpus = (" ".join([variant.cpu, *variant.attributes]) for variant in target.variants)
    rows = {
        "model": f"{options.source.path} ({options.source.format})",
        "card": options.card.name if options.card else "none: raw tensors only",
        "target": f"{target.name}: {target.triple}, {', '.join(dict.fromkeys(cpus))}{_gpu(target)}",
        "verify": "no" if not options.verify else f"photos of {options.samples}" if options.samples else "sample photo",
        "output": str(options.output),
    }
    kept = [f"outputs {options.outputs}"] if options.outputs is not None else []
    if options.card and options.keypoints is not None:
        kept.append(f"keypoints {', '.join(options.card.keypoints.subset(options.keypoints).keypoints)}")
    if options.quantization:
        rows[options.precision] = f"as {args.quantization}" if args.quantization else f"calibrated on {args.calibrate}"
    elif options.weights:
        stored = "activations and large weights" if target.gpu else "weights of convolutions"
        rows[options.precision] = f"{stored}, arithmetic in float32"
    if options.flip_test:
        rows["flip"] = "the mean with the mirror image's answer"
    if kept:
        rows["keep"] = "; ".join(kept)
    for key, value in rows.items():
        print(f"{key:>8}  {value}")
    print(flush=True)
    started = last = time.perf_counter()

    def progress(step: str, result: str) -> None:
        nonlocal last
        now = time.perf_counter()
        print(f"{step:>8}  {result}  ({now - last:.1f} s)", flush=True)
        last = now

    report = compile_model(options, progress)
    size = sum(entry.bytes for entry in report.manifest.files.values())
    libraries = report.manifest.libraries
    several = len(libraries) > 1
    print()
    for library in libraries if several else ():
        print(f"{library.target.partition(':')[2]:>8}  {library.file}: {_at_run_time(library)}")
    what = f"{len(libraries)} libraries" if several else _at_run_time(libraries[0])
    print(f"{options.output}: {size / 1e6:.2f} MB, {what}; compiled in {time.perf_counter() - started:.1f} s")
    return 0
