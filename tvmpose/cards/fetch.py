"""Getting one file out of a package registry or from an address, with the ordinary clients of each."""

import http.client
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tvmpose.cards.source import NpmSource, PypiSource, RemoteSource, UrlSource
from tvmpose.errors import SetupError

_TIMEOUT_S = 60  # without a byte; a slow line may take as long as it needs


def fetch(source: RemoteSource, folder: Path) -> Path:
    """Put the source's file into ``folder``, unverified, and return its path; SetupError where it cannot be had."""
    if isinstance(source, PypiSource):
        return _fetch_pypi(source, folder)
    if isinstance(source, NpmSource):
        return _fetch_npm(source, folder)
    return _fetch_url(source, folder)


def _fetch_pypi(source: PypiSource, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={source.python}"]
    command += [f"--platform={source.platform}", f"--dest={folder}", f"{source.package}=={source.version}"]
    _run(command, source)
    wheel = _only(folder, "*.whl", source)
    with zipfile.ZipFile(wheel) as archive:
        return _unpack(lambda: archive.open(source.file), source, folder)


def _fetch_npm(source: NpmSource, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError(f"{source}: npm is not installed")
    # It packs into the working folder: --pack-destination came only with npm 7.
    _run([npm, "pack", "--silent", f"{source.package}@{source.version}"], source, cwd=folder)
    with tarfile.open(_only(folder, "*.tgz", source)) as archive:
        return _unpack(lambda: archive.extractfile(f"package/{source.file}"), source, folder)


def _fetch_url(source: UrlSource, folder: Path) -> Path:
    try:
        with urllib.request.urlopen(source.url, timeout=_TIMEOUT_S) as response:
            expected = response.headers.get("Content-Length")
            path = _unpack(lambda: response, source, folder)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise SetupError(f"{source.url}: {getattr(error, 'reason', error)}") from error
    if expected is not None and path.stat().st_size != int(expected):
        raise SetupError(f"{source.url}: the connection ended after {path.stat().st_size} of {expected} bytes")
    return path


def _run(command: list[str], source: RemoteSource, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        # Both clients say at the end what went wrong; what comes before are retries and notices.
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        reason = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise SetupError(f"{source}: {Path(command[0]).name} says: {reason}")


def _only(folder: Path, pattern: str, source: RemoteSource) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise SetupError(f"{source}: expected one {pattern}, got {len(found)}")
    return found[0]


def _unpack(open_member: Callable[[], IO[bytes] | None], source: RemoteSource, folder: Path) -> Path:
    """Copy a member to a name of ours: an archive's own paths are never used to write."""
    try:
        reader = open_member()
    except KeyError:
        reader = None
    if reader is None:
        raise SetupError(f"{source}: holds no file {source.file}")
    path = folder / ("fetched" + Path(source.file).suffix)
    with reader, path.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
    return path
