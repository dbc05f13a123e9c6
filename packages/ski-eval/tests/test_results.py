from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_eval import (
    ExistingOutputError,
    InputError,
    Interval,
    MissingFileError,
    content_hash,
    read_card,
    read_cards,
    write_card,
)
from ski_eval.results import SCHEMA, card_json, card_schema, plain

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def test_card_round_trip(tmp_path, make_card):
    card = make_card()
    path = write_card(card, tmp_path / "results")
    assert path == tmp_path / "results" / "ski-vifi-clip-unseen-top-1.json"
    assert read_card(path) == card
    content = json.loads(path.read_text())
    assert content["schema"] == "ski-eval/result-card/1"
    assert content["config_hash"] == card.config_hash == content_hash(card.config)


def test_undefined_value_and_absent_parts_round_trip(tmp_path, make_card):
    card = make_card(value=None, interval=None, data_hash=None, wall_time_s=None, config={})
    assert read_card(write_card(card, tmp_path / "card.json")) == card


def test_writing_again_is_quiet_and_changing_is_not(tmp_path, make_card):
    path = write_card(make_card(), tmp_path / "card.json")
    write_card(make_card(), path)
    with pytest.raises(ExistingOutputError, match="exists with other content"):
        write_card(make_card(value=0.75), path)
    assert read_card(path).value == 0.8
    write_card(make_card(value=0.75), path, overwrite=True)
    assert read_card(path).value == 0.75


def test_numpy_values_and_paths_are_stored(tmp_path, make_card):
    config = {"lr": np.float32(0.5), "folder": Path("a") / "b", "ids": (1, np.int64(2))}
    card = make_card(value=np.float64(0.8), seeds=(np.int64(3),), config=config)
    again = read_card(write_card(card, tmp_path / "card.json"))
    assert again.config == {"lr": 0.5, "folder": "a/b", "ids": [1, 2]}
    assert again.seeds == (3,)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"value": 80.0}, "not percent"),
        ({"value": float("nan")}, "finite number"),
        ({"value": True}, "finite number"),
        ({"paper_value": 82.2}, "not percent"),
        ({"n": 0}, "n is 0"),
        ({"n_classes": 1}, "n_classes is 1"),
        ({"method": " "}, "method is ' '"),
        ({"name": "!!"}, "letter or digit"),
        ({"unit": "percent"}, "allowed: fraction, score"),
        ({"seeds": ("a",)}, "seeds is"),
        ({"notes": "text"}, "notes is"),
        ({"data_hash": "abc"}, "64 hexadecimal"),
        ({"config": [1]}, "config is not a mapping"),
        ({"config": {"f": print}}, "cannot be stored"),
        ({"config": {1: 2}}, "key 1 is not text"),
        ({"config": {"a": [float("inf")]}}, "cannot be stored"),
        ({"comparable_to_paper": True}, "without a paper_value"),
        ({"comparable_to_paper": 1}, "expected true or false"),
        ({"wall_time_s": -1.0}, "wall_time_s is -1.0"),
        ({"interval": (0.1, 0.9)}, "expected an Interval"),
        ({"value": 0.95}, "does not hold the value 0.95"),
    ],
)
def test_bad_cards_are_refused(make_card, changes, text):
    with pytest.raises(InputError, match=text):
        make_card(**changes)


def test_all_problems_are_told_at_once(make_card):
    with pytest.raises(InputError, match=r"n is 0.*n_classes is 1"):
        make_card(n=0, n_classes=1)


def test_scores_may_pass_one(make_card):
    card = make_card(unit="score", value=113.2, interval=Interval(110, 116, 0.95, "bootstrap"))
    assert card.value == 113.2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.update(schema="ski-eval/result-card/9"), "version '9', this ski-eval"),
        (lambda c: c.pop("schema"), "not a result card"),
        (lambda c: c.update(extra=1), r"unknown fields \['extra'\]"),
        (lambda c: c.pop("value"), r"missing fields \['value'\]"),
        (lambda c: c.update(value="high"), "finite number"),
        (lambda c: c["config"].update(lr=1), "does not match config_hash"),
        (lambda c: c["interval"].pop("low"), "interval: fields"),
        (lambda c: c["interval"].update(low="a"), "must be numbers"),
        (lambda c: c["interval"].update(method=3), "must be text"),
        (lambda c: c["interval"].update(low=0.95), "low <= high"),
        (lambda c: c.update(notes="x"), "notes is"),
        (lambda c: c.update(environment=None), "environment is not a mapping"),
        (lambda c: c.update(seeds=7), "seeds is 7"),
    ],
)
def test_edited_files_are_refused(tmp_path, make_card, change, text):
    content = json.loads(card_json(make_card()))
    change(content)
    path = tmp_path / "card.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=text) as caught:
        read_card(path)
    assert str(path) in str(caught.value)


def test_a_list_is_no_card(tmp_path):
    (tmp_path / "x.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="schema 'list'"):
        read_card(tmp_path / "x.json")


def test_cards_of_a_folder(tmp_path, make_card):
    write_card(make_card(name="b"), tmp_path / "deep" / "er")
    write_card(make_card(name="a"), tmp_path)
    (tmp_path / "meta.json").write_text('{"schema": 3}')
    assert [card.name for _, card in read_cards(tmp_path)] == ["a", "b"]
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match=r"broken\.json"):
        read_cards(tmp_path)


def test_folder_without_cards(tmp_path):
    with pytest.raises(MissingFileError, match="no result cards"):
        read_cards(tmp_path)
    with pytest.raises(MissingFileError, match="no such folder"):
        read_cards(tmp_path / "none")


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_hash_ignores_order_and_survives_json(content):
    turned = dict(reversed(content.items()))
    assert content_hash(content) == content_hash(turned)
    assert content_hash(json.loads(json.dumps(content))) == content_hash(content)


def test_hash_tells_values_apart():
    assert len({content_hash(v) for v in ({"a": 1}, {"a": 2}, {"b": 1}, ["a", 1], "a", None)}) == 6
    assert content_hash({"a": (1, 2)}) == content_hash({"a": [1, 2]})
    # A fixed answer: hashes of published cards must not change between versions.
    expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert content_hash({"a": 1}) == expected


def test_plain_names_the_place():
    @dataclasses.dataclass
    class Odd:
        inner: object

    with pytest.raises(InputError, match=r"value\.inner\[1\]: set cannot be stored"):
        plain(Odd([1, {2}]))


def test_shipped_schema_has_the_fields_of_a_card(make_card):
    schema, content = card_schema(), json.loads(card_json(make_card()))
    assert list(schema["properties"]) == list(content)
    assert schema["required"] == list(content)
    assert schema["properties"]["schema"]["const"] == SCHEMA


def test_shipped_schema_accepts_cards_and_refuses_others(make_card):
    jsonschema = pytest.importorskip("jsonschema", reason="checks the schema; not installed")
    schema = card_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for changes in ({}, {"value": None, "interval": None}, {"unit": "score", "value": 0.8}):
        jsonschema.validate(json.loads(card_json(make_card(**changes))), schema)
    for change in ({"value": 80}, {"n": 0}, {"extra": 1}, {"seeds": ["a"]}, {"data_hash": "x"}):
        content = {**json.loads(card_json(make_card())), **change}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, schema)
