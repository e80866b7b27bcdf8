"""Files by name: fetched once, verified always, kept in a cache folder.

A file enters the cache under its final name only when it is whole and verified, so a cache may be shared and a pull
interrupted at any time.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tvmpose.cards.card import Card
from tvmpose.cards.fetch import fetch
from tvmpose.cards.source import RemoteSource, TorchSource
from tvmpose.errors import InputError, SetupError, VerifyError


def cache_folder() -> Path:
    """$TVMPOSE_CACHE, or the platform's folder for a user's caches; not created here."""
    if chosen := os.environ.get("TVMPOSE_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tvmpose"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tvmpose" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tvmpose"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as reader:
        while block := reader.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def pull(card: Card, *, source_file: Path | None = None, trust: bool = False, cache: Path | None = None) -> Path:
    """The path of the card's model file: from the cache, else from ``source_file``, else from the card's sources.

    A torch card's file is part of tvmpose and returned as it is. Raises VerifyError where the file is not the card's,
    or where the card has no hash and ``trust`` is not given; SetupError where no source can be reached; InputError
    where ``source_file`` is none. What raises leaves the cache as it was.
    """
    remote = tuple(source for source in card.source if not isinstance(source, TorchSource))
    if not remote:
        if source_file is not None:
            raise InputError(f"{card.name}: its network is part of tvmpose and takes no file")
        return card.folder / card.name / card.source[0].file
    return obtain(card.name, remote, source_file=source_file, trust=trust, cache=cache)


def obtain(
    name: str,
    sources: Sequence[RemoteSource],
    *,
    source_file: Path | None = None,
    trust: bool = False,
    cache: Path | None = None,
) -> Path:
    """As ``pull``, for any named file that ``sources`` hold."""
    cache = cache or cache_folder()
    if source_file is None:
        for cached in sorted(cache.glob(f"{name}.*")):
            if _is_known(cached, sources):
                return cached
    elif not source_file.is_file():
        raise InputError(f"{name}: no such file: {source_file}")
    _make(cache)
    # In the cache itself, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=cache) as folder:
        if source_file is None:
            file, origin = _fetch_any(name, sources, Path(folder))
        else:
            suffix = source_file.suffix or Path(sources[0].file).suffix
            file, origin = Path(folder) / f"given{suffix}", str(source_file)
            shutil.copyfile(source_file, file)
        _verify(name, file, origin, sources, trust)
        return _store(file, cache, name)


def _make(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the cache folder {cache} cannot be made ({error.strerror}): choose another") from error


def _is_known(file: Path, sources: Sequence[RemoteSource]) -> bool:
    """Without a hash, what lies in the cache is what the user once trusted."""
    hashes = {source.sha256 for source in sources if source.sha256}
    return not hashes or sha256_of(file) in hashes


def _fetch_any(name: str, sources: Sequence[RemoteSource], folder: Path) -> tuple[Path, str]:
    reasons = []
    for i, source in enumerate(sources):
        own = folder / str(i)
        own.mkdir()
        try:
            return fetch(source, own), str(source)
        except SetupError as error:
            reasons.append(str(error))
    raise SetupError(
        f"{name}: {'; '.join(reasons)}. Get the file by other means, then: tvmpose pull {name} --from FILE"
    )


def _verify(name: str, file: Path, origin: str, sources: Sequence[RemoteSource], trust: bool) -> None:
    got = f"{file.stat().st_size} bytes, sha256 {sha256_of(file)}, from {origin}"
    if not _is_known(file, sources):
        expected = next(source for source in sources if source.sha256)
        size = f"{expected.size} bytes, " if expected.size else ""
        raise VerifyError(f"{name}: not the expected file: got {got}; the card says {size}sha256 {expected.sha256}")
    if not trust and not any(source.sha256 for source in sources):
        advice = f"if that is right, run tvmpose pull {name} again with --trust"
        raise VerifyError(f"{name}: its card has no hash to check against: got {got}; {advice}")


def _store(file: Path, cache: Path, name: str) -> Path:
    path = cache / f"{name}{file.suffix}"
    os.replace(file, path)
    for other in cache.glob(f"{name}.*"):  # the same model in another format, trusted earlier
        if other != path:
            other.unlink()
    return path
