"""Records: what is kept, in what order, and what a compilation takes of them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmpose.errors import SetupError
from tvmpose.tuning.records import Log, Record, best_of, merged, pruned, read_file, read_line, replace_file

VERSIONS = (1, "0.27")
ONE = Record(
    "00aa", "conv2d", "host", "cpu", 2, "seconds", {"tile": (2, 6, 1), "unroll": 4}, *VERSIONS, date="2026-01-01"
)


def final(workload: str, value: float, default: float, date: str = "2026-01-02") -> Record:
    return replace(ONE, workload=workload, stage="final", value=value, default=default, date=date)


def trial(workload: str, value: float, default: float) -> Record:
    return replace(ONE, workload=workload, value=value, default=default)


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(st.integers(), st.tuples(st.integers(), st.integers()))),
    st.floats(0, 1e3),
    st.lists(st.floats(0, 1e3), max_size=4),
    st.text(max_size=20),
)
def test_line__any_record__is_read_as_it_was(decisions, value, repeats, error):
    record = replace(ONE, decisions=decisions, value=value, repeats=tuple(repeats), error=error)
    assert read_line(record.line()) == record


@given(st.text(max_size=200))
def test_read_line__anything__is_a_record_or_none(text):
    assert read_line(text) is None or isinstance(read_line(text), Record)


@pytest.mark.parametrize("line", ['{"workload":"a"}', "[]", "1", '{"unknown":1}', '{"decisions":5}', "{", ""])
def test_read_line__no_record__none(line):
    assert read_line(line) is None


def test_log__last_line_cut_off__is_dropped_and_the_rest_kept(tmp_path: Path):
    path = tmp_path / "records.jsonl"
    with Log(path) as log:
        log.add([trial("a", 1, 2), trial("b", 1, 2)])
    with path.open("a") as file:
        file.write(ONE.line()[:40])
    assert [record.workload for record in read_file(path)] == ["a", "b"]
    with Log(path) as log:
        log.add([trial("c", 1, 2)])
    assert [record.workload for record in read_file(path)] == ["a", "b", "c"]
    assert path.read_text().count("\n") == 3


def test_log__line_of_garbage_between__is_passed_over_and_stays(tmp_path: Path):
    path = tmp_path / "records.jsonl"
    path.write_text(trial("a", 1, 2).line() + "garbage\n" + trial("b", 1, 2).line())
    with Log(path) as log:
        assert [record.workload for record in log.records] == ["a", "b"]
    assert "garbage" in path.read_text()


def test_log__second_process__is_refused_in_one_line(tmp_path: Path):
    with Log(tmp_path / "r.jsonl"), pytest.raises(SetupError, match="another tvmpose adds to it"):
        Log(tmp_path / "r.jsonl").__enter__()


def test_log__disk_full__keeps_what_it_had_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, write = tmp_path / "r.jsonl", os.write
    with Log(path) as log:
        log.add([trial("a", 1, 2)])
        calls = iter([lambda fd, data: write(fd, data[:10]), None])

        def full(descriptor: int, data: bytes) -> int:
            step = next(calls)
            if step:
                return step(descriptor, data)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SetupError, match="No space left on device; what it has is whole"):
            log.add([trial("b", 1, 2)])
        monkeypatch.undo()
        log.add([trial("c", 1, 2)])
    assert [record.workload for record in read_file(path)] == ["a", "c"]


def test_log__nothing_added__leaves_no_file(tmp_path: Path):
    with Log(tmp_path / "r.jsonl"):
        pass
    assert not list(tmp_path.iterdir())


def test_best_of__final_beats_trials__and_a_default_that_won_stays():
    records = [
        trial("a", 0.5, 1),  # beyond doubt
        trial("b", 0.95, 1),  # not
        trial("c", 0.5, 1),
        final("c", 1.0, 1),  # measured again, it was no better
        final("d", 0.97, 1),
        final("e", 0.9, 1, "2026-01-01"),
        final("e", 0.99, 1, "2026-01-03"),  # the last one counts
    ]
    assert best_of(records, "seconds", VERSIONS, "cpu").keys() == {"a", "d"}


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"tvm": "0.28"}, {"cpu": "other"}, {"unit": "instructions"}, {"stage": "failed"}]
)
def test_best_of__of_another_kind__is_not_used(change):
    assert not best_of([replace(final("a", 0.5, 1), **change)], "seconds", VERSIONS, "cpu")


def test_merged__overlapping_files__each_record_once():
    a, b = final("a", 1, 2), final("b", 1, 2)
    assert merged([[a, b], [b, a]]) == merged([[a], [b]])


def test_pruned__many_of_a_workload__the_final_or_the_best_trial():
    records = [trial("a", 0.9, 1), final("a", 0.95, 1), trial("a", 0.5, 1), trial("b", 0.9, 1), trial("b", 0.8, 1)]
    kept = {record.workload: record.value for record in pruned(records, VERSIONS)}
    assert kept == {"a": 0.95, "b": 0.8}
    assert not pruned([replace(ONE, version=9)], VERSIONS)


def test_replace_file__cannot_be_written__old_one_stays(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    replace_file(path, [ONE])
    before = path.read_bytes()

    def breaks():
        yield ONE
        raise OSError(28, "No space left on device")

    with pytest.raises(SetupError, match="No space left"):
        replace_file(path, breaks())
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]
