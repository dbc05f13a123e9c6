"""Batches in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader


class Source(Protocol):
    """A map-style data set of dictionaries of arrays, numbers and strings."""

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


def epoch_batches(
    length: int, batch_size: int, *, seed: int, epoch: int, ranks: int = 1, rank: int = 0
) -> list[list[int]]:
    """Indices of this rank's batches in one epoch.

    Every batch of ``batch_size`` is dealt out to the ranks; a last incomplete batch is dropped,
    unless the data set is smaller than one batch.

    Returns:
        lists of ``batch_size / ranks`` indices.
    """
    order = np.random.default_rng([seed, epoch]).permutation(length).tolist()
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
