from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ski_eval import (
    InputError,
    bootstrap_interval,
    bootstrap_resamples,
    bootstrap_sums,
    harmonic_mean,
)

hit_lists = st.lists(st.booleans(), min_size=1, max_size=40)


@settings(max_examples=40)
@given(hit_lists, st.integers(1, 5), st.integers(0, 99))
def test_interval_holds_the_estimate(hits, size, seed):
    groups = np.arange(len(hits)) // size
    found = bootstrap_interval(hits, groups, rng=np.random.default_rng(seed), samples=200)
    assert 0.0 <= found.low <= np.mean(hits) + 1e-12
    assert np.mean(hits) - 1e-12 <= found.high <= 1.0


def test_interval_is_near_the_normal_one(rng):
    hits = np.arange(400) % 4 > 0
    found = bootstrap_interval(hits, rng=rng)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert found.low == pytest.approx(0.75 - half, abs=0.01)
    assert found.high == pytest.approx(0.75 + half, abs=0.01)
    assert found.method == "bootstrap, 400 samples"


def test_views_of_one_performance_widen_the_interval():
    hits = np.repeat(np.arange(60) % 3 > 0, 3)
    groups = np.repeat(np.arange(60), 3)
    one, many = (bootstrap_interval(hits, g, rng=np.random.default_rng(0)) for g in (None, groups))
    # Three equal views carry the information of one: wider by the root of three.
    ratio = (many.high - many.low) / (one.high - one.low)
    assert ratio == pytest.approx(np.sqrt(3), rel=0.1)
    assert many.method == "bootstrap, 60 groups"


def test_coverage_of_clustered_intervals():
    generator, held = np.random.default_rng(3), 0
    for _ in range(150):
        chance = generator.beta(2, 2, size=40)
        hits = generator.random((40, 3)) < chance[:, None]
        groups = np.repeat(np.arange(40), 3)
        found = bootstrap_interval(hits.ravel(), groups, rng=generator, samples=300)
        held += found.low <= 0.5 <= found.high
    assert 130 <= held <= 150


@pytest.mark.parametrize("right", [True, False])
def test_all_alike_gives_the_exact_bound(right, rng):
    found = bootstrap_interval([right] * 12, rng=rng)
    exact = stats.binomtest(12 if right else 0, 12).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.method == "exact binomial, 12 samples"


def test_mean_class_and_harmonic_statistics(rng):
    hits = np.array([1] * 80 + [0] * 20 + [1] * 2 + [0] * 8, bool)
    classes = np.array([0] * 100 + [1] * 10)
    macro = bootstrap_interval(hits, rng=rng, strata=classes)
    assert macro.low < 0.5 < macro.high
    h = bootstrap_interval(hits, rng=rng, strata=classes, combine="harmonic")
    assert h.low < harmonic_mean(0.8, 0.2) < h.high < 0.8
    assert h.low >= 0.0
    with pytest.raises(InputError, match="allowed: mean, harmonic"):
        bootstrap_interval(hits, rng=rng, combine="median")


def test_same_seed_same_interval():
    hits = np.arange(50) % 3 == 0
    first, again = (bootstrap_interval(hits, rng=np.random.default_rng(1)) for _ in range(2))
    assert first == again


def test_large_sets_are_resampled_in_blocks(monkeypatch, rng):
    hits = np.arange(500) % 2 == 0
    whole = bootstrap_interval(hits, rng=np.random.default_rng(5))
    monkeypatch.setattr("ski_eval.bootstrap.BLOCK", 5000)
    parts = bootstrap_interval(hits, rng=np.random.default_rng(5))
    assert parts == whole


def test_bootstrap_sums_is_the_bootstrap_of_a_mean(rng):
    hits = rng.random(60) < 0.7
    groups = np.arange(60) // 3
    table = np.stack([hits, np.ones(60)], axis=1)
    found = bootstrap_sums(
        table, lambda s: s[:, 0] / s[:, 1], groups, rng=np.random.default_rng(1), samples=500
    )
    assert found == bootstrap_interval(hits, groups, rng=np.random.default_rng(1), samples=500)


def test_bootstrap_resamples_is_the_bootstrap_of_a_mean(rng):
    hits = rng.random(60) < 0.7
    groups = [f"g{i % 20}" for i in range(60)]
    found = bootstrap_resamples(
        60, lambda rows: float(hits[rows].mean()), groups, rng=np.random.default_rng(1), samples=500
    )
    expected = bootstrap_interval(hits, groups, rng=np.random.default_rng(1), samples=500)
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)


def test_bootstrap_resamples_counts_undefined_draws(rng):
    rare = np.arange(8) < 2
    found = bootstrap_resamples(
        8, lambda rows: float(rare[rows].mean()) or None, rng=rng, samples=200
    )
    assert "undefined draws left out" in found.method
    with pytest.raises(InputError, match="undefined on these samples"):
        bootstrap_resamples(8, lambda rows: None, rng=rng)
    with pytest.raises(InputError, match="resamples"):
        bootstrap_resamples(
            8, lambda rows: 1.0 if len(set(rows.tolist())) == 8 else None, rng=rng, samples=200
        )
    with pytest.raises(InputError, match="table"):
        bootstrap_sums(np.zeros((0, 2)), lambda s: s[:, 0], rng=rng)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda r: bootstrap_interval([], rng=r), "one or more"),
        (lambda r: bootstrap_interval([[1, 0]], rng=r), "shape"),
        (lambda r: bootstrap_interval([1, 2], rng=r), "outside 0..1"),
        (lambda r: bootstrap_interval([1.0, np.nan], rng=r), "NaN"),
        (lambda r: bootstrap_interval([1, 0], ["a"], rng=r), "1 names for 2 samples"),
        (lambda r: bootstrap_interval([1, 0], rng=r, level=95), "between 0 and 1"),
        (lambda r: bootstrap_interval([1, 0], rng=r, samples=5), "100 or more"),
    ],
)
def test_bad_input_is_refused(call, text, rng):
    with pytest.raises(InputError, match=text):
        call(rng)


def test_one_group_is_never_certain(rng):
    hits, one = np.arange(8) % 4 > 0, np.zeros(8)
    found = bootstrap_interval(hits, one, rng=rng)
    assert (found.low, found.high, found.method) == (0.0, 1.0, "none, as all is of 1 group")
    table = np.stack([hits, np.ones(8)], axis=1)
    assert bootstrap_sums(table, lambda s: s[:, 0] / s[:, 1], one, rng=rng) is None
    assert bootstrap_resamples(8, lambda rows: float(hits[rows].mean()), one, rng=rng) is None


def test_alike_groups(rng):
    # Two cameras, of which one never sees it: each performance is half right.
    found = bootstrap_interval([1, 0] * 10, np.repeat(np.arange(10), 2), rng=rng)
    assert (found.low, found.high) == (0.5, 0.5)
