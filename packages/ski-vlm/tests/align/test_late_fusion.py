from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax

from ski_vlm.align import LateFusionConfig, TrainLateFusion, fused_scores
from ski_vlm.errors import ConfigError


def test_fused_scores_against_scipy():
    rng = np.random.default_rng(0)
    video, skeleton = rng.normal(size=(2, 5, 4)).astype(np.float32) * 50
    summed = softmax(video.astype(float) + skeleton, -1)
    np.testing.assert_allclose(fused_scores(video, skeleton, "logits"), summed, atol=1e-6)
    mean = (softmax(video.astype(float), -1) + softmax(skeleton.astype(float), -1)) / 2
    np.testing.assert_allclose(fused_scores(video, skeleton, "probabilities"), mean, atol=1e-6)


def test_larger_logits_decide_the_released_fusion():
    video, skeleton = np.array([[0.3, 0.1]]), np.array([[-20.0, 20.0]])
    assert fused_scores(video, skeleton, "logits").argmax() == 1


def test_bad_fusion():
    with pytest.raises(ConfigError, match="same clips"):
        fused_scores(np.zeros((2, 3)), np.zeros((2, 4)), "logits")
    with pytest.raises(ConfigError, match="not 'sum'"):
        fused_scores(np.zeros((2, 3)), np.zeros((2, 3)), "sum")


def test_only_the_linear_layer_learns(student, teacher, names, batch):
    task = TrainLateFusion(student, teacher, names, LateFusionConfig()).train()
    optimizer = torch.optim.Adam(task.parameter_groups()[0]["params"], lr=0.05)
    first = None
    for _ in range(30):
        loss = task(batch)["loss"]
        first = first if first is not None else loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < first
    frozen = [*student.parameters(), *teacher.parameters()]
    assert all(p.grad is None for p in frozen)
    assert not student.image.training
    assert not teacher.encoder.training


def test_logits_by_hand(student, teacher, names, batch):
    task = TrainLateFusion(student, teacher, names, LateFusionConfig()).eval()
    with torch.no_grad():
        video = student.encode_video(student.normalise(batch["video"]))
        skeleton = F.normalize(teacher.embed(batch["skeleton"]), dim=-1)
        fused = F.normalize(task.fusion.linear(torch.cat([video, skeleton], 1)), dim=-1)
        expected = student.logit_scale.exp() * fused @ student.encode_classes(names).T
        torch.testing.assert_close(task.logits(batch, names), expected)
