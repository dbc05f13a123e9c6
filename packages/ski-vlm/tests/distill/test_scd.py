from __future__ import annotations

import pytest
import torch

from ski_vlm.distill import ScdConfig, SkeletonDistillation
from ski_vlm.errors import ConfigError


def test_released_losses_by_hand(student, teacher, names, batch):
    task = SkeletonDistillation(student, teacher, names, ScdConfig(2.0, "released")).eval()
    losses = task(batch)
    with torch.no_grad():
        video = student(student.normalise(batch["video"]), names).cosines
        text = teacher.text.unit_text([f"a photo of a {n}." for n in names])
        pose = teacher.embed(batch["skeleton"]) @ text.T
        ce = torch.nn.functional.cross_entropy
        expected = ce(video, batch["label"]) + ce(pose, batch["label"])
        expected = expected + 2.0 * (video - pose).square().mean()
    torch.testing.assert_close(losses["loss"].detach(), expected)


def test_cosine_distance_is_unscaled(student, teacher, names, batch):
    losses = SkeletonDistillation(student, teacher, names, ScdConfig()).eval()(batch)
    assert losses["distance"] <= 4


def test_both_sides_learn_online(student, teacher, names, batch):
    task = SkeletonDistillation(student, teacher, names, ScdConfig()).train()
    task(batch)["loss"].backward()
    assert student.image.proj.grad.abs().sum() > 0
    assert teacher.encoder.head.weight.grad.abs().sum() > 0
    assert student.logit_scale.grad is not None


def test_released_logits_leave_the_scale_alone(student, teacher, names, batch):
    task = SkeletonDistillation(student, teacher, names, ScdConfig(logits="released"))
    task(batch)["loss"].backward()
    assert student.logit_scale.grad is None


def test_smoothed_labels(student, teacher, names, batch):
    plain = SkeletonDistillation(student, teacher, names, ScdConfig()).eval()(batch)
    smooth = ScdConfig(label_smoothing=0.3)
    other = SkeletonDistillation(student, teacher, names, smooth).eval()(batch)
    assert other["video_cross_entropy"] != plain["video_cross_entropy"]
    torch.testing.assert_close(other["distance"], plain["distance"])


@pytest.mark.parametrize("settings", [{"alpha": -1.0}, {"label_smoothing": 1.0}])
def test_bad_settings(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ScdConfig(**settings)
