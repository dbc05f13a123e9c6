"""Accuracies of closed-set, zero-shot and generalised zero-shot recognition.

Scores are ``(N, K)``: one row per sample, one column per candidate class, larger is better.
Labels are ``(N,)`` column numbers. Accuracies are fractions from 0 to 1. Where two candidates score
the same, the one with the lower number wins, here as in ``numpy.argmax``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ski_eval.errors import InputError


def check_scores(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray, NDArray]:
    """Scores ``(N, K)`` as floating point and labels ``(N,)`` as int64, or a clear error.

    Raises:
        InputError: wrong shapes, no samples, fewer than two candidate classes, scores that are not
            finite, labels that are not whole numbers from 0 to K-1.
    """
    scores = np.asarray(logits)
    if scores.ndim != 2 or scores.dtype.kind not in "fiu":
        raise InputError(
            f"logits: expected numbers of shape (N, K), got {scores.dtype} {scores.shape}"
        )
    n, k = scores.shape
    if n == 0:
        raise InputError("logits: no samples; an accuracy needs at least one")
    if k < 2:
        raise InputError(f"logits: {k} candidate classes; recognition needs at least two")
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise InputError(
            f"logits: {bad.size} of {n} rows hold NaN or infinity (first: row {bad[0]}); "
            "the model diverged or the file is damaged"
        )
    truth = check_labels(labels, k)
    if truth.size != n:
        raise InputError(f"labels: {truth.size} labels for {n} rows of logits")
    return scores if scores.dtype.kind == "f" else scores.astype(np.float64), truth


def check_labels(labels: ArrayLike, n_classes: int, what: str = "labels") -> NDArray[np.int64]:
    """Labels ``(N,)`` as int64, all of them in 0..``n_classes``-1.

    Raises:
        InputError: another shape, values that are not whole numbers, or out of range.
    """
    values = np.asarray(labels)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise InputError(
            f"{what}: expected whole numbers of shape (N,), got {values.dtype} {values.shape}"
        )
    bad = np.flatnonzero((values < 0) | (values >= n_classes))
    if bad.size:
        raise InputError(
            f"{what}: {values[bad[0]]} at position {bad[0]} is out of range; "
            f"allowed: 0 to {n_classes - 1}"
        )
    return values.astype(np.int64)


def predicted_classes(logits: ArrayLike) -> NDArray[np.int64]:
    """Best-scoring class ``(N,)`` of each row of ``logits (N, K)``."""
    scores, _ = check_scores(logits, np.zeros(len(np.asarray(logits)), np.int64))
    return scores.argmax(axis=1)


def hits(logits: ArrayLike, labels: ArrayLike, k: int = 1) -> NDArray[np.bool_]:
    """Whether the true class is among the ``k`` best-scoring ones, ``(N,)``.

    Raises:
        InputError: ``k`` outside 1..K, or inputs that `check_scores` refuses.
    """
    scores, truth = check_scores(logits, labels)
    n_classes = scores.shape[1]
    if not 1 <= k <= n_classes:
        raise InputError(f"k: {k} best of {n_classes} classes; allowed: 1 to {n_classes}")
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    earlier = np.arange(n_classes) < truth[:, None]
    rank = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return rank < k


def topk_accuracy(logits: ArrayLike, labels: ArrayLike, k: int = 1) -> float | None:
    """Share of samples whose true class is among the ``k`` best-scoring ones.

    With ``k >= K`` candidates every answer would be right, so the figure says nothing: the result
    is then ``None`` (undefined), never 100 %. Top-5 on five unseen classes is such a case.

    Raises:
        InputError: ``k`` below 1, or inputs that `check_scores` refuses.
    """
    scores, truth = check_scores(logits, labels)
    if k >= scores.shape[1]:
        return None
    return float(hits(scores, truth, k).mean())


def confusion_matrix(predicted: ArrayLike, labels: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Counts ``(K, K)``: row = true class, column = predicted class."""
    answer, truth = _pair(predicted, labels, n_classes)
    flat = np.bincount(truth * n_classes + answer, minlength=n_classes * n_classes)
    return flat.reshape(n_classes, n_classes)


def per_class_accuracy(
    predicted: ArrayLike, labels: ArrayLike, n_classes: int
) -> NDArray[np.float64]:
    """Accuracy ``(K,)`` within each true class; NaN where a class has no samples."""
    matrix = confusion_matrix(predicted, labels, n_classes)
    support = matrix.sum(axis=1)
    return np.where(support > 0, np.diagonal(matrix) / np.maximum(support, 1), np.nan)


def mean_class_accuracy(predicted: ArrayLike, labels: ArrayLike, n_classes: int) -> float:
    """Macro accuracy: the mean over the classes that have samples, each class counting the same.

    Raises:
        InputError: no samples, or labels that `check_labels` refuses.
    """
    accuracies = per_class_accuracy(predicted, labels, n_classes)
    if np.isnan(accuracies).all():
        raise InputError("labels: no samples; an accuracy needs at least one")
    return float(np.nanmean(accuracies))


def harmonic_mean(seen: float, unseen: float) -> float:
    """H = 2SU / (S + U) of two accuracies in 0..1; 0 when both are 0.

    Raises:
        InputError: an accuracy outside 0..1.
    """
    for name, value in (("seen", seen), ("unseen", unseen)):
        if not (math.isfinite(value) and 0.0 <= value <= 1.0):
            raise InputError(f"{name}: {value} is no accuracy; allowed: 0 to 1 (not percent)")
    total = seen + unseen
    # Dividing first keeps the product from vanishing for very small accuracies.
    return 2.0 * seen * (unseen / total) if total > 0.0 else 0.0


