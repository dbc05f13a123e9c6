"""Batches in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ski_data.orders import epoch_order
from ski_skeleton.errors import ConfigError


class Source(Protocol):
    """A map-style data set of dictionaries of arrays, numbers and strings.

    One that has ``labels``, int ``(N,)``, can be gone through with every class equally often.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def set_epoch(self, epoch: int) -> None:
        """Make the items those of ``epoch``."""
        ...


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack arrays and numbers to tensors, keep strings and other values as lists."""
    batch: dict[str, Any] = {}
    for key in items[0]:
        values = [item[key] for item in items]
        first = values[0]
        if isinstance(first, np.ndarray):
            batch[key] = torch.from_numpy(np.stack(values))
        elif isinstance(first, (int, float, np.integer, np.floating)):
            batch[key] = torch.as_tensor(np.asarray(values))
        elif isinstance(first, Tensor):
            batch[key] = torch.stack(values)
        else:
            batch[key] = values
    return batch


def labels_to_balance(source: Source) -> np.ndarray:
    """The labels of a data set, int ``(N,)``, for :func:`epoch_batches`.

    Raises:
        ConfigError: the data set has none, or not for every sample.
    """
    labels = np.asarray(getattr(source, "labels", ()))
    if labels.shape != (len(source),):
        raise ConfigError("balanced training needs a data set with labels; set balanced to false")
    if (labels < 0).any():
        first = int(np.flatnonzero(labels < 0)[0])
        raise ConfigError(f"balanced training needs a label for every sample; {first} has none")
    return labels


def epoch_batches(
    length: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    ranks: int = 1,
    rank: int = 0,
    labels: np.ndarray | None = None,
) -> list[list[int]]:
    """Indices of this rank's batches in one epoch.

    Every batch of ``batch_size`` is dealt out to the ranks; a last incomplete batch is dropped,
    unless the data set is smaller than one batch. With ``labels``, every class is drawn equally
    often: see :func:`ski_data.orders.epoch_order`.

    Returns:
        lists of ``batch_size / ranks`` indices.
    """
    order = epoch_order(length, seed=seed, epoch=epoch, labels=labels).tolist()
    if length < batch_size:
        order = order[: length - length % ranks] if length >= ranks else order * ranks
        return [order[rank::ranks]]
    starts = range(0, length - batch_size + 1, batch_size)
    return [order[start + rank : start + batch_size : ranks] for start in starts]


def load(
    source: Source, batches: Sequence[Sequence[int]], *, workers: int
) -> Iterator[dict[str, Any]]:
    """Collated batches of the given indices, in order; draws nothing from the global generator."""
    return iter(
        DataLoader(
            source,  # type: ignore[arg-type]
            batch_sampler=batches,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),
        )
    )
