"""``tvmpose profile`` on a tiny network, compiled here."""

import json
from pathlib import Path

import pytest

from tests.conftest import FakeBundle
from tests.tiny import JOINTS, write_tiny
from tvmpose.benchmark import roofline
from tvmpose.benchmark.facts import read_facts
from tvmpose.cli.main import main
from tvmpose.compile import compile_model, resolve
from tvmpose.errors import SetupError
from tvmpose.runtime import load
from tvmpose.targets import load_target

PIXELS = 24 * 32


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny, output = write_tiny(folder / "tiny"), folder / "bundle"
    compile_model(
        resolve(str(tiny.model), card=str(tiny.card), target=load_target("host"), output=output, samples=tiny.samples)
    )
    return output


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "ATTEMPTS", 2)
    monkeypatch.setattr(roofline, "SECONDS", 0.001)


def test_manifest__steps__are_the_library_s_with_the_model_s_multiply_adds(bundle: Path):
    facts = read_facts(bundle)
    with load(bundle) as pose:
        assert tuple(step.name for step in facts.steps) == pose.info.step_names[1:-1]
    source = PIXELS * (8 * 3 * 3 * 3 + JOINTS * 8)
    assert source <= facts.multiply_adds < 1.5 * source  # channels may be filled up to whole vectors
    assert all(step.bytes > 0 for step in facts.steps)
    assert sum(step.bytes for step in facts.steps) >= 4 * PIXELS * (3 + JOINTS)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_profile__tiny_model__every_step_and_the_files(bundle: Path, threads: str, tmp_path: Path, capsys):
    files = ["--json", str(tmp_path / "p.json"), "--plot", str(tmp_path / "p.svg")]
    assert main(["profile", str(bundle), "--threads", threads, "--frames", "3", *files]) == 0
    out = capsys.readouterr().out.splitlines()
    names = [step.name for step in read_facts(bundle).steps]
    start = next(i for i, line in enumerate(out) if line.startswith("step "))
    assert [line.split()[0] for line in out[start + 1 : -1]] == ["warp", *names, "decode"]
    assert "are left on the table" in out[-1]
    result = json.loads((tmp_path / "p.json").read_text())
    assert [step["name"] for step in result["profile"]["steps"]] == ["warp", *names, "decode"]
    assert all(0 < step["best_ms"] <= step["median_ms"] for step in result["profile"]["steps"])
    assert result["limits"]["threads"] == int(threads)
    assert (tmp_path / "p.svg").read_text().startswith("<svg")


def test_profile__no_compiler__times_and_a_warning(bundle: Path, monkeypatch, capsys):
    def missing(*arguments: object) -> None:
        raise SetupError("no C compiler")

    monkeypatch.setattr(roofline, "build_here", missing)
    assert main(["profile", str(bundle), "--frames", "2"]) == 0
    out, err = capsys.readouterr()
    assert "warning: no limits to compare with: no C compiler" in err and "left on the table" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--frames", "0"], "--frames 0"), (["--plot", "p.png"], ".svg"), (["--threads", "-1"], "threads")],
)
def test_profile__wrong_option__one_line(fake_bundle: FakeBundle, arguments, message, capsys):
    assert main(["profile", str(fake_bundle()), *arguments]) == 3
    assert message in capsys.readouterr().err
