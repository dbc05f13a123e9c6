from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_eval import InputError, calibration_error, softmax


def made(seed: int, n: int = 300, k: int = 4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) * 1.5
    logits[np.arange(n), labels] += 1.0
    return logits, labels


def brute(logits, labels, edges):
    """Sum over bins of share times |confidence - accuracy|, answer by answer."""
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for i, (low, high) in enumerate(pairwise(edges)):
        inside = [
            j for j, c in enumerate(confidence) if (low < c or (i == 0 and c == low)) and c <= high
        ]
        if inside:
            gap = np.mean([confidence[j] for j in inside]) - np.mean([right[j] for j in inside])
            total += len(inside) / len(labels) * abs(gap)
    return total


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 20))
def test_equal_width_by_brute_force(seed, bins):
    logits, labels = made(seed, 80)
    found = calibration_error(logits, labels, bins)
    assert found.ece == pytest.approx(brute(logits, labels, np.linspace(0, 1, bins + 1)))
    assert 0.0 <= found.ece <= found.largest + 1e-12 <= 1.0 + 1e-9
    assert sum(line.n for line in found.table) == found.n == 80


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_table_is_scikit_learns(binning, strategy):
    curves = pytest.importorskip("sklearn.calibration", reason="the second opinion")
    logits, labels = made(3)
    confidence = softmax(logits).max(1)
    right = logits.argmax(1) == labels
    accuracy, mean = curves.calibration_curve(right, confidence, n_bins=10, strategy=strategy)
    found = calibration_error(logits, labels, 10, binning)
    assert [line.accuracy for line in found.table] == pytest.approx(accuracy)
    assert [line.confidence for line in found.table] == pytest.approx(mean)


def test_equal_mass_bins_hold_equal_numbers():
    found = calibration_error(*made(1), 10, "mass")
    assert [line.n for line in found.table] == [30] * 10
    # All answers alike: one bin, whatever is asked for.
    logits = np.tile([2.0, 0.0], (20, 1))
    found = calibration_error(logits, np.zeros(20, int), 10, "mass")
    assert [line.n for line in found.table] == [20]
    assert found.ece == pytest.approx(1.0 - softmax(logits)[0, 0])


def test_well_calibrated_scores_have_a_small_error(rng):
    logits = rng.normal(size=(20000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    good = calibration_error(logits, labels)
    assert good.ece < 0.02
    assert calibration_error(5.0 * logits, labels).ece > 0.2


def test_interval(rng):
    logits, labels = made(2)
    groups = [i // 3 for i in range(300)]
    found = calibration_error(logits, labels, groups=groups, rng=rng, samples=200)
    assert found.interval.low <= found.ece <= found.interval.high
    assert found.interval.method == "bootstrap, 100 groups"


def test_bad_settings():
    with pytest.raises(InputError, match="bins"):
        calibration_error(*made(0), 0)
    with pytest.raises(InputError, match="allowed: width, mass"):
        calibration_error(*made(0), 5, "depth")


@settings(deadline=None)
@given(st.integers(0, 20), st.floats(-50, 50))
def test_softmax(seed, shift):
    logits, _ = made(seed, 5)
    assert softmax(logits + shift) == pytest.approx(softmax(logits))
    assert softmax(logits * 1e6).sum(1) == pytest.approx(np.ones(5))
