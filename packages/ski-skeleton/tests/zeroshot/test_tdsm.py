from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot.tdsm import (
    Tdsm,
    TdsmConfig,
    TdsmTask,
    TokenTexts,
    official_preset,
    signal_share,
)

TINY = {"width": 8, "depth": 1, "heads": 2, "text_tokens": 3, "epoch_steps": 4, "batch_size": 4}


def model(**changed):
    torch.manual_seed(0)
    net = Tdsm(TdsmConfig(**{**TINY, **changed}), 5, 4).double()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return net


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def texts(net, count=6):
    lengths = torch.tensor([1, 2, 3, 4, 2, 1])[:count]
    return net.texts(draw(count, 4, seed=1), draw(count, 4, 4, seed=2), lengths)


def test_schedule_keeps_less_and_less_of_the_feature():
    share = signal_share(TdsmConfig()).numpy()
    left, expected = 1.0, []
    for root in np.linspace(np.sqrt(0.00085), np.sqrt(0.012), 50):
        left *= 1 - root**2
        expected.append(left)
    np.testing.assert_allclose(share, expected)
    assert share[25] == pytest.approx(0.93, abs=0.01)


def test_noise_is_mixed_in_by_variance():
    net = model()
    step = torch.full((4000,), 30)
    x, e = draw(4000, 5, seed=3), draw(4000, 5, seed=4)
    assert net.noisy(x, e, step).std() == pytest.approx(1, abs=0.05)
    share = float(signal_share(net.config)[30])
    torch.testing.assert_close(net.noisy(x, 0 * e, step), x * np.sqrt(share), rtol=1e-5, atol=1e-6)


def test_loss_is_that_of_the_formula():
    net = model(norm_feature=False)
    feature, noise = draw(4, 5), draw(4, 5, seed=5)
    label, wrong = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 1, 5, 0])
    step, known = torch.tensor([0, 10, 25, 49]), texts(net)
    found = net.losses(feature, label, wrong, noise, step, known)
    found = {name: float(value.detach()) for name, value in found.items()}
    right, hinge = [], []
    for i in range(4):
        error = []
        for k in (label[i], wrong[i]):
            share = float(net.share[step[i]])
            x = np.sqrt(share) * feature[i] + np.sqrt(1 - share) * noise[i]
            own = known.rows(k[None])
            told = net.denoiser(x[None], step[i][None], *own)[0]
            error.append(float((told - noise[i]).square().mean().detach()))
        right.append(error[0])
        hinge.append(max(error[0] - error[1] + 1, 0) if label[i] != wrong[i] else 0)
    assert hinge[1] == 0
    assert found["denoise"] == pytest.approx(np.mean(right), rel=1e-6)
    assert found["triplet"] == pytest.approx(np.mean(hinge), rel=1e-6)
    assert found["loss"] == pytest.approx(np.mean(right) + np.mean(hinge), rel=1e-6)


def test_gradients_by_finite_differences():
    net = model()
    step, label, wrong = torch.tensor([3, 25]), torch.tensor([0, 1]), torch.tensor([2, 0])

    def loss(feature, noise):
        return net.losses(feature, label, wrong, noise, step, texts(net))["loss"]

    assert torch.autograd.gradcheck(loss, (draw(2, 5).requires_grad_(), draw(2, 5, seed=8)))


def test_features_of_another_scale_are_the_same():
    net = model()
    noise, step, known = draw(4, 5, seed=5), torch.arange(4), texts(net, 4)
    one = net.errors(draw(4, 5), noise, step, known)
    torch.testing.assert_close(
        one, net.errors(300 * draw(4, 5) - 7, noise, step, known), rtol=1e-3, atol=1e-4
    )


def test_texts_are_cut_and_of_unit_variance():
    net = model()
    found = texts(net)
    assert found.tokens.shape == (6, 3, 4)
    assert found.lengths.tolist() == [1, 2, 3, 3, 2, 1]
    torch.testing.assert_close(found.whole, F.layer_norm(draw(6, 4, seed=1), (4,)))
    torch.testing.assert_close(found.tokens.mean(-1), torch.zeros(6, 3).double())


@settings(max_examples=15)
@given(st.permutations(range(6)), st.integers(1, 3))
def test_scores_hang_on_a_clip_and_a_class_alone(order, noises):
    net = model(noises=noises)
    known, x = texts(net), draw(6, 5)
    with torch.no_grad():
        whole = net.scores(x, known)
        assert whole.shape == (6, 6)
        assert (whole < 0).all()
        index = torch.tensor(order)
        torch.testing.assert_close(net.scores(x[index], known), whole[index])
        torch.testing.assert_close(net.scores(x, known.rows(index)), whole[:, index])
        torch.testing.assert_close(net.scores(x[:1], known), whole[:1])


def test_noises_are_fixed_by_their_seed_and_averaged():
    one, same, other = model(noises=2), model(noises=2), model(noises=2, noise_seed=1)
    assert torch.equal(one.noise, same.noise)
    assert not torch.equal(one.noise, other.noise)
    assert "noise" not in one.state_dict()
    known, x = texts(one), draw(3, 5)
    with torch.no_grad():
        both = one.scores(x, known)
        each = []
        for i in range(2):
            single = model()
            single.noise = one.noise[i : i + 1]
            each.append(single.scores(x, known))
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    assert not torch.allclose(each[0], each[1])


def test_wrong_classes_are_seen_ones():
    net = model().float()
    known = TokenTexts(*(v.float() if v.is_floating_point() else v for v in texts(net)))
    task, drawn = TdsmTask(net, known, [1, 4]), []
    plain = net.losses

    def noted(feature, label, wrong, *rest):
        drawn.extend(wrong.tolist())
        return plain(feature, label, wrong, *rest)

    net.losses = noted
    batch = {"feature": draw(20, 5).float(), "label": torch.ones(20, dtype=torch.long)}
    found = task(batch)
    assert set(drawn) == {1, 4}
    found["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_official_preset():
    config = official_preset(TdsmConfig())
    assert (config.norm_feature, config.noises) == (False, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 7},
        {"test_step": 50},
        {"noises": 0},
        {"first_beta": 0.1, "last_beta": 0.01},
        {"margin": -1.0},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match="TDSM: "):
        TdsmConfig(**wrong)
