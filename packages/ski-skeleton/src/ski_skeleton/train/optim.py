"""Optimisers and learning-rate schedules by the field's names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ski_skeleton.errors import ConfigError


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and schedule; steps of the schedule are optimiser steps."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    momentum: float = 0.9
    """Nesterov momentum of sgd."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    """Linear warm-up; the cosine clock includes it, as in the released code."""
    warmup_by: Literal["step", "epoch"] = "step"
    """The warm-up rises with every step, or once per epoch, as Hyperformer's does."""
    min_ratio: float = 0.01
    """Last learning rate of the cosine, as a share of ``lr``."""
    milestones: tuple[float, ...] = ()
    """Epochs after which ``step`` multiplies by ``gamma``."""
    gamma: float = 0.1

    def __post_init__(self) -> None:
        wrong = []
        if self.lr <= 0:
            wrong.append(f"lr must be positive, got {self.lr}")
        if self.weight_decay < 0:
            wrong.append(f"weight_decay must not be negative, got {self.weight_decay}")
        if self.warmup_epochs < 0:
            wrong.append(f"warmup_epochs must not be negative, got {self.warmup_epochs}")
        if not 0 <= self.min_ratio <= 1:
            wrong.append(f"min_ratio must be in 0..1, got {self.min_ratio}")
        if not 0 <= self.momentum < 1:
            wrong.append(f"momentum must be in [0, 1), got {self.momentum}")
        if not all(0 <= beta < 1 for beta in self.betas):
            wrong.append(f"betas must be in [0, 1), got {self.betas}")
        if not 0 < self.gamma <= 1:
            wrong.append(f"gamma must be in (0, 1], got {self.gamma}")
        if list(self.milestones) != sorted(set(self.milestones)) or min((1, *self.milestones)) <= 0:
            wrong.append(f"milestones must be positive and ascending, got {self.milestones}")
        if wrong:
            raise ConfigError("optimiser: " + "; ".join(wrong))


def build_optimizer(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW or Nesterov SGD over ``groups`` (each with ``params`` and ``scale``)."""
    if not any(group["params"] for group in groups):
        raise ConfigError("nothing to train: no parameter requires a gradient")
    if config.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
    )


def learning_rate(config: OptimConfig, step: int, steps_per_epoch: int, total: int) -> float:
    """Learning rate of optimiser step ``step`` (from 0) of ``total``."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        if config.warmup_by == "epoch":
            return config.lr * min(1.0, (step // steps_per_epoch + 1) / config.warmup_epochs)
        return config.lr * min(1.0, (step + 1) / warmup)
    if config.schedule == "cosine":
        low = config.lr * config.min_ratio
        return low + 0.5 * (config.lr - low) * (1 + math.cos(math.pi * step / max(1, total)))
    if config.schedule == "step":
        passed = sum(step >= m * steps_per_epoch for m in config.milestones)
        return config.lr * config.gamma**passed
    return config.lr
