"""Predictions of several streams as one: the weighted sum of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from ski_data.errors import InputError
from ski_eval import Predictions

WEIGHTS = {"joint": 0.4, "bone": 0.6, "joint_motion": 0.2, "bone_motion": 0.2}
"""Published weights of the four streams, on logits (Hyperformer ``ensemble.py``)."""

Scale = Literal["logits", "probabilities"]


def stream_weights(parts: Sequence[Predictions], names: Sequence[str]) -> tuple[float, ...]:
    """The published weight of each file's stream.

    Args:
        parts: predictions that say their stream.
        names: what errors call them.

    Raises:
        InputError: a file that does not say, one of another stream, or two of one stream.
    """
    streams = [part.meta.get("stream") for part in parts]
    for stream, name in zip(streams, names, strict=True):
        if not isinstance(stream, str) or stream not in WEIGHTS:
            raise InputError(
                f"{name}: stream {stream!r} has no published weight, {', '.join(WEIGHTS)} have; "
                "give --weights"
            )
        if streams.count(stream) > 1:
            raise InputError(
                f"{name}: there are {streams.count(stream)} predictions of the {stream} stream; "
                "leave one, or give --weights"
            )
    return tuple(WEIGHTS[str(stream)] for stream in streams)


def combine(
    parts: Sequence[Predictions],
    weights: Sequence[float],
    names: Sequence[str],
    *,
    scale: Scale = "logits",
) -> Predictions:
    """The sum of ``weights[i]`` times the scores of ``parts[i]``, clips in the first one's order.

    Args:
        parts: at least two predictions of the same clips, in any order.
        weights: one per part, none negative, not all 0.
        names: what errors call the parts.
        scale: ``logits`` adds scores as they are, as published; ``probabilities`` their softmax.

    Raises:
        InputError: other clips, classes, labels or people in a part than in the first, or weights
            that do not fit.
    """
    if scale not in get_args(Scale):
        raise InputError(f"scores are added as {' or '.join(get_args(Scale))}, not {scale!r}")
    if len(parts) < 2:
        raise InputError(f"an ensemble needs at least two predictions, got {len(parts)}")
    if len(weights) != len(parts):
        raise InputError(f"{len(weights)} weights for {len(parts)} predictions; give one for each")
    values = np.asarray(weights, np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise InputError(f"weights must be 0 or more and not all 0, got {list(weights)}")
    first = parts[0]
    total = np.zeros(first.logits.shape)
    for part, weight, name in zip(parts, values, names, strict=True):
        scores = part.logits[_rows(first, part, names[0], name)].astype(np.float64)
        total += weight * (scores if scale == "logits" else _softmax(scores))
    return Predictions(
        names=first.names,
        labels=first.labels,
        logits=total.astype(np.float32),
        classes=first.classes,
        groups=first.groups,
        unseen=first.unseen,
        meta={
            "ensemble": [dict(part.meta) for part in parts],
            "weights": values.tolist(),
            "scale": scale,
        },
    )


def _rows(first: Predictions, part: Predictions, one: str, other: str) -> np.ndarray:
    """Rows of ``part`` in the order of ``first``, checked to be the same clips."""
    if part.classes != first.classes:
        raise InputError(
            f"{other}: classes or their order differ from {one}; evaluate both on the same classes"
        )
    if part.unseen != first.unseen:
        raise InputError(f"{other}: other classes are unseen than in {one}")
    place = {name: row for row, name in enumerate(part.names)}
    odd = sorted(set(first.names) ^ set(place))
    if odd:
        raise InputError(
            f"{other}: {len(odd)} clips are only there or only in {one} (first: {odd[0]}); "
            "evaluate both on the same clips"
        )
    rows = np.array([place[name] for name in first.names])
    wrong = np.flatnonzero(part.labels[rows] != first.labels)
    if len(wrong):
        raise InputError(f"{other}: clip {first.names[wrong[0]]} has another label than in {one}")
    groups = None if part.groups is None else tuple(part.groups[row] for row in rows)
    if groups != first.groups:
        raise InputError(f"{other}: clips are by other people than in {one}")
    return rows


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
