"""Disks that are full or read-only: one line, exit code 6, and no bundle or a whole one."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.test_bad_models import assert_refused
from tests.tiny import Tiny
from tvmpose.cli.main import main

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """``mount("options", name)``: a new tmpfs under tmp_path; a skip where this user may not."""
    mounted: list[Path] = []

    def mount_tmpfs(options: str, name: str = "disk") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip("this user may not mount a tmpfs")
        mounted.append(folder)
        return folder

    yield mount_tmpfs
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def plain(tiny: Tiny) -> list[object]:
    """Options of a compilation without a card, which is quick."""
    return [tiny.model, "--samples", tiny.samples]


def test_compile__disk_of_the_bundle_full__one_line_and_nothing_left(
    tiny: Tiny, mount: Mount, capfd: pytest.CaptureFixture[str]
):
    disk = mount("size=40k")
    assert_refused(plain(tiny), disk / "bundle", 6, "cannot write the bundle .*No space left", capfd)
    assert not list(disk.iterdir())


def test_compile__disk_full_over_an_old_bundle__the_old_one_stays(
    tiny: Tiny, mount: Mount, capfd: pytest.CaptureFixture[str]
):
    disk = mount("size=160k")
    arguments = ["compile", *map(str, plain(tiny)), "-o", str(disk / "bundle")]
    assert main(arguments) == 0
    before = {path: path.read_bytes() for path in (disk / "bundle").iterdir()}
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    assert main(arguments) == 6
    assert "No space left" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in (disk / "bundle").iterdir()} == before
    assert sorted(path.name for path in disk.iterdir()) == ["bundle", "filler"]


@pytest.mark.parametrize("kilobytes", [4, 20, 40, 100])
def test_compile__disk_of_temporary_files_full__one_line_and_nothing_left(
    tiny: Tiny, tmp_path: Path, mount: Mount, capfd: pytest.CaptureFixture[str], monkeypatch, kilobytes: int
):
    disk = mount(f"size={kilobytes}k")
    monkeypatch.setenv("TMPDIR", str(disk))
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    assert_refused(plain(tiny), tmp_path / "bundle", 6, "", capfd)
    assert not list(disk.iterdir())


def test_compile__read_only_disk__one_line(tiny: Tiny, mount: Mount, capfd: pytest.CaptureFixture[str]):
    disk = mount("ro")
    assert_refused(plain(tiny), disk / "bundle", 6, "cannot write the bundle .*Read-only", capfd)
    output = tiny.model.parent / "bundle"
    assert_refused([*plain(tiny), "--dump", disk / "dump"], output, 6, "--dump .*Read-only", capfd)


def test_compile__file_system_of_the_kernel__one_line(tiny: Tiny, capfd: pytest.CaptureFixture[str]):
    assert_refused(plain(tiny), Path("/proc/tvmpose-bundle"), 6, "cannot write the bundle /proc", capfd)


def test_compile__largest_file_limited__one_line_and_nothing_left(tiny: Tiny, tmp_path: Path):
    """As a quota does: a write beyond the limit fails with another error than a full disk's."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
    program = f"{limit} import sys; from tvmpose.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["compile", *map(str, plain(tiny)), "-o", str(tmp_path / "out" / "bundle")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 6 and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_compile__output_that_is_no_bundle__is_not_touched(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    for path in (folder / "thesis.tex", file):
        path.write_text("years of work")
    for output, says in ((folder, "holds 'thesis.tex', not part of a bundle"), (file, "is a file")):
        capfd.readouterr()
        assert main(["compile", *map(str, plain(tiny)), "-o", str(output)]) == 3
        out, err = capfd.readouterr()
        assert says in err and err.count("\n") == 1 and "import" not in out  # before the work
    assert (folder / "thesis.tex").read_text() == file.read_text() == "years of work"
