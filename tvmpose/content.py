"""Where the content folders are: models/, targets/ and the like, which are data and not part of the engine."""

from pathlib import Path

from tvmpose.errors import SetupError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The content folder ``name``, for example ``folder("models")``.

    A wheel carries the folders in tvmpose/content/; in a checkout, editable or not, they stand beside the package.
    Raises SetupError where neither has it.
    """
    for candidate in (_PACKAGE / "content" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise SetupError(f"this installation has no {name}/ folder: reinstall tvmpose")
