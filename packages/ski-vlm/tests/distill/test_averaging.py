from __future__ import annotations

import pytest
import torch
from torch import nn

from ski_vlm.distill.averaging import EpochAverage, StepCounter
from ski_vlm.errors import ConfigError


def weights(value):
    layer = nn.Linear(2, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, -value)
    return layer


@pytest.mark.parametrize(("first", "mean"), [(1, 20.0), (2, 25.0), (3, 30.0)])
def test_mean_over_ends_of_epochs(first, mean):
    """Two steps an epoch, three epochs, weights 10, 20 and 30 at their ends."""
    model = weights(0.0)
    average = EpochAverage(model, first=first, steps=2)
    for step in range(6):
        average.before_step(model, step)
        nn.init.constant_(model.weight, (step + 1) * 5.0)
        nn.init.constant_(model.bias, -(step + 1) * 5.0)
    found = average.finish(model)
    torch.testing.assert_close(found.weight, torch.full((1, 2), mean))
    torch.testing.assert_close(found.bias, torch.full((1,), -mean))
    torch.testing.assert_close(average.finish(model).weight, found.weight)  # it changed nothing
    assert not any(p.requires_grad for p in average.parameters())


def test_counter_is_kept_in_the_state():
    counter = StepCounter()
    assert [counter.advance() for _ in range(3)] == [0, 1, 2]
    other = StepCounter()
    other.load_state_dict(counter.state_dict())
    assert other.value == 3
    assert other.advance() == 3


@pytest.mark.parametrize(("first", "steps"), [(0, 1), (1, 0)])
def test_bad_settings(first, steps):
    with pytest.raises(ConfigError):
        EpochAverage(weights(0.0), first=first, steps=steps)
