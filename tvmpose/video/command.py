"""What ``tvmpose run`` does with a video: bundles, a pipeline, outputs."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.benchmark.facts import finds_people
from tvmpose.errors import InputError, TvmposeError, translated
from tvmpose.pose.pipeline import GivenBoxes, Pipeline
from tvmpose.pose.regions import Box
from tvmpose.runtime import load
from tvmpose.runtime.smooth import SMOOTHERS
from tvmpose.video.frames import Video
from tvmpose.video.outputs import JsonLines, Output, Overlay, OverlayFile, Window
from tvmpose.video.play import Played, play

if TYPE_CHECKING:
    from tvmpose.runtime import Pose

INTERRUPTED = 130  # as a shell reports a program that died of SIGINT
MOST_PEOPLE = 16


def run_video(args: argparse.Namespace, source: str, boxes: Sequence[Box]) -> int:
    """Carries the verb out; returns the exit code. Raises InputError, VerifyError or SetupError."""
    if args.draw and args.draw.resolve() == Path(source).resolve():
        raise InputError(f"--draw {args.draw} would overwrite the video that is read")
    if boxes and args.detector:
        raise InputError("--box says where people are, --detector finds them: give one of the two")
    with ExitStack() as opened, translated():
        most = max(MOST_PEOPLE, len(boxes))
        pose = opened.enter_context(load(args.bundle, threads=args.threads, max_people=most))
        pipeline = _pipeline(args, pose, boxes, most, opened)
        video = opened.enter_context(Video(source, args.live))
        played = play(video, pipeline, _outputs(args, pose, video))
    _report(args, played)
    return INTERRUPTED if played.interrupted else 0


def _pipeline(args: argparse.Namespace, pose: "Pose", boxes: Sequence[Box], most: int, opened: ExitStack) -> Pipeline:
    smoother = None if args.smooth == "none" else SMOOTHERS[args.smooth]
    if args.every < 1:
        raise InputError(f"--every {args.every}: must be at least 1")
    build = partial(Pipeline, every=args.every, least_score=args.min_score, most_people=most, smoother=smoother)
    if args.detector:
        return build(opened.enter_context(load(args.detector, threads=args.threads)), pose)
    return build(pose) if finds_people(args.bundle) else build(GivenBoxes(boxes), pose, every=None)


def _outputs(args: argparse.Namespace, pose: "Pose", video: Video) -> list[Output]:
    overlay = Overlay(pose.skeleton, pose.keypoint_names)
    outputs: list[Output] = []
    try:
        if args.show:
            outputs.append(Window(overlay))
        if args.draw:
            outputs.append(OverlayFile(args.draw, overlay, video.rate))
        if args.json:
            outputs.append(JsonLines(args.json))
    except TvmposeError:
        for output in outputs:
            output.abandon()
        raise
    return outputs


def _report(args: argparse.Namespace, played: Played) -> None:
    stream = sys.stderr if args.json == "-" else sys.stdout
    print(played, file=stream)
    for path in (args.json, args.draw):
        if path and path != "-" and Path(path).exists():
            print(path, file=stream)
