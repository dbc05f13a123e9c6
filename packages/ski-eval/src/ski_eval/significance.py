"""Whether one model is better than another: paired tests, and several tests at once.

As in `ski_eval.bootstrap`, ``groups`` names what was drawn independently.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.bootstrap import BLOCK, group_codes, mean_over, percentiles, resampled_means
from ski_eval.errors import InputError
from ski_eval.intervals import Interval, check_level, check_values

Verdict = Literal["better", "worse", "not distinguishable"]

_EXACT_GROUPS = 12  # 2**12 sign patterns are enumerated, more are sampled


@dataclass(frozen=True)
class PairedDifference:
    """Result of `paired_difference`: ``a`` minus ``b``, its interval and p value."""

    difference: float
    interval: Interval
    p: float
    n: int
    n_groups: int
    test: str
    verdict: Verdict


def paired_difference(
    a_correct: ArrayLike,
    b_correct: ArrayLike,
    groups: Sequence[Hashable] | ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 2000,
) -> PairedDifference:
    """Compare two models on the same samples: accuracy of ``a`` minus accuracy of ``b``.

    Without groups the p value is McNemar's exact one (two-sided binomial over the samples where
    just one of the two is right). With groups the differences of whole groups flip their sign at
    random, every pattern for up to 12 groups that differ, else ``samples`` random ones. The verdict
    is "better" or "worse" only when p < 1 - level.

    Raises:
        InputError: inputs of different length, or as in `bootstrap_interval`.
    """
    check_level(level)
    a, b = check_values(a_correct, "a_correct"), check_values(b_correct, "b_correct")
    if a.size != b.size:
        raise InputError(f"paired samples: {a.size} of a and {b.size} of b; expected the same ones")
    delta = a - b
    codes, n_groups = group_codes(groups, delta.size)
    one = np.zeros(delta.size, np.int64)
    draws = mean_over(resampled_means(delta, codes, n_groups, one, samples, rng))
    difference = float(delta.mean())
    method = f"paired bootstrap, {n_groups} {'samples' if groups is None else 'groups'}"
    interval = percentiles(draws, difference, level, method)
    if interval is None:
        # One group tells no spread: all that the values allow.
        width = float(np.ptp(np.concatenate([a, b]))) if n_groups == 1 else 0.0
        low, high = (-width, width) if width else (difference, difference)
        interval = Interval(low, high, level, method)
    if groups is None and np.isin(delta, (-1.0, 0.0, 1.0)).all():
        p, test = _mcnemar(int((delta > 0).sum()), int((delta < 0).sum())), "McNemar, exact"
    else:
        sums = np.bincount(codes, weights=delta, minlength=n_groups)
        p, test = _sign_flip(sums, samples, rng)
    verdict: Verdict = "not distinguishable"
    if p < 1.0 - level and difference != 0.0:
        verdict = "better" if difference > 0.0 else "worse"
    return PairedDifference(difference, interval, p, int(delta.size), n_groups, test, verdict)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values of several tests, in their order (Holm 1979).

    Raises:
        InputError: values outside 0..1.
    """
    if not len(p):
        return []
    values = check_values(p, "p")
    if values.min() < 0.0 or values.max() > 1.0:
        raise InputError("p: values outside 0..1")
    order = np.argsort(values, kind="stable")
    stepped = values[order] * (values.size - np.arange(values.size))
    adjusted = np.empty(values.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted.tolist()


def _mcnemar(a_only: int, b_only: int) -> float:
    n, k = a_only + b_only, min(a_only, b_only)
    total, term = 0, 1
    for i in range(k + 1):
        total += term
        term = term * (n - i) // (i + 1)
    return min(1.0, 2 * total / 2**n)


def _sign_flip(sums: NDArray, samples: int, rng: np.random.Generator) -> tuple[float, str]:
    moved = sums[sums != 0.0]
    observed = abs(moved.sum()) * (1.0 - 1e-12)
    if moved.size <= _EXACT_GROUPS:
        patterns = np.arange(2**moved.size)[:, None] >> np.arange(moved.size) & 1
        flipped = np.abs((1.0 - 2.0 * patterns) @ moved)
        return float((flipped >= observed).mean()), "sign flip by group, exact"
    extreme = 1  # the observed pattern is one of the possible ones
    step = max(1, BLOCK // moved.size)
    for start in range(0, samples, step):
        signs = rng.integers(2, size=(min(step, samples - start), moved.size)) * 2.0 - 1.0
        extreme += int((np.abs(signs @ moved) >= observed).sum())
    return extreme / (samples + 1), f"sign flip by group, {samples} draws"
