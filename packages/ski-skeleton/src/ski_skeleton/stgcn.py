"""ST-GCN: graph convolutions over joints and convolutions over time.

Yan et al., "Spatial temporal graph convolutional networks for skeleton-based action recognition",
AAAI 2018, in the small form of the unsupervised and zero-shot literature (SkeletonCLR, AimCLR,
SMIE): widths from 16 up, 256 features, batch norms over joints and coordinates of one body, mean
over bodies. Kept channels-last, ``(B, T, V, C)`` with ``B = N * M``: the 1x1 convolution into the
three subsets is a linear layer, and the sum over subsets and joints one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ski_data.layouts import get_layout
from ski_skeleton.encoder import ChannelNorm, MapEncoder, block_problems
from ski_skeleton.errors import ConfigError
from ski_skeleton.graph import spatial_partition

SUBSETS = 3
"""Parts of a neighbourhood: the joint itself, centripetal and centrifugal neighbours."""


@dataclass(frozen=True)
class StgcnConfig:
    """Size and graph of an ST-GCN."""

    channels: tuple[int, ...] = (16, 16, 16, 16, 32, 32, 32, 64, 64, 256)
    """Width of each block; the last one is that of the features."""
    strides: tuple[int, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    """Temporal stride of each block."""
    persons: int = 2
    """Bodies M in a clip."""
    layout: str = "kinect25"
    """Joint layout; the graph has its bone pairs, from its centre."""
    output: int | None = 512
    """Width of the linear head (text width, or number of classes); None leaves it out."""
    kernel: int = 9
    """Temporal kernel."""
    dropout: float = 0.5
    """At the end of each block, before the residual; 0 suits small data sets better."""
    kind: Literal["stgcn"] = "stgcn"

    def __post_init__(self) -> None:
        wrong = block_problems(self.channels, self.strides, self.persons, self.output)
        if self.kernel < 1 or self.kernel % 2 == 0:
            wrong.append(f"kernel must be odd, got {self.kernel}")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout must be in 0..1, below 1, got {self.dropout}")
        get_layout(self.layout)
        if wrong:
            raise ConfigError("ST-GCN: " + "; ".join(wrong))

    @property
    def width(self) -> int:
        """Channels W of the features."""
        return self.channels[-1]

    @property
    def joints(self) -> int:
        """Joints V of the layout."""
        return len(get_layout(self.layout).joints)


def adjacency(layout_name: str) -> Tensor:
    """The graph of a layout, ``(3, V, V)``: its bone pairs as published for the NTU joints."""
    layout = get_layout(layout_name)
    return spatial_partition(layout.bone_pairs, len(layout.joints), layout.centre)


class GraphConvolution(nn.Module):
    """``out_w = sum over subsets k and joints v of A_kvw M_kvw (W_k x_v + b_k)``.

    A is the fixed graph and M a learned importance of its edges.
    """

    graph: Tensor

    def __init__(self, channels: int, width: int, graph: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, SUBSETS * width)
        self.importance = nn.Parameter(torch.ones_like(graph))
        self.register_buffer("graph", graph, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, T, V, W)``."""
        B, T, V, _ = x.shape
        given = self.linear(x).view(B * T, V * SUBSETS, -1)
        mixing = (self.graph * self.importance).permute(2, 1, 0).reshape(V, V * SUBSETS)
        return torch.matmul(mixing, given).view(B, T, V, -1)


class StgcnBlock(nn.Module):
    """Graph convolution, then convolution over time, with a residual."""

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        graph: Tensor,
        config: StgcnConfig,
        *,
        first: bool,
    ) -> None:
        super().__init__()
        self.stride, self.first = stride, first
        self.spatial = GraphConvolution(channels, width, graph)
        self.norm = ChannelNorm(width)
        self.temporal = nn.Conv2d(
            width, width, (config.kernel, 1), (stride, 1), (config.kernel // 2, 0)
        )
        self.temporal_norm = ChannelNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.residual: nn.Linear | None = None
        self.residual_norm: ChannelNorm | None = None
        if not first and (channels != width or stride != 1):
            self.residual = nn.Linear(channels, width)
            self.residual_norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, ceil(T / stride), V, W)``."""
        y = torch.relu(self.norm(self.spatial(x)))
        y = self.temporal(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = self.dropout(self.temporal_norm(y))
        if self.residual is not None and self.residual_norm is not None:
            y = y + self.residual_norm(self.residual(x[:, :: self.stride]))
        elif not self.first:
            y = y + x
        return torch.relu(y)


class Stgcn(MapEncoder):
    """Clips ``(N, 3, T, V, M)`` to features as wide as the last block, or to the head's output."""

    def __init__(self, config: StgcnConfig) -> None:
        graph = adjacency(config.layout)
        channels = (3, *config.channels[:-1])
        blocks = (
            StgcnBlock(before, after, stride, graph, config, first=index == 0)
            for index, (before, after, stride) in enumerate(
                zip(channels, config.channels, config.strides, strict=True)
            )
        )
        super().__init__(config, config.joints * 3, blocks)
