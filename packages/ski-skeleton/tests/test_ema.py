from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_skeleton.ema import EmaTeacher, cosine_decay
from ski_skeleton.errors import ConfigError


def student():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout())


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0, 1))
def test_decay_rises_from_start_to_end(step, total, start):
    value = cosine_decay(step, total, start)
    assert start - 1e-12 <= value <= 1 + 1e-12
    assert value <= cosine_decay(step + 1, total, start) + 1e-12
    assert cosine_decay(0, total, start) == pytest.approx(start)
    assert cosine_decay(total, total, start) == pytest.approx(1)


def test_decay_is_the_cosine():
    assert cosine_decay(25, 100, 0.9) == pytest.approx(1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2)


def test_parameters_are_averaged_and_buffers_taken_over():
    net = student().double()
    teacher = EmaTeacher(net)
    first = {k: v.clone() for k, v in net.state_dict().items()}
    for step in range(3):
        net(torch.randn(8, 3, dtype=torch.float64))
        with torch.no_grad():
            for p in net.parameters():
                p += step + 1
        teacher.update(net, 0.75)
    expected = first["0.weight"]
    for total in (1, 3, 6):
        expected = 0.75 * expected + 0.25 * (first["0.weight"] + total)
    torch.testing.assert_close(teacher.module[0].weight, expected)
    assert torch.equal(teacher.module[1].running_mean, net[1].running_mean)
    assert int(teacher.module[1].num_batches_tracked) == 3


def test_teacher_never_trains():
    net = student()
    teacher = EmaTeacher(net).train()
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())
    before = teacher.module[1].running_mean.clone()
    x = torch.randn(8, 3)
    assert torch.equal(teacher.module(x), teacher.module(x))
    assert torch.equal(before, teacher.module[1].running_mean)
    with torch.no_grad():
        net[0].weight += 1
    assert not torch.equal(net[0].weight, teacher.module[0].weight)


def test_ends_of_the_decay():
    net = student()
    teacher = EmaTeacher(net)
    kept = teacher.module[0].weight.clone()
    with torch.no_grad():
        net[0].weight += 1
    teacher.update(net, 1.0)
    assert torch.equal(teacher.module[0].weight, kept)
    teacher.update(net, 0.0)
    assert torch.equal(teacher.module[0].weight, net[0].weight)


def test_refusals():
    teacher = EmaTeacher(student())
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        teacher.update(student(), 1.5)
    with pytest.raises(ConfigError, match="build both alike"):
        teacher.update(torch.nn.Sequential(torch.nn.Linear(3, 4)), 0.5)
