from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

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


def test_accumulation_equals_the_big_batch(tmp_path):
    big, small = Regression().double(), Regression().double()
    config = TrainConfig(epochs=1, batch_size=24)
    source = Points()

    class Doubles(Points):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return {**item, "x": item["x"].astype(np.float64)}

    source = Doubles()
    fit(big, source, config, tmp_path / "big")
    fit(small, source, TrainConfig(epochs=1, batch_size=24, accumulation=3), tmp_path / "small")
    torch.testing.assert_close(weights(big), weights(small), rtol=1e-12, atol=1e-12)


def test_other_settings_do_not_touch_a_run(tmp_path):
    fit(Regression(), Points(), BASE, tmp_path / "run")
    before = (tmp_path / "run/log.jsonl").read_text()
    other = TrainConfig(epochs=4, batch_size=8, log_every=2, checkpoint_seconds=0.0)
    with pytest.raises(RunError, match="other settings"):
        fit(Regression(), Points(), other, tmp_path / "run")
    assert (tmp_path / "run/log.jsonl").read_text() == before


def test_loss_that_is_not_finite_names_the_batch(tmp_path):
    with pytest.raises(DivergedError, match=r"samples \[.*\b5\b.*\]"):
        fit(Regression(), Points(bad=5), BASE, tmp_path / "run")


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
