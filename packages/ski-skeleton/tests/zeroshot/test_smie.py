from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problem import unit

from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot import smie
from ski_skeleton.zeroshot.smie import Smie, SmieConfig, SmieTask

SMALL = SmieConfig(hidden=(9, 8), temporal=True)


def critic(config=SMALL):
    return Smie(config, 6, 5).double()


def value(m, x, text):
    """The critic on one pair, in plain sums."""
    h = torch.cat([x, text])
    for layer in (m.l0, m.l1):
        h = (layer.weight @ h + layer.bias).clamp_min(0)
    return float((m.l2.weight[0] @ h + m.l2.bias[0]).detach())


def softplus(x):
    return math.log1p(math.exp(x))


def data(n=4):
    g = torch.Generator().manual_seed(5)
    return [torch.randn(n, 6, generator=g, dtype=torch.float64) for _ in range(2)]


def test_information_is_the_mean_over_right_and_shifted_pairs():
    m, (x, other), text = critic(), data(), unit(4, 5)
    wanted = sum(-softplus(-value(m, x[i], text[i])) for i in range(4)) / 4
    wanted -= sum(softplus(value(m, other[(i + 1) % 4], text[i])) for i in range(4)) / 4
    found = smie.information(m, x, other, text)
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-12)


def test_loss_with_and_without_the_temporal_term():
    m, (x, masked), text = critic(), data(), unit(3, 5)
    label = torch.tensor([0, 2, 1, 0])
    m.requires_grad_(False)
    found = SmieTask(m, 3 * text).losses({"feature": x, "masked": masked, "label": label})

    def norm(v):
        return (v - v.mean(1, keepdim=True)) / (v.var(1, correction=0, keepdim=True) + 1e-5).sqrt()

    whole = float(smie.information(m, norm(x), norm(x), text[label]))
    part = float(smie.information(m, norm(masked), norm(x), text[label]))
    hinge = max(0.1 - (whole - part), 0)
    assert float(found["loss"]) == pytest.approx(-whole + 0.5 * hinge, rel=1e-12)
    assert float(found["temporal"]) == pytest.approx(hinge)
    plain = critic(SmieConfig(hidden=(9, 8)))
    plain.load_state_dict(m.state_dict())
    alone = SmieTask(plain, text).losses({"feature": x, "label": label})
    assert float(alone["loss"]) == pytest.approx(-whole, rel=1e-12)
    assert set(alone) == {"loss", "information"}


def test_gradients_reach_the_whole_critic():
    m, (x, _), text = critic(), data(), unit(4, 5)
    (-smie.information(m, x, x, text)).backward()
    assert all(p.grad.abs().sum() > 0 for p in m.parameters())


@pytest.mark.parametrize("norm", [True, False])
def test_scores_are_the_critic_on_every_pair(norm):
    m, (x, _), text = critic(SmieConfig(hidden=(9, 8), norm_at_test=norm)), data(), unit(3, 5)
    given_to_critic = smie.normalise(x) if norm else x
    wanted = [[-softplus(-value(m, row, t)) for t in text] for row in given_to_critic]
    assert np.allclose(m.scores(x, 7 * text).detach(), wanted, rtol=1e-12)
    assert smie.official_preset(SMALL).norm_at_test is False


@given(st.integers(2, 9), st.integers(0, 100))
def test_attention_is_minus_the_motion_to_both_sides(frames, seed):
    clip = np.random.default_rng(seed).normal(size=(3, frames, 2, 2))
    wanted = np.zeros(frames)
    for t in range(frames):
        for s in (t - 1, t + 1):
            if 0 <= s < frames:
                wanted[t] -= ((clip[:, s] - clip[:, t]) ** 2).mean()
    assert np.allclose(smie.motion_attention(clip), wanted)


def test_masked_clip_keeps_still_frames_in_order():
    clip = np.zeros((3, 12, 2, 1), np.float32)
    clip[:] = np.linspace(0, 0.1, 12)[None, :, None, None]
    clip[:, 5] += 3  # frame 5 moves, and so do its neighbours against it
    masked = smie.masked_clip(clip, 3, np.random.default_rng(0))
    assert masked.shape == (3, 6, 2, 1)
    assert masked.max() < 1
    assert (np.diff(masked[0, :, 0, 0]) > 0).all()
    with pytest.raises(ConfigError, match="cannot drop twice 6 of 12"):
        smie.masked_clip(clip, 6, np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [{"batch_size": 1}, {"epochs": 0}, {"hidden": (0, 4)}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SmieConfig(**wrong)
