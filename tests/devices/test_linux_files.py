"""What Linux says of a board's CPU, read by util-linux's lscpu."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tvmpose.devices.linux_files import write_linux_files
from tvmpose.devices.recipe import load_recipe


def lscpu(root: Path) -> dict[str, list[str]]:
    if not shutil.which("lscpu"):
        pytest.skip("no lscpu on this machine")
    said = subprocess.run(["lscpu", "--json", "--sysroot", root], check=True, capture_output=True, text=True).stdout
    facts: dict[str, list[str]] = {}
    for row in json.loads(said)["lscpu"]:
        facts.setdefault(row["field"].rstrip(":"), []).append(row["data"])
    return facts


def test_write_linux_files__one_kind__four_cores_of_a_package(tmp_path: Path) -> None:
    write_linux_files(load_recipe("raspberry-pi-5").cores, tmp_path)
    facts = lscpu(tmp_path)
    assert facts["CPU(s)"] == ["4"] and facts["On-line CPU(s) list"] == ["0-3"]
    assert facts["Model name"] == ["Cortex-A76"] and facts["Stepping"] == ["r4p1"]
    assert facts["Thread(s) per core"] == ["1"] and facts["Core(s) per socket"] == ["4"]
    assert facts["CPU max MHz"] == ["2400.0000"]
    assert "asimddp" in facts["Flags"][0].split()


def test_write_linux_files__two_kinds__in_their_order(tmp_path: Path) -> None:
    write_linux_files(load_recipe("rk3399").cores, tmp_path)
    facts = lscpu(tmp_path)
    assert facts["CPU(s)"] == ["6"]
    assert facts["Model name"] == ["Cortex-A53", "Cortex-A72"]
    assert facts["Core(s) per socket"] == ["4", "2"]
    assert facts["CPU max MHz"] == ["1416.0000", "1800.0000"]


def test_write_linux_files__cpuinfo__numbers_and_blank_lines_as_linux_has_them(tmp_path: Path) -> None:
    write_linux_files(load_recipe("raspberry-pi-4").cores, tmp_path)
    blocks = (tmp_path / "proc" / "cpuinfo").read_text().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"processor\t: {number}" for number in range(4)]
