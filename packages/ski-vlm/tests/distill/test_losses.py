from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_vlm.distill import feature_distance, info_nce, logit_distance, soft_cross_entropy

DISTANCES = ("mse", "kl", "contrastive")


def two(n=4, k=5, **settings):
    return torch.randn(n, k, **settings), torch.randn(n, k, **settings)


def test_soft_cross_entropy_of_hard_targets():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    torch.testing.assert_close(
        soft_cross_entropy(logits, F.one_hot(labels, 4).float()), F.cross_entropy(logits, labels)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.1, 5))
def test_distances_by_hand(n, k, t):
    video, pose = two(n, k)
    torch.testing.assert_close(
        logit_distance("mse", video, pose), ((video - pose) ** 2).sum() / (n * k)
    )
    p, q = (pose / t).softmax(-1), (video / t).softmax(-1)
    torch.testing.assert_close(
        logit_distance("kl", video, pose, temperature=t),
        t * t * (p * (p / q).log()).sum(-1).mean(),
        rtol=1e-4,
        atol=1e-5,
    )
    a, b = F.normalize(video, dim=-1), F.normalize(pose, dim=-1)
    s = (a @ b.T / t).double().exp()
    own = s.diagonal()
    by_hand = -(torch.log(own / s.sum(1)).mean() + torch.log(own / s.sum(0)).mean()) / 2
    ours = logit_distance("contrastive", video, pose, temperature=t)
    torch.testing.assert_close(ours.double(), by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", DISTANCES)
def test_gradients_match_finite_differences(kind):
    pair = two(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, p: logit_distance(kind, v, p), pair)


@pytest.mark.parametrize("kind", ["mse", "kl"])
def test_equal_logits_are_no_distance_apart(kind):
    video, _ = two()
    torch.testing.assert_close(logit_distance(kind, video, video), torch.tensor(0.0))


@pytest.mark.parametrize("kind", DISTANCES)
def test_rows_that_take_no_part(kind):
    video, pose = two()
    rows = torch.tensor([True, False, True, True])
    part = logit_distance(kind, video[rows], pose[rows])
    share = 1.0 if kind == "contrastive" else 3 / 4
    torch.testing.assert_close(logit_distance(kind, video, pose, rows=rows), part * share)
    pose[1] = 1e3
    torch.testing.assert_close(logit_distance(kind, video, pose, rows=rows), part * share)
    nothing = logit_distance(kind, video, pose, rows=torch.zeros(4, dtype=torch.bool))
    assert nothing == 0


def test_distance_reaches_both_sides():
    video, pose = two(requires_grad=True)
    logit_distance("mse", video, pose).backward()
    assert video.grad.abs().sum() > 0
    torch.testing.assert_close(video.grad, -pose.grad)


def test_clips_of_one_class_are_no_negatives():
    similarities = torch.randn(3, 3)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    changed = similarities.clone()
    changed[0, 1] = changed[1, 0] = 50.0
    torch.testing.assert_close(info_nce(changed, same), info_nce(similarities, same))
    assert info_nce(changed) > info_nce(similarities) + 10


def test_feature_distances():
    video, pose = two()
    torch.testing.assert_close(feature_distance("cosine", video, 3 * video), torch.tensor(0.0))
    torch.testing.assert_close(feature_distance("mse", video, pose), (video - pose).square().mean())
