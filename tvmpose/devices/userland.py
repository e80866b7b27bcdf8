"""Unpacks a userland from Debian packages and Python wheels, by apt-get, dpkg-deb and pip, as any user.

apt-get gets an architecture, lists and a state of its own: of this machine's configuration it only reads where packages
come from and whose signatures count. $TVMPOSE_APT_SOURCES names another sources.list.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tvmpose.devices.recipe import Userland
from tvmpose.errors import SetupError
from tvmpose.tools import run_tool

PACKAGES = "packages.txt"
"""In the root: the packages and wheels that went in, with their versions."""


def build_userland(userland: Userland, root: Path, progress: Callable[[str], None]) -> None:
    """Fill the empty folder ``root``. Raises SetupError with what is missing and the command to type."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise SetupError(f"{tool} is not installed: virtual boards are unpacked from Debian packages, by apt-get")
    with tempfile.TemporaryDirectory(dir=root.parent) as directory:
        progress(f"downloading {', '.join(userland.packages)} and what they need, for {userland.architecture}")
        archives = _download(userland, Path(directory))
        progress(f"unpacking {len(archives)} packages")
        for archive in archives:
            run_tool(["dpkg-deb", "-x", str(archive), str(root)])
    for link in userland.links:
        (root / link.path).unlink(missing_ok=True)
        (root / link.path).symlink_to(link.to)
    if userland.wheels:
        progress(f"installing {', '.join(userland.wheels)}")
        _install_wheels(userland, root)
    lines = [*(archive.name for archive in archives), *userland.wheels]
    (root / PACKAGES).write_text("\n".join(lines) + "\n")


def link_tree(source: Path, destination: Path) -> None:
    """The same files in another folder, without their content once more where the file system can do that."""
    shutil.copytree(source, destination, symlinks=True, copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)


@contextmanager
def made_at_once(folder: Path) -> Iterator[Path]:
    """A new folder that gets its name when it is complete. Who comes second finds it there and leaves it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as directory:
        made = Path(directory) / folder.name
        made.mkdir()
        yield made
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def _download(userland: Userland, state: Path) -> list[Path]:
    (state / "status").touch()
    for folder in ("lists/partial", "archives"):
        (state / folder).mkdir(parents=True)
    settings = {
        "APT::Architecture": userland.architecture,
        "APT::Architectures::": userland.architecture,
        "APT::Sandbox::User": "root",  # root may not write as nobody where it unpacks; others change no user
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
        "Dir::State": str(state),
        "Dir::State::Lists": str(state / "lists"),
        "Dir::State::status": str(state / "status"),  # nothing is installed, so whatever is needed comes along
        "Dir::Cache": str(state),
    }
    if sources := os.environ.get("TVMPOSE_APT_SOURCES"):
        settings |= {"Dir::Etc::SourceList": str(Path(sources).resolve()), "Dir::Etc::SourceParts": "-"}
    apt = ["apt-get", "--quiet=2", *(f"-o{key}={value}" for key, value in settings.items())]
    updated = ""
    try:
        run_tool([*apt, "update"])
    except SetupError as error:  # one source of many may be out of reach: what counts is whether all packages are there
        updated = f"{error}; "
    try:
        plan = run_tool([*apt, "--simulate", "--no-install-recommends", "install", *userland.packages])
        names = re.findall(r"^Inst (\S+) \((\S+)", plan, re.MULTILINE)
        run_tool([*apt, "download", *(f"{name}={version}" for name, version in names)], state / "archives")
    except SetupError as error:
        what = f"no {', '.join(userland.packages)} for {userland.architecture} in the sources of this machine's apt"
        advice = "TVMPOSE_APT_SOURCES=FILE, a sources.list of Debian, names others"
        raise SetupError(f"{what} ({updated}{error}); {advice}") from error
    return sorted((state / "archives").glob("*.deb"))


def _install_wheels(userland: Userland, root: Path) -> None:
    """With this machine's pip, for the userland's Python. Whatever is compiled in it was not compiled here."""
    python = os.readlink(root / "usr" / "bin" / "python3")  # python3.11
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={python.removeprefix('python')}"]
    command += [f"--platform={platform}" for platform in userland.wheel_platforms]
    command += [f"--target={root / 'usr/local/lib' / python / 'dist-packages'}"]
    run_tool([*command, *userland.wheels])
