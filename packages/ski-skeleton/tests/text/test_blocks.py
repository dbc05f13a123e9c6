from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock

from ski_skeleton.text import blocks
from ski_skeleton.text.blocks import (
    are_plain,
    causal_block,
    class_token_block,
    end_token_block,
    feed_forward,
    linear,
)


@pytest.fixture
def block():
    torch.manual_seed(0)
    made = ResidualAttentionBlock(32, 2, ls_init_value=0.5, act_layer=QuickGELU).double()
    for bias in (made.attn.in_proj_bias, made.attn.out_proj.bias):
        torch.nn.init.normal_(bias)
    return made


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(3, 5, 32, dtype=torch.float64, requires_grad=True)


def assert_same(first, second, leaves):
    """Answers and gradients of both."""
    found = []
    for run in (first, second):
        out = run()
        found.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaves)))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-11)


def causal(length):
    return torch.full((length, length), -torch.inf, dtype=torch.float64).triu(1)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (4, 300)])
def test_a_layer_as_a_convolution(monkeypatch, biased, shape):
    monkeypatch.setattr(blocks, "CONVOLVES", True)
    x, weight = torch.randn(*shape, 32, requires_grad=True), torch.randn(24, 32, requires_grad=True)
    leaves = [x, weight, *([torch.randn(24, requires_grad=True)] if biased else [])]
    bias = leaves[2] if biased else None
    found = []
    for layer in (linear, F.linear):
        out = layer(x, weight, bias)
        found.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaves)))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-3)


def test_the_layers_between_are_the_blocks_own(block, x):
    mlp = block.mlp
    assert_same(lambda: feed_forward(mlp, x), lambda: mlp(x), [x, *mlp.parameters()])
    mlp[1] = torch.nn.GELU()
    torch.testing.assert_close(feed_forward(mlp, x), mlp(x), rtol=0, atol=0)


def test_tokens_that_see_those_before_them(block, x):
    mask = causal(x.shape[1])
    leaves = [x, *block.parameters()]
    assert_same(lambda: causal_block(block, x), lambda: block(x, attn_mask=mask), leaves)


def test_the_class_token_alone(block, x):
    leaves = [x, *block.parameters()]
    assert_same(lambda: class_token_block(block, x), lambda: block(x)[:, 0], leaves)


@pytest.mark.parametrize("end", [(4, 4, 4), (0, 2, 4), (3, 1, 1)])
def test_the_end_tokens_alone(block, x, end):
    places, rows, mask = torch.tensor(end), torch.arange(3), causal(x.shape[1])
    assert_same(
        lambda: end_token_block(block, x, places),
        lambda: block(x, attn_mask=mask)[rows, places],
        [x, *block.parameters()],
    )


def test_which_blocks_are_plain(block):
    assert are_plain([block, block])
    assert not are_plain([block, torch.nn.Linear(2, 2)])
