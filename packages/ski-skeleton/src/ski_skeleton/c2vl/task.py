"""C2VL's pretraining as a task of the one trainer; class labels are never looked at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ski_skeleton.c2vl.losses import pair_losses, progressive_weight
from ski_skeleton.c2vl.model import C2vl, Temperature
from ski_skeleton.ema import EmaTeacher, cosine_decay
from ski_skeleton.errors import ConfigError
from ski_skeleton.train.processes import all_rows
from ski_skeleton.train.task import Batch, Losses, Task


class PretrainC2vl(Task):
    """Contrast with softened targets from an EMA teacher, and self-distillation.

    The number of training batches seen is part of the state, so the schedules of target weight and
    teacher, and the teacher itself, go on exactly where a checkpoint was written. The teacher takes
    a step of the student over right before the next batch. Rows of all processes are negatives of
    each other; those of other micro-batches of a step are not.

    Args:
        model: the student.
        steps: optimiser steps of the whole run.
        accumulation: micro-batches per step.
    """

    def __init__(self, model: C2vl, steps: int, accumulation: int = 1) -> None:
        super().__init__()
        if steps < 1 or accumulation < 1:
            raise ConfigError(f"steps and accumulation must be from 1, got {steps}, {accumulation}")
        self.student = model
        self.teacher = EmaTeacher(model)
        self.temperature = Temperature(model.config.temperature)
        self.steps, self.accumulation = steps, accumulation
        self.seen = 0

    def get_extra_state(self) -> Tensor:
        """Training batches seen so far."""
        return torch.tensor(self.seen)

    def set_extra_state(self, state: Tensor) -> None:
        """See :meth:`get_extra_state`."""
        self.seen = int(state)

    def losses(self, batch: Batch) -> Losses:
        """``skeleton`` ``(N, 3, T, V, M)`` and its concept vectors to ``loss`` and its parts."""
        config = self.student.config
        step = min(self.seen // self.accumulation, self.steps)
        if self.training:
            if self.seen and self.seen % self.accumulation == 0:
                decay = cosine_decay(step - 1, self.steps, config.momentum)
                self.teacher.update(self.student, decay)
            self.seen += 1
        concepts: dict[str, Tensor] = {kind: batch[kind] for kind in config.concepts}
        mine = {k: all_rows(v) for k, v in self.student(batch["skeleton"], concepts).items()}
        with torch.no_grad():
            theirs = self.teacher.module(batch["skeleton"], concepts)
            theirs = {k: all_rows(v) for k, v in theirs.items()}
        weight = progressive_weight(step, self.steps, config.soft)
        scale = self.temperature()
        with torch.autocast(scale.device.type, enabled=False):  # the softmaxes need all digits
            pairs = [
                pair_losses(
                    (mine["skeleton"].float(), mine[kind].float()),
                    (theirs["skeleton"].float(), theirs[kind].float()),
                    scale=scale,
                    weight=weight,
                    intra_share=config.intra_share,
                    teacher_temperature=config.teacher_temperature,
                )
                for kind in config.concepts
            ]
        pulled = torch.stack([pair[0] for pair in pairs]).sum()
        told = torch.stack([pair[1] for pair in pairs]).sum()
        return {
            "loss": pulled + config.distill * told,
            "contrast": pulled,
            "distillation": told,
            "scale": scale,
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weight decay for matrices; none for biases, norms and the temperature."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim > 1], "scale": 1.0},
            {"params": [p for p in trained if p.ndim < 2], "scale": 1.0, "weight_decay": 0.0},
        ]