@dataclass(frozen=True)
class ZeroShot:
    """Result of `zsl`: micro and macro accuracy over ``n`` samples of unseen classes."""

    top1: float
    mean_class: float
    n: int
    n_classes: int


@dataclass(frozen=True)
class GeneralizedZeroShot:
    """Result of `gzsl`: accuracies with all classes as candidates, and what they were made with."""

    seen: float
    unseen: float
    harmonic: float
    seen_mean_class: float
    unseen_mean_class: float
    n_seen: int
    n_unseen: int
    factor: float


def zsl(logits: ArrayLike, labels: ArrayLike, unseen: Sequence[int]) -> ZeroShot:
    """Zero-shot protocol: samples of unseen classes, unseen classes as the only candidates.

    Args:
        logits: scores ``(N, K)`` over all classes.
        labels: ``(N,)``; samples of seen classes are left out.
        unseen: numbers of the classes that were not trained on, at least two.

    Raises:
        InputError: no sample of an unseen class, or inputs that `check_scores` refuses.
    """
    _, scores, own = unseen_part(logits, labels, unseen)
    answer = scores.argmax(axis=1)
    return ZeroShot(
        top1=float((answer == own).mean()),
        mean_class=mean_class_accuracy(answer, own, scores.shape[1]),
        n=int(own.size),
        n_classes=int(scores.shape[1]),
    )


def unseen_part(
    logits: ArrayLike, labels: ArrayLike, unseen: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray, NDArray[np.int64]]:
    """What the zero-shot protocol looks at.

    Returns:
        Which samples are of unseen classes ``(N,)``; their scores ``(n, k)`` over the unseen
        classes in ascending order; their labels ``(n,)`` as columns of those scores.

    Raises:
        InputError: as in `zsl`.
    """
    scores, truth = check_scores(logits, labels)
    chosen = _unseen_mask(unseen, scores.shape[1])
    columns = np.flatnonzero(chosen)
    if columns.size < 2:
        raise InputError(f"unseen: {columns.size} classes; recognition needs at least two")
    rows = chosen[truth]
    if not rows.any():
        raise InputError("labels: no sample of an unseen class; zero-shot accuracy is undefined")
    return rows, scores[np.ix_(rows, chosen)], np.searchsorted(columns, truth[rows])


def gzsl(
    logits: ArrayLike, labels: ArrayLike, unseen: Sequence[int], factor: float = 0.0
) -> GeneralizedZeroShot:
    """Generalised zero-shot protocol: every class a candidate, S, U and their harmonic mean H.

    ``factor`` is subtracted from the scores of seen classes before the best is taken (calibrated
    stacking, Chao et al. 2016). It has the unit of ``logits`` and is to be chosen on seen classes
    held out as pseudo-unseen ones, never on the samples given here.

    Raises:
        InputError: no samples of seen or of unseen classes, a factor that is not finite, or inputs
            that `check_scores` refuses.
    """
    scores, truth = check_scores(logits, labels)
    n_classes = scores.shape[1]
    chosen = _unseen_mask(unseen, n_classes)
    rows = chosen[truth]
    if rows.all() or not rows.any():
        missing = "seen" if rows.all() else "unseen"
        raise InputError(f"labels: no samples of {missing} classes; the protocol needs both")
    answer = calibrated(scores, unseen, factor).argmax(axis=1)
    correct = answer == truth
    seen, new = float(correct[~rows].mean()), float(correct[rows].mean())
    return GeneralizedZeroShot(
        seen=seen,
        unseen=new,
        harmonic=harmonic_mean(seen, new),
        seen_mean_class=mean_class_accuracy(answer[~rows], truth[~rows], n_classes),
        unseen_mean_class=mean_class_accuracy(answer[rows], truth[rows], n_classes),
        n_seen=int((~rows).sum()),
        n_unseen=int(rows.sum()),
        factor=float(factor),
    )


def calibrated(logits: ArrayLike, unseen: Sequence[int], factor: float) -> NDArray:
    """``logits (N, K)`` with ``factor`` subtracted from the columns of seen classes.

    Raises:
        InputError: a factor that is not finite, or classes out of range.
    """
    if not math.isfinite(factor):
        raise InputError(f"factor: {factor}; allowed: a finite number")
    scores = np.asarray(logits)
    return scores - factor * ~_unseen_mask(unseen, scores.shape[1])


def _pair(predicted: ArrayLike, labels: ArrayLike, n_classes: int) -> tuple[NDArray, NDArray]:
    answer = check_labels(predicted, n_classes, "predicted")
    truth = check_labels(labels, n_classes)
    if answer.size != truth.size:
        raise InputError(f"labels: {truth.size} labels for {answer.size} predictions")
    return answer, truth


def _unseen_mask(unseen: Sequence[int], n_classes: int) -> NDArray[np.bool_]:
    if len(unseen) == 0:
        raise InputError("unseen: no classes; give the numbers of those not trained on")
    numbers = check_labels(unseen, n_classes, "unseen")
    mask = np.zeros(n_classes, dtype=bool)
    mask[numbers] = True
    if mask.sum() != numbers.size:
        raise InputError(f"unseen: a class is listed twice in {sorted(numbers.tolist())}")
    return mask
