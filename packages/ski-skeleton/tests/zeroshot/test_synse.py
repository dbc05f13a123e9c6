from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problem import unit

from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot import synse
from ski_skeleton.zeroshot.synse import Factors, Noise, Synse, SynseConfig

SMALL = SynseConfig(latent=6, cycle_steps=50, samples=40, classifier_steps=80, classifier_lr=0.05)


def model(config=SMALL):
    return Synse(config, 7, 5).double()


def batch(n=4):
    g = torch.Generator().manual_seed(3)
    draw = [torch.randn(n, w, generator=g, dtype=torch.float64) for w in (7, 6, 3, 3)]
    return draw[0], unit(n, 5, 1), unit(n, 5, 2), Noise(*draw[1:])


def by_hand(m, feature, noun, verb, noise):
    """The terms of the loss, entry by entry."""

    def code(vae, x, eps):
        mu = x @ vae.mu.weight.T + vae.mu.bias
        logvar = x @ vae.logvar.weight.T + vae.logvar.bias
        return mu, logvar, mu + torch.exp(logvar / 2) * eps

    def decode(vae, z):
        return z @ vae.decoder.weight.T + vae.decoder.bias

    def mse(a, b):
        return sum((x - y) ** 2 for x, y in zip(a.flatten(), b.flatten(), strict=True)) / a.numel()

    def kl(mu, logvar):
        rows = [
            sum(0.5 * (math.exp(v) + u * u - 1 - v) for u, v in zip(us, vs, strict=True))
            for us, vs in zip(mu.tolist(), logvar.tolist(), strict=True)
        ]
        return sum(rows) / len(rows)

    s = code(m.skeleton, feature, noise.skeleton)
    n = code(m.noun, noun, noise.noun)
    v = code(m.verb, verb, noise.verb)
    return {
        "rec_skeleton": mse(decode(m.skeleton, s[2]), feature),
        "rec_noun": mse(decode(m.noun, n[2]), noun),
        "rec_verb": mse(decode(m.verb, v[2]), verb),
        "cross_noun": mse(decode(m.noun, s[2][:, :3]), noun),
        "cross_verb": mse(decode(m.verb, s[2][:, 3:]), verb),
        "cross_skeleton": mse(decode(m.skeleton, torch.cat([n[2], v[2]], 1)), feature),
        "kl_skeleton": kl(*s[:2]),
        "kl_noun": kl(*n[:2]),
        "kl_verb": kl(*v[:2]),
    }


def test_terms_are_those_of_the_formulas():
    m = model()
    found = m.losses(*batch())
    wanted = by_hand(m, *batch())
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-12), name


def test_total_is_the_weighted_sum():
    names = ("rec_skeleton", "rec_noun", "rec_verb", "cross_noun", "cross_verb", "cross_skeleton")
    terms = {k: torch.tensor(2.0**i) for i, k in enumerate((*names, "kl_skeleton", "kl_noun"))}
    terms["kl_verb"] = torch.tensor(1000.0)
    total = synse.total_loss(terms, Factors(0.5, 0.25, 2.0))
    assert float(total) == 7 + 2 * 56 + 0.5 * 64 + 0.25 * 1128


@given(st.integers(0, 12), st.integers(0, 1899))
def test_factors_grow_within_a_cycle_and_never_sink_below_zero(cycle, step):
    config = SynseConfig()
    now, after = (synse.factors(config, cycle, s) for s in (step, step + 1))
    assert all(0 <= a <= b for a, b in zip(now, after, strict=True))
    assert now.cross == float(step > 1500)
    assert now.kl_text == 0 or cycle > 1


@pytest.mark.parametrize(
    ("steps", "start", "wanted"), [(1700, None, 1400), (1900, None, 1500), (1700, 20, 20)]
)
def test_cross_start(steps, start, wanted):
    assert SynseConfig(cycle_steps=steps, cross_start=start).cross_from == wanted


def test_shared_noise_is_one_number_per_sample():
    config = synse.official_preset(SMALL)
    noise = Synse(config, 7, 5).draw(3, torch.device("cpu"))
    assert [tuple(x.shape) for x in noise] == [(3, 1)] * 3
    own = Synse(SMALL, 7, 5).draw(3, torch.device("cpu"))
    assert [tuple(x.shape) for x in own] == [(3, 6), (3, 3), (3, 3)]


def test_official_preset_bends_every_output():
    m = Synse(synse.official_preset(SMALL), 7, 5)
    z = torch.randn(20, 6)
    assert (m.skeleton.decode(z) >= 0).all()
    assert (Synse(SMALL, 7, 5).skeleton.decode(z) < 0).any()
    head = synse.LatentClassifier(6, 3, relu=True)
    assert (head(z) >= 0).all()


def test_gradients_reach_every_parameter_once_cross_terms_count():
    m = model()
    synse.total_loss(m.losses(*batch()), Factors(0.1, 0.1, 1.0)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in m.parameters())


def test_task_counts_steps_in_training_alone():
    task = synse.SynseTask(Synse(SMALL, 7, 5), torch.randn(3, 5), torch.randn(3, 5))
    sample = {"feature": torch.randn(4, 7), "label": torch.tensor([0, 1, 2, 0])}
    task.train()
    assert task.losses(sample)["loss"].isfinite()
    assert int(task.step) == 1
    task.eval()
    task.losses(sample)
    assert int(task.step) == 1
    assert torch.allclose(task.nouns.norm(dim=-1), torch.ones(3))
    assert "step" in task.state_dict()  # a killed run goes on in the middle of a cycle


def test_classifier_learns_the_classes_of_the_texts_and_leaves_the_generator_alone():
    m = Synse(SMALL, 7, 5)
    for vae in (m.noun, m.verb):
        torch.nn.init.constant_(vae.logvar.bias, -6.0)
    nouns, verbs = torch.randn(3, 5), torch.randn(3, 5)
    before = torch.get_rng_state()
    head = synse.fit_classifier(m, nouns, verbs, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    unit_nouns, unit_verbs = (torch.nn.functional.normalize(x, dim=-1) for x in (nouns, verbs))
    means = torch.cat([m.noun.encode(unit_nouns)[0], m.verb.encode(unit_verbs)[0]], 1)
    assert head(means).argmax(1).tolist() == [0, 1, 2]
    again = synse.fit_classifier(m, nouns, verbs, seed=1)
    assert torch.equal(head.linear.weight, again.linear.weight)
    probability = synse.class_probabilities(m, head, torch.randn(5, 7))
    assert torch.allclose(probability.sum(1), torch.ones(5))


@pytest.mark.parametrize("wrong", [{"latent": 5}, {"cycles": 0}, {"lr": -1.0}, {"samples": 0}])
def test_settings_that_make_no_model(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SynseConfig(**wrong)
