"""Frozen dataclasses to plain values and back, strictly: an unknown key is an error."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from ski_data.errors import ExistingOutputError, InputError, SkiDataError
from ski_data.text import read_text

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as dictionaries, lists and strings, ready for JSON or YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(cls: type[T], plain: Mapping[str, Any], where: str) -> T:
    """Build dataclass ``cls`` from plain values; ``where`` names the source in errors.

    Raises:
        InputError: unknown or missing keys, a value of the wrong type, or a value that the
            dataclass itself refuses.

    A field may be one of several dataclasses that each have a field ``kind`` of one literal; the
    plain value's ``kind`` then names which, and the first one is meant where it names none.
    """
    if not isinstance(plain, Mapping):
        raise InputError(f"{where}: expected settings by name, got {plain!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(plain) - set(fields)))
    if unknown:
        raise InputError(f"{where}: unknown settings {unknown}; known: {sorted(fields)}")
    hints = get_type_hints(cls)
    values = {k: _coerce(hints[k], v, f"{where}: {k}") for k, v in plain.items()}
    missing = [
        name
        for name, f in fields.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where}: settings without a value: {missing}")
    try:
        return cls(**values)
    except (ValueError, SkiDataError) as error:
        if str(error).startswith(where):  # a part within has said where
            raise
        raise InputError(f"{where}: {error}") from error


def read_yaml(path: str | Path) -> Any:
    """Content of a YAML file.

    Raises:
        MissingFileError: no such file.
        InputError: not YAML.
    """
    text = read_text(path)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise InputError(f"{path}: not readable as YAML: {told}") from error


def recipe_command(package: str, copy: str | None) -> None:
    """Print the names of the YAML recipes that come with ``package``, or copy one to start from.

    Args:
        package: import name; its recipes lie in the folder ``recipes``.
        copy: name of a recipe, with or without ``.yaml``; it is written into the current folder.

    Raises:
        InputError: no such recipe; the text lists them.
        ExistingOutputError: the current folder has a file of that name.
    """
    folder = files(package) / "recipes"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".yaml"))
    if copy is None:
        print("\n".join(names))
        return
    name = copy if copy.endswith(".yaml") else f"{copy}.yaml"
    if name not in names:
        raise InputError(f"no recipe {copy!r}; there are {names}")
    if Path(name).exists():
        raise ExistingOutputError(f"{name}: already there; rename or remove it first")
    Path(name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    print(name)


def _coerce(kind: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        tagged = _tagged(args)
        if tagged is not None:
            return _chosen(tagged, value, where)
        last: InputError | None = None
        for option in (a for a in args if a is not type(None)):
            try:
                return _coerce(option, value, where)
            except InputError as error:
                last = error
        assert last is not None
        raise last
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else from_plain(kind, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = args[0] if len(args) == 2 and args[1] is Ellipsis else None
        if inner is None and len(args) != len(value):
            raise InputError(f"{where}: expected {len(args)} values, got {value!r}")
        kinds = [inner] * len(value) if inner is not None else list(args)
        return tuple(_coerce(k, v, where) for k, v in zip(kinds, value, strict=True))
    if origin is Literal:
        if value not in args:
            raise InputError(f"{where}: {value!r} is not one of {list(args)}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is dict and isinstance(value, Mapping):
        return {_coerce(args[0], k, where): _coerce(args[1], v, where) for k, v in value.items()}
    plain = origin or kind
    if plain is Any or (isinstance(plain, type) and isinstance(value, plain)):
        if isinstance(value, bool) and plain is int:
            raise InputError(f"{where}: expected a number, got {value!r}")
        return value
    raise InputError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {value!r}")


def _tagged(options: tuple[Any, ...]) -> dict[str, type] | None:
    """Dataclasses of a union by the values of their ``kind``; None if one of them has none.

    A dataclass says its kind by a field ``kind: Literal["name"] = "name"``.
    """
    found: dict[str, type] = {}
    for option in options:
        if option is type(None):
            continue
        kind = get_type_hints(option).get("kind") if dataclasses.is_dataclass(option) else None
        if get_origin(kind) is not Literal:
            return None
        found |= dict.fromkeys(get_args(kind), option)
    return found


def _chosen(options: Mapping[str, type], value: Any, where: str) -> Any:
    """A value of the dataclass that its ``kind`` names, of the first one if it names none."""
    if isinstance(value, tuple(options.values())):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected settings by name, got {value!r}")
    kind = value.get("kind", next(iter(options)))
    if not isinstance(kind, str) or kind not in options:
        raise InputError(f"{where}: kind {kind!r} is not one of {list(options)}")
    return from_plain(options[kind], value, where)
