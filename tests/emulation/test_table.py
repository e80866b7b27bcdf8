"""Counts as text: every number where it belongs, doubts and their reasons below."""

from dataclasses import replace

from tvmpose.emulation.comparison import Emulated, Row
from tvmpose.emulation.cycles import Estimate
from tvmpose.emulation.machine import EmulatedMachine
from tvmpose.emulation.table import emulated_lines, ratio_lines

MACHINE = EmulatedMachine("raspberry-pi-4", "qemu-aarch64 7.2.22", "cortex-a72", "14.0.6", "2026-11-24")
OURS = Row("tvmpose", "tvmpose 1.0", "for it", 90e6, 0.0, 0.0, Estimate("cortex-a72", 60e6, 0.991))
LITERT = Row("litert", "LiteRT 2.3.0", "XNNPACK on", 120e6, 0.0005, 2e-6, Estimate("cortex-a72", 66e6, 0.97))
COUNTED = Emulated("net", MACHINE, "cortex-a72", 271_000_000, OURS, (LITERT,), (), ())


def test_emulated_lines__ours_and_a_peer__the_machine_first_and_a_row_each():
    machine, _, title, header, ours, litert, cycles = emulated_lines(COUNTED)
    assert machine == "raspberry-pi-4, emulated by qemu-aarch64 7.2.22 -cpu cortex-a72; llvm-mca 14.0.6; 2026-11-24"
    assert title == "net, a frame on 1 thread"
    assert ours.split() == ["tvmpose", "1.0", "90.00", "M", "0.000%", "60.0", "M", "for", "it"]
    assert litert.split() == "LiteRT 2.3.0 120.00 M 0.050% 0.750 2.0e-06 66.0 M XNNPACK on".split()
    assert ours.index("90.00 M") + 7 == litert.index("120.00 M") + 8 == header.index("instructions") + 12
    assert "llvm-mca's model of cortex-a72 on the blocks with 97% of the instructions" in cycles
    assert "no time" in cycles


def test_emulated_lines__no_peer_no_cycles__the_reasons():
    counted = replace(
        COUNTED,
        machine=replace(MACHINE, llvm_mca=None),
        ours=replace(OURS, cycles=None),
        peers=(),
        missing=(("ncnn", "not available: some-board has no ncnn"),),
        remarks=("no estimate of cycles: llvm-mca is not installed (apt-get install llvm)",),
    )
    lines = list(emulated_lines(counted))
    assert "; no llvm-mca; " in lines[0]
    assert lines[-2] == "  ncnn: not available: some-board has no ncnn"
    assert lines[-1] == "  no estimate of cycles: llvm-mca is not installed (apt-get install llvm)"
    assert list(ratio_lines(counted)) == []


def test_emulated_lines__repeats_that_differ__not_trustworthy():
    counted = replace(COUNTED, peers=(replace(LITERT, spread=0.0025, difference=None),))
    lines = list(emulated_lines(counted))
    assert lines[-1] == "  warning: not trustworthy: LiteRT 2.3.0's repeats differ by 0.25% (limit 0.1%)"
    assert "other outputs" in lines[5]


def test_ratio_lines__peer__ours_for_one_of_its():
    text = "net, -cpu cortex-a72: 0.750 times LiteRT 2.3.0's instructions"
    assert list(ratio_lines(COUNTED)) == [f"{text}, 0.91 times its cycles as estimated"]
    assert list(ratio_lines(replace(COUNTED, ours=replace(OURS, cycles=None)))) == [text]
