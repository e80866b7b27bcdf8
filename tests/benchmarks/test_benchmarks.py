"""The benchmarks run, on settings too small to mean anything, and write what and where they say."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import boards, deployment, measuring, opencl_gate, report, smallest, smoothing, startup
from tests.conftest import FakeBundle
from tvmpose.benchmark import machine
from tvmpose.pose.skeletons import skeleton

ROOT = Path(__file__).parents[2]
MARKED = "before\n<!-- speed: begin -->\nold\n<!-- speed: end -->\nafter\n"

linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="asks Linux")


def test_markdown_table__rows__aligned_to_the_right_but_the_first() -> None:
    table = report.markdown_table(("what", "ms"), [("open", "3"), ("frame", "4")])
    assert table == "| what | ms |\n| --- | ---: |\n| open | 3 |\n| frame | 4 |"


def test_replace_between_marks__twice__keeps_what_is_around(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(MARKED)
    for text in ("new", "newer"):
        report.replace_between_marks(document, "speed", text)
        assert document.read_text() == MARKED.replace("old", text)


@pytest.mark.parametrize("text", ["", "<!-- speed: begin -->", "<!-- speed: end --> <!-- speed: begin -->"])
def test_replace_between_marks__without_both_in_order__leaves_the_file(tmp_path: Path, text: str) -> None:
    document = tmp_path / "README.md"
    document.write_text(text)
    with pytest.raises(ValueError, match="lacks"):
        report.replace_between_marks(document, "speed", "new")
    assert document.read_text() == text


def test_documents__that_the_benchmarks_write__have_the_marks() -> None:
    for document in deployment.DOCUMENTS:
        assert document.read_text().count("<!-- deployment: begin -->\n") == 1
    modules = {"startup": startup, "boards": boards, "smallest": smallest, "smoothing": smoothing}
    for name, module in {**modules, "opencl_gate": opencl_gate}.items():
        assert module.DOCUMENT.read_text().count(f"<!-- {name}: begin -->\n") == 1


def test_smoothing__a_line_that_was_delayed__is_so_late_and_in_c_it_takes_time(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    walk = np.cumsum(random.normal(0, 1, (200, 4, 2)), axis=0)
    assert smoothing.lag(walk[2:], walk[:-2]) == pytest.approx(2, abs=0.06)
    assert smoothing.jitter(np.arange(24.0).reshape(4, 3, 2)) == 0
    assert smoothing.time_in_c(tmp_path, 1, 33) > 0


def test_share_close__joints_where_they_are_annotated_and_elsewhere__all_and_none(data: Path) -> None:
    coco = data / "coco"
    table = json.loads((coco / "person_keypoints_val2017_dev100.json").read_text())
    truth = {tuple(person["bbox"]): np.reshape(person["keypoints"], (-1, 3)) for person in table["annotations"]}
    names = skeleton("coco17").keypoints

    def annotated(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        return truth[tuple(box)]

    share, joints = smallest.share_close(annotated, names, coco)
    assert share == 1 and joints == 2168

    def half_a_box_off(picture: np.ndarray, box: Sequence[float]) -> np.ndarray:
        return annotated(picture, box) + max(box[2:]) / 2

    assert smallest.share_close(half_a_box_off, names, coco) == (0, joints)


@linux
@pytest.mark.parametrize("main", [deployment.main, startup.main])
def test_main__noisy_machine__is_refused(
    main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "LOOK_SECONDS", 0)
    monkeypatch.setattr(machine.Watch, "stop", lambda self: machine.Disturbance(foreign=0.4, stolen=0.0, load=1.0))
    assert main([]) == measuring.TOO_NOISY
    assert "others take 40% of this machine's CPU time" in capsys.readouterr().err


@linux
def test_one_process__bundle__measures_everything(fake_bundle: FakeBundle) -> None:
    program = ROOT / "benchmarks" / "one_process.py"
    command = [sys.executable, str(program), "tvmpose", str(fake_bundle()), "1", "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = json.loads(done.stdout)
    assert set(measured) == set(deployment.FIELDS) and all(value > 0 for value in measured.values())


@linux
def test_one_process__memory__is_not_the_parents() -> None:
    ballast = b"x" * (300 << 20)
    command = [sys.executable, str(ROOT / "benchmarks" / "one_process.py"), "none", "", "1", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["peak_bytes"] < len(ballast)


def test_interleaved__rounds__every_job_once_each_and_the_order_turned() -> None:
    jobs = [("a", "tvmpose", ROOT), ("a", "litert", ROOT)]
    order = [(number, job[1]) for number, job in deployment._interleaved(jobs, 1)]
    assert order == [(0, "litert"), (0, "tvmpose"), (1, "tvmpose"), (1, "litert")]


def test_top_level_ms__importtime__counts_nothing_twice() -> None:
    lines = [
        "import time: self [us] | cumulative | imported package",
        "import time:       100 |        100 |   encodings",
        "import time:       500 |        500 | tvmpose",
        "import time:      1000 |       9000 |   tvmpose.runtime.pose",
        "import time:       500 |       9500 | tvmpose.runtime",
    ]
    assert startup.top_level_ms("\n".join(lines)) == 10


@linux
def test_startup__this_python__writes_json(tmp_path: Path) -> None:
    result = tmp_path / "startup.json"
    assert startup.main(["--noisy", "--repeats", "1", "--python", sys.executable, "--json", str(result)]) == 0
    assert set(json.loads(result.read_text())["milliseconds"]) == {"tvmpose --help", "import tvmpose.runtime"}


@pytest.mark.slow
@linux
def test_deployment__one_model__writes_table_and_json(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra verify")
    (tmp_path / "README.md").write_text(MARKED.replace("speed", "deployment"))
    monkeypatch.setattr(deployment, "DOCUMENTS", (tmp_path / "README.md",))
    monkeypatch.setattr(deployment, "RESULT", tmp_path / "result.json")
    arguments = ["--models", "blazepose-lite", "--rounds", "1", "--frames", "2", "--noisy", "--write"]
    assert deployment.main([*arguments, "--build", str(tmp_path), "--json", str(tmp_path / "build.json")]) == 0
    table = capsys.readouterr().out.strip()
    assert table in (tmp_path / "README.md").read_text()
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [(row["model"], row["runtime"]) for row in rows] == [
        ("blazepose-lite", "tvmpose"),
        ("blazepose-lite", "litert"),
    ]
    assert all(row["frame_ms"] > 0 and row["peak_bytes"] > 0 for row in rows)


def test_list__names__every_benchmark_of_the_folder() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    folder = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def main(" in path.read_text()}
    assert set(done.stdout.split()) == folder - {"__main__", "gpu_measured", "quantize_models"}
