"""A userland out of packages that are made here, by the real apt-get and dpkg-deb, without a network."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tvmpose.devices import userland
from tvmpose.devices.recipe import Link, Userland
from tvmpose.devices.userland import build_userland, link_tree, made_at_once
from tvmpose.errors import SetupError

pytestmark = pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt-get on this machine")


def recipe(*packages: str, links: tuple[Link, ...] = ()) -> Userland:
    return Userland("land", "0" * 64, "qemu-aarch64", "arm64", packages, links=links)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with "tool", which needs "library", both for arm64; apt's only source."""
    folder = tmp_path / "archive"
    folder.mkdir()
    entries = [package(folder, "tool", "Depends: library\n"), package(folder, "library", "")]
    (folder / "Packages").write_text("\n".join(entries))
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{folder} ./\n")
    monkeypatch.setenv("TVMPOSE_APT_SOURCES", str(tmp_path / "sources.list"))
    return folder


def package(folder: Path, name: str, depends: str) -> str:
    """Make folder/NAME.deb with the file /usr/share/NAME; what an archive's index says of it."""
    control = f"Package: {name}\nVersion: 1.2\nArchitecture: arm64\nMaintainer: nobody\nDescription: {name}\n{depends}"
    tree = folder / name
    (tree / "usr" / "share").mkdir(parents=True)
    (tree / "usr" / "share" / name).write_text(f"{name}'s content")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(control)
    made = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, made], check=True, stdout=subprocess.DEVNULL)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    return f"{control}Filename: ./{made.name}\nSize: {made.stat().st_size}\nSHA256: {digest}\n"


def test_build_userland__package__with_what_it_needs_and_the_links(archive: Path, tmp_path: Path) -> None:
    root, said = tmp_path / "root", []
    root.mkdir()
    build_userland(recipe("tool", links=(Link("usr/share/alias", "tool"),)), root, said.append)
    assert (root / "usr" / "share" / "library").read_text() == "library's content"
    assert (root / "usr" / "share" / "alias").read_text() == "tool's content"
    assert (root / userland.PACKAGES).read_text() == "library_1.2_arm64.deb\ntool_1.2_arm64.deb\n"
    assert said == ["downloading tool and what they need, for arm64", "unpacking 2 packages"]
    assert {path.name for path in tmp_path.iterdir()} == {"root", "archive", "sources.list"}
    assert {path.name for path in root.iterdir()} == {"usr", userland.PACKAGES}


def test_build_userland__package_that_is_not_there__one_line_with_the_way_out(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(
        SetupError, match=r"no missing for arm64 .*Unable to locate package.*TVMPOSE_APT_SOURCES=FILE"
    ) as caught:
        build_userland(recipe("missing"), root, lambda line: None)
    assert "\n" not in str(caught.value)
    assert not list(root.iterdir())


def test_build_userland__damaged_package__refused(archive: Path, tmp_path: Path) -> None:
    (archive / "library.deb").write_bytes((archive / "library.deb").read_bytes()[:-1] + b"?")
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(SetupError, match=r"Failed to fetch .*library\.deb"):
        build_userland(recipe("tool"), root, lambda line: None)


def test_build_userland__no_apt_get__setup_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="apt-get is not installed"):
        build_userland(recipe("tool"), tmp_path, lambda line: None)


def test_made_at_once__failure__leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), made_at_once(tmp_path / "new" / "folder") as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert not list((tmp_path / "new").iterdir())


def test_made_at_once__second_of_two__leaves_the_first(tmp_path: Path) -> None:
    with made_at_once(tmp_path / "folder") as late:
        (late / "late").touch()
        with made_at_once(tmp_path / "folder") as early:
            (early / "early").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "early"]


def test_link_tree__file_and_symbolic_link__are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "a" / "link").symlink_to("file")
    link_tree(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "file").samefile(tmp_path / "a" / "file")
    assert (tmp_path / "b" / "link").readlink() == Path("file")
