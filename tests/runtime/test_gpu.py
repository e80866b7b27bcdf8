"""The runtime's GPU part, on a stub libOpenCL that fails when it is told to: no TVM and no device take part."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.conftest import Builder

ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def program(build: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test_gpu.c beside its stub of libOpenCL.so.1, in a folder of their own."""
    folder = tmp_path_factory.mktemp("gpu")
    stub = folder / "libOpenCL.so.1"
    stub.symlink_to(build("stub_opencl.c", "-shared", "-fPIC", "-fvisibility=default", *ADDRESS))
    (folder / "test_gpu").symlink_to(
        build(
            "test_gpu.c", "tiny_gpu.c", str(stub), "-Wl,--wrap=dlopen,--wrap=mkstemp", "-ldl", "-D_GNU_SOURCE", *ADDRESS
        )
    )
    return folder / "test_gpu"


def run(program: Path, *arguments: str, **environment: str) -> str:
    here = {"LD_LIBRARY_PATH": str(program.parent), "HOME": str(program.parent), "PATH": os.environ["PATH"]}
    result = subprocess.run([str(program), *arguments], capture_output=True, text=True, env={**here, **environment})
    assert result.returncode == 0, f"{result.stdout}{result.stderr}"
    return result.stdout


def kept_programs(program: Path) -> Iterator[Path]:
    """Beside the file that the code is in."""
    return program.parent.glob("*.clbin")


def test_gpu__each_call_fails_in_turn__one_line_and_nothing_left(program: Path):
    assert "calls" in run(program)


def test_gpu__out_of_device_memory__says_so(program: Path):
    lines = run(program, STUB_CODE="-4").splitlines()
    assert any(
        line.startswith("7 no memory for 1024 bytes on stub: CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)") for line in lines
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"NO_OPENCL": "1"},
            "6 compiled for a GPU with OpenCL, and this machine has no libOpenCL.so.1: install its driver",
        ),
        ({"STUB_NO_GPU": "1"}, "6 compiled for a GPU, and this machine's OpenCL has none"),
        ({"STUB_THREADS": "8"}, "6 stub has 8 threads in a work-group, the kernels need 16"),
        ({"STUB_ALIGN": "4096"}, "6 stub wants buffers aligned to 512 bytes, the bundle has 256"),
    ],
)
def test_open__no_device_or_not_the_right_one__one_line(program: Path, environment: dict[str, str], expected: str):
    (line,) = run(program, "open", **environment).splitlines()
    assert line.startswith(expected)


def test_open__kept_program_damaged__built_again_and_replaced(program: Path):
    for path in kept_programs(program):
        path.unlink()
    run(program, "open")
    kept = {path: path.read_bytes() for path in kept_programs(program)}
    assert len(kept) == 1
    for path, content in kept.items():
        for damaged in (content[:-1], content[:-1] + b"?", b"", content + b"more"):
            path.write_bytes(damaged)
            assert run(program, "open") == "0 \n"
            assert path.read_bytes() == content


def test_open__folder_cannot_be_written_to__kept_in_the_users_cache(program: Path, tmp_path: Path):
    for path in kept_programs(program):
        path.unlink()
    assert run(program, "open", NO_FOLDER="1", XDG_CACHE_HOME=str(tmp_path)) == "0 \n"
    assert len(list(tmp_path.glob("tvmpose-tiny_gpu-*.clbin"))) == 1
    assert not list(kept_programs(program))
