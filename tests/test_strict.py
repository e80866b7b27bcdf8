"""A faulty table is refused with the name of what is wrong."""

from dataclasses import dataclass
from typing import Literal

import pytest

from tvmpose.errors import InputError
from tvmpose.strict import build, read_toml


@dataclass(frozen=True)
class Circle:
    kind: Literal["circle"]
    radius: float


@dataclass(frozen=True)
class Square:
    kind: Literal["square"]
    side: int


@dataclass(frozen=True)
class Drawing:
    title: str
    shapes: tuple[Circle | Square, ...]
    origin: tuple[float, float] = (0.0, 0.0)
    colour: Literal["red", "blue"] | None = None

    def __post_init__(self) -> None:
        if not self.title:
            raise ValueError("an empty title")


GOOD = {"title": "t", "shapes": [{"kind": "circle", "radius": 2}, {"kind": "square", "side": 3}]}


def test_build__every_kind_of_field__frozen_dataclasses() -> None:
    drawing = build(Drawing, GOOD | {"origin": [1, 2.5], "colour": "red"}, "d.toml")
    assert drawing == Drawing("t", (Circle("circle", 2.0), Square("square", 3)), (1.0, 2.5), "red")
    assert isinstance(drawing.shapes[0], Circle) and type(drawing.shapes[0].radius) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "d.toml: unknown key 'titel'; known: title, shapes, origin, colour"),
        ({"title": 3}, "d.toml: title must be of type str, not 3"),
        ({"title": ""}, "d.toml: an empty title"),
        ({"colour": "green"}, "d.toml: colour must be one of 'red', 'blue', not 'green'"),
        ({"origin": [1]}, "d.toml: origin must have 2 entries, not 1"),
        ({"origin": 1}, "d.toml: origin must be an array, not 1"),
        ({"origin": [1, True]}, "d.toml: origin[1] must be of type float, not True"),
        ({"shapes": [{"kind": "star"}]}, "d.toml: shapes[0]: kind must be one of 'circle', 'square', not 'star'"),
        ({"shapes": [{"kind": "square"}]}, "d.toml: shapes[0]: key 'side' is missing"),
        ({"shapes": [{"kind": "square", "side": True}]}, "d.toml: shapes[0]: side must be of type int, not True"),
        ({"shapes": ["circle"]}, "d.toml: shapes[0]: kind must be one of 'circle', 'square', not None"),
    ],
)
def test_build__faulty_table__names_the_fault(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build(Drawing, GOOD | change, "d.toml")
    assert str(caught.value) == message


def test_build__missing_key__names_it() -> None:
    with pytest.raises(InputError, match=r"^d\.toml: key 'shapes' is missing$"):
        build(Drawing, {"title": "t"}, "d.toml")


def test_build__given_field_in_table__refused() -> None:
    with pytest.raises(InputError, match="unknown key 'title'"):
        build(Drawing, GOOD, "d.toml", title="given")


@pytest.mark.parametrize("text", [b"title = ", b"\xff\xfe"])
def test_read_toml__not_toml__names_the_file(tmp_path, text: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"^bad\.toml: not a readable TOML file: "):
        read_toml(path)
