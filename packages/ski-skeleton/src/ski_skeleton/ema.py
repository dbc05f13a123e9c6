"""A teacher that follows a student: exponential moving average of its weights."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import nn

from ski_skeleton.errors import ConfigError

M = TypeVar("M", bound=nn.Module)


def cosine_decay(step: int, total: int, start: float, end: float = 1.0) -> float:
    """Decay of the average after ``step`` of ``total`` steps: ``start`` first, ``end`` last.

    The momentum schedule of BYOL: ``end - (end - start) (cos(pi step / total) + 1) / 2``.
    """
    share = min(1.0, step / max(1, total))
    return end - (end - start) * (math.cos(math.pi * share) + 1) / 2


class EmaTeacher(nn.Module, Generic[M]):
    """A copy of ``student`` that never trains; :meth:`update` moves it towards the student.

    Parameters are averaged. Buffers (statistics and counters of norms) are taken over as they are:
    they are averages over batches already. The teacher always is in evaluation mode, so no batch
    changes it and no dropout disturbs its answers.
    """

    def __init__(self, student: M) -> None:
        super().__init__()
        self.module: M = copy.deepcopy(student)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> EmaTeacher[M]:  # noqa: ARG002
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student: M, decay: float) -> None:
        """``teacher = decay * teacher + (1 - decay) * student`` for every parameter.

        Raises:
            ConfigError: a decay outside 0..1, or a student of another shape.
        """
        if not 0 <= decay <= 1:
            raise ConfigError(f"the decay of an average must be in 0..1, got {decay}")
        for mine, theirs in (
            (dict(self.module.named_parameters()), dict(student.named_parameters())),
            (dict(self.module.named_buffers()), dict(student.named_buffers())),
        ):
            if mine.keys() != theirs.keys():
                odd = sorted(mine.keys() ^ theirs.keys())
                raise ConfigError(f"teacher and student differ in {odd[:4]}; build both alike")
        own = [p for _, p in sorted(self.module.named_parameters())]
        new = [p.detach() for _, p in sorted(student.named_parameters())]
        torch._foreach_lerp_(own, new, 1 - decay)
        new_buffers = dict(student.named_buffers())
        for name, buffer in self.module.named_buffers():
            buffer.copy_(new_buffers[name])
