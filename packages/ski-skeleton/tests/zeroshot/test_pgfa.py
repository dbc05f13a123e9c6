from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problem import unit

from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot.pgfa import (
    MatchConfig,
    Pgfa,
    PgfaConfig,
    PgfaTask,
    PrototypeConfig,
    label_matching_loss,
    prototypes,
)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=7), st.integers(0, 50))
def test_loss_is_that_of_the_formula(labels, seed):
    """The mean over all entries of the divergence, times the batch; both ways, halved."""
    n = len(labels)
    x, t = 3 * unit(n, 4, seed), unit(4, 4, seed + 1)[labels]
    cosine = (x / x.norm(dim=-1, keepdim=True)).numpy() @ t.numpy().T
    same = np.equal.outer(labels, labels)

    def softmax(v):
        return np.exp(v) / np.exp(v).sum(-1, keepdims=True)

    target, total = softmax(10.0 * same), 0.0
    for c in (cosine, cosine.T):
        told = softmax(c / 0.07)
        total += (target * np.log(target / told)).mean() * n
    found = label_matching_loss(x, t, torch.tensor(labels), MatchConfig())
    assert float(found) == pytest.approx(total / 2, rel=1e-9)
    assert float(found) > -1e-12


def test_gradients_by_finite_differences():
    label = torch.tensor([0, 1, 0])

    def loss(x, t):
        return label_matching_loss(x, t, label, MatchConfig(0.2, 3.0))

    assert torch.autograd.gradcheck(loss, (unit(3, 4).requires_grad_(), unit(3, 4, 5)))


def test_task_draws_clips_to_their_texts():
    torch.manual_seed(0)
    task = PgfaTask(Pgfa(PgfaConfig(), 6, 4), 5 * unit(3, 4).float())
    assert task.text.norm(dim=-1).allclose(torch.ones(3))
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    batch = {"feature": torch.eye(6), "label": label}
    optimizer = torch.optim.SGD(task.parameters(), lr=0.5)
    first = task(batch)
    for _ in range(40):
        optimizer.zero_grad()
        task(batch)["loss"].backward()
        optimizer.step()
    last = task(batch)
    assert last["loss"] < 0.5 * first["loss"]
    assert last["cosine"] > first["cosine"]


def plain_prototypes(x, t, share):
    """Class by class, as published."""
    out = []
    cosine = x @ t.T
    p = np.exp(cosine) / np.exp(cosine).sum(1, keepdims=True)
    entropy = -(p * np.log(p)).sum(1)
    for k in range(len(t)):
        own = [i for i in range(len(x)) if cosine[i].argmax() == k]
        own = sorted(own, key=lambda i: entropy[i])[: int(len(own) * share)]
        z = x[own].mean(0) if own else t[k]
        out.append(z / np.linalg.norm(z))
    return np.array(out)


@given(st.integers(1, 25), st.floats(0.05, 1), st.integers(0, 99), st.randoms())
def test_prototypes_are_those_of_the_rule(count, share, seed, random):
    x, t = unit(count, 3, seed), unit(4, 3, seed + 1)
    config = PrototypeConfig(share)
    found = prototypes(2 * x, 3 * t, config)
    np.testing.assert_allclose(
        found.numpy(), plain_prototypes(x.numpy(), t.numpy(), share), rtol=1e-9, atol=1e-12
    )
    order = list(range(count))
    random.shuffle(order)
    torch.testing.assert_close(prototypes(x[order], t, config), found)


def test_a_class_whose_share_is_no_clip_keeps_its_text():
    t = torch.eye(3)
    x = torch.tensor([[1.0, 0.1, 0.0], [0.9, 0.3, 0.0], [0.1, 1.0, 0.2]])
    found = prototypes(x, t, PrototypeConfig(0.6))
    assert torch.equal(found[1:], t[1:])  # one clip, of which 0.6 is none; and no clip at all
    torch.testing.assert_close(found[0], x[0] / x[0].norm())  # the surer of two


def test_prototypes_mend_a_shift_that_all_clips_share():
    """Clips that miss their texts in one direction are answered better with prototypes."""
    rng = np.random.default_rng(0)
    t = np.eye(4)
    labels = np.repeat(np.arange(4), 50)
    x = t[labels] + 0.75 * np.array([0, 0, 0, 1.0]) + rng.normal(0, 0.2, (200, 4))
    clips, texts = torch.from_numpy(x), torch.from_numpy(t)
    unit_clips = torch.nn.functional.normalize(clips, dim=-1)
    before = ((unit_clips @ texts.T).argmax(1).numpy() == labels).mean()
    made = prototypes(clips, texts, PrototypeConfig(0.9))
    after = ((unit_clips @ made.T).argmax(1).numpy() == labels).mean()
    assert after > before + 0.03


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 1}, {"lr": -1.0}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match="PGFA: "):
        PgfaConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"sharpness": -1.0}])
def test_losses_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match="matching: "):
        MatchConfig(**wrong)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_shares_that_cannot_be(share):
    with pytest.raises(ConfigError, match="prototypes: "):
        PrototypeConfig(share)
