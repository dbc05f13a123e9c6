"""Scores of a model over a data set, as plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ski_skeleton.errors import ConfigError
from ski_skeleton.train.data import Source, collate


class Scores(NamedTuple):
    """One row per sample, in the data set's order."""

    logits: np.ndarray
    """float32 ``(N, K)``."""
    labels: np.ndarray
    """int64 ``(N,)``, columns of ``logits``."""


def collect_scores(
    score: Callable[[dict[str, Any]], Tensor],
    source: Source,
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> Scores:
    """Run ``score`` (batch to logits ``(N, K)``) over every sample, once and in order.

    Raises:
        ConfigError: an empty data set.
    """
    if len(source) == 0:
        raise ConfigError("nothing to evaluate: the data set is empty")
    logits, labels = [], []
    with torch.inference_mode():
        for start in range(0, len(source), batch_size):
            items = [source[i] for i in range(start, min(start + batch_size, len(source)))]
            batch = {
                k: v.to(device) if isinstance(v, Tensor) else v for k, v in collate(items).items()
            }
            logits.append(score(batch).float().cpu().numpy())
            labels.append(batch["label"].cpu().numpy())
    return Scores(np.concatenate(logits), np.concatenate(labels))
