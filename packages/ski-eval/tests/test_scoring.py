from __future__ import annotations

import numpy as np
import pytest

from ski_eval import InputError, Predictions, compare, gzsl, score, topk_accuracy, zsl


def by_name(found):
    return {(s.protocol, s.metric): s for s in found}


def test_closed_set_scores(make_predictions, rng):
    made = make_predictions(k=8, n=80)
    found = by_name(score(made, rng=rng, samples=200))
    assert list(found) == [("all candidates", m) for m in ("top-1", "top-5", "mean class accuracy")]
    for (_, metric), k in ((("", "top-1"), 1), (("", "top-5"), 5)):
        figure = found["all candidates", metric]
        assert figure.value == topk_accuracy(made.logits, made.labels, k)
        assert figure.interval.low <= figure.value <= figure.interval.high
        assert figure.interval.method == "bootstrap, 27 groups"


def test_top5_of_five_is_undefined(make_predictions, rng):
    figure = score(make_predictions(k=5), rng=rng, samples=200)[1]
    assert (figure.metric, figure.value, figure.interval) == ("top-5", None, None)


@pytest.mark.parametrize("grouped", [True, False])
def test_generalised_scores(make_predictions, rng, grouped):
    changes = {} if grouped else {"groups": None}
    made = make_predictions(k=6, n=90, unseen=(1, 4), **changes)
    found = by_name(score(made, rng=rng, factor=0.5, samples=200))
    narrow = zsl(made.logits, made.labels, (1, 4))
    wide = gzsl(made.logits, made.labels, (1, 4), 0.5)
    assert found["zero-shot", "top-1"].value == narrow.top1
    assert found["zero-shot", "mean class accuracy"].value == pytest.approx(narrow.mean_class)
    for metric, value in (("S", wide.seen), ("U", wide.unseen), ("H", wide.harmonic)):
        figure = found["generalised", metric]
        assert figure.value == value
        assert figure.interval.low <= value <= figure.interval.high
    assert [found["generalised", m].n for m in "SUH"] == [60, 30, 90]


def test_comparison_matches_samples_by_name(make_predictions, rng):
    good, poor = make_predictions(strength=4.0), make_predictions(strength=0.2)
    order = np.random.default_rng(0).permutation(60)
    turned = Predictions(
        tuple(poor.names[i] for i in order),
        poor.labels[order],
        poor.logits[order],
        poor.classes,
        tuple(poor.groups[i] for i in order),
    )
    found = compare(good, turned, rng=rng, samples=300)
    assert found.verdict == "better"
    assert found.difference == pytest.approx(good.correct.mean() - poor.correct.mean())
    assert found.n_groups == 20
    assert compare(turned, good, rng=rng, samples=300).verdict == "worse"
    assert compare(good, good, rng=rng, samples=300).verdict == "not distinguishable"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"names": tuple(f"other {i}" for i in range(60))}, "only one of the two"),
        ({"classes": tuple("abcde")}, "candidate classes"),
        ({"labels": np.zeros(60, np.int64)}, "true classes differ .first: sample 'clip 001'"),
        ({"groups": None}, "groups of the samples differ"),
    ],
)
def test_what_cannot_be_compared(make_predictions, rng, changes, text):
    with pytest.raises(InputError, match=text):
        compare(make_predictions(), make_predictions(**changes), rng=rng)
