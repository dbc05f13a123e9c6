"""Bootstrap intervals: how sure a figure is, from the samples that it was measured on.

Samples are often not independent: the three camera views of one performance, or the clips of one
person, succeed and fail together. ``groups`` names what was drawn independently, and everything
here then resamples whole groups; treating views as independent makes intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.errors import InputError
from ski_eval.intervals import Interval, check_level, check_values

BLOCK = 4_000_000
"""Entries of a resampling table held at once."""


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
    10 is never reported as certain. One group alone tells nothing: its interval is 0 to 1.
    ``method`` of the result says which it was.

    Raises:
        InputError: wrong shapes, no samples, values outside 0..1, ``samples`` below 100.
    """
    check_level(level)
    values = check_values(correct, "correct")
    if values.min() < 0.0 or values.max() > 1.0:
        raise InputError("correct: values outside 0..1; expected hits or fractions")
    codes, n_groups = group_codes(groups, values.size)
    units = "samples" if groups is None else "groups"
    edge = values[0]
    if edge in (0.0, 1.0) and (values == edge).all():
        bound = ((1.0 - level) / 2.0) ** (1.0 / n_groups)
        low, high = (0.0, 1.0 - bound) if edge == 0.0 else (bound, 1.0)
        return Interval(low, high, level, f"exact binomial, {n_groups} {units}")
    parts = np.zeros(values.size, np.int64)
    if strata is not None:
        parts, _ = group_codes(strata, values.size)
    if combine not in ("mean", "harmonic"):
        raise InputError(f"combine: {combine!r}; allowed: mean, harmonic")
    if n_groups == 1:
        return Interval(0.0, 1.0, level, "none, as all is of 1 group")
    merged = mean_over if combine == "mean" else _harmonic_over
    draws = merged(resampled_means(values, codes, n_groups, parts, samples, rng)).clip(0.0, 1.0)
    own = [values[parts == part].mean() for part in range(int(parts.max()) + 1)]
    estimate = float(merged(np.array([own]))[0])
    method = f"bootstrap, {n_groups} {units}"
    found = percentiles(draws, estimate, level, method)
    return found or Interval(estimate, estimate, level, method)


def bootstrap_sums(
    table: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    groups: Sequence[Hashable] | ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 2000,
) -> Interval | None:
    """Percentile bootstrap interval of a figure that depends on sums over samples only.

    Args:
        table: what each sample adds, ``(N, S)``.
        statistic: from sums ``(B, S)`` to figures ``(B,)``, e.g. corpus BLEU from its counts.
        groups: ``(N,)`` names of the independent units; None takes every sample as one.
        rng: source of the resamples.
        level: coverage.
        samples: number of resamples.

    Returns:
        None where all resamples give the same, as of a single group: nothing is known then.

    Raises:
        InputError: a table that is empty or not finite, ``samples`` below 100.
    """
    check_level(level)
    rows = np.asarray(table, np.float64)
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise InputError(f"table: expected finite numbers of shape (N, S), got {rows.shape}")
    codes, n_groups = group_codes(groups, len(rows))
    sums = np.stack(
        [np.bincount(codes, weights=column, minlength=n_groups) for column in rows.T], axis=1
    )
    draws = np.concatenate([statistic(w @ sums) for w in group_weights(n_groups, samples, rng)])
    estimate = float(statistic(rows.sum(axis=0, keepdims=True))[0])
    units = "samples" if groups is None else "groups"
    return percentiles(draws, estimate, level, f"bootstrap, {n_groups} {units}")


def bootstrap_resamples(
    n: int,
    statistic: Callable[[NDArray[np.int64]], float | None],
    groups: Sequence[Hashable] | ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 1000,
) -> Interval | None:
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

    Returns:
        None as in `bootstrap_sums`.

    Raises:
        InputError: the figure is undefined on the samples themselves or on most resamples.
    """
    check_level(level)
    codes, n_groups = group_codes(groups, n)
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
    return percentiles(np.array(draws), estimate, level, f"bootstrap, {n_groups} {units}{lost}")


def group_weights(
    n_groups: int, samples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """How often each group was drawn, ``(block, n_groups)``, until there are ``samples`` rows."""
    if samples < 100:
        raise InputError(f"samples: {samples} resamples; allowed: 100 or more")
    step = max(1, BLOCK // n_groups)
    for start in range(0, samples, step):
        block = min(step, samples - start)
        picks = rng.integers(n_groups, size=(block, n_groups))
        picks += n_groups * np.arange(block)[:, None]
        weights = np.bincount(picks.ravel(), minlength=block * n_groups).reshape(block, n_groups)
        yield weights.astype(np.float64)


def resampled_means(
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


def group_codes(groups: Sequence[Hashable] | ArrayLike | None, n: int) -> tuple[NDArray, int]:
    """Number of each sample's group ``(n,)`` and how many groups there are."""
    if groups is None:
        return np.arange(n), n
    names = list(groups)  # type: ignore[arg-type]
    if len(names) != n:
        raise InputError(f"groups: {len(names)} names for {n} samples")
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
    return codes, len(numbers)


def percentiles(
    draws: NDArray[np.float64], estimate: float, level: float, method: str
) -> Interval | None:
    """Percentile interval of resampled figures ``(samples,)``, widened to hold the figure itself.

    A very skewed resampling distribution can miss it. None where all figures are the same.
    """
    if np.ptp(draws) <= 1e-12 * max(1.0, abs(estimate)):
        return None
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(min(float(low), estimate), max(float(high), estimate), level, method)


def mean_over(means: NDArray) -> NDArray[np.float64]:
    """Mean ``(B,)`` over the strata of ``means (B, S)`` that were met."""
    return np.nanmean(means, axis=1)


def _harmonic_over(means: NDArray) -> NDArray[np.float64]:
    zero = (means == 0.0).any(axis=1)
    inverse = np.nanmean(1.0 / np.where(means == 0.0, 1.0, means), axis=1)
    return np.where(zero, 0.0, 1.0 / inverse)
