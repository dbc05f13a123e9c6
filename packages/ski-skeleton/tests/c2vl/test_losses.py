from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_skeleton.c2vl.losses import (
    contrast,
    distillation,
    inter_targets,
    intra_targets,
    pair_losses,
    progressive_weight,
    soft_targets,
)
from ski_skeleton.errors import ConfigError


def rows(seed, count=5, width=4):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, dtype=torch.float64, generator=generator), dim=-1)


def softmax(row):
    high = max(row)
    raised = [math.exp(x - high) for x in row]
    return [x / sum(raised) for x in raised]


def oracle(a, b, a_teacher, b_teacher, *, scale, weight, share, temperature):
    """The sum over both directions written out with loops."""
    n = len(a)
    pulled = told = 0.0
    for x, y, xt, yt in ((a, b, a_teacher, b_teacher), (b, a, b_teacher, a_teacher)):
        for i in range(n):
            own = [(0.5 * xt[i] @ xt[j] + 0.5 * yt[i] @ yt[j]) / temperature for j in range(n)]
            there = softmax([xt[i] @ yt[j] / temperature for j in range(n)])
            back = softmax([yt[i] @ xt[j] / temperature for j in range(n)])
            intra = softmax(own)
            given_ = softmax([scale * (x[i] @ y[j]) for j in range(n)])
            for j in range(n):
                inter = 0.5 * (there[j] + back[j])
                target = (1 - weight) * (i == j) + weight * (share * intra[j] + (1 - share) * inter)
                pulled -= target * math.log(given_[j]) / n
                told += there[j] * (math.log(there[j]) - math.log(given_[j])) / n
    return pulled, told


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.04, 0.3, 1.0]))
def test_pair_losses_equal_the_loops(seed, weight, share, temperature):
    a, b, a_teacher, b_teacher = (rows(seed + 100 * k) for k in range(4))
    found = pair_losses(
        (a, b),
        (a_teacher, b_teacher),
        scale=torch.tensor(1 / 0.07, dtype=torch.float64),
        weight=weight,
        intra_share=share,
        teacher_temperature=temperature,
    )
    expected = oracle(
        *(x.numpy() for x in (a, b, a_teacher, b_teacher)),
        scale=1 / 0.07,
        weight=weight,
        share=share,
        temperature=temperature,
    )
    np.testing.assert_allclose([float(x) for x in found], expected, rtol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(0, 1), st.floats(0, 1))
def test_targets_are_distributions(seed, weight, share):
    a, b = rows(seed), rows(seed + 1)
    y = soft_targets(a, b, weight=weight, intra_share=share, temperature=0.04)
    assert (y >= 0).all()
    torch.testing.assert_close(y.sum(-1), torch.ones(5, dtype=torch.float64))
    assert not y.requires_grad


def test_ends_of_the_weights():
    a, b = rows(1), rows(2)
    settings_ = {"intra_share": 0.5, "temperature": 0.1}
    assert torch.equal(soft_targets(a, b, weight=0, **settings_), torch.eye(5).double())
    soft = {
        share: soft_targets(a, b, weight=1, intra_share=share, temperature=0.1)
        for share in (0.0, 1.0)
    }
    torch.testing.assert_close(soft[1.0], intra_targets(a, b, 0.1))
    torch.testing.assert_close(soft[0.0], inter_targets(a, b, 0.1))
    torch.testing.assert_close(inter_targets(a, b, 0.1), inter_targets(b, a, 0.1))


def test_hard_targets_are_infonce():
    logits = rows(3) @ rows(4).T * 10
    expected = F.cross_entropy(logits, torch.arange(5))
    torch.testing.assert_close(contrast(logits, torch.eye(5).double()), expected)


def test_gradients_by_finite_differences():
    a, b = (rows(k, 3).requires_grad_() for k in (1, 2))
    a_teacher, b_teacher = rows(3, 3), rows(4, 3)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def loss(a, b, scale):
        pulled, told = pair_losses(
            (a, b),
            (a_teacher, b_teacher),
            scale=scale,
            weight=0.4,
            intra_share=0.3,
            teacher_temperature=0.2,
        )
        return pulled + 0.1 * told

    assert torch.autograd.gradcheck(loss, (a, b, scale))


def test_no_gradient_reaches_the_teacher():
    teacher = tuple(rows(k).requires_grad_() for k in (3, 4))
    student = tuple(rows(k).requires_grad_() for k in (1, 2))
    pulled, told = pair_losses(
        student,
        teacher,
        scale=torch.tensor(5.0),
        weight=0.5,
        intra_share=0.5,
        teacher_temperature=0.04,
    )
    (pulled + told).backward()
    assert teacher[0].grad is None
    assert teacher[1].grad is None
    assert student[0].grad.abs().sum() > 0


def test_distillation_of_itself_is_zero():
    logits = rows(1) @ rows(2).T
    assert abs(float(distillation(logits, logits))) < 1e-15
    assert float(distillation(logits, -logits)) > 0


def test_weight_rises_linearly():
    assert [progressive_weight(s, 4, 0.5) for s in (0, 1, 2, 4, 9)] == [0, 0.125, 0.25, 0.5, 0.5]


@pytest.mark.parametrize("wrong", [{"weight": -0.1}, {"weight": 1.1}, {"intra_share": 2.0}])
def test_weights_out_of_range(wrong):
    chosen = {"weight": 0.5, "intra_share": 0.5, **wrong}
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        soft_targets(rows(1), rows(2), temperature=0.1, **chosen)
