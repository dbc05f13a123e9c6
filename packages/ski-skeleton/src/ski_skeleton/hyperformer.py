"""Hyperformer: hypergraph self-attention over joints, multi-scale convolutions over time.

Follows the published formulation (Zhou et al., 2022) and, with a 512-wide head, the encoder of
SKI Models. Everything is kept channels-last, ``(B, T, V, C)`` with ``B = N * M``, so that 1x1
convolutions are linear layers and temporal convolutions see memory in NHWC order; the attention
terms are regrouped (``q.(k + e)`` in one product, hop vectors before the gather) without changing
the result. Under autocast the terms per pair of joints stay in the parameters' precision: gathers
and softmax over short rows are slow in bfloat16 on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_data.layouts import get_layout
from ski_skeleton.encoder import ChannelNorm, MapEncoder
from ski_skeleton.errors import ConfigError
from ski_skeleton.graph import group_average, hop_distances

HEAD_WIDTH = 24
"""Channels of one attention head."""
PROJECTION_GROUPS = 6
"""Groups of the attention's output projection, whatever the number of heads."""


@dataclass(frozen=True)
class HyperformerConfig:
    """Size and graph of a Hyperformer."""

    heads: int = 9
    """Attention heads H; the width is W = 24 H."""
    strides: tuple[int, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    """Temporal stride of each block; their number is the depth."""
    persons: int = 2
    """Bodies M in a clip."""
    layout: str = "kinect25"
    """Joint layout: joints, model graph and, unless given, hyperedges."""
    groups: tuple[int, ...] | None = None
    """Hyperedge label of each joint; None takes the layout's."""
    output: int | None = 512
    """Width of the linear head (text width, or number of classes); None leaves it out."""
    kernel: int = 5
    """Temporal kernel."""
    dilations: tuple[int, ...] = (1, 2)
    """One convolution branch per dilation; max-pool and 1x1 branches come on top."""
    kind: Literal["hyperformer"] = "hyperformer"

    def __post_init__(self) -> None:
        wrong = []
        if self.heads < 1:
            wrong.append(f"heads must be at least 1, got {self.heads}")
        if not self.strides or any(s < 1 for s in self.strides):
            wrong.append(f"strides must be positive, got {self.strides}")
        if self.persons < 1:
            wrong.append(f"persons must be at least 1, got {self.persons}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            wrong.append(f"kernel must be odd, got {self.kernel}")
        if not self.dilations or HEAD_WIDTH * self.heads % (len(self.dilations) + 2):
            wrong.append(
                f"width {HEAD_WIDTH * self.heads} must split into "
                f"{len(self.dilations) + 2} branches"
            )
        joints = len(get_layout(self.layout).joints)
        if self.groups is not None and len(self.groups) != joints:
            wrong.append(f"groups must label {joints} joints of {self.layout}: {self.groups}")
        if wrong:
            raise ConfigError("Hyperformer: " + "; ".join(wrong))

    @property
    def width(self) -> int:
        """W = 24 H."""
        return HEAD_WIDTH * self.heads

    @property
    def joints(self) -> int:
        """Joints V of the layout."""
        return len(get_layout(self.layout).joints)


class Pointwise(nn.Linear):
    """Linear layer over the last axis of ``(B, T, V, C)``, on the CPU as a 1x1 convolution.

    In this memory order both compute the same, and oneDNN's convolution is up to twice as fast as
    MKL's matrix product there on AMD processors.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, T, V, W)``."""
        if not x.is_cpu:
            return super().forward(x)
        return convolution(x, self.weight[:, :, None, None], self.bias)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
    """``conv2d`` of ``(B, T, V, C)``: this memory order is its channels-last, so nothing moves."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, groups=groups).permute(0, 2, 3, 1)


class HypergraphAttention(nn.Module):
    """Self-attention over the joints of one frame with hop and hyperedge terms.

    ``logit(i, j) = (q_i.k_j + q_i.r_hop(i,j) + q_i.e_j + w1.e_j) / sqrt(24)``, and the output is
    ``(alpha softmax(logit) + outer) v`` through a grouped projection.
    """

    hops: Tensor
    groups: Tensor
    average: Tensor
    spread: Tensor

    def __init__(self, channels: int, config: HyperformerConfig) -> None:
        super().__init__()
        layout = get_layout(config.layout)
        heads, width, joints = config.heads, config.width, config.joints
        groups = config.groups if config.groups is not None else layout.groups
        hops = hop_distances(layout.edges, joints)
        self.heads, self.width = heads, width
        self.norm = nn.LayerNorm(channels)
        self.qkv = Pointwise(channels, 3 * width, bias=False)
        self.edge = Pointwise(channels, width, bias=False)
        self.hop_vectors = nn.Parameter(torch.zeros(int(hops.max()) + 1, width))
        self.edge_bias = nn.Parameter(torch.zeros(heads, HEAD_WIDTH))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.outer = nn.Parameter(torch.eye(joints).repeat(heads, 1, 1))
        self.projection = nn.Parameter(
            torch.empty(PROJECTION_GROUPS, width // PROJECTION_GROUPS, width // PROJECTION_GROUPS)
        )
        self.projection_bias = nn.Parameter(torch.empty(width))
        bound = 1 / math.sqrt(width // PROJECTION_GROUPS)  # PyTorch's default of a grouped conv
        nn.init.uniform_(self.projection, -bound, bound)
        nn.init.uniform_(self.projection_bias, -bound, bound)
        distance_of_pair = hops + torch.arange(joints)[:, None] * self.hop_vectors.shape[0]
        self.register_buffer("hops", distance_of_pair.flatten(), persistent=False)
        self.register_buffer("groups", torch.as_tensor(groups), persistent=False)
        average = group_average(groups)
        self.register_buffer("average", average, persistent=False)
        self.register_buffer("spread", (average > 0).T.to(average.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, T, V, W)``."""
        B, T, V, _ = x.shape
        H, E, scale = self.heads, HEAD_WIDTH, HEAD_WIDTH**-0.5
        q, k, v = self.qkv(self.norm(x)).reshape(B * T, V, 3, H, E).permute(2, 0, 3, 1, 4)
        edge = self.edge(torch.matmul(self.average, x)).reshape(B * T, -1, H, E).transpose(1, 2)
        k = torch.matmul(self.spread, edge) + k
        q, k, v = q.reshape(-1, V, E), k.view(-1, V, E), v.reshape(-1, V, E)
        hop_vectors = self.hop_vectors.view(-1, H, E).permute(1, 2, 0) * scale
        by_hop = torch.matmul(q.view(-1, H, V, E), hop_vectors).to(self.outer.dtype)
        position = by_hop.view(B * T * H, -1).index_select(1, self.hops).view(-1, V, V)
        bias = torch.matmul(edge, self.edge_bias[:, :, None] * scale).view(B * T * H, -1)
        position = position + bias.index_select(1, self.groups)[:, None]
        logits = torch.baddbmm(position, q, k.transpose(1, 2), alpha=scale)
        attention = torch.softmax(logits, -1, dtype=self.outer.dtype).view(-1, H, V, V)
        attention = torch.addcmul(self.outer, attention, self.alpha).view(-1, V, V)
        out = torch.bmm(attention, v).view(-1, H, V, E).transpose(1, 2).reshape(B, T, V, H * E)
        weight = self.projection.view(self.width, -1, 1, 1)
        return convolution(out, weight, self.projection_bias, PROJECTION_GROUPS)


class TemporalBranches(nn.Module):
    """Dilated convolutions, max-pool and a 1x1 over time, a quarter of the width each.

    The 1x1 convolutions in front of the branches are one linear layer, and the batch norms behind
    them one norm over all channels: concatenated, they compute the same.
    """

    def __init__(self, config: HyperformerConfig, stride: int) -> None:
        super().__init__()
        branches = self.branches = len(config.dilations) + 2
        self.branch, self.stride = config.width // branches, stride
        self.reduce = Pointwise(config.width, self.branch * (branches - 1))
        self.reduce_norm = ChannelNorm(self.branch * (branches - 1))
        self.convs = nn.ModuleList(
            nn.Conv2d(
                self.branch,
                self.branch,
                (config.kernel, 1),
                stride=(stride, 1),
                padding=(dilation * (config.kernel - 1) // 2, 0),
                dilation=(dilation, 1),
            )
            for dilation in config.dilations
        )
        self.through = Pointwise(config.width, self.branch)
        self.pool_norm = nn.Identity()  # its part of ``norm``, where the rest is folded
        self.norm = ChannelNorm(config.width)
        for weight in (self.reduce.weight, self.through.weight):
            nn.init.normal_(weight, 0, math.sqrt(2 / self.branch))  # Kaiming, fan-out of a branch
        nn.init.zeros_(self.reduce.bias)
        nn.init.zeros_(self.through.bias)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")
            nn.init.zeros_(conv.bias)
        for norm in (self.reduce_norm, self.norm):
            nn.init.normal_(norm.weight, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, W)`` to ``(B, ceil(T / stride), V, W)``."""
        reduced = torch.relu(self.reduce_norm(self.reduce(x)))
        parts = [p.permute(0, 3, 1, 2) for p in reduced.split(self.branch, -1)]
        out = [conv(part) for conv, part in zip(self.convs, parts[:-1], strict=True)]
        out.append(F.max_pool2d(parts[-1], (3, 1), (self.stride, 1), (1, 0)))
        out = [part.permute(0, 2, 3, 1) for part in out]
        out[-1] = self.pool_norm(out[-1])
        out.append(self.through(x[:, :: self.stride]))
        return self.norm(torch.cat(out, -1))


class HyperformerBlock(nn.Module):
    """Attention over joints, then branches over time, each with its residual."""

    def __init__(self, channels: int, config: HyperformerConfig, stride: int) -> None:
        super().__init__()
        width = config.width
        self.stride = stride
        self.attention = HypergraphAttention(channels, config)
        self.skip = Pointwise(channels, width, bias=False) if channels != width else None
        self.temporal = TemporalBranches(config, stride)
        self.residual: nn.Linear | None = None
        self.residual_norm: ChannelNorm | None = None
        if channels != width or stride != 1:
            self.residual = Pointwise(channels, width)
            self.residual_norm = ChannelNorm(width)
            nn.init.normal_(self.residual.weight, 0, math.sqrt(2 / width))
            nn.init.zeros_(self.residual.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, ceil(T / stride), V, W)``."""
        y = self.attention(x) + (x if self.skip is None else self.skip(x))
        kept = x
        if self.residual is not None and self.residual_norm is not None:
            kept = self.residual_norm(self.residual(x[:, :: self.stride]))
        return (self.temporal(y) + kept).relu_()


class Hyperformer(MapEncoder):
    """Hypergraph attention and temporal branches; features are W = 24 H wide."""

    def __init__(self, config: HyperformerConfig) -> None:
        channels = [3] + [config.width] * (len(config.strides) - 1)
        blocks = (
            HyperformerBlock(c, config, s) for c, s in zip(channels, config.strides, strict=True)
        )
        super().__init__(config, config.persons * config.joints * 3, blocks)
