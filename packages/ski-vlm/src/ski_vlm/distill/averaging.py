"""The mean of a run's weights at the ends of its epochs, kept while it trains."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from ski_skeleton.ema import EmaTeacher
from ski_vlm.errors import ConfigError

M = TypeVar("M", bound=nn.Module)


class StepCounter(nn.Module):
    """Steps so far: a plain number for the program, an entry for checkpoints.

    Reading the number never waits for the device.
    """

    steps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.value = 0

    def advance(self) -> int:
        """The number of this step, from 0; the next call gives the next one."""
        step = self.value
        self.value += 1
        self.steps.fill_(self.value)
        return step

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[arg-type]
        self.value = int(self.steps)


class EpochAverage(nn.Module, Generic[M]):
    """Uniform average of a model's weights at the ends of epochs.

    It is part of a run's checkpoints, so that a run that is resumed ends with the same average;
    only one copy of the weights is held, however many epochs there are.

    Args:
        model: what trains.
        first: the first epoch, from 1, whose end counts.
        steps: micro-batches of an epoch on one process.
    """

    def __init__(self, model: M, *, first: int, steps: int) -> None:
        super().__init__()
        if first < 1 or steps < 1:
            raise ConfigError(f"first epoch and steps must be at least 1, got {first} and {steps}")
        self.first, self.steps = first, steps
        self.mean: EmaTeacher[M] = EmaTeacher(model)
        self.taken = StepCounter()

    def before_step(self, model: M, step: int) -> None:
        """Take in the model where step ``step`` (from 0) is the first one of an epoch."""
        epochs, done = divmod(step, self.steps)
        if done == 0 and epochs >= self.first:
            self._take(model)

    def _take(self, model: M) -> None:
        count = self.taken.advance()
        self.mean.update(model, count / (count + 1))

    def finish(self, model: M) -> M:
        """A copy of the model with the average, which takes in the model as it stands.

        Call it after the last step of the last epoch; the running average stays as it is.
        """
        whole = copy.deepcopy(self)
        whole._take(model)
        return whole.mean.module
