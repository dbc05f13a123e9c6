from __future__ import annotations

import pytest
import torch

from ski_data.video.mixing import MixConfig
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text import ClipConfig
from ski_vlm.distill import ScdConfig, SkeletonDistillation
from ski_vlm.errors import ConfigError
from ski_vlm.mixing import mix_batch, smooth


def test_released_losses_by_hand(student, teacher, names, batch):
    task = SkeletonDistillation(
        student, teacher, names, ScdConfig(alpha=2.0, logits="released")
    ).eval()
    losses = task(batch)
    with torch.no_grad():
        video = student(student.normalise(batch["video"]), names).cosines
        text = teacher.text.unit_text([f"a photo of a {n}." for n in names])
        pose = teacher.embed(batch["skeleton"]) @ text.T
        ce = torch.nn.functional.cross_entropy
        expected = ce(video, batch["label"]) + ce(pose, batch["label"])
        expected = expected + 2.0 * (video - pose).square().mean()
    torch.testing.assert_close(losses["loss"].detach(), expected)


PARAMETERS = (
    "student.image.conv1.weight",
    "student.image.transformer.resblocks.0.mlp.c_fc.weight",
    "student.image.proj",
    "student.text.transformer.resblocks.0.attn.in_proj_weight",
    "student.text.text_projection",
    "teacher.encoder.head.weight",
    "teacher.encoder.blocks.0.attention.qkv.weight",
    "teacher.encoder.blocks.0.attention.hop_vectors",
    "teacher.text.text_projection",
)


@pytest.mark.parametrize("logits", ["released", "cosine"])
def test_gradients_of_the_loss_match_finite_differences(student, sizes, names, batch, logits):
    """In float64, along a random direction, for parameters of both sides and all towers."""
    settings = SkeletonClipConfig(
        HyperformerConfig(heads=1, strides=(2,), persons=1, output=16),
        ClipConfig(architecture=None, sizes=sizes),
        temperature=0.1,
        train_text=True,
    )
    config = ScdConfig(alpha=10.0, logits=logits)
    task = SkeletonDistillation(student, SkeletonClip(settings), names, config).double().train()
    lively(task.teacher.encoder)
    batch = {**batch, "skeleton": batch["skeleton"].double()}
    task(batch)["loss"].backward()
    known = dict(task.named_parameters())
    for name in PARAMETERS:
        parameter, gradient = known[name], known[name].grad
        direction = torch.nn.functional.normalize(torch.randn_like(parameter).flatten(), dim=0)
        direction = direction.view_as(parameter)
        values = []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                parameter += step * direction
                values.append(float(task(batch)["loss"]))
            parameter += 1e-5 * direction
        slope = float((gradient * direction).sum())
        assert abs(slope) > 1e-6, name
        assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-8), name


def lively(encoder):
    """Parameters that start as zeros get values, so that all of them count."""
    with torch.no_grad():
        for parameter in encoder.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)


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
    task = SkeletonDistillation(student, teacher, names, ScdConfig(alpha=2.0, logits=logits)).eval()
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


def test_an_offline_teacher_does_not_move(student, teacher, names, batch):
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    config = ScdConfig(mode="offline", alpha=3.0)
    task = SkeletonDistillation(student, teacher, names, config).train()
    losses = task(batch)
    losses["loss"].backward()
    torch.testing.assert_close(
        losses["loss"], losses["video_cross_entropy"] + 3.0 * losses["distance"]
    )
    assert all(p.grad is None for p in teacher.parameters())
    assert student.image.proj.grad.abs().sum() > 0
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not teacher.encoder.training


@pytest.mark.parametrize("distance", ["kl", "contrastive"])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_other_distances_teach_the_student(student, teacher, names, batch, distance, mode):
    config = ScdConfig(distance=distance, mode=mode, temperature=0.5)
    task = SkeletonDistillation(student, teacher, names, config).train()
    losses = task(batch)
    losses["distance"].backward()
    assert student.image.proj.grad.abs().sum() > 0
    assert (teacher.encoder.head.weight.grad is not None) == (mode == "online")


MIX = MixConfig(mixup=1.0, cutmix=0.0)


def test_mixed_videos_keep_the_skeletons_labels(student, teacher, names, batch):
    plain = SkeletonDistillation(student, teacher, names, ScdConfig()).eval()(batch)
    sound = SkeletonDistillation(student, teacher, names, ScdConfig(mix=MIX)).eval()(batch)
    torch.testing.assert_close(sound["skeleton_cross_entropy"], plain["skeleton_cross_entropy"])
    assert sound["video_cross_entropy"] != plain["video_cross_entropy"]
    config = ScdConfig(mix=MIX, mixed_skeleton_labels=True)
    released = SkeletonDistillation(student, teacher, names, config).eval()(batch)
    assert released["skeleton_cross_entropy"] != plain["skeleton_cross_entropy"]


def test_mixed_videos_are_drawn_to_skeleton_logits_mixed_alike(student, teacher, names, batch):
    task = SkeletonDistillation(student, teacher, names, ScdConfig(mix=MIX)).eval()
    torch.manual_seed(7)
    got = task(batch)["distance"]
    torch.manual_seed(7)
    with torch.no_grad():
        video = student.normalise(batch["video"])
        mixed = mix_batch(video, smooth(batch["label"], 3, 0.0), MIX)
        lam = mixed.mix.lam
        torch.testing.assert_close(mixed.video, lam * video + (1 - lam) * video.flip(0))
        text = teacher.text.unit_text([f"a photo of a {n}." for n in names])
        pose = torch.nn.functional.normalize(teacher.embed(batch["skeleton"]), dim=-1) @ text.T
        expected = student(mixed.video, names).cosines - (lam * pose + (1 - lam) * pose.flip(0))
    torch.testing.assert_close(got.detach(), expected.square().mean())


def test_a_mixed_video_is_drawn_only_where_both_clips_have_skeletons(
    student, teacher, names, batch
):
    task = SkeletonDistillation(student, teacher, names, ScdConfig(mix=MIX)).eval()
    paired = torch.tensor([True, True, False])  # clip 0 is mixed with clip 2, clip 1 with itself
    torch.manual_seed(7)
    first = task({**batch, "paired": paired})["distance"]
    other = batch["skeleton"].clone()
    other[0] += 1.0
    torch.manual_seed(7)
    torch.testing.assert_close(
        task({**batch, "skeleton": other, "paired": paired})["distance"], first
    )


@pytest.mark.parametrize(
    "settings", [{"alpha": -1.0}, {"label_smoothing": 1.0}, {"temperature": 1.0}]
)
def test_bad_settings(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ScdConfig(**settings)
