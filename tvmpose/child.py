"""The work of a command in a process of its own, so that a model file can crash, hang or exhaust no more than that.

TVM's importers, torch.export and the source runtimes parse files in C++, where a damaged one may do anything. The
parent has loaded nothing heavy when it forks; it waits, and says in one line what became of the child. Linux only:
elsewhere the work is done in this process.
"""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tvmpose.errors import ModelError, SetupError, TvmposeError

READING_SECONDS = 45.0  # of computing, as a machine may stand still for a while
SECONDS_PER_MEGABYTE = 10.0  # of the file: small ones may have thousands of operators
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
_is_child = False


def in_child(work: Callable[[], int], what: str) -> int:
    """work()'s exit code. ``what`` is the file it reads, for messages.

    Raises ModelError where the child dies of a signal, SetupError where it is killed, as for want of memory. The
    child's temporary files are gone afterwards, however it ends.
    """
    if not sys.platform.startswith("linux"):
        return work()
    sys.stdout.flush()
    sys.stderr.flush()
    scratch = tempfile.mkdtemp(prefix="tvmpose-")
    parent, before = os.getpid(), signal.getsignal(signal.SIGINT)
    try:
        child = os.fork()
        if not child:
            _work(work, scratch, parent)
        signal.signal(signal.SIGINT, lambda *_: os.kill(child, signal.SIGINT))  # where it was sent to this one alone
        _, status = os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGINT, before)
        shutil.rmtree(scratch, ignore_errors=True)
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        raise SetupError(f"{what}: killed while it was worked on, as Linux does where memory runs out")
    if number == signal.SIGPROF:
        raise ModelError(f"{what}: not read within {_reading_seconds(what):.0f} s of computing: damaged, or not for us")
    raise ModelError(f"{what}: what reads it crashed ({signal.Signals(number).name}): damaged, or not for us")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around what libraries of others do with a model file, where it is done in a child.

    If it takes too long the child is ended, in whatever library it hangs. What they print before they refuse a file
    is dropped: our error says it in one line.
    """
    if not _is_child:
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, _reading_seconds(path))
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except TvmposeError as error:
            _drop_locals(error)  # TVM complains when a half built graph goes
            said.truncate(0)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            os.write(2, said.read())
            signal.setitimer(signal.ITIMER_PROF, 0)


def _drop_locals(error: BaseException | None) -> None:
    """Of all functions that an exception and what caused it came through."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _reading_seconds(path: Path | str) -> float:
    try:
        return READING_SECONDS + SECONDS_PER_MEGABYTE * Path(path).stat().st_size / 1e6
    except OSError:
        return READING_SECONDS


def _work(work: Callable[[], int], scratch: str, parent: int) -> None:
    """The child's life; does not return."""
    global _is_child
    _is_child, code = True, 1
    try:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGINT, _interrupt_once)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        code = work()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - as the interpreter does, at the end of a process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """A terminal interrupts parent and child, and the parent passes it on: the second must not disturb cleaning up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
