"""``tvmpose bench`` on a tiny network, compiled here, in turns too short to mean anything."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.conftest import FakeBundle
from tests.emulation.test_table import COUNTED
from tests.tiny import Tiny, write_tiny
from tvmpose.cli.main import main
from tvmpose.compile import compile_model, resolve
from tvmpose.emulation.table import ratio_lines
from tvmpose.targets import load_target

SHORT = ["--rounds", "2", "--seconds", "0.001"]


@pytest.fixture(scope="module")
def compiled_tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    tiny, output = write_tiny(folder / "tiny"), folder / "bundle"
    compile_model(
        resolve(str(tiny.model), card=str(tiny.card), target=load_target("host"), output=output, samples=tiny.samples)
    )
    return tiny, output


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs the extra bench")
def test_bench__tiny_model__a_table_each_and_the_json(compiled_tiny, tmp_path: Path, capsys):
    (tiny, bundle), out = compiled_tiny, tmp_path / "out.json"
    assert main(["bench", str(bundle), "--model", str(tiny.model), "--threads", "1,2", "--json", str(out), *SHORT]) == 0
    text = capsys.readouterr().out
    assert "tiny, 1 thread\n" in text and "tiny, 2 threads\n" in text and "pixels to keypoints" in text
    assert "LiteRT: not available: reads .tflite, and no such file was given (--model)" in text
    assert "1 thread: " in text and "times as fast as the best peer: tiny " in text
    rows = json.loads(out.read_text())["comparisons"]
    assert [row["threads"] for row in rows] == [1, 2]
    for row in rows:
        assert {peer["contestant"]["runtime"] for peer in row["peers"]} == {"onnxruntime", "openvino"}
        assert all(peer["difference"] < 1e-5 for peer in row["peers"])


def test_bench__thread_sweep__ours_alone(fake_bundle: FakeBundle, monkeypatch, capsys):
    monkeypatch.setattr("tvmpose.benchmark.sweep.usable_cpus", lambda: 1)
    assert main(["bench", str(fake_bundle()), "--sweep-threads", *SHORT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["fake", "threads", "1", "2"]
    assert "best: " in lines[-2]


def test_bench__emulate__table_ratio_and_json(fake_bundle: FakeBundle, tmp_path: Path, monkeypatch, capsys):
    asked, out = [], tmp_path / "out.json"

    def emulate(*arguments):
        asked.append(arguments[:-1])
        return COUNTED

    monkeypatch.setattr("tvmpose.emulation.comparison.emulate", emulate)
    bundle = fake_bundle()
    assert main(["bench", str(bundle), "--emulate", "--cpu", "max", "--json", str(out)]) == 0
    assert asked == [(bundle, ["litert", "ncnn"], [], None, "max")]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(COUNTED.machine)
    assert lines[-2:] == [*ratio_lines(COUNTED), str(out)]
    (counted,) = json.loads(out.read_text())["emulated"]
    assert counted["ours"]["instructions"] == COUNTED.ours.instructions and counted["machine"]["cpu"] == "cortex-a72"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--emulate", "--sweep-threads"], "--sweep-threads measures time"),
        (["--emulate", "--against", "tensorrt"], "--against tensorrt: there are litert"),
        (["--emulate"], "no virtual board 'host'"),
        (["--cpu", "max"], "--board and --cpu say where to --emulate"),
        (["--against", "tensorrt"], "--against tensorrt: there are litert, onnxruntime, openvino, ncnn"),
        (["--threads", "1,x"], "--threads '1,x': must be whole numbers"),
        (["--frame", "1280"], "'1280' is not a frame's size"),
        (["--rounds", "0"], "--rounds 0"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--model", "nowhere.onnx"], "--model nowhere.onnx: no such file"),
    ],
)
def test_bench__wrong_option__one_line(fake_bundle: FakeBundle, arguments, message, capsys):
    assert main(["bench", str(fake_bundle()), *arguments]) == 3
    assert message in capsys.readouterr().err


def test_bench__no_bundle__one_line(tmp_path: Path, capsys):
    assert main(["bench", str(tmp_path)]) == 3
    assert "not a bundle" in capsys.readouterr().err
