from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ski_skeleton.ema import EmaTeacher
from ski_skeleton.errors import ConfigError, DivergedError, RunError
from ski_skeleton.train import OptimConfig, Task, TrainConfig, fit
from ski_skeleton.train.data import epoch_batches


class Points:
    """Deterministic per (epoch, index), as data sets must be."""

    def __init__(self, length=24, bad=None):
        self.length, self.bad, self.epoch = length, bad, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        x = np.random.default_rng([self.epoch, index]).standard_normal(4).astype(np.float32)
        if index == self.bad:
            x[:] = np.nan
        return {"index": index, "x": x}


class Regression(Task):
    def __init__(self, dropout=0.0, stop_at=None):
        super().__init__()
        torch.manual_seed(7)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(dropout))
        self.out = torch.nn.Linear(8, 1)
        self.calls, self.stop_at = 0, stop_at

    def losses(self, batch):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        y = self.out(self.net(batch["x"])).squeeze(-1)
        return {"loss": (y - batch["x"].sum(-1)).square().mean()}


def weights(task):
    return torch.cat([p.detach().flatten() for p in task.parameters()])


BASE = TrainConfig(epochs=3, batch_size=8, log_every=2, checkpoint_seconds=0.0)


def test_loss_falls_and_log_has_lines(tmp_path):
    config = TrainConfig(epochs=20, batch_size=8, optim=OptimConfig(lr=0.05))
    fit(Regression(), Points(), config, tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 60
    assert lines[-1]["loss"] < 0.2 * lines[0]["loss"]


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9])
def test_killed_run_ends_with_the_same_weights(tmp_path, stop_at):
    undisturbed = Regression(dropout=0.5)
    fit(undisturbed, Points(), BASE, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(Regression(dropout=0.5, stop_at=stop_at), Points(), BASE, tmp_path / "b")
    resumed = Regression(dropout=0.5)
    fit(resumed, Points(), BASE, tmp_path / "b")
    assert torch.equal(weights(undisturbed), weights(resumed))
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in "ab"]
    steps = [[json.loads(line)["step"] for line in log] for log in logs]
    assert steps[0] == steps[1]


class LabelledPoints(Points):
    """Three quarters of class 0."""

    @property
    def labels(self):
        return np.arange(self.length) % 4 // 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_balanced_run_killed_in_an_epoch_ends_with_the_same_weights(tmp_path, workers):
    balanced = replace(BASE, balanced=True)
    undisturbed, plain = Regression(), Regression()
    fit(undisturbed, LabelledPoints(), balanced, tmp_path / "a")
    fit(plain, LabelledPoints(), BASE, tmp_path / "plain")
    assert not torch.equal(weights(undisturbed), weights(plain))
    changed = replace(balanced, workers=workers)
    with pytest.raises(KeyboardInterrupt):
        fit(Regression(stop_at=5), LabelledPoints(), changed, tmp_path / "b")
    resumed = Regression()
    fit(resumed, LabelledPoints(), changed, tmp_path / "b")
    assert torch.equal(weights(undisturbed), weights(resumed))


