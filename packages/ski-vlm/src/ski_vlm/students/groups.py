"""Groups of parameters for the optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def decay_groups(
    named: Iterable[tuple[str, nn.Parameter]], scale: float = 1.0, exempt: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Parameters that train, those with weight decay apart from those without.

    Args:
        named: names and parameters.
        scale: what the group multiplies the learning rate by.
        exempt: names that contain one of these have no decay, nor have scalars and vectors.

    Returns:
        At most two groups; the one without decay says so in ``weight_decay``.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            bare = parameter.ndim < 2 or any(word in name for word in exempt)
            (free if bare else decayed).append(parameter)
    groups = [
        {"params": decayed, "scale": scale},
        {"params": free, "scale": scale, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
