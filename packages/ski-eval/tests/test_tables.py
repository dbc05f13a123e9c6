from __future__ import annotations

import pytest

from ski_eval import (
    InputError,
    Interval,
    accuracy_table,
    format_interval,
    format_value,
    markdown_table,
)


def test_values_and_intervals_as_text():
    interval = Interval(0.7, 0.9, 0.95, "bootstrap")
    assert format_value(0.8125) == "81.2"
    assert format_value(113.249, "score") == "113.2"
    assert format_value(None) == "undefined"
    assert format_interval(0.8125, interval) == "81.2 [70.0, 90.0]"
    assert format_interval(0.8125) == "81.2"
    assert format_interval(None, interval) == "undefined"


def test_markdown_is_aligned_and_escaped():
    text = markdown_table(("Method", "a|b"), [("x\ny", 1.5), ("long name", "z")])
    assert text.splitlines() == [
        "| Method    | a\\|b |",
        "| --------- | ---: |",
        "| x y       |  1.5 |",
        "| long name |    z |",
    ]
    with pytest.raises(InputError, match="row 1 has 1 cells for 2 headers"):
        markdown_table(("a", "b"), [("x",)])
    with pytest.raises(InputError, match="no headers"):
        markdown_table((), [])


def test_accuracy_table(make_card):
    cards = [
        make_card(method="CLIP", value=0.75),
        make_card(method="SKI"),
        make_card(method="SKI", metric="H", value=0.72),
    ]
    made = accuracy_table(cards)
    assert made.headers == ("Method", "top-1 %", "H %")
    assert made.rows == (
        ("chance", "20.0", ""),
        ("CLIP", "75.0 [70.0, 90.0]", ""),
        ("SKI", "80.0 [70.0, 90.0]", "72.0 [70.0, 90.0]"),
    )
    assert "adl-mini" in made.notes[0]
    assert "95 % intervals (bootstrap, 15 groups)" in made.notes[1]
    assert made.notes[-1] == "made up"
    assert made.markdown().startswith("| Method |")
    assert "- made up" in made.markdown()


def test_columns_by_protocol_and_published_figures(make_card):
    cards = [
        make_card(method="SKI", paper_value=0.822),
        make_card(method="SKI", protocol="closed set", n_classes=20, value=0.9),
    ]
    made = accuracy_table(cards)
    assert made.headers == (
        "Method",
        "zero-shot, top-1 %",
        "zero-shot, top-1, published",
        "closed set, top-1 %",
    )
    assert made.rows[0] == ("chance", "20.0", "", "5.0")
    assert made.rows[1] == ("SKI", "80.0 [70.0, 90.0]", "(82.2)", "90.0 [70.0, 90.0]")
    assert any("in parentheses" in note for note in made.notes)
    alike = accuracy_table([make_card(paper_value=0.822, comparable_to_paper=True)])
    assert alike.rows[1][2] == "82.2"


def test_undefined_and_scores(make_card):
    made = accuracy_table(
        [
            make_card(metric="top-5", value=None, interval=None),
            make_card(metric="CIDEr", unit="score", value=113.2, interval=None, n_classes=None),
        ]
    )
    assert made.headers == ("Method", "top-5 %", "CIDEr")
    assert made.rows == (("SKI-ViFi-CLIP", "undefined", "113.2"),)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "are for one cell"),
        ({"method": "b", "split_hash": "c" * 64}, "differ in split_hash"),
        ({"method": "b", "data_hash": None}, "differ in data_hash"),
        ({"method": "b", "n_classes": 12}, "differ in n_classes"),
    ],
)
def test_what_must_not_stand_in_one_column(make_card, changes, text):
    with pytest.raises(InputError, match=text):
        accuracy_table([make_card(), make_card(**changes)])
    with pytest.raises(InputError, match="no result cards"):
        accuracy_table([])
