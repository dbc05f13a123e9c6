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
    accumulation: int = 1,
    ranks: int = 1,
    rank: int = 0,
    labels: np.ndarray | None = None,
) -> list[list[int]]:
    """Indices of this rank's batches in one epoch, ``accumulation`` per optimiser step.

    Every ``batch_size`` samples in order are dealt out to the parts of a step and the ranks, so
    that these never change which samples a step is made of; what is left at the end is dropped. A
    data set smaller than that is one step, whose parts are equally large. With ``labels``, every
    class is drawn equally often: see :func:`ski_data.orders.epoch_order`.

    Returns:
        lists of ``batch_size / accumulation / ranks`` indices.
    """
    order = epoch_order(length, seed=seed, epoch=epoch, labels=labels)
    deals = accumulation * ranks
    if length < batch_size:
        batch_size = max(deals, length - length % deals)
        order = np.resize(order, batch_size)
    part = batch_size // accumulation
    starts = range(0, len(order) - part * accumulation + 1, part * accumulation)
    return [
        order[start + k * part + rank : start + (k + 1) * part : ranks].tolist()
        for start in starts
        for k in range(accumulation)
    ]


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
