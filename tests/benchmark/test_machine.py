"""Facts of the machine, and when its numbers are not to be trusted."""

import pytest

from tvmpose.benchmark import machine
from tvmpose.benchmark.machine import Disturbance, Watch, this_machine


def test_this_machine__here__has_plausible_facts():
    facts = this_machine()
    assert facts.cpus >= 1 and facts.l2_bytes >= 64 << 10
    assert str(facts).startswith(facts.cpu) and facts.date in str(facts)


@pytest.mark.parametrize(
    ("foreign", "stolen", "words"),
    [(0.01, 0.0, []), (0.4, 0.0, ["40%"]), (0.0, 0.2, ["hypervisor"]), (0.4, 0.2, ["40%", "hypervisor"])],
)
def test_complaints__shares__named_above_the_limit(foreign, stolen, words):
    lines = Disturbance(foreign, stolen, load=1.0).complaints()
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))


def test_watch__moments__shares_of_what_was_there(monkeypatch):
    moments = iter([machine._Moment(0, 100, 0, 5), machine._Moment(10, 106, 2, 10)])
    monkeypatch.setattr(machine, "_now", lambda: next(moments))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    disturbance = Watch().stop()
    assert (disturbance.foreign, disturbance.stolen) == (pytest.approx(1 / 20), pytest.approx(2 / 20))


def test_facts__without_proc__are_missing_not_wrong(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: "")
    facts = this_machine()
    assert facts.clock_mhz is None and facts.l2_bytes == machine.DEFAULT_L2_BYTES
    assert Watch().stop().stolen == 0
