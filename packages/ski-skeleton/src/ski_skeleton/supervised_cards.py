"""Result cards of closed-set recognition: one classifier, or an ensemble of streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ski_eval import Predictions, ResultCard, environment, score

PROTOCOL = "closed set, clips that did not train"
OVER_CLIPS = "who acts is not known: the interval is over clips"
DATA_UNKNOWN = "LEAK NOT EXCLUDED: the model does not say which clips trained it"
OTHER_DATA = "the model was trained on another store, by the same rule"


def classifier_notes(meta: Mapping[str, Any]) -> list[str]:
    """What a card must say of a classifier whose predictions have ``meta``."""
    if meta.get("trained_on") is None:
        return [DATA_UNKNOWN]
    return [] if meta["trained_on"] == meta.get("data_hash") else [OTHER_DATA]


def classifier_cards(found: Predictions, name: str, *, seconds: float) -> list[ResultCard]:
    """Top-1, top-5 where there are more classes than five, and mean class accuracy.

    Intervals are a bootstrap over people, over clips where people are not known.

    Args:
        found: of :func:`ski_skeleton.supervised.predict` or :func:`ski_skeleton.ensemble.combine`.
        name: in front of every card's.
        seconds: that the evaluation took.
    """
    parts: list[Mapping[str, Any]] = list(found.meta.get("ensemble", [found.meta]))
    methods = [f"{part.get('encoder', 'unknown')}, {part.get('stream')} stream" for part in parts]
    method = methods[0] if len(parts) == 1 else f"ensemble of {'; '.join(methods)}"
    notes = list(dict.fromkeys(note for part in parts for note in classifier_notes(part)))
    if found.groups is None:
        notes.append(OVER_CLIPS)
    seeds = {part["seed"] for part in parts if isinstance(part.get("seed"), int)}
    cards = []
    for row in score(found, rng=np.random.default_rng(0)):
        if row.value is None:
            continue
        cards.append(
            ResultCard(
                name=f"{name} {row.metric}",
                method=method,
                dataset=_only(parts, "store") or "not told",
                split=_only(parts, "split") or "not told",
                protocol=PROTOCOL,
                metric=row.metric,
                value=row.value,
                n=row.n,
                interval=row.interval,
                n_classes=row.n_classes,
                seeds=tuple(sorted(seeds)),
                data_hash=_only(parts, "data_hash"),
                split_hash=_only(parts, "split_hash"),
                config=dict(found.meta),
                environment=environment(),
                wall_time_s=round(seconds, 3),
                notes=tuple(notes),
            )
        )
    return cards


def _only(parts: list[Mapping[str, Any]], key: str) -> str | None:
    """The value that all parts have; None if they differ or one lacks it."""
    values = {part.get(key) for part in parts}
    return values.pop() if len(values) == 1 else None
