"""TOML tables into frozen dataclasses, every surprise named: what is unknown, missing or of a wrong type.

The dataclass is the schema. A field may be a str, an int, a float, a Literal of strings, a fixed or open tuple of
these, another dataclass, ``X | None``, or a union of dataclasses told apart by their ``kind``.
"""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tvmpose.errors import InputError
from tvmpose.extras import require

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; raises InputError naming the file where it is not one."""
    toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli", extra="compiler")
    try:
        return dict(toml.loads(path.read_text(encoding="utf-8")))
    except (ValueError, OSError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{path.name}: not a readable TOML file: {error}") from error


def build(cls: type[T], table: object, where: str, **given: object) -> T:
    """Make a ``cls`` out of ``table``.

    ``where`` begins every message ("movenet.toml: input"). ``given`` fields come from the caller, not from the table.
    Raises InputError; a ValueError out of ``__post_init__`` becomes one.
    """
    if not isinstance(table, Mapping):
        raise InputError(f"{where} must be a table, not {table!r}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in given}  # type: ignore[arg-type]
    _check_keys(table, fields, where)
    types = get_type_hints(cls)
    values = {key: _convert(types[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return cls(**values, **given)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def _check_keys(table: Mapping[str, object], fields: Mapping[str, "dataclasses.Field[Any]"], where: str) -> None:
    for key in table:
        if key not in fields:
            raise InputError(f"{where}: unknown key {key!r}; known: {', '.join(fields)}")
    for name, field in fields.items():
        if name not in table and field.default is dataclasses.MISSING:
            raise InputError(f"{where}: key {name!r} is missing")


def _convert(hint: Any, value: object, where: str) -> object:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _convert_union(tuple(arm for arm in args if arm is not NoneType), value, where)
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if origin is Literal:
        if value not in args:
            raise InputError(f"{where} must be one of {', '.join(map(repr, args))}, not {value!r}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:  # not isinstance: true is no number here
        raise InputError(f"{where} must be of type {hint.__name__}, not {value!r}")
    return value


def _convert_union(arms: tuple[Any, ...], value: object, where: str) -> object:
    if len(arms) == 1:
        return _convert(arms[0], value, where)
    by_kind = {kind: arm for arm in arms for kind in get_args(get_type_hints(arm)["kind"])}
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind not in by_kind:
        raise InputError(f"{where}: kind must be one of {', '.join(map(repr, by_kind))}, not {kind!r}")
    return build(by_kind[kind], value, where)


def _convert_tuple(args: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise InputError(f"{where} must be an array, not {value!r}")
    if args[-1] is Ellipsis:
        args = args[:1] * len(value)
    if len(value) != len(args):
        raise InputError(f"{where} must have {len(args)} entries, not {len(value)}")
    entries = enumerate(zip(args, value, strict=True))
    return tuple(_convert(hint, entry, f"{where}[{i}]") for i, (hint, entry) in entries)
