from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from ski_eval import (
    InputError,
    confusion_matrix,
    gzsl,
    harmonic_mean,
    hits,
    mean_class_accuracy,
    per_class_accuracy,
    predicted_classes,
    topk_accuracy,
    zsl,
)
from ski_eval.accuracy import calibrated, check_scores, unseen_part


@st.composite
def scored(draw, min_classes: int = 2):
    n = draw(st.integers(1, 25))
    k = draw(st.integers(min_classes, 8))
    # Few distinct values on purpose: ties are where rules differ.
    logits = draw(hnp.arrays(np.float64, (n, k), elements=st.integers(-3, 3).map(float)))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    return logits, labels


@given(scored(min_classes=3), st.integers(1, 7))
def test_topk_is_that_of_scikit_learn(case, k):
    logits, labels = case
    n_classes = logits.shape[1]
    got = topk_accuracy(logits, labels, k)
    if k >= n_classes:
        assert got is None
        return
    # scikit-learn gives ties to the higher class number, we to the lower: mirror the columns.
    expected = metrics.top_k_accuracy_score(
        n_classes - 1 - labels, logits[:, ::-1], k=k, labels=np.arange(n_classes)
    )
    assert got == pytest.approx(expected)


@given(scored())
def test_top1_is_argmax(case):
    logits, labels = case
    assert (hits(logits, labels) == (predicted_classes(logits) == labels)).all()
    assert (predicted_classes(logits) == np.argmax(logits, axis=1)).all()


