"""Packages that only some verbs need, and the extra that brings each."""

import importlib
from types import ModuleType

from tvmpose.errors import SetupError


def require(module: str, extra: str) -> ModuleType:
    """Import ``module`` and return it, or raise a SetupError that says which extra to install.

    A module that is installed but fails to load (a missing system library, a package of its own that is gone) is told
    apart from one that is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]
        reason = "is not installed" if absent else f"cannot be loaded ({error})"
        raise SetupError(f"the Python package {module} {reason}: pip install 'tvmpose[{extra}]'") from error
