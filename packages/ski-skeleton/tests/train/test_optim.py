from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_skeleton.errors import ConfigError
from ski_skeleton.train.optim import OptimConfig, build_optimizer, learning_rate


@given(st.integers(1, 50), st.integers(1, 20), st.floats(0, 5))
def test_cosine_stays_within_bounds(steps_per_epoch, epochs, warmup):
    config = OptimConfig(lr=1.0, warmup_epochs=warmup)
    total = steps_per_epoch * epochs
    rates = [learning_rate(config, s, steps_per_epoch, total) for s in range(total)]
    assert all(0 < r <= 1.0 + 1e-9 for r in rates)


def test_cosine_by_hand():
    config = OptimConfig(lr=2.0, min_ratio=0.01)
    assert learning_rate(config, 0, 10, 100) == 2.0
    assert math.isclose(learning_rate(config, 50, 10, 100), (2.0 + 0.02) / 2)
    assert math.isclose(learning_rate(config, 100, 10, 100), 0.02)


def test_warmup_is_linear_and_inside_the_clock():
    config = OptimConfig(lr=1.0, warmup_epochs=2)
    assert math.isclose(learning_rate(config, 0, 10, 100), 0.05)
    assert math.isclose(learning_rate(config, 19, 10, 100), 1.0)
    cosine = OptimConfig(lr=1.0)
    assert learning_rate(config, 30, 10, 100) == learning_rate(cosine, 30, 10, 100)


def test_warmup_by_epoch_stays_within_each():
    config = OptimConfig(lr=0.025, schedule="step", warmup_epochs=5, warmup_by="epoch")
    rates = [learning_rate(config, s, 10, 100) for s in range(70)]
    epochs = [0.025 * min(1, (epoch + 1) / 5) for epoch in range(7) for _ in range(10)]
    assert rates == pytest.approx(epochs)


def test_steps_at_milestones():
    config = OptimConfig(lr=1.0, schedule="step", milestones=(2, 3))
    rates = [learning_rate(config, s, 10, 100) for s in (19, 20, 30)]
    assert rates == pytest.approx([1.0, 0.1, 0.01])


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_optimiser_by_name(name, kind):
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = build_optimizer([{"params": [parameter], "scale": 1.0}], OptimConfig(name=name))
    assert isinstance(optimizer, kind)


@pytest.mark.parametrize(
    "settings", [{"lr": 0.0}, {"weight_decay": -1.0}, {"warmup_epochs": -1.0}, {"min_ratio": 2.0}]
)
def test_bad_settings(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        OptimConfig(**settings)
