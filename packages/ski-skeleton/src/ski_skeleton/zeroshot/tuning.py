"""What generalised scores need, tuned with seen classes that stand for unseen ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ski_skeleton.train.loop import ProgressReport
from ski_skeleton.zeroshot.fitting import class_scores, seen_logits, train_method
from ski_skeleton.zeroshot.gate import gated_scores, tune_gate
from ski_skeleton.zeroshot.prepare import Prepared
from ski_skeleton.zeroshot.protocol import best_factor, calibrate, scaled, tuning_task
from ski_skeleton.zeroshot.texts import ClassTexts


class Tuned(NamedTuple):
    """The tuning task, trained: its clips to check on and their scores."""

    model: nn.Module
    texts: ClassTexts
    """Of the seen and the pseudo-unseen classes, in the order of their labels."""
    seen: list[int]
    unseen: list[int]
    fit: NDArray[np.int64]
    check: NDArray[np.int64]
    is_seen: NDArray[np.bool_]


def tuning_run(data: Prepared, seed: int, folder: Path, report: ProgressReport | None) -> Tuned:
    """Train the method again with seen classes held out, which then stand for unseen ones."""
    task = tuning_task(data.features, data.split, data.rows.train, data.recipe.protocol, seed=seed)
    order = sorted((*task.seen, *task.unseen))
    texts = data.raw_texts.subset(order).attuned(data.recipe.text.neighbours)
    model = train_method(
        data.recipe.method,
        data.features,
        task.fit,
        np.searchsorted(order, data.features.labels[task.fit]),
        texts,
        [order.index(k) for k in task.seen],
        seed=seed,
        folder=folder / "tuning",
        report=report,
    )
    check = np.concatenate([task.check_seen, task.check_unseen])
    is_seen = np.arange(len(check)) < len(task.check_seen)
    return Tuned(model, texts, list(task.seen), list(task.unseen), task.fit, check, is_seen)


def calibrated(
    data: Prepared,
    model: nn.Module,
    every: NDArray[np.int64],
    seed: int,
    folder: Path,
    report: ProgressReport | None,
) -> tuple[NDArray[np.float64], dict[str, Any], float | None]:
    """Calibrated scores of all classes, the factor tuned on pseudo-unseen classes."""
    features, protocol = data.features, data.recipe.protocol
    tuned = tuning_run(data, seed, folder, report)
    order = sorted((*tuned.seen, *tuned.unseen))
    calibration = calibrate(
        class_scores(tuned.model, features, tuned.check, tuned.texts),
        np.searchsorted(order, features.labels[tuned.check]),
        [order.index(k) for k in tuned.unseen],
        protocol.temperatures,
    )
    unseen = list(data.split.unseen)
    logits = class_scores(model, features, every, data.texts)
    best = None
    if protocol.best_on_test:
        labels = features.labels[every]
        best = max(
            best_factor(scaled(logits, t), labels, unseen)[1]
            for t in (protocol.temperatures or (None,))
        )
    tuning = {
        "factor": calibration.factor,
        "temperature": calibration.temperature,
        "pseudo_unseen": [data.split.names[k] for k in tuned.unseen],
    }
    return calibration.apply(logits, unseen), tuning, best


def gated(
    data: Prepared,
    model: nn.Module,
    every: NDArray[np.int64],
    seed: int,
    folder: Path,
    report: ProgressReport | None,
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Gated scores of all classes, the gate tuned on pseudo-unseen classes."""
    features, split = data.features, data.split

    def seen_part(
        fit: NDArray[np.int64], classes: Sequence[int], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        labels = np.searchsorted(list(classes), features.labels[fit])
        return seen_logits(features, fit, labels, rows, len(classes), seed=seed)

    def unseen_part(
        which: nn.Module, texts: ClassTexts, rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return np.exp(class_scores(which, features, rows, texts, seed=seed))

    tuned = tuning_run(data, seed, folder, report)
    order = sorted((*tuned.seen, *tuned.unseen))
    pseudo = tuned.texts.subset([order.index(k) for k in tuned.unseen])
    gate = tune_gate(
        unseen_part(tuned.model, pseudo, tuned.check),
        seen_part(tuned.fit, tuned.seen, tuned.check),
        tuned.is_seen,
        data.recipe.seen_gate,
        rng=np.random.default_rng([seed, 78]),
    )
    scores = gated_scores(
        gate,
        unseen_part(model, data.texts.subset(split.unseen), every),
        seen_part(data.rows.train, split.seen, every),
        list(split.seen),
        list(split.unseen),
    )
    tuning = {
        "threshold": gate.threshold,
        "temperature": gate.temperature,
        "pseudo_unseen": [split.names[k] for k in tuned.unseen],
    }
    return scores, tuning
