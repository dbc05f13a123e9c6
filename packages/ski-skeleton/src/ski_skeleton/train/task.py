"""What is trained: modules, their losses and the parameters that move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Batch = Mapping[str, Any]
Losses = dict[str, Tensor]


class Task(nn.Module):
    """A method as the loop sees it: a batch goes in, named losses come out.

    Subclasses hold their modules and implement :meth:`losses`; ``forward`` exists so that
    data-parallel wrappers see every call. Frozen modules keep themselves in evaluation mode.
    """

    def losses(self, batch: Batch) -> Losses:
        """Scalars by name; ``loss`` is what is minimised, the others are logged.

        A ``loss`` that is a mean over samples is the same however a batch is dealt to accumulation
        steps and processes; one that compares the samples of a batch must gather them itself.
        """
        raise TypeError(f"{type(self).__name__} has no losses for {list(batch)}")

    def forward(self, batch: Batch) -> Losses:
        """See :meth:`losses`."""
        return self.losses(batch)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimiser; ``scale`` multiplies the learning rate of a group."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "scale": 1.0}]