def test_balance_needs_labels(tmp_path):
    with pytest.raises(ConfigError, match="set balanced to false"):
        fit(Regression(), Points(), replace(BASE, balanced=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_finished_run_is_only_loaded(tmp_path):
    first = Regression()
    fit(first, Points(), BASE, tmp_path / "run")
    second = Regression(stop_at=1)
    fit(second, Points(), BASE, tmp_path / "run")
    assert torch.equal(weights(first), weights(second))


class Doubles(Points):
    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {**item, "x": item["x"].astype(np.float64)}


def test_accumulation_equals_the_big_batch(tmp_path):
    big, small = Regression().double(), Regression().double()
    config = TrainConfig(epochs=1, batch_size=24)
    source = Doubles()
    fit(big, source, config, tmp_path / "big")
    fit(small, source, TrainConfig(epochs=1, batch_size=24, accumulation=3), tmp_path / "small")
    torch.testing.assert_close(weights(big), weights(small), rtol=1e-12, atol=1e-12)


class Weighted(Regression):
    """Losses of unlike weight, one of them the same for every batch."""

    def losses(self, batch):
        y = self.out(self.net(batch["x"])).squeeze(-1)
        near = (y - batch["x"].sum(-1)).square().mean()
        far = (y + 1).abs().mean()
        return {"loss": 0.9 * near + 0.05 * far + 0.01 * self.out.weight.square().sum(), "far": far}


@pytest.mark.parametrize(("length", "batch", "parts"), [(25, 12, 3), (10, 16, 2), (10, 16, 4)])
def test_accumulation_takes_the_samples_of_the_big_batch(tmp_path, length, batch, parts):
    """Also losses of several parts, and a data set that is smaller than a batch."""
    tasks = []
    for accumulation in (1, parts):
        task = Weighted().double()
        config = TrainConfig(epochs=3, batch_size=batch, accumulation=accumulation, log_every=1)
        source = Doubles(length - length % parts if length < batch else length)
        fit(task, source, config, tmp_path / str(accumulation))
        tasks.append(task)
    torch.testing.assert_close(weights(tasks[0]), weights(tasks[1]), rtol=1e-10, atol=1e-12)
    logs = [[json.loads(x) for x in (tmp_path / n / "log.jsonl").open()] for n in ("1", str(parts))]
    for one, other in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["far"] == pytest.approx(other["far"], rel=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_accumulating_run_killed_in_a_step_ends_with_the_same_weights(tmp_path, workers):
    config = replace(BASE, accumulation=2, workers=workers, clip_norm=1.0)
    undisturbed, resumed = Regression(dropout=0.5), Regression(dropout=0.5)
    fit(undisturbed, Points(), config, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(Regression(dropout=0.5, stop_at=8), Points(), config, tmp_path / "b")
    fit(resumed, Points(), config, tmp_path / "b")
    assert torch.equal(weights(undisturbed), weights(resumed))


class Averaged(Regression):
    """With a teacher that follows, and chance of its own."""

    def __init__(self, stop_at=None):
        super().__init__(dropout=0.5, stop_at=stop_at)
        self.teacher = EmaTeacher(self.net)

    def losses(self, batch):
        if self.training:
            self.teacher.update(self.net, 0.9)
        noisy = batch["x"] + 0.1 * torch.randn(batch["x"].shape)
        told = (self.net(noisy) - self.teacher.module(batch["x"])).square().mean()
        return {"loss": super().losses(batch)["loss"] + told}


def test_a_teacher_goes_on_where_it_was(tmp_path):
    undisturbed, resumed = Averaged(), Averaged()
    fit(undisturbed, Points(), BASE, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(Averaged(stop_at=5), Points(), BASE, tmp_path / "b")
    fit(resumed, Points(), BASE, tmp_path / "b")
    one, other = undisturbed.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert not torch.equal(one["net.0.weight"], one["teacher.module.0.weight"])


def test_other_settings_do_not_touch_a_run(tmp_path):
    fit(Regression(), Points(), BASE, tmp_path / "run")
    before = (tmp_path / "run/log.jsonl").read_text()
    other = TrainConfig(epochs=4, batch_size=8, log_every=2, checkpoint_seconds=0.0)
    with pytest.raises(RunError, match="other settings"):
        fit(Regression(), Points(), other, tmp_path / "run")
    assert (tmp_path / "run/log.jsonl").read_text() == before


def test_runs_of_other_versions(tmp_path):
    """A setting that is new has its default; one that is gone makes it another run."""
    fit(Regression(), Points(), BASE, tmp_path / "run")
    path = tmp_path / "run/config.json"
    found = json.loads(path.read_text())
    del found["train"]["log_every"]
    path.write_text(json.dumps(found))
    fit(Regression(), Points(), replace(BASE, log_every=TrainConfig.log_every), tmp_path / "run")
    with pytest.raises(RunError, match="other settings"):
        fit(Regression(), Points(), replace(BASE, log_every=1), tmp_path / "run")
    found["train"]["gone"] = 1
    path.write_text(json.dumps(found))
    with pytest.raises(RunError, match=r"other settings.*gone"):
        fit(Regression(), Points(), BASE, tmp_path / "run")


def test_loss_that_is_not_finite_names_the_batch(tmp_path):
    with pytest.raises(DivergedError, match=r"samples \[.*\b5\b.*\]"):
        fit(Regression(), Points(bad=5), BASE, tmp_path / "run")


class Named(Points):
    names = tuple(f"clip{i}" for i in range(24))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_divergence_is_found_before_a_checkpoint_and_tells_step_and_clips(tmp_path, accumulation):
    """Lines are far apart, checkpoints are not: the loss is looked at before each."""
    config = replace(BASE, log_every=1000, accumulation=accumulation)
    order = [i for batch in epoch_batches(24, 8, seed=0, epoch=0) for i in batch]
    bad = order[12]  # in the second step of the first epoch
    with pytest.raises(DivergedError, match=rf"is nan at step 2.*clip{bad}\b.*check these"):
        fit(Regression(), Named(bad=bad), config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["1"]
    log = tmp_path / "run/log.jsonl"
    assert not log.exists()


def test_divergence_is_found_within_log_every_steps(tmp_path):
    task = Regression()
    config = replace(BASE, epochs=50, log_every=5, checkpoint_seconds=1e6)
    bad = epoch_batches(24, 8, seed=0, epoch=0)[2][0]
    with pytest.raises(DivergedError, match="at step 3"):
        fit(task, Points(bad=bad), config, tmp_path / "run")
    assert task.calls == 5
    assert not (tmp_path / "run/checkpoints").exists()


class Jumping(Regression):
    """A finite loss whose gradient is not."""

    def losses(self, batch):
        y = self.out(self.net(batch["x"])).squeeze(-1)
        return {"loss": (y - y).square().sum().sqrt() + y.square().mean()}


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    with pytest.raises(DivergedError, match="after step 1 4 weights are not finite, such as net"):
        fit(Jumping(), Points(), BASE, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("weights.safetensors"))


def test_a_log_goes_on_as_if_nothing_had_happened(tmp_path):
    """A line after a resume counts the losses before the kill, too."""
    config = replace(BASE, log_every=4)
    fit(Regression(), Points(), config, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit(Regression(stop_at=7), Points(), config, tmp_path / "b")
    fit(Regression(), Points(), config, tmp_path / "b")
    one, other = ([json.loads(x) for x in (tmp_path / n / "log.jsonl").open()] for n in "ab")
    for line in (*one, *other):
        del line["seconds"]
    assert one == other


def test_progress_tells_steps_and_loss(tmp_path):
    told = []
    fit(Regression(), Points(), BASE, tmp_path / "run", report=lambda *args: told.append(args))
    assert [(done, total) for done, total, _ in told] == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]
    lines = [json.loads(x) for x in (tmp_path / "run/log.jsonl").open()]
    assert [text for _, _, text in told] == [f"loss {line['loss']:.3f}" for line in lines]


def test_stages_may_differ_in_precision(tmp_path):
    fit(Regression(), Points(), replace(BASE, precision="bf16"), tmp_path / "a")
    full, alone = Regression(), Regression()
    fit(full, Points(), BASE, tmp_path / "b")
    fit(alone, Points(), BASE, tmp_path / "c")
    assert torch.equal(weights(full), weights(alone))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_half_precision_without_an_accelerator(tmp_path):
    with pytest.raises(ConfigError, match="precision fp16: needs an accelerator"):
        fit(Regression(), Points(), replace(BASE, precision="fp16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_to_train(tmp_path):
    task = Regression().requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to train"):
        fit(task, Points(), BASE, tmp_path / "run")


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"batch_size": 0}, {"batch_size": 8, "accumulation": 3}]
)
def test_bad_settings(settings):
    with pytest.raises(ConfigError):
        TrainConfig(**settings)


def test_batches_are_dealt_to_ranks_without_overlap():
    whole = epoch_batches(50, 8, seed=3, epoch=1)
    ranks = [epoch_batches(50, 8, seed=3, epoch=1, ranks=2, rank=r) for r in range(2)]
    assert len(whole) == 6
    for number, batch in enumerate(whole):
        assert sorted(batch) == sorted(ranks[0][number] + ranks[1][number])
    assert epoch_batches(50, 8, seed=3, epoch=2) != whole
    assert len(epoch_batches(5, 8, seed=3, epoch=1)[0]) == 5
