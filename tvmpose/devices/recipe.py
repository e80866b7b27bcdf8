"""What a virtual board is made of: rpc/virtual/boards/*.toml on rpc/virtual/userlands/*.toml."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tvmpose import content
from tvmpose.errors import InputError
from tvmpose.strict import build, read_toml
from tvmpose.suggest import did_you_mean

_MADE_AS = b"1"  # raised when other files are made of the same recipe


@dataclass(frozen=True)
class Link:
    """A symbolic link that a package's installation script would make."""

    path: str  # from the userland's root
    to: str


@dataclass(frozen=True)
class Userland:
    """Debian packages and Python wheels. The fields after digest are those of its TOML file."""

    name: str
    digest: str  # of the file
    emulator: str  # of qemu-user
    architecture: str  # Debian's name
    packages: tuple[str, ...]  # what they depend on comes along
    wheels: tuple[str, ...] = ()  # "name==version", without what they depend on
    wheel_platforms: tuple[str, ...] = ()  # pip's, the preferred first
    modules: tuple[str, ...] = ()  # Python's, imported once to see that they run
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class CoreKind:
    """Cores of one kind, in the order in which Linux numbers them."""

    count: int
    max_khz: int
    cpuinfo: str  # what /proc/cpuinfo says of one, but for its number

    def __post_init__(self) -> None:
        if min(self.count, self.max_khz) < 1:
            raise ValueError("count and max_khz must be positive")


@dataclass(frozen=True)
class Recipe:
    """A board of the name of its target. The fields after userland are those of its TOML file."""

    name: str
    digest: str  # of the files of both
    userland: Userland
    cpu: str  # qemu's name
    cores: tuple[CoreKind, ...]


@dataclass(frozen=True)
class _BoardFile:
    userland: str
    cpu: str
    cores: tuple[CoreKind, ...]


def list_boards() -> list[str]:
    """The names of the targets that a virtual board exists for."""
    return sorted(path.stem for path in (_folder() / "boards").glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """The board of this name; InputError with the nearest names, or with what is wrong in its files."""
    path = _folder() / "boards" / f"{name}.toml"
    if name not in list_boards():
        known = list_boards()
        hint = did_you_mean(name, known, f"there are {', '.join(known)}")
        raise InputError(f"no virtual board {name!r}; {hint}")
    board = build(_BoardFile, read_toml(path), str(path))
    userland = _load_userland(board.userland, str(path))
    return Recipe(name, _digest(path, userland.digest), userland, board.cpu, board.cores)


def _load_userland(name: str, where: str) -> Userland:
    path = _folder() / "userlands" / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"{where}: userland: no {path}")
    return build(Userland, read_toml(path), str(path), name=name, digest=_digest(path))


def _digest(path: Path, *others: str) -> str:
    return hashlib.sha256(b"\0".join([_MADE_AS, path.read_bytes(), *map(str.encode, others)])).hexdigest()


def _folder() -> Path:
    return content.folder("rpc") / "virtual"
