from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_vlm.distill import scd_losses, soft_cross_entropy


def test_soft_cross_entropy_of_hard_targets():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    torch.testing.assert_close(
        soft_cross_entropy(logits, F.one_hot(labels, 4).float()), F.cross_entropy(logits, labels)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0, 100))
def test_sum_of_parts(n, k, alpha):
    video, pose = torch.randn(n, k), torch.randn(n, k)
    losses = scd_losses(video, pose, torch.randn(n, k).softmax(-1), alpha)
    total = losses.video + losses.skeleton + alpha * losses.distance
    torch.testing.assert_close(losses.total, total)
    torch.testing.assert_close(losses.distance, ((video - pose) ** 2).sum() / (n * k))


def test_gradients_match_finite_differences():
    video = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    pose = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(3, 4, dtype=torch.float64).softmax(-1)
    assert torch.autograd.gradcheck(
        lambda v, p: scd_losses(v, p, targets, 0.7).total, (video, pose)
    )


def test_distance_reaches_both_sides():
    video, pose = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    scd_losses(video, pose, torch.zeros(3, 4), 1.0).total.backward()
    assert video.grad.abs().sum() > 0
    torch.testing.assert_close(video.grad, -pose.grad)
