"""In which order an epoch goes through the samples, whoever reads it."""

from __future__ import annotations

import numpy as np

from ski_data.errors import InputError


def epoch_order(
    length: int, *, seed: int, epoch: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """Sample numbers of one epoch; depends on the arguments alone, so any part can be resumed.

    Args:
        length: Number N of samples.
        seed: Of the order.
        epoch: From 0.
        labels: int (N,). If given, the epoch is balanced: N samples, of each class as many (or one
            more), and of a class none again before all were there.

    Returns:
        int64 (N,): a permutation, unless balanced.

    Raises:
        InputError: Negative numbers, labels of another length, or samples without a label.
    """
    if min(length, seed, epoch) < 0:
        raise InputError(f"length, seed and epoch must be from 0, not {length}, {seed}, {epoch}")
    rng = np.random.default_rng([seed, epoch])
    if labels is None:
        return rng.permutation(length)
    labels = np.asarray(labels)
    if labels.shape != (length,) or (labels < 0).any():
        raise InputError(f"a balanced epoch needs {length} labels from 0")
    classes = np.unique(labels)
    if not len(classes):
        return np.zeros(0, np.int64)
    share, rest = divmod(length, len(classes))
    counts = np.full(len(classes), share)
    counts[rng.permutation(len(classes))[:rest]] += 1
    drawn = []
    for label, count in zip(classes, counts, strict=True):
        members = np.flatnonzero(labels == label)
        rounds = -(-int(count) // len(members))
        drawn += [np.concatenate([rng.permutation(members) for _ in range(rounds)] or [[]])[:count]]
    return rng.permutation(np.concatenate(drawn).astype(np.int64))
