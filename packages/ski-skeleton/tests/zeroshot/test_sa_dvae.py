from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ski_skeleton.errors import ConfigError
from ski_skeleton.train import fit
from ski_skeleton.zeroshot.fitting import train_config
from ski_skeleton.zeroshot.sa_dvae import (
    SaDvae,
    SaDvaeConfig,
    SaDvaeNoise,
    SaDvaeTask,
    class_probabilities,
    factors,
    fit_classifier,
    semantic_mean,
    total_loss,
)

TINY = SaDvaeConfig(
    semantic=6, instance=2, cycles=3, cycle_steps=10, batch_size=8, classifier_steps=50
)


def model(config=TINY, features=5, texts=4):
    return SaDvae(config, features, texts).double()


def inputs(count=8, config=TINY):
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    noise = SaDvaeNoise(draw(count, config.latent), draw(count, config.semantic))
    text = F.normalize(draw(count, 4), dim=-1)
    return draw(count, 5), text, noise, torch.arange(count).roll(1)


def test_terms_written_out():
    net = model()
    x, t, noise, order = inputs()
    found = {k: float(v.detach()) for k, v in net.losses(x, t, noise, order).items()}
    with torch.no_grad():
        w = {k: v.numpy() for k, v in net.state_dict().items()}
        xs, ts = x.numpy(), t.numpy()

    def line(name, rows):
        return rows @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    def discriminate(z):
        return sigmoid(line("discriminator.2", np.maximum(line("discriminator.0", z), 0)))[:, 0]

    mu, logvar = line("skeleton.mu", xs), line("skeleton.logvar", xs)
    z = mu + np.exp(logvar / 2) * noise.skeleton.numpy()
    mu_t, logvar_t = line("text.mu", ts), line("text.logvar", ts)
    z_t = mu_t + np.exp(logvar_t / 2) * noise.text.numpy()
    own, broken = z[:, 6:], np.c_[z[:, :6], z[order.numpy(), 6:]]
    expected = {
        "rec_skeleton": ((line("skeleton.decoder", z) - xs) ** 2).mean(),
        "rec_text": ((line("text.decoder", z_t) - ts) ** 2).mean(),
        "cross_text": ((line("text.decoder", z[:, :6]) - ts) ** 2).mean(),
        "cross_skeleton": ((line("skeleton.decoder", np.c_[z_t, own]) - xs) ** 2).mean(),
        "kl_skeleton": (0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)).sum(1).mean(),
        "kl_text": (0.5 * (mu_t**2 + np.exp(logvar_t) - 1 - logvar_t)).sum(1).mean(),
        "dependence": discriminate(z).mean(),
        "discriminator": -np.log(discriminate(z)).mean() - np.log(1 - discriminate(broken)).mean(),
    }
    assert found == pytest.approx(expected, rel=1e-10)


def test_gradients_by_finite_differences():
    net = model()
    x, t, noise, order = inputs(3)
    weights = factors(TINY, 2, 9)
    assert weights.cross == 1
    assert weights.kl_text > 0

    def loss(x, t):
        return total_loss(net.losses(x, t, noise, order), weights)

    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), t.requires_grad_()))


def test_no_gradient_crosses_between_the_players():
    net = model()
    terms = net.losses(*inputs())
    terms["dependence"].backward(retain_graph=True)
    assert all(p.grad is None for p in net.discriminator.parameters())
    assert net.skeleton.mu.weight.grad.abs().sum() > 0
    net.zero_grad(set_to_none=True)
    terms["discriminator"].backward()
    assert net.skeleton.mu.weight.grad is None
    assert all(p.grad is not None for p in net.discriminator.parameters())


