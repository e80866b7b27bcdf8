"""The content folders are found in a checkout and in a wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tvmpose import content
from tvmpose.errors import SetupError

ROOT = Path(__file__).parents[1]


def test_folder__checkout__beside_the_package() -> None:
    assert content.folder("models") == ROOT / "models"


def test_folder__unknown__setup_error() -> None:
    with pytest.raises(SetupError, match="no nothing/ folder"):
        content.folder("nothing")


@pytest.mark.slow
def test_folder__wheel__every_file_is_inside(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(command, check=True)
    site = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    for name in ("models", "targets", "rpc"):
        program = f"from tvmpose import content; print(content.folder({name!r}))"
        command = [sys.executable, "-c", program]
        found = Path(subprocess.run(command, cwd=site, capture_output=True, text=True, check=True).stdout.strip())
        assert found == site / "tvmpose" / "content" / name
        assert _files(found) == _files(ROOT / name)
    assert (site / "tvmpose" / "runtime" / "csrc" / "tvmpose.h").is_file()


def _files(folder: Path) -> set[Path]:
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in files if "__pycache__" not in path.parts}
