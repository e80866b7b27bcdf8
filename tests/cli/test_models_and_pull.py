"""The two verbs that need no compiler."""

from pathlib import Path

import pytest

from tvmpose.cards import list_cards
from tvmpose.cli.main import main


def test_models__table__a_line_for_every_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "task", "input", "skeleton", "source", "licence"]
    assert [line.split()[0] for line in lines[1 : len(list_cards()) + 1]] == [card.name for card in list_cards()]
    assert lines[-1] == "sample photos: astronaut"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "given.tflite"
    path.write_bytes(b"not the model")
    return path


def _pull(file: Path, *arguments: str) -> int:
    return main(["pull", *arguments, "--from", str(file), "--cache", str(file.parent / "cache")])


def test_pull__card_without_hash__asks_for_trust_then_prints_only_the_path(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _pull(file, "movenet-lightning") == 5
    out, err = capsys.readouterr()
    assert out == "" and "13 bytes, sha256 " in err and err.endswith("again with --trust\n")
    assert _pull(file, "movenet-lightning", "--trust") == 0
    assert capsys.readouterr() == (f"{file.parent / 'cache' / 'movenet-lightning.tflite'}\n", "")


@pytest.mark.parametrize("name", ["blazepose-lite", "astronaut"])
def test_pull__wrong_file__exit_5_and_nothing_stored(file: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _pull(file, name, "--trust") == 5
    assert capsys.readouterr().err.startswith(f"tvmpose: error: {name}: not the expected file")
    assert list((file.parent / "cache").iterdir()) == []


def test_pull__unknown_name__exit_3(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _pull(file, "blazepose") == 3
    assert "did you mean" in capsys.readouterr().err
