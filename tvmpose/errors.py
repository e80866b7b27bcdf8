"""The errors a user can cause or meet, and the exit code of each.

The command line prints them as one line and exits with the code; anything else that escapes is a defect of ours
(exit code 1, with a traceback). 2 is argparse's own code for a wrong command line, 130 an interrupt.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class TvmposeError(Exception):
    """Base of all expected failures. The message is one line: what failed, with what values, what to do."""

    exit_code = 1


class InputError(TvmposeError):
    """A file, picture, box or option value that cannot be used."""

    exit_code = 3


class ModelError(TvmposeError):
    """A model that cannot be read, has an operator we lack, or does not fit its card."""

    exit_code = 4


class VerifyError(TvmposeError):
    """Outputs that differ from the source model, or a file whose hash is not the expected one."""

    exit_code = 5


class SetupError(TvmposeError):
    """Something this machine lacks: an extra, a compiler, disk space, a writable folder, a CPU feature."""

    exit_code = 6


class DeviceError(TvmposeError):
    """A board, server or tracker that cannot be reached, or fails while it is used."""

    exit_code = 7


@contextmanager
def translated(where: str = "") -> Iterator[None]:
    """The runtime stands alone and has errors of its own; inside, they become ours, told apart by the exit code."""
    from tvmpose.runtime import PoseError

    kinds: dict[int, type[TvmposeError]] = {kind.exit_code: kind for kind in (InputError, VerifyError, SetupError)}
    try:
        yield
    except PoseError as error:
        raise kinds.get(error.exit_code, TvmposeError)(f"{where}{error}") from error
