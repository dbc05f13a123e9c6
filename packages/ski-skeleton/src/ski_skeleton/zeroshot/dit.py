"""A small diffusion transformer that denoises one feature vector, given a text.

Peebles and Xie, "Scalable diffusion models with transformers", ICCV 2023 (blocks whose norms are
steered by the condition and start as the identity); the feature and the text's tokens each have
weights of their own and attend to both, as in Do and Kim, "Bridging the skeleton-text modality
gap", ICCV 2025.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError

PERIODS = 256
"""Sines and cosines that a time step is told by."""


class Stream(nn.Module):
    """One sequence's half of a block: steered norms, projections and a perceptron.

    Without ``out`` it only gives keys and values, since nothing reads what would become of it.
    """

    def __init__(self, width: int, *, out: bool) -> None:
        super().__init__()
        self.steer = nn.Linear(width, (6 if out else 2) * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out: nn.Linear | None = None
        self.mlp: nn.Sequential | None = None
        if out:
            self.out = nn.Linear(width, width)
            inner = 4 * width
            self.mlp = nn.Sequential(
                nn.Linear(width, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, width)
            )

    def begin(self, x: Tensor, condition: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Queries, keys and values ``(N, L, 3 W)`` of ``x`` ``(N, L, W)``, and the steering."""
        given = self.steer(F.silu(condition)).unsqueeze(1)
        steering = given.chunk(2 if self.out is None else 6, -1)
        return self.qkv(steered(x, *steering[:2])), steering

    def end(self, x: Tensor, found: Tensor, steering: tuple[Tensor, ...]) -> Tensor:
        """``x`` after what attention ``found`` ``(N, L, W)`` and the perceptron."""
        assert self.out is not None
        assert self.mlp is not None
        _, _, gate, shift, scale, gate_mlp = steering
        x = x + gate * self.out(found)
        return x + gate_mlp * self.mlp(steered(x, shift, scale))


def steered(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of ``x`` ``(N, L, W)``, shifted and scaled by ``(N, 1, W)``."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Block(nn.Module):
    """Feature and text attend to each other; ``last`` leaves the text as it is."""

    def __init__(self, width: int, heads: int, *, last: bool) -> None:
        super().__init__()
        self.heads = heads
        self.feature = Stream(width, out=True)
        self.text = Stream(width, out=not last)

    def forward(
        self, x: Tensor, text: Tensor, condition: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Feature ``(N, 1, W)``, text ``(N, L, W)``; ``mask`` ``(N, 1 + L)``: which are real."""
        own, steering = self.feature.begin(x, condition)
        other, text_steering = self.text.begin(text, condition)
        together = torch.cat([own, other], 1).unflatten(-1, (3, self.heads, -1))
        q, k, v = together.permute(2, 0, 3, 1, 4)
        if self.text.out is None:
            q = q[:, :, :1]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        found = found.transpose(1, 2).flatten(2)
        x = self.feature.end(x, found[:, :1], steering)
        if self.text.out is not None:
            text = self.text.end(text, found[:, 1:], text_steering)
        return x, text


class FeatureDenoiser(nn.Module):
    """The noise in a noisy feature ``(N, D)``, given the time step and a text.

    Args:
        feature_width: D.
        text_width: E.
        width: W of the blocks.
        depth: blocks.
        heads: attention heads.
        positions: most tokens of a text.

    Raises:
        ConfigError: heads that do not divide the width.
    """

    def __init__(
        self,
        feature_width: int,
        text_width: int,
        *,
        width: int,
        depth: int,
        heads: int,
        positions: int,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"a transformer of width {width} is no multiple of {heads} heads")
        self.feature_in = nn.Linear(feature_width, width)
        self.time_in = nn.Sequential(nn.Linear(PERIODS, width), nn.SiLU(), nn.Linear(width, width))
        self.text_in = nn.Sequential(
            nn.Linear(text_width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.token_in = nn.Linear(text_width, width)
        self.position = nn.Parameter(torch.empty(positions, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, last=index == depth - 1) for index in range(depth)
        )
        self.steer_out = nn.Linear(width, 2 * width)
        self.feature_out = nn.Linear(width, feature_width)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.position, std=0.02)
        for layer in (self.time_in[0], self.time_in[2]):
            nn.init.normal_(layer.weight, std=0.02)
        steering = [s.steer for block in self.blocks for s in (block.feature, block.text)]
        for layer in (*steering, self.steer_out, self.feature_out):
            nn.init.zeros_(layer.weight)

    def forward(
        self, x: Tensor, step: Tensor, text: Tensor, tokens: Tensor, lengths: Tensor
    ) -> Tensor:
        """The noise ``(N, D)``.

        Args:
            x: noisy features ``(N, D)``.
            step: time steps ``(N,)``.
            text: vector of each sample's text ``(N, E)``.
            tokens: the same text by tokens ``(N, L, E)``, anything behind its end.
            lengths: how many of them are real ``(N,)``, at least one.
        """
        L = tokens.shape[1]
        condition = self.time_in(periods(step).to(x.dtype)) + self.text_in(text)
        words = self.token_in(tokens) + self.position[:L]
        real = torch.arange(L, device=x.device) < lengths[:, None]
        mask = torch.cat([real.new_ones(len(x), 1), real], 1)
        feature = self.feature_in(x).unsqueeze(1)
        for block in self.blocks:
            feature, words = block(feature, words, condition, mask)
        shift, scale = self.steer_out(F.silu(condition)).unsqueeze(1).chunk(2, -1)
        return self.feature_out(steered(feature, shift, scale)).squeeze(1)


def periods(step: Tensor) -> Tensor:
    """Time steps ``(N,)`` as cosines and sines ``(N, 256)`` of periods up to 10000 * 2 pi."""
    half = PERIODS // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, device=step.device) / half)
    angle = step[:, None].to(rates.dtype) * rates
    return torch.cat([angle.cos(), angle.sin()], -1)