def test_weights_come_in_by_shares_of_a_cycle():
    config = SaDvaeConfig(cycle_steps=100, kl_start=0.5, cross_start=0.8, ramp=10, kl_weight=0.1)
    assert factors(config, 0, 50) == (0, 0, 0)
    assert factors(config, 0, 60)[0] == pytest.approx(0.1)
    assert factors(config, 1, 90) == (pytest.approx(0.4), 0, 1)
    assert factors(config, 2, 90)[1] == pytest.approx(0.1)
    assert factors(config, 2, 80)[2] == 0


class Rows:
    """Features that are a linear image of their class's text, with noise; ``labels`` train."""

    def __init__(self, labels, length):
        rng = np.random.default_rng(0)
        self.texts = rng.normal(size=(8, 12)).astype(np.float32)
        self.texts /= np.linalg.norm(self.texts, axis=1, keepdims=True)
        self.image = rng.normal(size=(12, 16)).astype(np.float32)
        self.labels_used, self.length = labels, length

    def feature(self, label, rng):
        return (self.texts[label] @ self.image + rng.normal(0, 0.1, 16)).astype(np.float32)

    def __len__(self):
        return self.length

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        label = self.labels_used[index % len(self.labels_used)]
        rng = np.random.default_rng([index, self.epoch])
        return {"index": index, "label": label, "feature": self.feature(label, rng)}


SMALL = SaDvaeConfig(
    semantic=12,
    instance=4,
    cycles=4,
    cycle_steps=40,
    batch_size=16,
    lr=1e-2,
    samples=50,
    classifier_steps=150,
    classifier_lr=0.02,
)
SHORT = replace(SMALL, cycles=2, cycle_steps=6)


def train(folder, config=SMALL, stop_at=None):
    source = Rows(list(range(6)), config.cycle_steps * config.batch_size)
    torch.manual_seed(0)
    task = SaDvaeTask(SaDvae(config, 16, 12), torch.from_numpy(source.texts))
    if stop_at is not None:
        losses = task.losses

        def stopped(batch):
            if task.seen == stop_at:
                raise KeyboardInterrupt
            return losses(batch)

        task.losses = stopped
    saved = 0.0 if config is SHORT else 60.0
    fit(task, source, replace(train_config(config, seed=0), checkpoint_seconds=saved), folder)
    return task, source


def test_classes_that_did_not_train_are_told_apart(tmp_path):
    task, source = train(tmp_path / "run")
    rng = np.random.default_rng(9)
    labels = np.repeat([6, 7], 30)
    x = torch.from_numpy(np.stack([source.feature(label, rng) for label in labels]))
    state = torch.get_rng_state()
    classifier = fit_classifier(task.model, torch.from_numpy(source.texts[6:]), seed=0)
    assert torch.equal(state, torch.get_rng_state())
    found = class_probabilities(task.model, classifier, x)
    torch.testing.assert_close(found.sum(1), torch.ones(60))
    assert (found.argmax(1).numpy() + 6 == labels).mean() > 0.9
    assert semantic_mean(task.model, x).shape == (60, 12)


def test_killed_run_ends_with_the_same_weights(tmp_path):
    whole, _ = train(tmp_path / "a", SHORT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", SHORT, stop_at=8)
    resumed, _ = train(tmp_path / "b", SHORT)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert whole.seen == resumed.seen == 12


def test_discriminator_learns_in_some_steps_only():
    task = SaDvaeTask(model().float(), torch.randn(3, 4)).train()
    batch = {"feature": torch.randn(6, 5), "label": torch.tensor([0, 1, 2, 0, 1, 2])}
    learned = []
    for _ in range(6):
        task.zero_grad(set_to_none=True)
        task(batch)["loss"].backward()
        learned.append(task.model.discriminator[0].weight.grad is not None)
    assert learned == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    "wrong",
    [{"semantic": 0}, {"batch_size": 1}, {"cross_start": 1.5}, {"discriminator_every": 0}],
)
def test_bad_settings(wrong):
    with pytest.raises(ConfigError, match="SA-DVAE"):
        SaDvaeConfig(**wrong)