@given(scored(), st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(case, random):
    logits, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    k = logits.shape[1]
    assert topk_accuracy(logits[order], labels[order]) == topk_accuracy(logits, labels)
    first = confusion_matrix(predicted_classes(logits), labels, k)
    again = confusion_matrix(predicted_classes(logits[order]), labels[order], k)
    assert (first == again).all()


@given(scored())
def test_more_guesses_never_hurt(case):
    logits, labels = case
    found = [hits(logits, labels, k).sum() for k in range(1, logits.shape[1] + 1)]
    assert found == sorted(found)
    assert found[-1] == len(labels)


@given(scored())
def test_class_figures_are_those_of_scikit_learn(case):
    logits, labels = case
    k = logits.shape[1]
    answer = predicted_classes(logits)
    matrix = confusion_matrix(answer, labels, k)
    assert (matrix == metrics.confusion_matrix(labels, answer, labels=np.arange(k))).all()
    within = per_class_accuracy(answer, labels, k)
    assert (np.isnan(within) == (np.bincount(labels, minlength=k) == 0)).all()
    recall = metrics.recall_score(labels, answer, labels=np.unique(labels), average="macro")
    assert mean_class_accuracy(answer, labels, k) == pytest.approx(recall)


@pytest.mark.parametrize(
    ("logits", "labels", "text"),
    [
        (np.full((2, 3), np.nan), [0, 1], "NaN or infinity"),
        (np.array([[0.0, np.inf]]), [0], "NaN or infinity"),
        (np.zeros((2, 3)), [0, 3], "out of range; allowed: 0 to 2"),
        (np.zeros((2, 3)), [-1, 0], "out of range"),
        (np.zeros((2, 3)), [0.0, 1.0], "whole numbers"),
        (np.zeros((2, 3)), [0], "1 labels for 2 rows"),
        (np.zeros((2, 1)), [0, 0], "at least two"),
        (np.zeros((0, 3)), np.zeros(0, int), "no samples"),
        (np.zeros(3), [0], "shape"),
        (np.array([["a", "b"]]), [0], "numbers"),
    ],
)
def test_bad_scores_are_refused(logits, labels, text):
    with pytest.raises(InputError, match=text):
        topk_accuracy(logits, labels)


def test_k_below_one_is_refused():
    with pytest.raises(InputError, match="allowed: 1 to 3"):
        topk_accuracy(np.eye(3), [0, 1, 2], 0)


def test_half_precision_and_whole_scores_work():
    assert topk_accuracy(np.eye(3, dtype=np.float16), [0, 1, 1]) == pytest.approx(2 / 3)
    assert check_scores(np.eye(3, dtype=np.int8), [0, 1, 1])[0].dtype == np.float64


def test_mean_class_accuracy_without_samples():
    with pytest.raises(InputError, match="no samples"):
        mean_class_accuracy(np.zeros(0, int), np.zeros(0, int), 3)
    with pytest.raises(InputError, match="2 labels for 1 predictions"):
        confusion_matrix([0], [0, 1], 2)


@given(st.floats(0, 1), st.floats(0, 1))
def test_harmonic_mean_lies_between(seen, unseen):
    h = harmonic_mean(seen, unseen)
    assert h == pytest.approx(harmonic_mean(unseen, seen))
    assert min(seen, unseen) - 1e-12 <= h <= min(2 * min(seen, unseen), max(seen, unseen)) + 1e-12
    assert h <= (seen + unseen) / 2 + 1e-12


@pytest.mark.parametrize("value", [-0.1, 1.5, 80.0, float("nan")])
def test_harmonic_mean_refuses_percent(value):
    with pytest.raises(InputError, match="not percent"):
        harmonic_mean(value, 0.5)


def test_zero_shot_takes_unseen_samples_and_candidates_only():
    logits = np.array([[9, 1, 2, 0], [9, 1, 0, 2], [9, 0, 0, 0], [0, 0, 5, 9]], float)
    labels = np.array([2, 3, 0, 2])
    result = zsl(logits, labels, [3, 2])
    # Class 0 scores best everywhere, but is no candidate; sample 2 is of a seen class.
    assert (result.top1, result.n, result.n_classes) == (pytest.approx(2 / 3), 3, 2)
    assert result.mean_class == pytest.approx((0.5 + 1.0) / 2)
    rows, scores, own = unseen_part(logits, labels, [3, 2])
    assert rows.tolist() == [True, True, False, True]
    assert scores.shape == (3, 2)
    assert own.tolist() == [0, 1, 0]


@given(scored(min_classes=4), st.floats(-2, 2))
def test_generalised_figures(case, factor):
    logits, labels = case
    labels = np.concatenate([labels, [0, 3]])
    logits = np.concatenate([logits, np.zeros((2, logits.shape[1]))])
    unseen = [2, 3]
    result = gzsl(logits, labels, unseen, factor)
    rows = np.isin(labels, unseen)
    answer = np.argmax(logits - factor * ~np.isin(np.arange(logits.shape[1]), unseen), axis=1)
    assert result.seen == pytest.approx((answer == labels)[~rows].mean())
    assert result.unseen == pytest.approx((answer == labels)[rows].mean())
    assert result.harmonic == pytest.approx(harmonic_mean(result.seen, result.unseen))
    assert (result.n_seen, result.n_unseen) == ((~rows).sum(), rows.sum())


def test_calibration_trades_seen_for_unseen(rng):
    logits, labels = rng.normal(size=(200, 6)), rng.integers(6, size=200)
    logits[:, :4] += 1.0  # the usual bias towards classes that were trained on
    results = [gzsl(logits, labels, [4, 5], factor) for factor in (0.0, 1.0, 50.0)]
    assert results[0].unseen < results[1].unseen < results[2].unseen
    assert results[0].seen > results[1].seen > results[2].seen == 0.0
    assert results[2].harmonic == 0.0
    assert results[2].unseen == zsl(logits, labels, [4, 5]).top1


@pytest.mark.parametrize(
    ("unseen", "labels", "text"),
    [
        ([2, 2], [0, 2], "listed twice"),
        ([2, 7], [0, 2], "out of range"),
        ([], [0, 2], "no classes"),
        ([2, 3], [0, 1], "no samples of unseen classes"),
        ([2, 3], [2, 3], "no samples of seen classes"),
    ],
)
def test_generalised_protocol_refuses(unseen, labels, text):
    with pytest.raises(InputError, match=text):
        gzsl(np.eye(4)[:2], labels, unseen)


def test_zero_shot_refuses():
    with pytest.raises(InputError, match="at least two"):
        zsl(np.eye(4), [0, 1, 2, 3], [1])
    with pytest.raises(InputError, match="no sample"):
        zsl(np.eye(4)[:2], [0, 1], [2, 3])
    with pytest.raises(InputError, match="finite"):
        calibrated(np.eye(4), [2, 3], float("nan"))
