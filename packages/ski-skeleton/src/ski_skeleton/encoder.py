"""What every skeleton encoder gives back, and what those with a map per joint share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from torch import Tensor, nn

from ski_skeleton.errors import ConfigError


class Encoded(NamedTuple):
    """One pooled vector per clip and, where the architecture has them, tokens over time."""

    features: Tensor
    """``(N, D)``."""
    tokens: Tensor | None
    """``(N, L, D)``, in order of time; ``None`` when the encoder keeps no tokens."""


class SkeletonEncoder(Protocol):
    """Anything that turns skeleton clips ``(N, 3, T, V, M)`` into features."""

    width: int

    def encode(self, clips: Tensor) -> Encoded:
        """Features and tokens of a batch of clips."""
        ...


class MapSettings(Protocol):
    """What a :class:`MapEncoder` has to know of its settings."""

    @property
    def layout(self) -> str:
        """Joint layout."""

    @property
    def joints(self) -> int:
        """Joints V of the layout."""

    @property
    def persons(self) -> int:
        """Bodies M in a clip."""

    @property
    def width(self) -> int:
        """Channels W of the features."""

    @property
    def output(self) -> int | None:
        """Width of the linear head; None leaves it out."""


class ChannelNorm(nn.BatchNorm1d):
    """Batch norm over the last axis of ``(..., C)``, such as ``(B, T, V, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        return super().forward(x.flatten(0, -2)).view(x.shape)


class MapEncoder(nn.Module):
    """Skeleton clips ``(N, 3, T, V, M)`` to embeddings or class logits ``(N, output)``.

    The base of encoders whose blocks keep an activation per body, time step and joint. They hold
    the batch norm of the input, the blocks and the linear head.

    Args:
        settings: sizes.
        norm_channels: M * V * 3 for an input norm of all bodies, V * 3 for one that they share.
        blocks: modules from ``(N * M, T, V, C)`` to ``(N * M, T', V, C')``, in order.
    """

    def __init__(
        self, settings: MapSettings, norm_channels: int, blocks: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.config = settings
        self.width = settings.width
        self.data_norm = nn.BatchNorm1d(norm_channels)
        self.blocks = nn.ModuleList(blocks)
        self.head: nn.Linear | None = None
        if settings.output is not None:
            self.head = nn.Linear(settings.width, settings.output)
            nn.init.normal_(self.head.weight, 0, math.sqrt(2 / settings.output))

    def activations(self, clips: Tensor) -> Tensor:
        """Activations after the last block, ``(N, M, T', V, W)``."""
        x = self.embed(clips)
        for block in self.blocks:
            x = block(x)
        return x.view(clips.shape[0], -1, *x.shape[1:])

    def embed(self, clips: Tensor) -> Tensor:
        """Normalised coordinates ``(N * M, T, V, 3)``, bodies of a clip next to each other.

        The channels of the norm are (body, joint, coordinate), or (joint, coordinate) where
        bodies share it.

        Raises:
            ConfigError: clips of another shape.
        """
        N, C, T, V, M = clips.shape
        own = self.config
        if (3, own.joints, own.persons) != (C, V, M):
            raise ConfigError(
                f"clips {tuple(clips.shape)} do not fit this encoder: (N, 3, T, "
                f"{own.joints} joints of {own.layout}, {own.persons} bodies)"
            )
        x = clips.permute(0, 4, 3, 1, 2).reshape(-1, self.data_norm.num_features, T)
        x = self.data_norm(x).view(N, M, V, C, T)
        return x.permute(0, 1, 4, 2, 3).reshape(N * M, T, V, C)

    def encode(self, clips: Tensor, tokens: Literal["frames", "joints"] = "frames") -> Encoded:
        """Pooled features ``(N, W)`` and tokens, one per time step or per time step and joint.

        Means run over joints and bodies (an absent body counts, as published). Tokens keep the
        order of time, which the per-frame feature of SKI Models' ``Hyperformer.py`` loses by a
        reshape in place of a transpose.

        Args:
            clips: ``(N, 3, T, V, M)``.
            tokens: ``frames`` gives ``(N, T', W)``, the mean over joints; ``joints`` gives
                ``(N, T' * V, W)``, time step after time step and in each the joints in the
                layout's order: token ``t * V + v`` is joint ``v`` at step ``t``.

        Raises:
            ConfigError: clips of another shape, or tokens of another kind.
        """
        if tokens not in ("frames", "joints"):
            raise ConfigError(f"tokens must be frames or joints, not {tokens!r}")
        of_joints = self.activations(clips).mean(1)
        of_frames = of_joints.mean(2)
        found = of_frames if tokens == "frames" else of_joints.flatten(1, 2)
        return Encoded(of_frames.mean(1), found)

    def forward(self, clips: Tensor) -> Tensor:
        """Head output ``(N, output)``, or the features when there is no head."""
        features = self.encode(clips).features
        return features if self.head is None else self.head(features)


def block_problems(
    channels: Sequence[int], strides: Sequence[int], persons: int, output: int | None
) -> list[str]:
    """What is wrong with sizes that every encoder of blocks has, in words."""
    wrong = []
    if not channels or any(c < 1 for c in channels):
        wrong.append(f"channels must be positive, got {tuple(channels)}")
    if len(strides) != len(channels) or any(s < 1 for s in strides):
        wrong.append(
            f"strides must be {len(channels)} positive numbers, one per block, got {tuple(strides)}"
        )
    if persons < 1:
        wrong.append(f"persons must be at least 1, got {persons}")
    if output is not None and output < 1:
        wrong.append(f"output must be at least 1 or none, got {output}")
    return wrong
