from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ski_skeleton.encoders import build_encoder
from ski_vlm.align import AlignThreeModalities, TrimodalConfig
from ski_vlm.errors import ConfigError


def test_loss_by_hand(student, teacher, names, batch):
    task = AlignThreeModalities(student, teacher.encoder, names, TrimodalConfig()).eval()
    losses = task(batch)
    with torch.no_grad():
        unit = {
            "v": student.encode_video(student.normalise(batch["video"])),
            "s": F.normalize(teacher.encoder(batch["skeleton"]), dim=-1),
            "t": student.encode_classes(names)[batch["label"]],
        }
        target = torch.arange(3)
        total = 0.0
        for a, b, scale in (
            ("v", "t", student.logit_scale.exp()),
            ("s", "v", 100),
            ("s", "t", 100),
        ):
            matrix = scale * unit[a] @ unit[b].T
            total += F.cross_entropy(matrix, target) + F.cross_entropy(matrix.T, target)
    torch.testing.assert_close(losses["loss"].detach(), total / 6)


def test_all_three_sides_learn(student, teacher, names, batch):
    task = AlignThreeModalities(student, teacher.encoder, names, TrimodalConfig()).train()
    task(batch)["loss"].backward()
    assert student.image.proj.grad.abs().sum() > 0
    assert student.text.text_projection.grad.abs().sum() > 0
    assert teacher.encoder.head.weight.grad.abs().sum() > 0
    assert task.text_scale.grad is not None


def test_clips_of_one_class_may_be_left_out_of_the_negatives(student, teacher, names, batch):
    batch = {**batch, "label": torch.tensor([0, 0, 1])}
    kept = AlignThreeModalities(student, teacher.encoder, names, TrimodalConfig()).eval()(batch)
    config = TrimodalConfig(mask_same_class=True)
    masked = AlignThreeModalities(student, teacher.encoder, names, config).eval()(batch)
    assert masked["skeleton_text"] < kept["skeleton_text"]


def test_the_head_must_reach_the_joint_space(student, teacher, names):
    encoder = build_encoder(replace(teacher.config.encoder, output=8))
    with pytest.raises(ConfigError, match=r"encoder\.output to 16"):
        AlignThreeModalities(student, encoder, names, TrimodalConfig())
