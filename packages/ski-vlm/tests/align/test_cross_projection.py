from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ski_vlm.align import CrossProjectClip, CrossProjection, CrossProjectionConfig
from ski_vlm.errors import ConfigError


@pytest.fixture
def model(student, teacher):
    config = CrossProjectionConfig(encoder=teacher.config.encoder, clip=student.config.clip)
    return CrossProjection(config, student.text)


def test_loss_by_hand(student, model, batch):
    losses = CrossProjectClip(student, model).eval()(batch)
    with torch.no_grad():
        v = student.encode_video(student.normalise(batch["video"]))
        s = model.encoder(batch["skeleton"])
        target, total = torch.arange(3), 0.0
        for a, b in ((s, model.of_video(v)), (model.of_skeleton(s), v)):
            matrix = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / 0.07
            total += F.cross_entropy(matrix, target) + F.cross_entropy(matrix.T, target)
    torch.testing.assert_close(losses["loss"].detach(), total / 4)


def test_only_the_skeleton_side_and_the_heads_learn(student, model, batch):
    task = CrossProjectClip(student, model).train()
    task(batch)["loss"].backward()
    assert all(p.grad is None for p in student.parameters())
    assert not student.image.training
    for module in (model.encoder, model.of_video, model.of_skeleton):
        assert any(p.grad is not None and p.grad.any() for p in module.parameters())


def test_logits_are_cosines_with_class_texts(model, batch, names):
    logits = model.eval().logits(batch["skeleton"], names)
    assert logits.shape == (3, 3)
    assert logits.abs().max() <= 1 + 1e-5


def test_bad_settings(student, teacher):
    with pytest.raises(ConfigError, match="dropout"):
        CrossProjectionConfig(encoder=teacher.config.encoder, dropout=1.0)
    encoder = replace(teacher.config.encoder, output=8)
    with pytest.raises(ConfigError, match=r"encoder\.output to 16"):
        CrossProjection(CrossProjectionConfig(encoder, student.config.clip), student.text)
