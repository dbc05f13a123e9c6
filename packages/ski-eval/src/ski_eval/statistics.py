"""How sure a figure is: bootstrap intervals, paired comparison of two models, several seeds.

Samples are often not independent: the three camera views of one performance, or the clips of one
person, succeed and fail together. ``groups`` names what was drawn independently, and everything
here then resamples whole groups; treating views as independent makes intervals too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.errors import InputError

Verdict = Literal["better", "worse", "not distinguishable"]

_EXACT_GROUPS = 12  # 2**12 sign patterns are enumerated, more are sampled
_BLOCK = 4_000_000  # entries of a resampling table held at once


@dataclass(frozen=True)
class Interval:
    """Range that holds the true value with probability ``level``, and how it was found."""

    low: float
    high: float
    level: float
    method: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise InputError(
                f"interval: {self.low} to {self.high}; expected finite numbers, low <= high"
            )
        _check_level(self.level)


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


@dataclass(frozen=True)
class SeedsSummary:
    """Result of `seeds_summary`; ``sd`` and ``interval`` are None for a single seed."""

    mean: float
    sd: float | None
    interval: Interval | None
    n: int


def bootstrap_interval(
    correct: ArrayLike,
    groups: Sequence[Hashable] | ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    strata: ArrayLike | None = None,
    combine: Literal["mean", "harmonic"] = "mean",
    level: float = 0.95,
    samples: int = 2000,
) -> Interval:
    """Percentile bootstrap interval of an accuracy.

    Args:
        correct: hits ``(N,)``, booleans or values in 0..1.
        groups: ``(N,)`` names of the independent units; None takes every sample as one.
        rng: source of the resamples.
        strata: ``(N,)``; given, the accuracies within the strata are combined to the statistic, a
            stratum that a resample does not meet being left out of it. The true classes give mean
            class accuracy; seen or unseen, with ``combine="harmonic"``, gives H.
        combine: plain or harmonic mean over the strata.
        level: coverage, 0 < level < 1.
        samples: number of resamples.

    When all values are 0 or all are 1 a resample cannot differ, and the exact binomial bound
    (Clopper and Pearson 1934, with the number of groups as trials) is given instead, so that 10 of
    10 is never reported as certain. ``method`` of the result says which it was.

    Raises:
        InputError: wrong shapes, no samples, values outside 0..1, ``samples`` below 100.
    """
    _check_level(level)
    values = _values(correct, "correct")
    if values.min() < 0.0 or values.max() > 1.0:
        raise InputError("correct: values outside 0..1; expected hits or fractions")
    codes, n_groups = _group_codes(groups, values.size)
    units = "samples" if groups is None else "groups"
    edge = values[0]
    if edge in (0.0, 1.0) and (values == edge).all():
        bound = ((1.0 - level) / 2.0) ** (1.0 / n_groups)
        low, high = (0.0, 1.0 - bound) if edge == 0.0 else (bound, 1.0)
        return Interval(low, high, level, f"exact binomial, {n_groups} {units}")
    parts = np.zeros(values.size, np.int64)
    if strata is not None:
        parts, _ = _group_codes(strata, values.size)
    if combine not in ("mean", "harmonic"):
        raise InputError(f"combine: {combine!r}; allowed: mean, harmonic")
    merged = _mean_over if combine == "mean" else _harmonic_over
    draws = merged(_resampled_means(values, codes, n_groups, parts, samples, rng))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    own = [values[parts == part].mean() for part in range(int(parts.max()) + 1)]
    estimate = float(merged(np.array([own]))[0])
    # A very skewed resampling distribution can miss the estimate itself: widen to hold it.
    return Interval(
        max(0.0, min(float(low), estimate)),
        min(1.0, max(float(high), estimate)),
        level,
        f"bootstrap, {n_groups} {units}",
    )


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
    _check_level(level)
    a, b = _values(a_correct, "a_correct"), _values(b_correct, "b_correct")
    if a.size != b.size:
        raise InputError(f"paired samples: {a.size} of a and {b.size} of b; expected the same ones")
    delta = a - b
    codes, n_groups = _group_codes(groups, delta.size)
    one = np.zeros(delta.size, np.int64)
    draws = _mean_over(_resampled_means(delta, codes, n_groups, one, samples, rng))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    difference = float(delta.mean())
    units = "samples" if groups is None else "groups"
    interval = Interval(
        min(float(low), difference),
        max(float(high), difference),
        level,
        f"paired bootstrap, {n_groups} {units}",
    )
    if groups is None and np.isin(delta, (-1.0, 0.0, 1.0)).all():
        p, test = _mcnemar(int((delta > 0).sum()), int((delta < 0).sum())), "McNemar, exact"
    else:
        sums = np.bincount(codes, weights=delta, minlength=n_groups)
        p, test = _sign_flip(sums, samples, rng)
    verdict: Verdict = "not distinguishable"
    if p < 1.0 - level and difference != 0.0:
        verdict = "better" if difference > 0.0 else "worse"
    return PairedDifference(difference, interval, p, int(delta.size), n_groups, test, verdict)


def bootstrap_sums(
    table: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    groups: Sequence[Hashable] | ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 2000,
) -> Interval:
    """Percentile bootstrap interval of a figure that depends on sums over samples only.

    Args:
        table: what each sample adds, ``(N, S)``.
        statistic: from sums ``(B, S)`` to figures ``(B,)``, e.g. corpus BLEU from its counts.
        groups: ``(N,)`` names of the independent units; None takes every sample as one.
        rng: source of the resamples.
        level: coverage.
        samples: number of resamples.

    Raises:
        InputError: a table that is empty or not finite, ``samples`` below 100.
    """
    _check_level(level)
    rows = np.asarray(table, np.float64)
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise InputError(f"table: expected finite numbers of shape (N, S), got {rows.shape}")
    codes, n_groups = _group_codes(groups, len(rows))
    sums = np.stack(
        [np.bincount(codes, weights=column, minlength=n_groups) for column in rows.T], axis=1
    )
    draws = np.concatenate([statistic(w @ sums) for w in group_weights(n_groups, samples, rng)])
    estimate = float(statistic(rows.sum(axis=0, keepdims=True))[0])
    units = "samples" if groups is None else "groups"
    return _percentiles(draws, estimate, level, f"bootstrap, {n_groups} {units}")


def bootstrap_resamples(
    n: int,
    statistic: Callable[[NDArray[np.int64]], float | None],
    groups: Sequence[Hashable] | ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 1000,
) -> Interval:
    """Percentile bootstrap interval of any figure of a set of ``n`` samples, e.g. a ranking's.

    Args:
        n: number of samples.
        statistic: the figure of the samples with the given numbers (repeated as drawn); None where
            that resample leaves it undefined, such resamples are left out and counted in
            ``method``.
        groups: ``(n,)`` names of the independent units; None takes every sample as one.
        rng: source of the resamples.
        level: coverage.
        samples: number of resamples.

    Raises:
        InputError: the figure is undefined on the samples themselves or on most resamples.
    """
    _check_level(level)
    codes, n_groups = _group_codes(groups, n)
    rows = np.arange(n)
    estimate = statistic(rows)
    if estimate is None:
        raise InputError("bootstrap: the figure is undefined on these samples")
    draws = []
    for weights in group_weights(n_groups, samples, rng):
        for line in weights.astype(np.int64):
            figure = statistic(np.repeat(rows, line[codes]))
            if figure is not None:
                draws.append(figure)
    if len(draws) < samples / 2:
        raise InputError(
            f"bootstrap: the figure is undefined on {samples - len(draws)} of {samples} resamples; "
            "there are too few samples of a kind"
        )
    lost = f", {samples - len(draws)} undefined draws left out" if len(draws) < samples else ""
    units = "samples" if groups is None else "groups"
    return _percentiles(np.array(draws), estimate, level, f"bootstrap, {n_groups} {units}{lost}")


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values of several tests, in their order (Holm 1979).

    Raises:
        InputError: values outside 0..1.
    """
    if not len(p):
        return []
    values = _values(p, "p")
    if values.min() < 0.0 or values.max() > 1.0:
        raise InputError("p: values outside 0..1")
    order = np.argsort(values, kind="stable")
    stepped = values[order] * (values.size - np.arange(values.size))
    adjusted = np.empty(values.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted.tolist()


def seeds_summary(values: ArrayLike, level: float = 0.95) -> SeedsSummary:
    """Mean, sample standard deviation and Student's t interval of one figure over several seeds.

    With one value the spread is unknown: ``sd`` and ``interval`` are None.

    Raises:
        InputError: no values, or values that are not finite.
    """
    _check_level(level)
    figures = _values(values, "values")
    n, mean = int(figures.size), float(figures.mean())
    if n == 1:
        return SeedsSummary(mean, None, None, 1)
    sd = float(figures.std(ddof=1))
    half = t_quantile(level, n - 1) * sd / math.sqrt(n)
    interval = Interval(mean - half, mean + half, level, f"Student's t, {n} seeds")
    return SeedsSummary(mean, sd, interval, n)


def t_quantile(level: float, freedom: int) -> float:
    """The t with P(-t < T < t) = ``level`` for Student's distribution with ``freedom`` degrees.

    The probability is the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    _check_level(level)
    if freedom < 1:
        raise InputError(f"freedom: {freedom}; allowed: 1 or more")

    def inside(theta: float) -> float:
        sine, cosine = math.sin(theta), math.cos(theta)
        odd = freedom % 2 == 1
        term, total = (cosine if odd else 1.0), 0.0
        for j in range(1 if odd else 0, freedom - 1, 2):
            total += term
            term *= cosine * cosine * (j + 1) / (j + 2)
        return 2.0 / math.pi * (theta + sine * total) if odd else sine * total

    low, high = 0.0, math.pi / 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if inside(middle) < level else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2.0)


def _resampled_means(
    values: NDArray,
    codes: NDArray,
    n_groups: int,
    strata: NDArray,
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Means ``(samples, strata)`` when groups are drawn with replacement; NaN: stratum not met."""
    n_strata = int(strata.max()) + 1
    cell = codes * n_strata + strata
    size = n_groups * n_strata
    totals = np.bincount(cell, weights=values, minlength=size).reshape(n_groups, n_strata)
    counts = np.bincount(cell, minlength=size).reshape(n_groups, n_strata).astype(np.float64)
    draws = np.empty((samples, n_strata))
    done = 0
    for weights in group_weights(n_groups, samples, rng):
        n = weights @ counts
        draws[done : done + len(weights)] = np.divide(
            weights @ totals, n, out=np.full_like(n, np.nan), where=n > 0
        )
        done += len(weights)
    return draws


def group_weights(
    n_groups: int, samples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """How often each group was drawn, ``(block, n_groups)``, until there are ``samples`` rows."""
    if samples < 100:
        raise InputError(f"samples: {samples} resamples; allowed: 100 or more")
    step = max(1, _BLOCK // n_groups)
    for start in range(0, samples, step):
        block = min(step, samples - start)
        picks = rng.integers(n_groups, size=(block, n_groups))
        picks += n_groups * np.arange(block)[:, None]
        weights = np.bincount(picks.ravel(), minlength=block * n_groups).reshape(block, n_groups)
        yield weights.astype(np.float64)


def _percentiles(
    draws: NDArray[np.float64], estimate: float, level: float, method: str
) -> Interval:
    """Percentile interval of the resampled figures, widened to hold the figure itself."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(min(float(low), estimate), max(float(high), estimate), level, method)


def _mean_over(means: NDArray) -> NDArray[np.float64]:
    return np.nanmean(means, axis=1)


def _harmonic_over(means: NDArray) -> NDArray[np.float64]:
    zero = (means == 0.0).any(axis=1)
    inverse = np.nanmean(1.0 / np.where(means == 0.0, 1.0, means), axis=1)
    return np.where(zero, 0.0, 1.0 / inverse)


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
    step = max(1, _BLOCK // moved.size)
    for start in range(0, samples, step):
        signs = rng.integers(2, size=(min(step, samples - start), moved.size)) * 2.0 - 1.0
        extreme += int((np.abs(signs @ moved) >= observed).sum())
    return extreme / (samples + 1), f"sign flip by group, {samples} draws"


def _values(values: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "bfiu":
        raise InputError(
            f"{what}: expected one or more numbers of shape (N,), got {array.dtype} {array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{what}: NaN or infinity among the values")
    return array


def _group_codes(groups: Sequence[Hashable] | ArrayLike | None, n: int) -> tuple[NDArray, int]:
    if groups is None:
        return np.arange(n), n
    names = list(groups)  # type: ignore[arg-type]
    if len(names) != n:
        raise InputError(f"groups: {len(names)} names for {n} samples")
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
    return codes, len(numbers)


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise InputError(f"level: {level}; allowed: between 0 and 1, e.g. 0.95")
