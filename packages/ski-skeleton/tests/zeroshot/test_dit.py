from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_skeleton.errors import ConfigError
from ski_skeleton.zeroshot.dit import FeatureDenoiser, periods

SIZES = {"width": 8, "depth": 2, "heads": 2, "positions": 4}


def denoiser(*, noisy=True, **changed):
    torch.manual_seed(0)
    net = FeatureDenoiser(5, 3, **{**SIZES, **changed}).double()
    if noisy:  # away from the beginning, where every block is the identity
        with torch.no_grad():
            for value in net.parameters():
                value.add_(0.3 * torch.randn_like(value))
    return net


def inputs(count=3, tokens=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    lengths = torch.randint(1, tokens + 1, (count,), generator=generator)
    return draw(count, 5), torch.arange(count), draw(count, 3), draw(count, tokens, 3), lengths


def test_begins_with_nothing_and_blocks_that_change_nothing():
    net = denoiser(noisy=False)
    x, step, text, tokens, lengths = inputs()
    assert not net(x, step, text, tokens, lengths).any()
    feature, words = torch.randn(2, 3, 8).double().split(1)
    feature = feature.transpose(0, 1)
    words = words.transpose(0, 1)
    mask = torch.ones(3, 2, dtype=torch.bool)
    found = net.blocks[0](feature, words, torch.randn(3, 8).double(), mask)
    assert torch.equal(found[0], feature)
    assert torch.equal(found[1], words)


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def written_out(net, x, step, text, tokens, heads):
    """One sample, all tokens real, token by token."""
    w = {k: v.detach().numpy() for k, v in net.state_dict().items()}

    def line(name, rows):
        return rows @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def two(name, rows):
        return line(f"{name}.2", silu(line(f"{name}.0", rows)))

    rates = np.exp(-np.log(10000) * np.arange(128) / 128)
    time = np.concatenate([np.cos(step * rates), np.sin(step * rates)])
    steering = silu(two("time_in", time) + two("text_in", text))
    rows = [line("feature_in", x)]
    rows += [line("token_in", t) + w["position"][i] for i, t in enumerate(tokens)]
    depth = len(net.blocks)
    for b in range(depth):
        names = [f"blocks.{b}.feature"] + [f"blocks.{b}.text"] * len(tokens)
        size = len(rows[0])
        given = [line(f"{name}.steer", steering).reshape(-1, size) for name in names]
        qkv = [
            line(f"{name}.qkv", norm(row) * (1 + g[1]) + g[0]).reshape(3, heads, -1)
            for name, row, g in zip(names, rows, given, strict=True)
        ]
        after = []
        for i, (name, row, g) in enumerate(zip(names, rows, given, strict=True)):
            if b == depth - 1 and i:
                continue
            found = []
            for h in range(heads):
                logits = np.array([qkv[i][0, h] @ other[1, h] for other in qkv])
                weight = np.exp(logits / np.sqrt(size / heads))
                weight /= weight.sum()
                found.append(sum(p * other[2, h] for p, other in zip(weight, qkv, strict=True)))
            row = row + g[2] * line(f"{name}.out", np.concatenate(found))
            inner = gelu(line(f"{name}.mlp.0", norm(row) * (1 + g[4]) + g[3]))
            after.append(row + g[5] * line(f"{name}.mlp.2", inner))
        rows = after
    shift, scale = line("steer_out", steering).reshape(2, -1)
    return line("feature_out", norm(rows[0]) * (1 + scale) + shift)


def test_is_what_is_written_out():
    net = denoiser()
    x, step, text, tokens, lengths = inputs(count=2)
    found = net(x, step, text, tokens, torch.full_like(lengths, 4)).detach().numpy()
    for i in range(2):
        expected = written_out(net, *(v[i].numpy() for v in (x, step, text, tokens)), heads=2)
        # the sines of time steps are float32
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 30))
def test_what_stands_behind_a_text_does_not_matter(seed):
    net = denoiser()
    x, step, text, tokens, lengths = inputs(seed=seed)
    behind = (torch.arange(4) >= lengths[:, None])[..., None]
    other = torch.where(behind, 100.0, tokens)
    found = net(x, step, text, tokens, lengths)
    torch.testing.assert_close(found, net(x, step, text, other, lengths))
    longest = int(lengths.max())
    torch.testing.assert_close(found, net(x, step, text, tokens[:, :longest], lengths))


def test_everything_given_has_a_say():
    net = denoiser()
    given = [*inputs(count=1)]
    given[-1] = torch.tensor([3])
    before = net(*given)
    for i, other in enumerate(inputs(count=1, seed=9)[:4]):
        changed = [*given]
        changed[i] = other + 1
        assert not torch.allclose(before, net(*changed), atol=1e-6)
    turned = [*given]
    turned[3] = given[3][:, [1, 0, 2, 3]]
    assert not torch.allclose(before, net(*turned), atol=1e-6)


def test_gradients_by_finite_differences():
    net = denoiser()
    x, step, text, tokens, lengths = inputs(count=2)
    given = [v.requires_grad_() for v in (x, text, tokens)]
    assert torch.autograd.gradcheck(lambda x, t, w: net(x, step, t, w, lengths), given)


def test_every_weight_learns():
    net = denoiser()
    net(*inputs()).square().sum().backward()
    assert [k for k, v in net.named_parameters() if v.grad is None or not v.grad.any()] == []


def test_steps_are_told_apart():
    found = periods(torch.arange(50))
    assert found.shape == (50, 256)
    assert torch.cdist(found, found).add(torch.eye(50)).min() > 0.1


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="width 8 is no multiple of 3 heads"):
        denoiser(heads=3)
