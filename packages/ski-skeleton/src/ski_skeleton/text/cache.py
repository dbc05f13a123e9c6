"""What frozen text towers keep of their answers."""

from __future__ import annotations

from torch import Tensor

KEPT = 64
"""Lists of prompts whose features are kept."""


class RecentTexts(dict[tuple[str, ...], Tensor]):
    """Features by list of prompts; beyond :data:`KEPT` lists the oldest goes."""

    def __setitem__(self, prompts: tuple[str, ...], features: Tensor) -> None:
        if prompts not in self and len(self) >= KEPT:
            del self[next(iter(self))]
        super().__setitem__(prompts, features)
