"""The plugin under QEMU, on a program whose instructions are known one by one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TESTS
from tvmpose.devices.board import VirtualBoard
from tvmpose.emulation.count import instructions, more_often
from tvmpose.emulation.plugin import COUNTS_VARIABLE, Block, Code, build_plugin, executions, read_blocks

SUBS, B_NE = 0xF1000421, 0x54FFFFE1  # subs x1, x1, #1; b.ne to it: the loop of counted.c


def little(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Block]]:
    """By number of arguments: what the plugin wrote of counted.c."""
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    if not shutil.which("qemu-aarch64"):
        pytest.skip("qemu-aarch64 is not installed")
    folder = tmp_path_factory.mktemp("plugin")
    program, plugin, counts = folder / "counted", build_plugin(folder), folder / "counts"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-nostdlib", "-static"]
    subprocess.run([*zig, str(TESTS / "emulation" / "counted.c"), "-o", str(program)], check=True)
    board, found = VirtualBoard("", folder, "cortex-a72", "qemu-aarch64"), {}
    for count in (1, 3):
        command = board.command([program, *["x"] * (count - 1)], plugin=plugin)
        subprocess.run(command, check=True, env={**os.environ, COUNTS_VARIABLE: str(counts)})
        found[count] = read_blocks(counts.read_text().splitlines())
    return found


def test_plugin__known_program__every_instruction_counted(runs: dict[int, list[Block]]):
    for arguments, blocks in runs.items():
        assert sum(block.executions * block.code.instructions for block in blocks) == 6 + 2000 * arguments


def test_plugin__loop__its_code_and_how_often_it_ran(runs: dict[int, list[Block]]):
    loop = Code(little(SUBS, B_NE), 2)
    assert executions(runs[3])[loop] == 2999  # the first time it is the end of the block before
    assert all(len(block.code.code) == 4 * block.code.instructions for block in runs[3])


def test_more_often__two_arguments_more__what_a_run_takes_besides_drops_out(runs: dict[int, list[Block]]):
    blocks = more_often(executions(runs[1]), executions(runs[3]))
    assert instructions(blocks) == 4000
    assert blocks == {Code(little(SUBS, B_NE), 2): 2000}


def test_plugin__no_file_named__refuses_to_load(tmp_path: Path):
    if not shutil.which("qemu-aarch64"):
        pytest.skip("qemu-aarch64 is not installed")
    environment = {name: value for name, value in os.environ.items() if name != COUNTS_VARIABLE}
    command = VirtualBoard("", tmp_path, "max", "qemu-aarch64").command([tmp_path / "x"], plugin=build_plugin(tmp_path))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and f"{COUNTS_VARIABLE} names no file" in done.stderr


def test_executions__the_same_code_at_two_places__one_number():
    blocks = read_blocks(["3 1 10 aabbccdd", "4 1 20 aabbccdd", "5 2 10 aabbccdd"])
    assert blocks[1] == Block(Code(b"\xaa\xbb\xcc\xdd", 1), 0x20, 4)
    assert executions(blocks) == {Code(b"\xaa\xbb\xcc\xdd", 1): 7, Code(b"\xaa\xbb\xcc\xdd", 2): 5}
