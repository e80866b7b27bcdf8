"""Where a file comes from, and how it is recognised. One dataclass per kind of place."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class _Remote:
    """A file that is fetched. ``sha256`` and ``size`` (bytes) are left out where nobody computed them from the file."""

    file: str  # inside the package; for a URL the name it is known by
    sha256: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits in lower case, not {self.sha256!r}")


@dataclass(frozen=True, kw_only=True)
class PypiSource(_Remote):
    """A file inside a wheel. Python version and platform choose the wheel, so that any Python can fetch it."""

    kind: Literal["pypi"]
    package: str
    version: str
    python: str  # "3.11"
    platform: str  # "manylinux_2_17_x86_64"

    def __str__(self) -> str:
        return f"PyPI {self.package} {self.version}"


@dataclass(frozen=True, kw_only=True)
class NpmSource(_Remote):
    """A file inside an npm package."""

    kind: Literal["npm"]
    package: str
    version: str

    def __str__(self) -> str:
        return f"npm {self.package} {self.version}"


@dataclass(frozen=True, kw_only=True)
class UrlSource(_Remote):
    """A file behind an https address."""

    kind: Literal["url"]
    url: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.url.startswith("https://"):
            raise ValueError(f"url must begin with https://, not {self.url!r}")

    def __str__(self) -> str:
        return f"{urlsplit(self.url).hostname} {self.file}"


@dataclass(frozen=True, kw_only=True)
class TorchSource:
    """A network defined in PyTorch, in a Python file that stands in the folder of the card's name."""

    kind: Literal["torch"]
    file: str

    def __str__(self) -> str:
        return f"PyTorch {self.file}"


RemoteSource: TypeAlias = PypiSource | NpmSource | UrlSource
Source: TypeAlias = PypiSource | NpmSource | UrlSource | TorchSource
