"""The usual figures of one predictions file, with intervals, and the comparison of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ski_eval.accuracy import calibrated, gzsl, hits, topk_accuracy, unseen_part
from ski_eval.accuracy import mean_class_accuracy as macro_accuracy
from ski_eval.bootstrap import bootstrap_interval
from ski_eval.errors import InputError
from ski_eval.intervals import Interval
from ski_eval.predictions import Predictions
from ski_eval.significance import PairedDifference, paired_difference


@dataclass(frozen=True)
class Score:
    """One figure: ``value`` is a fraction, or None where the metric is undefined."""

    protocol: str
    metric: str
    value: float | None
    interval: Interval | None
    n: int
    n_classes: int


def score(
    predictions: Predictions,
    *,
    rng: np.random.Generator,
    factor: float = 0.0,
    level: float = 0.95,
    samples: int = 2000,
) -> list[Score]:
    """Top-1, top-5 and mean class accuracy, each with its bootstrap interval over the groups.

    Where ``predictions.unseen`` is given, the zero-shot figures and the generalised ones (S, U and
    H, with the calibration ``factor`` of `gzsl`) follow.
    """
    logits, labels = predictions.logits, predictions.labels
    options: dict[str, Any] = {"rng": rng, "level": level, "samples": samples}
    groups = None if predictions.groups is None else np.array(predictions.groups)
    found = _closed("all candidates", logits, labels, groups, options)
    if predictions.unseen is None:
        return found
    rows, scores, own = unseen_part(logits, labels, predictions.unseen)
    part = None if groups is None else groups[rows]
    found += _closed("zero-shot", scores, own, part, options)
    wide = gzsl(logits, labels, predictions.unseen, factor)
    correct = hits(calibrated(logits, predictions.unseen, factor), labels)
    for metric, value, which in (("S", wide.seen, ~rows), ("U", wide.unseen, rows)):
        part = None if groups is None else groups[which]
        interval = bootstrap_interval(correct[which], part, **options)
        found.append(
            Score("generalised", metric, value, interval, int(which.sum()), logits.shape[1])
        )
    interval = bootstrap_interval(correct, groups, strata=rows, combine="harmonic", **options)
    found.append(Score("generalised", "H", wide.harmonic, interval, labels.size, logits.shape[1]))
    return found


def compare(
    a: Predictions,
    b: Predictions,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    samples: int = 2000,
) -> PairedDifference:
    """Top-1 accuracy of ``a`` minus that of ``b`` on the same samples (see `paired_difference`).

    Raises:
        InputError: other samples, labels, classes or groups in ``b`` than in ``a``.
    """
    order = {name: i for i, name in enumerate(b.names)}
    missing = sorted(set(a.names) ^ set(order))
    if missing:
        raise InputError(
            f"compare: {len(missing)} samples are in only one of the two (first: {missing[0]!r}); "
            "evaluate both models on the same test set"
        )
    if a.classes != b.classes:
        raise InputError("compare: the candidate classes or their order differ")
    rows = np.array([order[name] for name in a.names])
    if (b.labels[rows] != a.labels).any():
        first = a.names[int(np.flatnonzero(b.labels[rows] != a.labels)[0])]
        raise InputError(f"compare: true classes differ (first: sample {first!r})")
    b_groups = None if b.groups is None else tuple(b.groups[i] for i in rows)
    if a.groups != b_groups:
        raise InputError("compare: the groups of the samples differ")
    return paired_difference(
        a.correct, b.correct[rows], a.groups, rng=rng, level=level, samples=samples
    )


def _closed(
    protocol: str,
    logits: NDArray,
    labels: NDArray,
    groups: NDArray | None,
    options: dict[str, Any],
) -> list[Score]:
    n, k = logits.shape
    correct = hits(logits, labels)
    top5 = topk_accuracy(logits, labels, 5)
    wide = None if top5 is None else bootstrap_interval(hits(logits, labels, 5), groups, **options)
    macro = macro_accuracy(logits.argmax(axis=1), labels, k)
    figures = (
        ("top-1", float(correct.mean()), bootstrap_interval(correct, groups, **options)),
        ("top-5", top5, wide),
        (
            "mean class accuracy",
            macro,
            bootstrap_interval(correct, groups, strata=labels, **options),
        ),
    )
    return [Score(protocol, metric, value, span, n, k) for metric, value, span in figures]
