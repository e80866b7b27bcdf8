"""The file of choices: written, read, refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from tvmpose.errors import InputError
from tvmpose.qdq import per_tensor
from tvmpose.quantize.choices import Choices, Equalization, read_choices, write_choices

CHOICES = Choices(
    source_sha256="ab" * 32,
    recipe="balanced",
    bytes={"a": per_tensor(0.1, -3, "int8"), "b": per_tensor(1 / 3, 127, "int8")},
    wide={"b": per_tensor(1e-5, 0, "int16")},
    float_layers=("c",),
    corrections={"a": np.array([0.1, -1e-9], "float32")},
    equalizations=(Equalization(("a", "b"), np.array([1.0, 1 / 3], "float32")),),
    pictures=64,
    least_error_weights=True,
)


def test_read_choices__as_written__every_bit_the_same(tmp_path: Path):
    write_choices(CHOICES, tmp_path / "net.quant.json")
    found = read_choices(tmp_path / "net.quant.json")
    write_choices(found, tmp_path / "again.quant.json")
    assert (tmp_path / "again.quant.json").read_bytes() == (tmp_path / "net.quant.json").read_bytes()
    assert found.bytes["b"].scale == np.float32(1 / 3) and found.bytes["b"].zero_point == 127
    assert found.wide["b"].dtype == "int16" and found.float_layers == ("c",)
    np.testing.assert_array_equal(found.corrections["a"], CHOICES.corrections["a"])
    np.testing.assert_array_equal(found.equalizations[0].factors, CHOICES.equalizations[0].factors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.update(format_version=2), "of version 2, not 1"),
        (lambda table: table.pop("bytes"), "not a file that `tvmpose quantize` wrote"),
        (lambda table: table.update(wide=[1]), "not a file that `tvmpose quantize` wrote"),
    ],
)
def test_read_choices__another_file__input_error(tmp_path: Path, change, message: str):
    path = tmp_path / "net.quant.json"
    write_choices(CHOICES, path)
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))
    with pytest.raises(InputError, match=message):
        read_choices(path)


def test_read_choices__no_such_file__input_error(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        read_choices(tmp_path / "missing.quant.json")
