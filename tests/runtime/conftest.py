"""C programs for the runtime's tests, built once a session."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "c"
CSRC = TESTS.parents[2] / "tvmpose" / "runtime" / "csrc"
COMPILERS = {"cc": ("cc",), "clang": ("clang-14", "clang"), "zig": (sys.executable,)}
FLAGS = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-pthread"]


def _command(compiler: str) -> list[str]:
    """The compiler's command line, or a skip with the reason."""
    if compiler == "zig":
        pytest.importorskip("ziglang", reason="ziglang is not installed")
        return [sys.executable, "-m", "ziglang", "cc"]
    for name in COMPILERS[compiler]:
        if found := shutil.which(name):
            return [found]
    pytest.skip(f"no {compiler} on this machine")


@dataclass(frozen=True)
class Builder:
    """Builds sources of tests/runtime/c against the runtime."""

    folder: Path
    built: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def __call__(self, *arguments: str, compiler: str = "cc") -> Path:
        """Path of what ``compiler`` makes of the sources and flags in ``arguments``; fails on any warning."""
        key = (compiler, *arguments)
        if key not in self.built:
            output = self.folder / f"{len(self.built)}-{Path(arguments[0]).stem}"
            paths = [str(TESTS / argument) if argument.endswith(".c") else argument for argument in arguments]
            command = [*_command(compiler), *FLAGS, f"-I{CSRC}", f"-I{TESTS}", *paths, "-o", str(output), "-lm"]
            result = subprocess.run(command, capture_output=True, text=True)
            if "cannot find" in result.stderr and "-fsanitize" in " ".join(arguments):
                pytest.skip(f"{compiler} comes without this sanitizer: {result.stderr.splitlines()[0]}")
            assert result.returncode == 0, result.stderr
            self.built[key] = output
        return self.built[key]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("c"))


def run(*command: str | Path) -> str:
    """What the program prints; its failure is the test's, with all it said."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout
