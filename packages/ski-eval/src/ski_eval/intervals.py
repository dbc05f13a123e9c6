"""Ranges around figures, and the summary of one figure over several seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.errors import InputError


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
        check_level(self.level)


@dataclass(frozen=True)
class SeedsSummary:
    """Result of `seeds_summary`; ``sd`` and ``interval`` are None for a single seed."""

    mean: float
    sd: float | None
    interval: Interval | None
    n: int

    @property
    def share_interval(self) -> Interval | None:
        """The interval of a share, cut to 0..1, which Student's t does not know of."""
        if self.interval is None:
            return None
        low, high = max(self.interval.low, 0.0), min(self.interval.high, 1.0)
        return replace(self.interval, low=low, high=high)


def seeds_summary(values: ArrayLike, level: float = 0.95) -> SeedsSummary:
    """Mean, sample standard deviation and Student's t interval of one figure over several seeds.

    With one value the spread is unknown: ``sd`` and ``interval`` are None.

    Raises:
        InputError: no values, or values that are not finite.
    """
    check_level(level)
    figures = check_values(values, "values")
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
    check_level(level)
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


def check_values(values: ArrayLike, what: str) -> NDArray[np.float64]:
    """``values (N,)`` as float64, or an error that names ``what``."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "bfiu":
        raise InputError(
            f"{what}: expected one or more numbers of shape (N,), got {array.dtype} {array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{what}: NaN or infinity among the values")
    return array


def check_level(level: float) -> None:
    """Refuse a coverage that is no probability."""
    if not 0.0 < level < 1.0:
        raise InputError(f"level: {level}; allowed: between 0 and 1, e.g. 0.95")
