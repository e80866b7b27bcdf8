"""The ``tvmpose`` command: one verb per file of this folder.

Each verb's module has ``add(subparsers)``, which registers its parser and sets ``run``, a function from the parsed
arguments to an exit code. It imports what is heavy inside ``run``, so that --help needs neither TVM nor NumPy.
Exit codes are those of tvmpose.errors.
"""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from tvmpose import __version__
from tvmpose.errors import SetupError, TvmposeError

VERBS = (
    "models",
    "targets",
    "devices",
    "tracker",
    "serve",
    "pull",
    "quantize",
    "tune",
    "compile",
    "run",
    "bench",
    "profile",
)

# What the machine lacks, as opposed to what is wrong with us.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_SIGPIPE_CODE, _INTERRUPT_CODE = 141, 130  # as a shell reports a program that died of the signal


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: sys.argv) and return its exit code. Raises SystemExit for --help and misuse."""
    args = _parser().parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()  # here, so that a closed pipe is met below and not at exit
        return code
    except TvmposeError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return _INTERRUPT_CODE
    except BrokenPipeError:
        # Whoever read us has had enough. What is still in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_CODE
    except OSError as error:
        if error.errno not in _MACHINE:
            raise
        return _fail(SetupError(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tvmpose", description="Compile a human-pose network into one small native library, and run it."
    )
    parser.add_argument("--version", action="version", version=f"tvmpose {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb in VERBS:
        importlib.import_module(f"tvmpose.cli.{verb}").add(subparsers)
    return parser


def _fail(error: TvmposeError) -> int:
    print(f"tvmpose: error: {error}", file=sys.stderr)
    return error.exit_code
