from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ski_eval import (
    InputError,
    Interval,
    bootstrap_interval,
    bootstrap_resamples,
    bootstrap_sums,
    harmonic_mean,
    holm,
    paired_difference,
    seeds_summary,
)
from ski_eval.statistics import t_quantile

hit_lists = st.lists(st.booleans(), min_size=1, max_size=40)


@settings(max_examples=40)
@given(hit_lists, st.integers(1, 5), st.integers(0, 99))
def test_interval_holds_the_estimate(hits, size, seed):
    groups = np.arange(len(hits)) // size
    found = bootstrap_interval(hits, groups, rng=np.random.default_rng(seed), samples=200)
    assert 0.0 <= found.low <= np.mean(hits) + 1e-12
    assert np.mean(hits) - 1e-12 <= found.high <= 1.0


@settings(max_examples=40)
@given(hit_lists, hit_lists, st.integers(0, 99))
def test_difference_is_antisymmetric(a, b, seed):
    n = min(len(a), len(b))
    there = paired_difference(a[:n], b[:n], rng=np.random.default_rng(seed), samples=200)
    back = paired_difference(b[:n], a[:n], rng=np.random.default_rng(seed), samples=200)
    assert there.difference == pytest.approx(-back.difference)
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.p == back.p
    assert 0.0 < there.p <= 1.0


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
    monkeypatch.setattr("ski_eval.statistics._BLOCK", 5000)
    parts = bootstrap_interval(hits, rng=np.random.default_rng(5))
    assert parts == whole


@pytest.mark.parametrize(("a_only", "b_only"), [(0, 0), (1, 0), (9, 2), (30, 45), (400, 300)])
def test_mcnemar_is_the_binomial_test(a_only, b_only, rng):
    a = np.array([1] * a_only + [0] * b_only + [1] * 5, bool)
    b = np.array([0] * a_only + [1] * b_only + [1] * 5, bool)
    found = paired_difference(a, b, rng=rng, samples=100)
    n = a_only + b_only
    expected = stats.binomtest(a_only, n).pvalue if n else 1.0
    assert found.p == pytest.approx(expected)
    assert found.test == "McNemar, exact"


def test_sign_flip_of_single_samples_is_mcnemar(rng):
    a, b = np.arange(14) < 9, (np.arange(14) >= 9) & (np.arange(14) < 11)
    plain = paired_difference(a, b, rng=rng)
    grouped = paired_difference(a, b, np.arange(14), rng=rng)
    assert grouped.test == "sign flip by group, exact"
    assert grouped.p == pytest.approx(plain.p)


def test_verdicts(rng):
    weak, strong = np.arange(90) % 3 == 0, np.ones(90, bool)
    groups = np.arange(90) // 3
    assert paired_difference(strong, weak, groups, rng=rng).verdict == "better"
    assert paired_difference(weak, strong, groups, rng=rng).verdict == "worse"
    same = paired_difference(weak, weak, groups, rng=rng)
    assert (same.verdict, same.p, same.difference) == ("not distinguishable", 1.0, 0.0)
    # Nine of nine clips, but of one performance: one observation proves nothing.
    one = paired_difference(np.ones(9), np.zeros(9), np.zeros(9), rng=rng)
    assert (one.verdict, one.p, one.n_groups) == ("not distinguishable", 1.0, 1)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 29, 100])
def test_t_quantile(level, freedom):
    assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom))


def test_seeds_summary():
    values = [0.70, 0.74, 0.78]
    found = seeds_summary(values)
    expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found.mean, found.sd, found.n) == (pytest.approx(0.74), pytest.approx(0.04), 3)
    assert (found.interval.low, found.interval.high) == pytest.approx(expected)
    single = seeds_summary([0.7])
    assert (single.mean, single.sd, single.interval) == (0.7, None, None)


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
        (lambda r: paired_difference([1, 0], [1], rng=r), "2 of a and 1 of b"),
        (lambda r: seeds_summary(["a"]), "numbers"),
        (lambda r: t_quantile(0.95, 0), "1 or more"),
        (lambda r: Interval(0.5, 0.4, 0.95, "x"), "low <= high"),
        (lambda r: Interval(0.5, float("nan"), 0.95, "x"), "finite"),
    ],
)
def test_bad_input_is_refused(call, text, rng):
    with pytest.raises(InputError, match=text):
        call(rng)


def test_holm_known_table():
    # Holm's procedure by hand: 4 * .01, then 3 * .013, 2 * .02 kept from falling, 1 * .04.
    assert holm([0.02, 0.01, 0.04, 0.013]) == pytest.approx([0.04, 0.04, 0.04, 0.04])
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.02, 0.22, 0.09, 0.001]) == pytest.approx([0.04, 0.06, 0.22, 0.18, 0.005])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    for bad in ([1.5], [-0.1], [float("nan")]):
        with pytest.raises(InputError, match="p:"):
            holm(bad)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_plain_and_bonferroni(p):
    adjusted = np.array(holm(p))
    assert (adjusted >= np.array(p) - 1e-12).all()
    assert (adjusted <= np.minimum(1.0, np.array(p) * len(p)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= -1e-12).all()


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
        8, lambda rows: 0.5 if rare[rows].any() else None, rng=rng, samples=200
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
