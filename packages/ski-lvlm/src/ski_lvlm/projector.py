"""The trained part of SKI-LVLM: maps from video and skeleton features to word embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ski_data.config import from_plain
from ski_lvlm import __version__
from ski_lvlm.errors import ConfigError, FeatureError
from ski_lvlm.tokens import BOUNDARY_TOKENS
from ski_skeleton.train import read_model, write_model
from ski_skeleton.weights import load_strictly

KIND = "lvlm-projectors"
SKELETON_INIT_STD = 0.02


@dataclass(frozen=True)
class ProjectorConfig:
    """Sizes of the two projectors."""

    width: int = 4096
    """Embedding width of the language model (D); 4096 for LLaMA 7B."""
    video_channels: int | None = 1024
    """Channels of a video token; 1024 for CLIP ViT-L/14; none: no video projector."""
    skeleton_channels: int | None = 216
    """Channels of a skeleton token; 216 for Hyperformer; none: no skeleton projector."""
    layers: int = 1
    """Linear layers of each projector, with GELU between them; 1 in the paper."""
    boundary_rows: bool = True
    """Own embeddings of the six start and end tokens, trained with the projectors."""

    def __post_init__(self) -> None:
        sizes = (self.width, self.video_channels, self.skeleton_channels, self.layers)
        if any(size is not None and size < 1 for size in sizes):
            raise ConfigError(f"{self}: sizes are 1 or more")
        if self.video_channels is None and self.skeleton_channels is None:
            raise ConfigError("projectors need video_channels or skeleton_channels")


class Projectors(nn.Module):
    """Linear layers with bias into the embedding space of a language model.

    The video projector usually starts from a published one (:mod:`ski_lvlm.convert`); the skeleton
    projector is new: normal weights of standard deviation 0.02, bias 0. ``boundary``, (6, D), holds
    the embeddings of :data:`ski_lvlm.tokens.BOUNDARY_TOKENS`, zeros until a language model or a
    file gives them.
    """

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.video: nn.Module | None = None
        if config.video_channels is not None:
            self.video = _layers(config.video_channels, config)
        self.skeleton: nn.Module | None = None
        if config.skeleton_channels is not None:
            self.skeleton = _layers(config.skeleton_channels, config)
            for layer in self.skeleton.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=SKELETON_INIT_STD)
                    nn.init.zeros_(layer.bias)
        self.boundary: nn.Parameter | None = None
        if config.boundary_rows:
            self.boundary = nn.Parameter(torch.zeros(len(BOUNDARY_TOKENS), config.width))

    def forward(
        self, video: Tensor | None = None, skeleton: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Embeddings (..., L, D) of video tokens (..., L, C) and of skeleton tokens (..., L, C).

        Raises:
            FeatureError: other channels than configured, or skeletons without a projector.
        """
        return (
            _project("video", self.video, video, self.config.video_channels),
            _project("skeleton", self.skeleton, skeleton, self.config.skeleton_channels),
        )


def _layers(channels: int, config: ProjectorConfig) -> nn.Module:
    first = nn.Linear(channels, config.width)
    if config.layers == 1:
        return first
    more = ((nn.GELU(), nn.Linear(config.width, config.width)) for _ in range(config.layers - 1))
    return nn.Sequential(first, *(module for pair in more for module in pair))


def _project(
    name: str, layer: nn.Module | None, tokens: Tensor | None, channels: int | None
) -> Tensor | None:
    if tokens is None:
        return None
    if layer is None:
        raise FeatureError(f"{name} tokens given, but these projectors have none for them")
    if tokens.shape[-1] != channels:
        raise FeatureError(
            f"{name} tokens of shape {tuple(tokens.shape)}; the projector takes {channels} "
            "channels on the last axis"
        )
    return layer(tokens)


def save_projectors(
    folder: str | Path, projectors: Projectors, meta: Mapping[str, Any] | None = None
) -> Path:
    """Write a model folder: safetensors weights, JSON settings and notes.

    Raises:
        ski_data.errors.ExistingOutputError: the folder is already there.
    """
    notes = {"ski-lvlm": __version__, **(meta or {})}
    return write_model(folder, KIND, projectors.config, projectors.state_dict(), notes)


def load_projectors(folder: str | Path) -> tuple[Projectors, dict[str, Any]]:
    """Projectors of a model folder, and the notes saved with them.

    Raises:
        ski_data.errors.MissingFileError: no such folder, or it holds no model.
        ski_skeleton.errors.CheckpointError: another kind of model, or entries that are missing,
            unknown or of another shape; each is named.
    """
    _, plain, state, meta = read_model(folder, KIND)
    projectors = Projectors(from_plain(ProjectorConfig, plain, str(folder)))
    load_strictly(projectors, state, folder)
    return projectors, meta
