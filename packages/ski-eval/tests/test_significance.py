from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ski_eval import InputError, holm, paired_difference

hit_lists = st.lists(st.booleans(), min_size=1, max_size=40)


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


def test_one_group_allows_every_difference(rng):
    found = paired_difference([5.0, 3.0], [1.0, 2.0], ["a", "a"], rng=rng)
    assert (found.difference, found.interval.low, found.interval.high) == (2.5, -4.0, 4.0)
    with pytest.raises(InputError, match="2 of a and 1 of b"):
        paired_difference([1, 0], [1], rng=rng)
