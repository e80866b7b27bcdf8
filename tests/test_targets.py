"""Devices as data, and this machine as it finds itself."""

from pathlib import Path

import pytest

from tvmpose import targets
from tvmpose.errors import InputError
from tvmpose.targets import Target, checked_features, host_target, list_targets, load_target, needed_features

V3 = {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}  # of the psABI, beyond x86-64-v2


def written(folder: Path, text: str) -> str:
    path = folder / "board.toml"
    path.write_text(text)
    return str(path)


def test_list_targets__first_is_the_host_and_each_can_be_loaded():
    names = list_targets()
    assert names[0] == "host"
    for name in names:
        target = load_target(name)
        assert target.name == name
        assert target.llvm().kind.name == "llvm"


def test_load_target__file_by_path__is_named_after_it(tmp_path):
    text = 'title = "a board"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a76"\nattributes = ["+dotprod"]\n'
    target = load_target(written(tmp_path, text))
    assert target == Target("board", "a board", "aarch64-linux-gnu", "cortex-a76", ("+dotprod",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "t"\ntriple = "aarch64-linux-gnu"\n', "'cpu' is missing"),
        ('title = "t"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a72"\nspeed = 3\n', "unknown key 'speed'"),
        (
            'title = "t"\ntriple = "aarch64-linux-gnu"\ncpu = "cortex-a999"\n',
            "no cpu 'cortex-a999'.*mean cortex-a",
        ),
        ('title = "t"\ntriple = "aarch64-linux-gnu"\ncpu = "znver4"\n', "no cpu 'znver4'"),
        ('title = "t"\ntriple = "pdp11-linux-gnu"\ncpu = "generic"\n', "triple 'pdp11-linux-gnu'"),
        ("not toml", "not a readable TOML"),
    ],
)
def test_load_target__faulty_file__is_refused_in_one_line(tmp_path, capfd, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_target(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["nothing", "missing.toml", ""])
def test_load_target__unknown__is_refused_with_the_names_there_are(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"host, x86-64-v2, x86-64-v3"):
        load_target(name)


def test_needed_features__each_level__has_what_the_psabi_demands():
    v2, v3, v4 = (needed_features(load_target(f"x86-64-v{level}")) for level in (2, 3, 4))
    assert v2 < v3 < v4
    assert v3 - v2 == V3
    assert v4 - v3 >= {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def test_checked_features__bits__are_distinct_and_fit_a_word():
    bits = list(checked_features().values())
    assert len(bits) == len(set(bits)) > 20
    assert all(0 <= bit < 64 for bit in bits)


def test_host_target__this_machine__needs_nothing_that_it_lacks():
    assert needed_features(host_target()) <= targets._cpu_flags()


def test_host_target__virtual_machine_without_avx512__falls_back_to_a_level_it_has(monkeypatch):
    if not host_target().triple.startswith("x86_64"):
        pytest.skip("not an x86-64 machine")
    v3 = needed_features(load_target("x86-64-v3"))
    monkeypatch.setattr(targets, "_cpu_flags", lambda: v3)
    assert needed_features(host_target()) <= v3
    monkeypatch.setattr(targets, "_cpu_flags", frozenset)
    assert host_target().cpu == "x86-64"
