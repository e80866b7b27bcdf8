"""``tvmpose run``: a bundle and pictures, a video or a camera in; keypoints as a table, as JSON or drawn out."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tvmpose.errors import InputError, translated
from tvmpose.extras import require
from tvmpose.files import write_file

if TYPE_CHECKING:  # NumPy and what needs it are imported when the verb runs
    import numpy as np

    from tvmpose.runtime import Person, Pose

Box = tuple[float, float, float, float]

REPEATS_OF_A_SINGLE_IMAGE = 20
SHOWN_SCORE = 0.3  # joints that are sure enough to draw and to count


@dataclass(frozen=True)
class Outcome:
    """What one picture gave: ``milliseconds`` has its first frame and then the repeated ones."""

    path: Path
    people: "list[Person]"
    milliseconds: tuple[float, ...]


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Registers the verb."""
    parser = subparsers.add_parser(
        "run",
        help="find keypoints in pictures, videos and what cameras see, with a compiled bundle",
        description="Find keypoints with a compiled bundle: in pictures, or in a video file, camera (camera:0) or "
        "stream (rtsp://...). Pictures are decoded by OpenCV, which turns them upright as their EXIF data says; "
        "coordinates are those of the upright picture. In a video people are followed by their last keypoints and "
        "numbered; Ctrl-C ends it, and what was written is whole.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that `tvmpose compile` wrote")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files; or one VIDEO or camera:N")
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X,Y,W,H",
        help="where a person is, in pixels (--box=-5,... for a negative corner); repeat for more people; applies to "
        "every picture; without it the whole picture is one box",
    )
    parser.add_argument("--draw", type=Path, metavar="OUT", help="write the overlay here; several pictures: a folder")
    parser.add_argument(
        "--json",
        metavar="OUT",
        help="write COCO keypoint results here, of a video an object a line and frame; - is standard output",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="default: one a CPU, up to 4")
    parser.add_argument(
        "--repeat", type=int, metavar="N", help="more frames of each picture to time; default: 20 for a single picture"
    )
    video = parser.add_argument_group("videos and cameras")
    video.add_argument("--detector", type=Path, metavar="BUNDLE", help="finds the people whom BUNDLE then looks at")
    video.add_argument("--every", type=int, default=10, metavar="N", help="frames from detection to detection (10)")
    video.add_argument(
        "--smooth",
        choices=("none", "one-euro", "kalman", "average"),
        default="one-euro",
        help="filter over time (one-euro)",
    )
    video.add_argument("--min-score", type=float, default=0.3, metavar="S", help="drop people below it (0.3)")
    video.add_argument("--live", action="store_true", help="play a file at its own rate, dropping late frames")
    video.add_argument("--show", action="store_true", help="open a window; q or Escape closes it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carries the verb out; returns the exit code. Raises InputError, VerifyError or SetupError."""
    require("cv2", "images")
    from tvmpose.runtime import load
    from tvmpose.video.frames import is_video

    if any(map(is_video, args.images)):
        if len(args.images) > 1:
            raise InputError(f"{len(args.images)} files, of which one is a video: give it by itself")
        from tvmpose.video.command import run_video

        return run_video(args, args.images[0], [_parse_box(text) for text in args.box])
    if args.detector or args.show or args.live:
        raise InputError("--detector, --show and --live are for videos and cameras")
    images = list(map(Path, args.images))
    boxes = [_parse_box(text) for text in args.box] or None
    pictures = _overlay_paths(images, args.draw)
    if args.repeat is not None and args.repeat < 0:
        raise InputError(f"--repeat is {args.repeat}, must not be negative")
    repeats = args.repeat if args.repeat is not None else REPEATS_OF_A_SINGLE_IMAGE * (len(images) == 1)
    with translated(), load(args.bundle, threads=args.threads, max_people=len(boxes or ())) as pose:
        outcomes = []
        for path in images:
            image = _read_image(path)
            outcomes.append(_run_image(pose, path, image, boxes, repeats))
            if path in pictures:
                _write_overlay(pictures[path], image, outcomes[-1].people, pose)
        _report(args.json, outcomes, pose)
    for picture in pictures.values():
        print(picture, file=sys.stderr if args.json == "-" else sys.stdout)
    return 0


def _parse_box(text: str) -> Box:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--box {text!r} is not four numbers x,y,width,height") from None
    return x, y, width, height


def _overlay_paths(images: Sequence[Path], out: Path | None) -> dict[Path, Path]:
    """Where each picture's overlay goes; nothing is computed before all of these are known to be possible."""
    if out is None:
        return {}
    into_folder = len(images) > 1 or out.is_dir()
    paths = {image: out / image.name if into_folder else out for image in images}
    if len(set(paths.values())) < len(paths):
        raise InputError("--draw: two pictures have the same file name and would overwrite each other")
    cv2 = require("cv2", "images")
    originals = {image.resolve() for image in images}
    for path in paths.values():
        if path.resolve() in originals:
            raise InputError(f"--draw {path} would overwrite a picture that is read")
        if not path.suffix or not cv2.haveImageWriter(str(path)):
            raise InputError(f"--draw {path}: OpenCV cannot write {path.suffix!r} files; use .png or .jpg")
    return paths


def _read_image(path: Path) -> "np.ndarray":
    """uint8 (H, W, 3) BGR, upright."""
    import numpy as np

    cv2 = require("cv2", "images")
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our one line says it
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:  # a header that claims too many pixels
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if image is None:
        raise InputError(f"{path}: not a picture that OpenCV can decode")
    return image


def _run_image(pose: "Pose", path: Path, image: "np.ndarray", boxes: list[Box] | None, repeats: int) -> Outcome:
    people, milliseconds = [], []
    with translated(f"{path}: "):
        pose.reset()
        for _ in range(1 + repeats):
            start = time.perf_counter()
            people.append(pose(image, boxes))
            milliseconds.append(1e3 * (time.perf_counter() - start))
    return Outcome(path, people[0], tuple(milliseconds))


def _write_overlay(path: Path, image: "np.ndarray", people: "list[Person]", pose: "Pose") -> None:
    from tvmpose.pose.draw import draw

    picture = draw(image, people, pose.skeleton, pose.keypoint_names, SHOWN_SCORE)
    _, encoded = require("cv2", "images").imencode(path.suffix, picture)
    write_file(path, encoded.tobytes())


def _report(out: str | None, outcomes: Sequence[Outcome], pose: "Pose") -> None:
    if out is None:
        _print_people(outcomes, pose.keypoint_names, sys.stdout)
        print(_timing(outcomes, pose.threads))
        return
    text = _coco_text(outcomes)
    if out == "-":
        sys.stdout.write(text)
        return
    write_file(Path(out), text.encode())
    print(_timing(outcomes, pose.threads))
    print(out)


def _coco_text(outcomes: Sequence[Outcome]) -> str:
    """A JSON array, one person a line."""
    from tvmpose.pose.coco_json import coco_results

    results = [result for outcome in outcomes for result in coco_results(outcome.path.name, outcome.people)]
    return "[" + ",\n ".join(json.dumps(result, allow_nan=False) for result in results) + "]\n"


def _print_people(outcomes: Sequence[Outcome], names: Sequence[str], stream: TextIO) -> None:
    """Every joint of everyone in a single picture; of several pictures a line a person."""
    if len(outcomes) > 1:
        rows = [
            (outcome.path.name, *_numbers(person.box), f"{person.score:.3f}", str(_sure_joints(person)))
            for outcome in outcomes
            for person in outcome.people
        ]
        _print_table("", ("picture", "x", "y", "width", "height", "score", f"of {len(names)} joints"), rows, stream)
        return
    for i, person in enumerate(outcomes[0].people):
        rows = [
            (name, *_numbers((x, y)), f"{score:.3f}")
            for name, (x, y, score) in zip(names, person.keypoints, strict=True)
        ]
        title = f"person {i}, score {person.score:.3f}, box {' '.join(_numbers(person.box))}"
        _print_table(title, ("joint", "x", "y", "score"), rows, stream)


def _numbers(values: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{value:.1f}" for value in values)


def _sure_joints(person: "Person") -> int:
    return int((person.keypoints[:, 2] >= SHOWN_SCORE).sum())


def _print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    """First column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if title:
        print(title, file=stream)
    for row in (header, *rows):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *others]), file=stream)


def _timing(outcomes: Sequence[Outcome], threads: int) -> str:
    import numpy as np

    first, *later = [ms for outcome in outcomes for ms in outcome.milliseconds]
    median = f", median of {len(later)} more {np.median(later):.2f} ms" if later else ""
    return f"first frame {first:.2f} ms{median}, on {threads} thread{'s' * (threads != 1)}"
