"""Result files: whole, or not there."""

import os
from contextlib import suppress
from pathlib import Path

from tvmpose.errors import SetupError


def write_file(path: Path, data: bytes) -> None:
    """All of it under a temporary name, then renamed; folders are made as needed. Raises SetupError."""
    temporary = path.absolute().with_name(f".tvmpose.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):  # gone after the rename, or never made
            temporary.unlink()
