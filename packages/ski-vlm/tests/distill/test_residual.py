from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ski_skeleton.train import OptimConfig, TrainConfig, fit
from ski_skeleton.train.optim import build_optimizer
from ski_vlm.distill import ResidualConfig, ResidualDistillation
from ski_vlm.errors import ConfigError
from ski_vlm.students import Froster, FrosterConfig, ViFiClip


@pytest.fixture
def made(config, names):
    def task(settings=None):
        torch.manual_seed(0)
        student = Froster(FrosterConfig(clip=config.clip, frames=4, short_side=32))
        return ResidualDistillation(student, ViFiClip(config), names, settings or ResidualConfig())

    return task


def test_losses_as_published(made, batch, names):
    task = made(ResidualConfig(share=0.3, weight=1.5))
    torch.nn.init.normal_(task.terms.image_projector[2].weight)
    torch.nn.init.normal_(task.terms.text_projector[2].weight)
    student, teacher = task.student, task.terms.teacher
    video = student.normalise(batch["video"])
    prompts = student.prompts(names)[:2]
    _, _, losses = task.parts(video, batch["label"], prompts)

    def means(text):
        each = [F.normalize(text.encode_text(p), dim=-1) for p in prompts]
        return F.normalize((each[0] + each[1]) / 2, dim=-1)

    frames = F.normalize(student.frame_features(video), dim=-1)
    text = means(student.text)
    logits = torch.stack(
        [student.logit_scale.exp() * frames[:, t] @ text.T for t in range(4)]
    ).mean(0)
    entropy = F.cross_entropy(logits, batch["label"])
    first, _, second = task.terms.image_projector
    moved = frames + 0.3 * F.gelu(frames @ first.weight.T) @ second.weight.T
    target = F.normalize(teacher.frame_features(video), dim=-1)
    of_video = 1 - (F.normalize(moved, dim=-1) * target).sum(-1).mean()
    first, _, second = task.terms.text_projector
    moved = text + 0.3 * F.gelu(text @ first.weight.T) @ second.weight.T
    of_text = 1 - (F.normalize(moved, dim=-1) * means(teacher.text)).sum(-1).mean()
    torch.testing.assert_close(losses["video_cross_entropy"], entropy)
    torch.testing.assert_close(losses["video_distance"], of_video)
    torch.testing.assert_close(losses["text_distance"], of_text)
    torch.testing.assert_close(losses["loss"], entropy + 1.5 * (of_video + of_text))


def test_projectors_start_without_a_say(made, batch):
    task = made()
    assert all(not layer[2].weight.any() for layer in (task.terms.image_projector,))
    features = torch.randn(5, 16)
    assert not task.terms.image_projector(features).any()
    assert not task.terms.text_projector(features).any()


def test_a_student_that_is_its_teacher_has_no_text_distance(made, batch):
    task = made()
    task.terms.teacher.text.load_state_dict(task.student.text.state_dict())
    assert task.losses(batch)["text_distance"].abs() < 1e-5


def test_teacher_stays_frozen(made, batch):
    task = made().train()
    assert not task.terms.teacher.training
    assert not any(p.requires_grad for p in task.terms.teacher.parameters())
    before = copy.deepcopy(task.terms.teacher.state_dict())
    run(task, batch, 2)
    after = task.terms.teacher.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in after.items())


def test_all_that_trains_gets_a_gradient_and_a_group(made, batch):
    task = made().train()
    torch.nn.init.normal_(task.terms.image_projector[2].weight)
    torch.nn.init.normal_(task.terms.text_projector[2].weight)
    task.losses(batch)["loss"].backward()
    trained = {n: p for n, p in task.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None] == []
    grouped = [id(p) for group in task.parameter_groups() for p in group["params"]]
    assert sorted(grouped) == sorted(map(id, trained.values()))


def test_gradient_equals_finite_differences(made, batch, names):
    task = made().double().train()
    torch.nn.init.normal_(task.terms.text_projector[2].weight)
    video, prompts = task.student.normalise(batch["video"]), task.student.prompts(names)[-2:]

    def loss():
        return task.parts(video, batch["label"], prompts)[2]["loss"]

    for name in ("student.image.proj", "student.text.text_projection", "student.logit_scale"):
        parameter = task.get_parameter(name)
        direction = F.normalize(torch.randn_like(parameter).flatten(), dim=0).view_as(parameter)
        task.zero_grad()
        loss().backward()
        slope = (parameter.grad * direction).sum()
        with torch.no_grad():
            parameter += 1e-5 * direction
            up = loss()
            parameter -= 2e-5 * direction
            down = loss()
            parameter += 1e-5 * direction
        torch.testing.assert_close(slope, (up - down) / 2e-5, rtol=1e-6, atol=1e-8)


