"""Estimates of cycles, for code whose throughput Arm's own guides give."""

import os
from pathlib import Path

import pytest

from tvmpose.emulation import cycles
from tvmpose.emulation.cycles import Estimate, Mca, estimate, find_mca
from tvmpose.emulation.plugin import Code

UNKNOWN = b"\xff\xff\xff\xff"


@pytest.fixture
def mca() -> Mca:
    return find_mca() or pytest.skip("no llvm-mca is installed")


def add(register: int) -> bytes:
    """add xN, xN, #1"""
    return (0x91000400 | register << 5 | register).to_bytes(4, "little")


CHAIN = Code(8 * add(0), 8)
INDEPENDENT = Code(b"".join(map(add, range(8))), 8)


# Cortex-A72 Software Optimization Guide, 3.3: additions take a cycle, and there are two pipelines for them. Cortex-A53
# is in order and issues two instructions a cycle.
@pytest.mark.parametrize("core", ["cortex-a72", "cortex-a53"])
@pytest.mark.parametrize(("code", "expected"), [(CHAIN, 8.0), (INDEPENDENT, 4.0)])
def test_estimate__additions__as_the_core_issues_them(mca: Mca, core: str, code: Code, expected: float):
    found = estimate({code: 1000.0}, core, mca)
    assert isinstance(found, Estimate) and found.covered == 1
    assert found.cycles == pytest.approx(1000 * expected, rel=0.05)


def test_estimate__two_blocks__weighted_by_their_executions(mca: Mca):
    found = estimate({CHAIN: 300.0, INDEPENDENT: 100.0}, "cortex-a72", mca)
    assert isinstance(found, Estimate)
    assert found.cycles == pytest.approx(300 * 8 + 100 * 4, rel=0.05)


def test_estimate__rare_blocks__taken_to_be_like_the_others(mca: Mca):
    found = estimate({CHAIN: 995.0, INDEPENDENT: 5.0}, "cortex-a72", mca)
    assert isinstance(found, Estimate)
    assert found.covered == pytest.approx(0.995)
    assert found.cycles == pytest.approx(1000 * 8, rel=0.05)


def test_estimate__block_that_nobody_knows__is_not_covered(mca: Mca):
    found = estimate({CHAIN: 100.0, Code(2 * UNKNOWN, 2): 100.0}, "cortex-a72", mca)
    assert isinstance(found, Estimate)
    assert found.covered == pytest.approx(0.8)
    assert found.cycles == pytest.approx(1.25 * 800, rel=0.05)


def test_estimate__nothing_known__says_so(mca: Mca):
    assert "no model of these instructions" in str(estimate({Code(UNKNOWN, 1): 1.0}, "cortex-a72", mca))


def test_estimate__unknown_core__says_so(mca: Mca):
    assert estimate({CHAIN: 1.0}, "cortex-z80", mca) == f"llvm-mca {mca.version} knows no cortex-z80"


def test_estimate__one_block_spoils_all__the_others_are_looked_at_alone(mca: Mca, monkeypatch: pytest.MonkeyPatch):
    whole = cycles._mca
    refused = "error: found an unsupported instruction in the input assembly sequence"

    def refusing(listings, core, tools):
        return refused if any(len(listing) == 1 for listing in listings) else whole(listings, core, tools)

    monkeypatch.setattr(cycles, "_mca", refusing)
    found = estimate({CHAIN: 10.0, Code(add(1), 1): 20.0}, "cortex-a72", mca)
    assert isinstance(found, Estimate) and found.covered == pytest.approx(0.8)


def test_find_mca__several__the_newest_with_a_disassembler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    versions = {"llvm-mca": "14.0.6", "llvm-mca-9": "9.0.1", "llvm-mca-19": "19.1.7", "llvm-mca-22": "22.1.8"}
    for name, version in versions.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho 'LLVM (http://llvm.org/):'\necho '  LLVM version {version}'\n")
    for name in ("llvm-mc", "llvm-mc-9", "llvm-mc-19"):
        (tmp_path / name).write_text("#!/bin/sh\n")
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), "/nowhere"]))
    assert find_mca() == Mca("llvm-mca-19", "llvm-mc-19", "19.1.7")


def test_find_mca__none__none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mca() is None
