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


@pytest.mark.parametrize("logits", ["cosine", "released"])
def test_all_paired_is_the_same_as_saying_nothing(student, teacher, names, batch, logits):
    task = SkeletonDistillation(student, teacher, names, ScdConfig(logits=logits)).eval()
    plain, masked = task(batch), task({**batch, "paired": torch.ones(3, dtype=torch.bool)})
    for key, value in plain.items():
        torch.testing.assert_close(masked[key], value)


@pytest.mark.parametrize("logits", ["cosine", "released"])
def test_clips_without_a_skeleton_teach_the_student_alone(student, teacher, names, batch, logits):
    task = SkeletonDistillation(student, teacher, names, ScdConfig(2.0, logits)).eval()
    paired = torch.tensor([True, False, True])
    got = task({**batch, "paired": paired})
    part = task({key: value[paired] for key, value in batch.items()})
    torch.testing.assert_close(got["video_cross_entropy"], task(batch)["video_cross_entropy"])
    for key in ("skeleton_cross_entropy", "distance"):
        torch.testing.assert_close(got[key], part[key] * 2 / 3)
    total = got["video_cross_entropy"] + got["skeleton_cross_entropy"] + 2.0 * got["distance"]
    torch.testing.assert_close(got["loss"], total)


def test_empty_skeletons_do_not_reach_the_teacher(student, teacher, names, batch):
    task = SkeletonDistillation(student, teacher, names, ScdConfig()).train()
    paired = torch.tensor([True, False, True])
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    task({key: value[paired] for key, value in batch.items()})
    expected = {key: value.clone() for key, value in teacher.state_dict().items()}
    teacher.load_state_dict(before)
    task(
        {
            **batch,
            "skeleton": batch["skeleton"] * paired[:, None, None, None, None],
            "paired": paired,
        }
    )
    for key, value in teacher.state_dict().items():
        torch.testing.assert_close(value, expected[key])


def test_a_batch_without_any_skeleton(student, teacher, names, batch):
    task = SkeletonDistillation(student, teacher, names, ScdConfig()).train()
    losses = task({**batch, "paired": torch.zeros(3, dtype=torch.bool)})
    losses["loss"].backward()
    assert losses["skeleton_cross_entropy"] == losses["distance"] == 0
    assert student.image.proj.grad.abs().sum() > 0
    trained = [p for p in teacher.encoder.parameters() if p.requires_grad]
    assert all(p.grad is not None and not p.grad.any() for p in trained)


@pytest.mark.parametrize("settings", [{"alpha": -1.0}, {"label_smoothing": 1.0}])
def test_bad_settings(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ScdConfig(**settings)
