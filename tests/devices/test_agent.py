"""The agent's own code: fuzzed, and built for other machines, where it runs emulated."""

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.devices.servers import is_registered, started, tvm_tracker, tvmpose, wait_until
from tvmpose.codegen.toolchain import toolchain_for
from tvmpose.devices.agent import build_agent, sources, static_target
from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.recipe import load_recipe
from tvmpose.devices.rpc_device import RpcDevice
from tvmpose.errors import DeviceError, InputError
from tvmpose.targets import Target, load_target
from tvmpose.tools import run_tool

SOURCE = Path(__file__).with_name("c") / "fuzz_session.c"
MAGIC = struct.pack("<i", 0xFF271)

# What a client does say, for the fuzzer to start from.
HELLO = b"\0" + MAGIC + struct.pack("<i", 14) + b"client:key:0.1"
PACKETS = [
    struct.pack("<iQ", 2, 5) + b"0.8.0" + struct.pack("<i", 0),
    struct.pack("<iiiQ", 9, 1, 8, 21) + b"tvm.rpc.server.upload",
    struct.pack("<iQiiQ", 3, 1, 2, 8, 1) + b"f" + struct.pack("<iQ", 9, 4) + b"data",
    struct.pack("<iQiiQ", 3, 2, 1, 8, 1) + b"f",
    struct.pack("<iQiiQ", 3, 4, 4, 8, 1) + b"f" + struct.pack("<iQidiiQ", 9, 0, 3, 1.0, 65, 65, 1) + b"x",
    struct.pack("<iiiq", 10, 1, 4, 1),
    struct.pack("<i", 1),
]


def fuzz(folder: Path, executions: int) -> None:
    fuzzer, corpus = folder / "fuzz", folder / "corpus"
    corpus.mkdir()
    session = b"\1" + b"".join(struct.pack("<Q", len(packet)) + packet for packet in PACKETS)
    for number, text in enumerate((HELLO, session, *(b"\1" + struct.pack("<Q", len(p)) + p for p in PACKETS))):
        (corpus / str(number)).write_bytes(text)
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    parts = [str(path) for path in sources() if path.name not in ("main.c", "tracker.c")]
    net = next(path for path in parts if path.endswith("net.c"))
    quiet = ["-Dlog_line=loud_log_line", "-c", net, "-o", str(folder / "net.o")]
    # A gigabyte that is announced and does not come costs the sanitizer more than everything else.
    include = ["-DMAX_PACKET=4096", f"-I{sources()[0].parent}"]
    subprocess.run(["clang", *flags, "-Wno-format", *quiet], check=True)
    others = [path for path in parts if path != net]
    subprocess.run(
        ["clang", *flags, *include, *others, str(folder / "net.o"), str(SOURCE), "-o", str(fuzzer)], check=True
    )
    done = subprocess.run(
        [fuzzer, f"-runs={executions}", "-max_len=512", "-seed=1", "-rss_limit_mb=4096", str(corpus)],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {executions} runs" in done.stderr


needs_clang = pytest.mark.skipif(not shutil.which("clang"), reason="clang is not installed")


@needs_clang
def test_fuzz__ten_thousand_clients__no_finding(tmp_path: Path) -> None:
    fuzz(tmp_path, 10_000)


@needs_clang
@pytest.mark.slow
def test_fuzz__three_hundred_thousand_clients__no_finding(tmp_path: Path) -> None:
    fuzz(tmp_path, 300_000)


def test_build_agent__device_without_linux__refused() -> None:
    with pytest.raises(InputError, match=r"apple-m1 .*need Linux or Android on x86_64, aarch64, arm"):
        build_agent(load_target("apple-m1"), Path("agent"))


PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
  char text[64] = "";
  FILE *file = fopen("extra", "r");
  if (argc == 2 && !strcmp(argv[1], "sleep")) return fork(), sleep(1000), 0;
  if (file) text[fread(text, 1, sizeof text - 1, file)] = 0;
  printf("%d %s %s", (int)sizeof(void *), argc > 1 ? argv[1] : "", text);
  return argc;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name, bits", [("raspberry-pi-4", 64), ("raspberry-pi-4-32bit", 32), ("musl-arm64", 64)])
def test_agent__emulated_board__runs_its_programs(
    virtual: Callable[[str], VirtualBoard], tmp_path: Path, name: str, bits: int
) -> None:
    pytest.importorskip("tornado", reason="the extra tune is not installed")
    virtual(name)
    program, extra = build_static(load_target(name), PROGRAM, tmp_path / "program"), tmp_path / "extra"
    extra.write_text("beside it")
    with tvm_tracker() as tracker:
        command = tvmpose("devices", "virtual", name, "--serve", "--key", "board", "--tracker", str(tracker))
        with started(command, tmp_path / "tmp"):
            wait_until(lambda: is_registered(tracker, "board"), "registered", 300)
            with RpcDevice(tracker, "board", answer=60) as device:
                found = device.run(program, ["é"], timeout=60, files=[extra])
                assert (found.code, found.output.decode()) == (2, f"{bits // 8} é beside it")
                assert device.run(program, ["sleep"], timeout=0.5).code is None
                state, known = device.state(), device.describe()
                assert state.clock_limit == load_recipe(name).cores[0].max_khz / 1000
                assert known["machine"] == {64: "aarch64", 32: "armv7l"}[bits]
                data = bytes(range(256)) * 4096
                assert device.send_there_and_back(data) == data
                foreign = tmp_path / "foreign"
                foreign.write_bytes(Path(sys.executable).resolve().read_bytes())
                ended = device.run(foreign, [], timeout=60)  # the emulator says it, as the kernel would
                assert ended.code != 0 and "Invalid ELF image" in ended.error
                with pytest.raises(DeviceError, match="no such program"):
                    device.run_own("no-such-program", [], timeout=5)


def build_static(target: Target, source: str, path: Path) -> Path:
    path.with_suffix(".c").write_text(source)
    compiler = toolchain_for(static_target(target)).cc
    run_tool((*compiler, "-static", "-O1", str(path.with_suffix(".c")), "-o", str(path)), path.parent)
    return path