def test_student_holds_no_projector(made):
    assert not any("projector" in k or "teacher" in k for k in made().student.state_dict())


def run(task, batch, steps):
    optimizer = build_optimizer(task.parameter_groups(), OptimConfig(lr=1e-3))
    resume(task, optimizer, batch, steps)
    return optimizer


def resume(task, optimizer, batch, steps):
    task.train()
    for _ in range(steps):
        optimizer.zero_grad()
        task.losses(batch)["loss"].backward()
        optimizer.step()


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_resumed_run_ends_with_the_same_average(made, batch, stop):
    settings = ResidualConfig(average_from=2, epoch_steps=1)
    whole = made(settings)
    run(whole, batch, 5)
    first = made(settings)
    optimizer = run(first, batch, stop)
    second = made(settings)
    second.load_state_dict(first.state_dict())
    other = build_optimizer(second.parameter_groups(), OptimConfig(lr=1e-3))
    other.load_state_dict(optimizer.state_dict())
    resume(second, other, batch, 5 - stop)
    a, b = whole.trained().state_dict(), second.trained().state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    last = whole.student.state_dict()
    assert not all(torch.equal(a[k], last[k]) for k in a)


class Videos:
    """Noise that is the same for each epoch and index."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 4

    def __getitem__(self, index):
        rng = np.random.default_rng([self.epoch, index])
        video = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        return {"index": index, "video": video, "label": index % 3}


class Killed(ResidualDistillation):
    """Stops before a step."""

    calls = 0

    def losses(self, batch):
        self.calls += 1
        if self.calls == 6:
            raise KeyboardInterrupt
        return super().losses(batch)


def test_a_killed_run_of_the_trainer_ends_with_the_same_average(made, tmp_path):
    settings = ResidualConfig(average_from=2, epoch_steps=2)
    config = TrainConfig(epochs=4, batch_size=2, checkpoint_seconds=0.0, clip_norm=1.0)
    whole, killed, resumed = (made(settings) for _ in range(3))
    fit(whole, Videos(), config, tmp_path / "whole")
    killed.__class__ = Killed
    with pytest.raises(KeyboardInterrupt):
        fit(killed, Videos(), config, tmp_path / "ResidualDistillation")
    path = tmp_path / "ResidualDistillation/config.json"  # it names the class of the task
    path.write_text(path.read_text().replace("Killed", "ResidualDistillation"))
    fit(resumed, Videos(), config, tmp_path / "ResidualDistillation")
    assert resumed.steps.value == whole.steps.value == 8
    assert resumed.average.taken.value == 2  # ends of epochs 2 and 3; the last weights come on top
    a, b = whole.trained().state_dict(), resumed.trained().state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_average_is_that_of_the_kept_epochs(made, batch):
    settings = ResidualConfig(average_from=2, epoch_steps=2)
    task = made(settings)
    optimizer = build_optimizer(task.parameter_groups(), OptimConfig(lr=1e-3))
    kept = []
    for epoch in range(1, 5):
        resume(task, optimizer, batch, 2)
        if epoch >= 2:
            kept.append(copy.deepcopy(task.student.state_dict()))
    found = task.trained().state_dict()
    for key, value in found.items():
        mean = torch.stack([state[key] for state in kept]).mean(0)
        torch.testing.assert_close(value, mean, rtol=1e-5, atol=1e-6)


def test_without_an_average_the_last_weights_are_kept(made):
    task = made()
    assert task.trained() is task.student


def test_evaluation_draws_nothing_forward(made, batch):
    task = made().eval()
    task.losses(batch)
    assert task.steps.value == 0
    task.train().losses(batch)
    assert task.steps.value == 1


@pytest.mark.parametrize("settings", [{"weight": -1.0}, {"share": -0.1}, {"epoch_steps": 3}])
def test_bad_settings(settings):
    with pytest.raises(ConfigError):
        ResidualConfig(**settings)


def test_an_average_needs_the_length_of_an_epoch(made):
    with pytest.raises(ConfigError, match="epoch_steps"):
        made(ResidualConfig(average_from=2))


def test_widths_must_agree(config, names, sizes):
    student = Froster(FrosterConfig(clip=config.clip))
    clip = replace(config.clip, sizes=replace(sizes, embed=8))
    with pytest.raises(ConfigError, match="16 and 8"):
        ResidualDistillation(student, ViFiClip(replace(config, clip=clip)), names, ResidualConfig())


def test_loss_at_chance(made, batch):
    task = made()
    with torch.no_grad():
        task.student.logit_scale.fill_(-20.0)
    assert task.losses(batch)["video_cross_entropy"].item() == pytest.approx(math.log(3), abs=1e-4)
