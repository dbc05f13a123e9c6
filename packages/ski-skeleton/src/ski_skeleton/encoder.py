"""What every skeleton encoder gives back, whatever its architecture."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Encoded(NamedTuple):
    """One pooled vector per clip and, where the architecture has them, tokens over time."""

    features: Tensor
    """``(N, D)``."""
    tokens: Tensor | None
    """``(N, L, D)``, in order of time; ``None`` when the encoder keeps no tokens."""


class SkeletonEncoder(Protocol):
    """Anything that turns skeleton clips ``(N, 3, T, V, M)`` into features."""

    width: int

    def encode(self, clips: Tensor) -> Encoded:
        """Features and tokens of a batch of clips."""
        ...
