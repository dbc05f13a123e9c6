"""Shift-GCN: joints and frames exchange channels by shifts, linear layers do the rest.

Cheng et al., "Skeleton-based action recognition with shift graph convolutional network", CVPR
2020, non-local spatial shift and learned temporal shift; the encoder of SynSE and STAR. Kept
channels-last, ``(B, T, V, C)`` with ``B = N * M``. The temporal shift is plain tensor code, so it
runs on any device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ski_data.layouts import get_layout
from ski_skeleton.encoder import ChannelNorm, MapEncoder, block_problems
from ski_skeleton.errors import ConfigError


@dataclass(frozen=True)
class ShiftGcnConfig:
    """Size of a Shift-GCN, and how its temporal shifts learn."""

    channels: tuple[int, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    """Width of each block; the last one is that of the features."""
    strides: tuple[int, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    """Temporal stride of each block."""
    persons: int = 2
    """Bodies M in a clip."""
    layout: str = "kinect25"
    """Joint layout; the order of its joints matters, their bones do not."""
    output: int | None = 512
    """Width of the linear head (text width, or number of classes); None leaves it out."""
    official_gradient: bool = False
    """Learn temporal shifts as released, from the sign of their gradient alone; else from the
    gradient itself."""
    kind: Literal["shift_gcn"] = "shift_gcn"

    def __post_init__(self) -> None:
        wrong = block_problems(self.channels, self.strides, self.persons, self.output)
        get_layout(self.layout)
        if wrong:
            raise ConfigError("Shift-GCN: " + "; ".join(wrong))

    @property
    def width(self) -> int:
        """Channels W of the features."""
        return self.channels[-1]

    @property
    def joints(self) -> int:
        """Joints V of the layout."""
        return len(get_layout(self.layout).joints)


def spatial_shift(joints: int, channels: int, direction: Literal[1, -1]) -> Tensor:
    """Where each (joint, channel) cell of a frame comes from, int64 ``(V * C,)``.

    Cell ``i * C + j`` takes that of channel j and joint ``i + direction * j``, modulo V: joints are
    shifted by as many places as the channel's number, forth (1) and back (-1).
    """
    joint, channel = torch.arange(joints)[:, None], torch.arange(channels)
    cells = joints * channels
    return ((joint * channels + channel + direction * channel * channels) % cells).flatten()


def temporal_shift(x: Tensor, offset: Tensor, stride: int = 1) -> Tensor:
    """Each channel moved in time by its own, fractional, number of frames.

    ``out[h] = (1 - d) x[h * stride + floor(y)] + d x[h * stride + floor(y) + 1]`` with
    ``d = y - floor(y)``; frames outside the clip are zero. Differentiable in both arguments.

    Args:
        x: ``(B, T, V, C)``.
        offset: y, ``(C,)`` frames.
        stride: step between the frames of the result.

    Returns:
        ``(B, ceil(T / stride), V, C)``.
    """
    B, T, V, _ = x.shape
    floor = offset.detach().floor()
    fraction = offset - floor
    steps = torch.arange(0, T, stride, device=x.device)
    frames = steps[:, None] + floor.long()

    def taken(frames: Tensor, weight: Tensor) -> Tensor:
        inside = (frames >= 0) & (frames < T)
        index = frames.clamp(0, T - 1)[None, :, None].expand(B, -1, V, -1)
        return x.gather(1, index) * (weight * inside)[:, None].to(x.dtype)

    return taken(frames, 1 - fraction) + taken(frames + 1, fraction)


def official_step(gradient: Tensor) -> Tensor:
    """What the release puts in the place of an offset's gradient: 0.01 of its sign, 1e-4 for 0."""
    return torch.where(gradient == 0, 1e-4, 0.01 * gradient.sign())


