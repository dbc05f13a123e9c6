from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ski_vlm.distill.feature import FeatureConfig, FeatureDistillation, ResidualProjection
from ski_vlm.errors import ConfigError


def parts(student, teacher, batch):
    with torch.no_grad():
        video = student.encode_video(student.normalise(batch["video"]))
        return video, teacher.eval().embed(batch["skeleton"])


@pytest.mark.parametrize("unit", [True, False])
def test_without_projection_by_hand(student, teacher, names, batch, unit):
    config = FeatureConfig(alpha=2.0, projection=False, unit_skeleton=unit)
    losses = FeatureDistillation(student, teacher, names, config).train()(batch)
    video, skeleton = parts(student, teacher, batch)
    skeleton = F.normalize(skeleton, dim=-1) if unit else skeleton
    distance = (video - skeleton).square().mean()
    torch.testing.assert_close(losses["distance"].detach(), distance)
    torch.testing.assert_close(losses["loss"], losses["video_cross_entropy"] + 2.0 * distance)


def test_a_projection_starts_as_the_identity_and_learns(student, teacher, names, batch):
    projection = ResidualProjection(16)
    features = torch.randn(4, 16)
    assert torch.equal(projection(features), features)
    config = FeatureConfig(match_text=True, distance="cosine")
    task = FeatureDistillation(student, teacher, names, config).train()
    assert any(
        p is task.of_text.layers[0].weight for g in task.parameter_groups() for p in g["params"]
    )
    losses = task(batch)
    losses["loss"].backward()
    assert task.of_video.layers[2].weight.grad.abs().sum() > 0
    assert task.of_text.layers[2].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())
    assert student.image.proj.grad.abs().sum() > 0
    assert set(losses) == {"loss", "video_cross_entropy", "distance", "text_distance"}


def test_the_teacher_does_not_drift(student, teacher, names, batch):
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    task = FeatureDistillation(student, teacher, names, FeatureConfig()).train()
    task(batch)
    assert not teacher.encoder.training
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def test_unpaired_clips_are_left_out(student, teacher, names, batch):
    task = FeatureDistillation(student, teacher, names, FeatureConfig()).eval()
    paired = torch.tensor([True, False, True])
    other = batch["skeleton"].clone()
    other[1] += 5
    first = task({**batch, "paired": paired})["distance"]
    torch.testing.assert_close(
        task({**batch, "skeleton": other, "paired": paired})["distance"], first
    )
    none = task({**batch, "paired": torch.zeros(3, dtype=torch.bool)})
    assert none["distance"] == 0
    torch.testing.assert_close(none["loss"], none["video_cross_entropy"])


def test_widths_must_agree(student, teacher, names):
    teacher.text.width = 8
    with pytest.raises(ConfigError, match="one width"):
        FeatureDistillation(student, teacher, names, FeatureConfig())


@pytest.mark.parametrize("settings", [{"alpha": -1.0}, {"label_smoothing": 1.0}])
def test_bad_settings(settings):
    with pytest.raises(ConfigError, match="feature distillation"):
        FeatureConfig(**settings)
