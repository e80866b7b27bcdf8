"""What the documents tell a reader to type: it compiles, runs, parses, and leads somewhere."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FakeBundle
from tvmpose.cards import load_card
from tvmpose.cli.main import VERBS, _parser
from tvmpose.codegen.bundle import Manifest
from tvmpose.targets import list_targets, load_target, shipped_targets

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic"]


def snippets(document: Path, language: str) -> list[str]:
    """The document's fenced code of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


C_SNIPPETS = [
    pytest.param(text, id=f"{document.stem}-{number}")
    for document in DOCUMENTS
    for number, text in enumerate(snippets(document, "c"))
]
COMMANDS = [
    line
    for document in DOCUMENTS
    for text in snippets(document, "sh")
    for line in text.splitlines()
    if line.startswith("tvmpose ")
]


def build(source: str, folder: Path, *libraries: str) -> Path:
    """Compile a snippet, without a warning, against the bundle that lies in ``folder``."""
    (folder / "snippet.c").write_text(source)
    program = folder / "snippet"
    command = ["cc", *FLAGS, "-Iblazepose-full", "snippet.c", *libraries, "-ldl", "-o", str(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def run(*command: str | Path, cwd: Path, stdin: bytes = b"") -> str:
    """What it prints; its failure is the test's."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, input=stdin, capture_output=True)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


@pytest.mark.parametrize("source", C_SNIPPETS)
def test_c_snippet__beside_a_bundle__compiles_and_runs(
    source: str, fake_bundle: FakeBundle, fake_manifest: Manifest, tmp_path: Path
) -> None:
    (library,) = fake_manifest.libraries
    levels = (replace(library, file="libfake-v9.so", target="host:v9"), library)
    fake_bundle(name="blazepose-full", libraries=levels)
    for name in ("blazepose_full_tvmpose", "blazepose_full_libraries", "libblazepose_full"):
        source = source.replace(name, name.replace("blazepose_full", "fake"))
    library = "blazepose-full/libfake.so"
    program = build(source, tmp_path, library, f"-Wl,-rpath,{tmp_path}/blazepose-full")
    assert run(program, cwd=tmp_path, stdin=bytes(480 * 640 * 3))


def test_readme__python_snippet__prints_every_keypoint(fake_bundle: FakeBundle, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs the extra images")
    fake_bundle(name="blazepose-full")
    cv2.imwrite(str(tmp_path / "astronaut.png"), np.zeros((512, 512, 3), np.uint8))
    (source,) = snippets(ROOT / "README.md", "python")
    printed = run(sys.executable, "-c", source, cwd=tmp_path).splitlines()
    assert [line.split()[:3] for line in printed] == [
        ["left_eye", "20.0", "10.0"],
        ["right_eye", "220.0", "410.0"],
        ["nose", "420.0", "810.0"],
    ]


@pytest.mark.slow
def test_readme__snippets_on_blazepose__find_the_same_nose(tmp_path: Path, data: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs the extra images")
    model = data / "models" / "pose_landmark_full.tflite"
    arguments = ["compile", model, "--card", "blazepose-full", "--no-verify", "--static", "-o", "blazepose-full"]
    picture = next(iter(sorted((data / "coco" / "val2017").glob("*.jpg"))))
    image = cv2.resize(cv2.imread(str(picture)), (640, 480))
    cv2.imwrite(str(tmp_path / "astronaut.png"), image)
    (tmp_path / "blazepose-full.tflite").symlink_to(model)
    arguments[1] = "blazepose-full.tflite"
    run(sys.executable, "-m", "tvmpose", *arguments, cwd=tmp_path)
    (python,) = snippets(ROOT / "README.md", "python")
    python = python.replace(", boxes=[(20, 10, 400, 800)]", "")
    _, *expected = run(sys.executable, "-c", python, cwd=tmp_path).splitlines()[0].split()
    (c,) = snippets(ROOT / "README.md", "c")
    for library in ("libblazepose_full.a", "libblazepose_full.so"):
        program = build(
            c, tmp_path, f"blazepose-full/{library}", "-lm", "-pthread", "-Wl,-rpath,$ORIGIN/blazepose-full"
        )
        assert run(program, cwd=tmp_path, stdin=image[..., ::-1].tobytes()).split() == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_command__as_written__is_accepted_by_the_parser(command: str) -> None:
    assert _parser().parse_args(shlex.split(command, comments=True)[1:]).run


def test_readme__exit_codes__are_those_of_the_errors() -> None:
    from tvmpose import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TvmposeError)]
    stated = re.search(
        r"^Exit codes of `tvmpose`: (.*?)\.$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert stated
    assert {kind.exit_code for kind in kinds} | {0, 2} == {int(code) for code in re.findall(r"\b\d\b", stated[1])}


def test_readme__tflite_operators__are_those_of_the_frontend() -> None:
    pytest.importorskip("tvm", reason="needs the compiler extra")
    from tvmpose.frontend.tflite_operators import OPERATORS

    listed = re.search(r"^TFLite operators:(.*?)\n\n", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert listed and re.findall(r"`(\w+)`", listed[1]) == sorted(OPERATORS)


def test_targets__tables__list_every_target_and_level() -> None:
    rows = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs" / "targets.md").read_text(), re.MULTILINE)
    levels = [variant.name for target in shipped_targets() if target.levels for variant in target.variants]
    assert set(rows) == {*list_targets(), *levels}


def test_adding_a_model__example__is_a_card(tmp_path: Path) -> None:
    document = ROOT / "docs" / "adding-a-model.md"
    (example,) = snippets(document, "toml")
    (tmp_path / "mypose.toml").write_text(example)
    assert load_card(tmp_path / "mypose.toml").keypoints.name == "coco17"


def test_adding_a_model__tables__name_every_field_of_a_card() -> None:
    import dataclasses

    from tvmpose.cards import Accuracy, Card, Crop, Head, Input

    named = set(re.findall(r"`(?:\[+)?(\w+)(?:\]+)?`", (ROOT / "docs" / "adding-a-model.md").read_text()))
    for kind in (Card, Crop, Head, Input, Accuracy):
        assert {field.name for field in dataclasses.fields(kind)} - {"name", "folder", "kept"} <= named, kind


def test_adding_a_device__example__is_a_target(tmp_path: Path) -> None:
    (example,) = snippets(ROOT / "docs" / "adding-a-device.md", "toml")
    (tmp_path / "mine.toml").write_text(example)
    assert [cores.count for cores in load_target(str(tmp_path / "mine.toml")).cores] == [4, 4]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_links__to_files__lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
        assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_file_names__of_the_source__exist(document: Path) -> None:
    for name in re.findall(r"`((?:tvmpose|examples|tests|benchmarks)/[\w/.-]+\.\w+)`", document.read_text()):
        assert (ROOT / name).is_file(), name


def test_verbs__of_the_command__are_all_in_the_documents() -> None:
    assert set(VERBS) <= {command.split()[1] for command in COMMANDS} | set(
        re.findall(r"`tvmpose (\w+)", "".join(document.read_text() for document in DOCUMENTS))
    )
