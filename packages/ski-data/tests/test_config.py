from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.config import from_plain, read_yaml, to_plain
from ski_data.errors import InputError, MissingFileError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (1, "a")


@dataclass(frozen=True)
class Outer:
    name: str
    mode: Literal["a", "b"] = "a"
    limit: int | None = None
    shape: int | tuple[int, int] = 3
    inner: Inner = field(default_factory=Inner)
    names: dict[str, int] = field(default_factory=dict)


@given(
    st.builds(
        Outer,
        name=st.text(),
        mode=st.sampled_from(["a", "b"]),
        limit=st.none() | st.integers(),
        shape=st.integers() | st.tuples(st.integers(), st.integers()),
        inner=st.builds(
            Inner,
            rate=st.floats(allow_nan=False),
            sizes=st.lists(st.integers()).map(tuple),
            pair=st.tuples(st.integers(), st.text()),
        ),
        names=st.dictionaries(st.text(), st.integers()),
    )
)
def test_round_trip(value):
    assert from_plain(Outer, to_plain(value), "here") == value


def test_whole_numbers_are_floats():
    assert from_plain(Inner, {"rate": 1}, "here").rate == 1.0


@pytest.mark.parametrize(
    ("plain", "word"),
    [
        ({"name": "x", "mod": "a"}, r"unknown settings \['mod'\]"),
        ({}, "without a value"),
        ({"name": 3}, "name: expected str"),
        ({"name": "x", "mode": "c"}, "not one of"),
        ({"name": "x", "limit": "many"}, "limit"),
        ({"name": "x", "limit": True}, "limit"),
        ({"name": "x", "inner": {"rat": 1}}, "inner: unknown"),
        ({"name": "x", "inner": {"pair": [1]}}, "expected 2 values"),
        ({"name": "x", "names": {"a": "b"}}, "names"),
        ([], "by name"),
    ],
)
def test_what_does_not_fit_is_named(plain, word):
    with pytest.raises(InputError, match=word):
        from_plain(Outer, plain, "recipe.yaml")


def test_yaml_files(tmp_path):
    with pytest.raises(MissingFileError, match=r"absent\.yaml"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"bad\.yaml"):
        read_yaml(tmp_path / "bad.yaml")
    (tmp_path / "code.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match=r"code\.yaml"):
        read_yaml(tmp_path / "code.yaml")


@dataclass(frozen=True)
class Positive:
    value: int = 1

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"value must be positive, got {self.value}")


@dataclass(frozen=True)
class Holder:
    inner: Positive = field(default_factory=Positive)


def test_what_a_dataclass_refuses_names_the_place_once():
    with pytest.raises(InputError) as caught:
        from_plain(Holder, {"inner": {"value": 0}}, "a.yaml")
    assert str(caught.value) == "a.yaml: inner: value must be positive, got 0"


def test_yaml_errors_are_one_line(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [1\nb: }")
    with pytest.raises(InputError) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'a.yaml'}: ")
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Square:
    side: int = 1
    kind: Literal["square"] = "square"


@dataclass(frozen=True)
class Circle:
    radius: float = 1.0
    kind: Literal["circle", "disc"] = "circle"


@dataclass(frozen=True)
class Drawing:
    shape: Square | Circle = field(default_factory=Circle)
    frame: Square | Circle | None = None


@pytest.mark.parametrize("shape", [Square(2), Circle(0.5), Circle(0.5, "disc")])
def test_kind_names_the_dataclass_of_a_union(shape):
    drawing = Drawing(shape, shape)
    assert to_plain(drawing)["shape"]["kind"] == shape.kind
    assert from_plain(Drawing, to_plain(drawing), "here") == drawing


def test_first_dataclass_of_a_union_needs_no_kind():
    assert from_plain(Drawing, {"shape": {"side": 3}}, "here").shape == Square(3)
    assert from_plain(Drawing, {}, "here") == Drawing()
    assert from_plain(Drawing, {"shape": Circle(2.0)}, "here").shape == Circle(2.0)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ({"sde": 1}, r"shape: unknown settings \['sde'\]; known: \['kind', 'side'\]"),
        ({"kind": "square", "radius": 1}, r"unknown settings \['radius'\]; known: .*'side'"),
        ({"kind": "circle", "side": 1}, r"unknown settings \['side'\]; known: .*'radius'"),
        ({"kind": "oval"}, r"kind 'oval' is not one of \['square', 'circle', 'disc'\]"),
        ({"kind": ["square"]}, "is not one of"),
        (3, "settings by name, got 3"),
    ],
)
def test_what_does_not_fit_is_told_of_the_kind_that_was_named(shape, text):
    with pytest.raises(InputError, match=text):
        from_plain(Drawing, {"shape": shape}, "a.yaml")
