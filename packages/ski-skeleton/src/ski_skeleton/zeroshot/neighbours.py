"""Neighbour-attuned class texts: every text leans towards the texts most like it.

Chen et al., "Learning by neighbor-aware semantics, deciding by open-form flows: towards robust
zero-shot skeleton action recognition" (Flora), CVPR 2026 Findings. Only class names are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_data.errors import InputError
from ski_skeleton.errors import ConfigError


@dataclass(frozen=True)
class NeighbourConfig:
    """How far a class text leans towards its neighbours."""

    k: int = 2
    """Neighbours of a class (released: 2)."""
    mix: float = 0.4
    """Weight of their mean (released: 0.4)."""

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 < self.mix <= 1:
            raise ConfigError(
                f"neighbours: k must be from 1 and mix within 0..1, not {self.k} and {self.mix}; "
                "leave neighbours out to keep texts as they are"
            )


def mixing_matrix(text: Tensor, config: NeighbourConfig) -> Tensor:
    """What turns vectors of K classes into attuned ones, ``(K, K)``.

    Row i is ``t_i + (mix / k) * sum_j cos(t_i, t_j) t_j`` over the k classes j != i with the
    largest cosine, as coefficients of the ``t``.

    Args:
        text: vectors ``(K, E)`` of the classes that are known, of any length.
        config: how many neighbours, and how much of them.

    Raises:
        InputError: no more than k classes.
    """
    count = len(text)
    if config.k >= count:
        raise InputError(
            f"{count} classes have no {config.k} neighbours each; set text.neighbours.k below "
            f"{count}"
        )
    unit = F.normalize(text, dim=-1)
    cosine = (unit @ unit.T).fill_diagonal_(-torch.inf)
    value, index = cosine.topk(config.k, dim=-1)
    leaning = torch.zeros_like(cosine).scatter_(1, index, value * (config.mix / config.k))
    return torch.eye(count, dtype=text.dtype, device=text.device) + leaning
