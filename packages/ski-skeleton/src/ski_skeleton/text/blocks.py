"""Residual blocks of CLIP's transformers, computed by what is fastest where they run.

The weights are those of open_clip's blocks, and rounding is the only difference from what these
compute themselves. What is compiled or exported keeps layers and weights as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:  # importing it takes seconds
    from open_clip.transformer import ResidualAttentionBlock

CONVOLVES = (
    torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
)
"""Whether this processor's fast float32 products are oneDNN's: MKL uses no AVX-512 on some."""
SIGMOID_SLOPE = 1.702
"""Of QuickGELU, ``x sigmoid(1.702 x)``."""


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast, where there is any: for the short products at both ends, whose digits count."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def are_plain(blocks: Iterable[nn.Module]) -> bool:
    """Whether all are open_clip's own residual blocks, which the functions here compute."""
    from open_clip.transformer import ResidualAttentionBlock

    return all(type(block) is ResidualAttentionBlock for block in blocks)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear`` of ``x`` ``(..., D)``; on a CPU in float32 as a 1x1 convolution, by oneDNN.

    The memory order is the convolution's channels-last, so nothing moves.
    """
    single = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not (CONVOLVES and x.is_cpu and single) or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    image = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(image, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def feed_forward(mlp: nn.Sequential, x: Tensor) -> Tensor:
    """The two layers of a block, ``x`` ``(..., D)`` to the same.

    QuickGELU of ``h`` is ``SiLU(1.702 h) / 1.702``; both factors go into the weights around it, and
    one kernel is left of four, forward and backward. What is compiled or exported keeps the weights
    as they are.
    """
    from open_clip.transformer import QuickGELU

    first, act, second = mlp
    plain = type(first) is type(second) is nn.Linear and type(act) is QuickGELU
    if not plain or torch.compiler.is_compiling():
        return mlp(x)
    x = F.silu(linear(x, first.weight * SIGMOID_SLOPE, first.bias * SIGMOID_SLOPE))
    return linear(x, second.weight / SIGMOID_SLOPE, second.bias)


def heads_of(attn: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``(B, heads, L, d)`` of ``x`` ``(B, L, D)``."""
    B, L, D = x.shape
    packed = linear(x, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = packed.view(B, L, 3, attn.num_heads, D // attn.num_heads).permute(2, 0, 3, 1, 4)
    return q, k, v


def joined(attn: nn.MultiheadAttention, heads: Tensor) -> Tensor:
    """Heads ``(B, heads, L, d)`` to the attention's output ``(B, L, D)``."""
    x = heads.transpose(1, 2).flatten(2)
    return linear(x, attn.out_proj.weight, attn.out_proj.bias)


def causal_block(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """A residual block whose tokens see those before them, ``(B, L, D)`` to the same."""
    q, k, v = heads_of(block.attn, block.ln_1(x))
    found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + block.ls_1(joined(block.attn, found))
    return x + block.ls_2(feed_forward(block.mlp, block.ln_2(x)))


def class_token_block(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """What a block makes of the first token of ``(B, L, D)``, which sees all: ``(B, D)``.

    Behind the last block nothing else is asked for, so only keys and values of the other tokens
    are computed.
    """
    return _token_block(block, x, x[:, :1], None)


def end_token_block(block: ResidualAttentionBlock, x: Tensor, end: Tensor) -> Tensor:
    """What a causal block makes of the tokens ``(B, L, D)`` at places ``(B,)``: ``(B, D)``."""
    places = torch.arange(x.shape[1], device=x.device)
    seen = (places <= end[:, None])[:, None, None]
    return _token_block(block, x, x[torch.arange(len(x), device=x.device), end][:, None], seen)


def _token_block(
    block: ResidualAttentionBlock, x: Tensor, token: Tensor, seen: Tensor | None
) -> Tensor:
    attn, D = block.attn, x.shape[-1]
    weight, bias = attn.in_proj_weight, attn.in_proj_bias
    q = linear(block.ln_1(token), weight[:D], bias[:D]).unflatten(-1, (attn.num_heads, -1))
    kv = linear(block.ln_1(x), weight[D:], bias[D:]).unflatten(-1, (2, attn.num_heads, -1))
    k, v = kv.permute(2, 0, 3, 1, 4)
    found = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=seen)
    token = token + block.ls_1(joined(attn, found))
    return (token + block.ls_2(feed_forward(block.mlp, block.ln_2(token))))[:, 0]
