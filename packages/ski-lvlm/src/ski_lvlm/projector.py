"""The trained part of SKI-LVLM: linear maps from video and skeleton features to word embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ski_data.config import from_plain
from ski_lvlm import __version__
from ski_lvlm.errors import ConfigError, FeatureError
from ski_skeleton.train import read_model, write_model
from ski_skeleton.weights import load_strictly

KIND = "lvlm-projectors"
SKELETON_INIT_STD = 0.02


@dataclass(frozen=True)
class ProjectorConfig:
    """Sizes of the two projectors."""

    width: int = 4096
    """Embedding width of the language model (D); 4096 for LLaMA 7B."""
    video_channels: int = 1024
    """Channels of a video token; 1024 for CLIP ViT-L/14."""
    skeleton_channels: int | None = 216
    """Channels of a skeleton token; 216 for Hyperformer; none: no skeleton projector."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value}"
            for name, value in vars(self).items()
            if value is not None and value < 1
        ]
        if wrong:
            raise ConfigError(f"projectors: {', '.join(wrong)}; sizes are 1 or more")


class Projectors(nn.Module):
    """Linear layers with bias into the embedding space of a language model.

    The video projector usually starts from a published one (:mod:`ski_lvlm.convert`); the skeleton
    projector is new: normal weights of standard deviation 0.02, bias 0.
    """

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.video = nn.Linear(config.video_channels, config.width)
        self.skeleton: nn.Linear | None = None
        if config.skeleton_channels is not None:
            self.skeleton = nn.Linear(config.skeleton_channels, config.width)
            nn.init.normal_(self.skeleton.weight, std=SKELETON_INIT_STD)
            nn.init.zeros_(self.skeleton.bias)

    def forward(
        self, video: Tensor | None = None, skeleton: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Embeddings (..., L, D) of video tokens (..., L, C) and of skeleton tokens (..., L, C).

        Raises:
            FeatureError: other channels than configured, or skeletons without a projector.
        """
        return (
            self._project("video", self.video, video),
            self._project("skeleton", self.skeleton, skeleton),
        )

    @staticmethod
    def _project(name: str, layer: nn.Linear | None, tokens: Tensor | None) -> Tensor | None:
        if tokens is None:
            return None
        if layer is None:
            raise FeatureError(f"{name} tokens given, but these projectors have none for them")
        if tokens.shape[-1] != layer.in_features:
            raise FeatureError(
                f"{name} tokens of shape {tuple(tokens.shape)}; the projector takes "
                f"{layer.in_features} channels on the last axis"
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
