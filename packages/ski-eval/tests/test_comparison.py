from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from ski_eval import InputError, Interval, save_predictions, write_card
from ski_eval.comparison import compare_cards, compare_files


def card_pair(make_card, other, half=0.05):
    def card(value):
        return make_card(value=value, interval=Interval(value - half, value + half, 0.95, "b"))

    return card(0.8), card(other)


def test_cards_as_two_independent_means(make_card):
    a, b = card_pair(make_card, 0.7)
    found = compare_cards(a, b)
    error = np.hypot(0.05, 0.05) / stats.norm.ppf(0.975)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.1 / error))
    assert found.found.interval.low == pytest.approx(0.1 - 1.96 * error, abs=1e-4)
    assert found.verdict == "better"
    assert compare_cards(b, a).verdict == "worse"
    assert compare_cards(*card_pair(make_card, 0.79)).verdict == "not distinguishable"
    assert compare_cards(a, a).p == 1.0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dataset": "other"}, "differ in dataset"),
        ({"metric": "H"}, "differ in metric"),
        ({"n": 44}, "differ in n "),
        ({"split_hash": "c" * 64}, "differ in split_hash"),
        ({"interval": None}, "has no interval; give predictions"),
        ({"value": None, "interval": None}, "has no value; give predictions"),
    ],
)
def test_cards_that_cannot_be_compared(make_card, changes, text):
    with pytest.raises(InputError, match=text):
        compare_cards(make_card(), make_card(**changes))


def test_predictions_and_cards_by_file(tmp_path, make_card, make_predictions, rng):
    good = save_predictions(make_predictions(strength=4.0), tmp_path / "a.npz")
    poor = save_predictions(make_predictions(strength=0.1), tmp_path / "b.npz")
    [found] = compare_files(good, poor, rng=rng)
    assert (found.verdict, found.unit) == ("better", "fraction")
    assert found.a - found.b == pytest.approx(found.found.difference)
    cards = [write_card(c, tmp_path / f"{i}.json") for i, c in enumerate(card_pair(make_card, 0.6))]
    [found] = compare_files(*cards, rng=rng)
    assert "as if of different samples" in found.found.test
    with pytest.raises(InputError, match="give two predictions files"):
        compare_files(good, cards[0], rng=rng)
    other = save_predictions(make_predictions(n=30), tmp_path / "c.npz")
    with pytest.raises(InputError, match=r"a\.npz and .*c\.npz: compare: 30 samples"):
        compare_files(good, other, rng=rng)


def write_scores(path, rows):
    fields = ("name", "question", "metric", "score")
    lines = [json.dumps(dict(zip(fields, row, strict=True))) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_scores_by_clip(tmp_path, rng):
    a = [(f"v{i}", "q", m, 4) for i in range(12) for m in ("detail", "context")]
    b = [(f"v{i}", "q", m, 2 if m == "detail" else 4) for i in range(12) for _, _, m, _ in a[:2]]
    first, second = write_scores(tmp_path / "a.jsonl", a), write_scores(tmp_path / "b.jsonl", b)
    detail, context = compare_files(first, second, rng=rng)
    assert (detail.metric, detail.a, detail.b, detail.verdict) == ("detail", 4.0, 2.0, "better")
    assert detail.p == pytest.approx(2 * detail.found.p)
    assert context.verdict == "not distinguishable"
    # An answer without a score in one of the two is left out of both.
    b[0] = (*b[0][:3], None)
    detail, _ = compare_files(first, write_scores(second, b), rng=rng)
    assert detail.found.n == 11


def test_odd_line_ends_within_texts(tmp_path, rng):
    rows = [(f"v{i}", "line\u2028end\x85", "m", i) for i in range(3)]
    lines = [
        json.dumps({"name": n, "question": q, "metric": m, "score": s}, ensure_ascii=False)
        for n, q, m, s in rows
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    [found] = compare_files(path, path, rng=rng)
    assert found.found.n == 3


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([("v", "q", "m", 1), ("w", "q", "m", 1)], "1 scores are in only one"),
        ([("v", "q", "m", 1), ("v", "q", "m", 1)], "stands there twice"),
        ([("v", "q", "m", "high")], "expected a number or null"),
        ([("v", "q", "m", None)], "no sample has a score for m"),
        ([], "no scores"),
    ],
)
def test_bad_score_files(tmp_path, rng, rows, text):
    good = write_scores(tmp_path / "a.jsonl", [("v", "q", "m", 1)])
    with pytest.raises(InputError, match=text):
        compare_files(good, write_scores(tmp_path / "b.jsonl", rows), rng=rng)
