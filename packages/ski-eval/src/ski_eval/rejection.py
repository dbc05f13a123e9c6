"""Open-set recognition: how well known classes are told from unknown ones by confidence."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.bootstrap import bootstrap_resamples
from ski_eval.calibration import softmax
from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.predictions import Predictions

Confidence = Literal["probability", "logit", "energy"]


@dataclass(frozen=True)
class Rejection:
    """Result of `open_set`.

    ``auroc`` is the probability that a known sample scores higher than an unknown one (ties count
    half); ``fpr`` the share of unknown samples that are accepted where ``recall`` of the known ones
    are. Guessing gives 0.5 and ``recall``.
    """

    auroc: float
    fpr: float
    recall: float
    threshold: float
    n_known: int
    n_unknown: int
    auroc_interval: Interval | None = None
    fpr_interval: Interval | None = None


def auroc(known: ArrayLike, unknown: ArrayLike) -> float:
    """Area under the ROC curve of scores of known ``(n,)`` and unknown ``(m,)`` samples."""
    a, b = _scores(known, "known"), np.sort(_scores(unknown, "unknown"))
    below, upto = np.searchsorted(b, a, "left"), np.searchsorted(b, a, "right")
    return float((below + upto).sum() / (2.0 * a.size * b.size))


def fpr_at(known: ArrayLike, unknown: ArrayLike, recall: float = 0.95) -> tuple[float, float]:
    """Share of unknown samples accepted at the threshold that accepts ``recall`` of the known.

    Returns:
        That share, and the threshold: the largest that accepts at least ``recall`` of the known
        samples (score >= threshold).

    Raises:
        InputError: ``recall`` outside 0..1 (0 excluded), no samples, scores that are not finite.
    """
    if not 0.0 < recall <= 1.0:
        raise InputError(f"recall: {recall}; allowed: more than 0, at most 1")
    a, b = np.sort(_scores(known, "known")), _scores(unknown, "unknown")
    needed = int(np.ceil(recall * a.size - 1e-9))
    threshold = float(a[a.size - needed])
    return float((b >= threshold).mean()), threshold


def confidence(logits: ArrayLike, kind: Confidence = "probability") -> NDArray[np.float64]:
    """Score ``(N,)`` of each row of ``logits (N, K)``: how surely it is one of the K classes.

    "probability" is the largest softmax probability (Hendrycks and Gimpel 2017), "logit" the
    largest score, "energy" the log of the summed exponentials (Liu et al. 2020).
    """
    scores = np.asarray(logits, np.float64)
    if kind == "probability":
        return softmax(scores).max(axis=1)
    if kind == "logit":
        return scores.max(axis=1)
    if kind == "energy":
        top = scores.max(axis=1)
        return top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    raise InputError(f"confidence: {kind!r}; allowed: probability, logit, energy")


def open_set(
    known: ArrayLike,
    unknown: ArrayLike,
    recall: float = 0.95,
    *,
    groups: Sequence[Hashable] | None = None,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
    samples: int = 1000,
) -> Rejection:
    """AUROC and false acceptance of confidences of known ``(n,)`` and unknown ``(m,)`` samples.

    Args:
        known: confidences, larger is more surely known.
        unknown: the same of samples that belong to none of the classes.
        recall: share of known samples to accept.
        groups: independent units of the known samples, then of the unknown ones, ``(n + m,)``.
        rng: source of resamples; None makes no intervals.
        level: coverage.
        samples: number of resamples.

    Raises:
        InputError: as in `fpr_at` and `bootstrap_resamples`.
    """
    a, b = _scores(known, "known"), _scores(unknown, "unknown")
    share, threshold = fpr_at(a, b, recall)
    both, is_known = np.concatenate([a, b]), np.arange(a.size + b.size) < a.size
    spans: list[Interval | None] = [None, None]
    if rng is not None:

        def parted(rows: NDArray[np.int64]) -> tuple[NDArray, NDArray] | None:
            mine = is_known[rows]
            return (both[rows[mine]], both[rows[~mine]]) if mine.any() and not mine.all() else None

        def area(rows: NDArray[np.int64]) -> float | None:
            parts = parted(rows)
            return None if parts is None else auroc(*parts)

        def accepted(rows: NDArray[np.int64]) -> float | None:
            parts = parted(rows)
            return None if parts is None else fpr_at(*parts, recall)[0]

        spans = [
            bootstrap_resamples(both.size, f, groups, rng=rng, level=level, samples=samples)
            for f in (area, accepted)
        ]
    return Rejection(auroc(a, b), share, recall, threshold, a.size, b.size, *spans)


def reject_unseen(
    predictions: Predictions,
    kind: Confidence = "probability",
    recall: float = 0.95,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 1000,
) -> Rejection:
    """Open-set figures of a predictions file with unseen classes.

    Candidates are the seen classes only; samples of unseen classes are the unknown ones.

    Raises:
        InputError: no unseen classes, fewer than two seen ones, no samples of one of the kinds.
    """
    if predictions.unseen is None:
        raise InputError("predictions: no unseen classes are named; nothing is unknown in them")
    k = predictions.logits.shape[1]
    seen = np.setdiff1d(np.arange(k), predictions.unseen)
    if seen.size < 2:
        raise InputError("predictions: fewer than two seen classes; nothing to recognise")
    scores = confidence(predictions.logits[:, seen], kind)
    known = np.isin(predictions.labels, seen)
    if known.all() or not known.any():
        lacking = "unseen" if known.all() else "seen"
        raise InputError(f"predictions: no samples of {lacking} classes; both kinds are needed")
    groups = None
    if predictions.groups is not None:
        names = np.array(predictions.groups)
        groups = [*names[known].tolist(), *names[~known].tolist()]
    return open_set(
        scores[known],
        scores[~known],
        recall,
        groups=groups,
        rng=rng,
        level=level,
        samples=samples,
    )


def _scores(values: ArrayLike, what: str) -> NDArray[np.float64]:
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise InputError(f"{what}: expected one or more finite scores (n,), got {scores.shape}")
    return scores
