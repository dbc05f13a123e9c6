"""Whether confidences are right: expected calibration error and the table behind it.

The confidence of an answer is the largest softmax probability of its scores. Of the answers given
with confidence 0.8, 80 % should be right; the expected calibration error is how far off that is,
on average over bins of confidence (Naeini et al. 2015, Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.accuracy import check_scores
from ski_eval.bootstrap import bootstrap_sums
from ski_eval.errors import InputError
from ski_eval.intervals import Interval

Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers with confidence in (low, high] (the first bin holds ``low`` too)."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean confidence of the answers."""
    accuracy: float
    """Share of them that is right."""


@dataclass(frozen=True)
class Calibration:
    """Result of `calibration_error`; bins without answers are left out of ``table``."""

    ece: float
    largest: float
    """Largest difference of a bin (maximum calibration error)."""
    binning: Binning
    n: int
    table: tuple[ReliabilityBin, ...]
    interval: Interval | None = None
    """Of ``ece``. The error is biased upwards on few samples, and so is the interval."""


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities ``(N, K)`` of scores ``(N, K)``."""
    scores = np.asarray(logits, np.float64)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def calibration_error(
    logits: ArrayLike,
    labels: ArrayLike,
    bins: int = 15,
    binning: Binning = "width",
    *,
    groups: Sequence[Hashable] | ArrayLike | None = None,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
    samples: int = 2000,
) -> Calibration:
    """Expected calibration error of scores whose softmax is meant as probability.

    Args:
        logits: scores ``(N, K)``; their scale (temperature) matters.
        labels: true classes ``(N,)``.
        bins: number of bins.
        binning: "width" for bins of equal width over 0..1; "mass" for bins of about equal numbers
            of answers (edges at quantiles, so that equal confidences share a bin).
        groups: ``(N,)`` independent units for the interval.
        rng: source of resamples; None makes no interval.
        level: coverage.
        samples: number of resamples.

    Raises:
        InputError: no bins, unknown ``binning``, or inputs that `check_scores` refuses.
    """
    scores, truth = check_scores(logits, labels)
    probabilities = softmax(scores)
    confidence = probabilities.max(axis=1)
    correct = scores.argmax(axis=1) == truth
    edges = _edges(confidence, bins, binning)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    parts = np.zeros((3, truth.size, len(edges) - 1))
    rows = np.arange(truth.size)
    parts[0, rows, place], parts[1, rows, place], parts[2, rows, place] = 1.0, confidence, correct
    counts, sums, right = parts.sum(axis=1)
    table = tuple(
        ReliabilityBin(
            float(edges[b]),
            float(edges[b + 1]),
            int(counts[b]),
            float(sums[b] / counts[b]),
            float(right[b] / counts[b]),
        )
        for b in np.flatnonzero(counts)
    )
    differences = [abs(line.confidence - line.accuracy) for line in table]
    interval = None
    if rng is not None:
        flat = parts.transpose(1, 0, 2).reshape(truth.size, -1)
        interval = bootstrap_sums(flat, _error, groups, rng=rng, level=level, samples=samples)
    return Calibration(
        ece=float(_error(np.concatenate([counts, sums, right])[None])[0]),
        largest=max(differences),
        binning=binning,
        n=truth.size,
        table=table,
        interval=interval,
    )


def _error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Calibration error of counts, confidences and hits by bin, ``(B, 3 * bins)``."""
    counts, confidences, right = np.split(sums, 3, axis=1)
    return np.abs(confidences - right).sum(axis=1) / counts.sum(axis=1)


def _edges(confidence: NDArray[np.float64], bins: int, binning: Binning) -> NDArray[np.float64]:
    if bins < 1:
        raise InputError(f"bins: {bins}; allowed: 1 or more")
    if binning == "width":
        return np.linspace(0.0, 1.0, bins + 1)
    if binning != "mass":
        raise InputError(f"binning: {binning!r}; allowed: width, mass")
    inner = np.quantile(confidence, np.linspace(0.0, 1.0, bins + 1)[1:-1])
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))
