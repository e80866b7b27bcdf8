"""A verb whose extra is missing says which to install."""

from pathlib import Path

import pytest

from tvmpose.errors import SetupError
from tvmpose.extras import require


def test_require__installed__the_module() -> None:
    assert require("json.decoder", extra="compiler").JSONDecoder


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_require__not_installed__names_the_extra(module: str) -> None:
    with pytest.raises(SetupError) as caught:
        require(module, extra="compiler")
    assert str(caught.value) == f"the Python package {module} is not installed: pip install 'tvmpose[compiler]'"


@pytest.mark.parametrize("fault", ["import no_such_package", "raise ImportError('libGL.so.1: not found')"])
def test_require__installed_but_broken__says_why(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text(fault)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SetupError, match=r"broken_package cannot be loaded \(.*(no_such_package|libGL)"):
        require("broken_package", extra="images")
