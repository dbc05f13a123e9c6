from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_eval import InputError, auroc, confidence, fpr_at, open_set, reject_unseen

# Few different values, so that ties are frequent.
SCORES = st.lists(st.integers(0, 8).map(float), min_size=1, max_size=30)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_auroc_by_brute_force(known, unknown):
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in unknown]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs))
    assert auroc(unknown, known) == pytest.approx(1.0 - np.mean(pairs))


@settings(deadline=None)
@given(SCORES, SCORES, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_fpr_by_brute_force(known, unknown, recall):
    share, threshold = fpr_at(known, unknown, recall)
    assert np.mean(np.array(known) >= threshold) >= recall - 1e-9
    above = [t for t in known if t > threshold]
    assert all(np.mean(np.array(known) >= t) < recall for t in above)
    assert share == np.mean(np.array(unknown) >= threshold)


@settings(deadline=None)
@given(SCORES, SCORES)
def test_same_as_scikit_learn(known, unknown):
    metrics = pytest.importorskip("sklearn.metrics", reason="the second opinion")
    truth = [1] * len(known) + [0] * len(unknown)
    scores = [*known, *unknown]
    assert auroc(known, unknown) == pytest.approx(metrics.roc_auc_score(truth, scores))
    fpr, tpr, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert fpr_at(known, unknown)[0] == pytest.approx(fpr[np.argmax(tpr >= 0.95 - 1e-9)])


def test_confidences():
    logits = np.array([[3.0, 1.0], [0.0, 0.0]])
    assert confidence(logits, "logit").tolist() == [3.0, 0.0]
    assert confidence(logits, "probability") == pytest.approx([1 / (1 + np.exp(-2.0)), 0.5])
    assert confidence(logits, "energy") == pytest.approx(np.log(np.exp(logits).sum(1)))
    with pytest.raises(InputError, match="allowed: probability"):
        confidence(logits, "mood")


def test_intervals(rng):
    known, unknown = rng.normal(1.0, 1.0, 60), rng.normal(0.0, 1.0, 40)
    found = open_set(known, unknown, rng=rng, samples=200)
    assert found.auroc_interval.low <= found.auroc <= found.auroc_interval.high
    assert found.fpr_interval.low <= found.fpr <= found.fpr_interval.high
    assert (found.n_known, found.n_unknown) == (60, 40)
    groups = [f"g{i // 20}" for i in range(100)]
    assert open_set(known, unknown, groups=groups, rng=rng, samples=200).auroc == found.auroc


def test_unseen_classes_of_predictions(make_predictions, rng):
    predictions = make_predictions(strength=5.0, unseen=(3, 4))
    found = reject_unseen(predictions, rng=rng, samples=100)
    assert found.auroc > 0.9
    assert (found.n_known, found.n_unknown) == (36, 24)
    # The scores of unseen classes are never looked at.
    logits = predictions.logits.copy()
    logits[:, [3, 4]] = 99.0
    same = reject_unseen(make_predictions(logits=logits, unseen=(3, 4)), rng=rng, samples=100)
    assert same.auroc == found.auroc


def test_what_cannot_be_rejected(make_predictions, rng):
    with pytest.raises(InputError, match="no unseen classes"):
        reject_unseen(make_predictions(), rng=rng)
    with pytest.raises(InputError, match="fewer than two seen"):
        reject_unseen(make_predictions(unseen=(1, 2, 3, 4)), rng=rng)
    with pytest.raises(InputError, match="no samples of unseen"):
        reject_unseen(make_predictions(labels=np.zeros(60, int), unseen=(3, 4)), rng=rng)
    with pytest.raises(InputError, match="recall"):
        fpr_at([1.0], [1.0], 0.0)
    with pytest.raises(InputError, match="known"):
        auroc([], [1.0])