class TemporalShift(nn.Module):
    """A learned shift in time per channel, in frames of the input."""

    def __init__(self, channels: int, stride: int, *, official_gradient: bool) -> None:
        super().__init__()
        self.stride, self.official_gradient = stride, official_gradient
        self.offset = nn.Parameter(torch.empty(channels).uniform_(-1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, ceil(T / stride), V, C)``."""
        offset = self.offset.view_as(self.offset)
        if self.official_gradient and offset.requires_grad:
            offset.register_hook(official_step)
        if self.stride == 2:  # the middle of the two frames that become one
            offset = offset + 0.5
        return temporal_shift(x, offset, self.stride)


class ShiftGraphConvolution(nn.Module):
    """Shift over joints, mask, linear layer, shift back, batch norm, residual, ReLU."""

    shift_in: Tensor
    shift_out: Tensor

    def __init__(self, channels: int, width: int, joints: int) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(joints, channels))
        self.weight = nn.Parameter(torch.empty(channels, width).normal_(0, math.sqrt(1 / width)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = ChannelNorm(joints * width)
        self.down: nn.Linear | None = None
        self.down_norm: ChannelNorm | None = None
        if channels != width:
            self.down = _linear(channels, width)
            self.down_norm = ChannelNorm(width)
        shift_in = spatial_shift(joints, channels, 1)
        shift_out = spatial_shift(joints, width, -1)
        self.register_buffer("shift_in", shift_in, persistent=False)
        self.register_buffer("shift_out", shift_out, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, T, V, W)``."""
        B, T, V, _ = x.shape
        shifted = x.flatten(2).index_select(2, self.shift_in).view(x.shape)
        y = torch.matmul(shifted * (torch.tanh(self.mask) + 1), self.weight) + self.bias
        y = self.norm(y.flatten(2).index_select(2, self.shift_out)).view(B, T, V, -1)
        if self.down is not None and self.down_norm is not None:
            x = self.down_norm(self.down(x))
        return torch.relu(y + x)


class ShiftTemporal(nn.Module):
    """Batch norm, shift in time, linear layer, ReLU, shift with the stride, batch norm."""

    def __init__(self, width: int, stride: int, *, official_gradient: bool) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.shift = TemporalShift(width, 1, official_gradient=official_gradient)
        self.linear = _linear(width, width)
        self.strided = TemporalShift(width, stride, official_gradient=official_gradient)
        self.out_norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, W)`` to ``(B, ceil(T / stride), V, W)``."""
        y = torch.relu(self.linear(self.shift(self.norm(x))))
        return self.out_norm(self.strided(y))


class ShiftGcnBlock(nn.Module):
    """Shift over joints, then over time, with a residual but in the first block."""

    def __init__(
        self, channels: int, width: int, stride: int, config: ShiftGcnConfig, *, first: bool
    ) -> None:
        super().__init__()
        self.stride, self.first = stride, first
        self.spatial = ShiftGraphConvolution(channels, width, config.joints)
        self.temporal = ShiftTemporal(width, stride, official_gradient=config.official_gradient)
        self.residual: nn.Linear | None = None
        self.residual_norm: ChannelNorm | None = None
        if not first and (channels != width or stride != 1):
            self.residual = _linear(channels, width)
            self.residual_norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, V, C)`` to ``(B, ceil(T / stride), V, W)``."""
        y = self.temporal(self.spatial(x))
        if self.residual is not None and self.residual_norm is not None:
            y = y + self.residual_norm(self.residual(x[:, :: self.stride]))
        elif not self.first:
            y = y + x
        return torch.relu(y)


class ShiftGcn(MapEncoder):
    """Clips ``(N, 3, T, V, M)`` to features as wide as the last block, or to the head's output."""

    def __init__(self, config: ShiftGcnConfig) -> None:
        channels = (3, *config.channels[:-1])
        blocks = (
            ShiftGcnBlock(before, after, stride, config, first=index == 0)
            for index, (before, after, stride) in enumerate(
                zip(channels, config.channels, config.strides, strict=True)
            )
        )
        super().__init__(config, config.persons * config.joints * 3, blocks)


def _linear(channels: int, width: int) -> nn.Linear:
    """A 1x1 convolution with the published start: Kaiming over its outputs, no bias."""
    linear = nn.Linear(channels, width)
    nn.init.normal_(linear.weight, 0, math.sqrt(2 / width))
    nn.init.zeros_(linear.bias)
    return linear
