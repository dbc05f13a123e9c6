"""Cross-projection in the manner of Wav2CLIP: skeletons into the space of frozen CLIP frames.

Source: Wu et al., "Wav2CLIP", 2022 (its symmetric loss with two projections), with a skeleton
encoder in the place of the audio one. Text has no part in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.encoders import EncoderConfig, build_encoder
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.text import ClipConfig, ClipTextTower, build_clip, class_prompts
from ski_skeleton.train.processes import all_rows
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.losses import info_nce
from ski_vlm.errors import ConfigError
from ski_vlm.students import Student

FIRST_TEMPERATURE = 0.07
"""Both scales start at 1 / 0.07."""


@dataclass(frozen=True)
class CrossProjectionConfig:
    """Encoder, text tower and heads of a cross-projection model."""

    encoder: EncoderConfig = field(default_factory=HyperformerConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    template: str = "{name}"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.encoder.output is None or not 0 <= self.dropout < 1:
            raise ConfigError(
                "cross-projection needs an encoder with a head to the joint space and a dropout "
                f"in [0, 1), got {self.encoder.output} and {self.dropout}"
            )


def projection(width: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, dropout, linear; ``(..., D)`` to ``(..., D)``."""
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
    )


class CrossProjection(nn.Module):
    """Skeletons ``(N, 3, T, V, M)`` and class names to logits, by way of frozen CLIP."""

    def __init__(self, config: CrossProjectionConfig, text: ClipTextTower | None = None) -> None:
        super().__init__()
        self.config = config
        self.text = (ClipTextTower(build_clip(config.clip)) if text is None else text).freeze()
        self.encoder = build_encoder(config.encoder)
        width = self.text.width
        if config.encoder.output != width:
            raise ConfigError(
                f"the encoder's head gives {config.encoder.output} channels, the text tower "
                f"{width}; set encoder.output to {width}"
            )
        self.of_video = projection(width, config.dropout)
        self.of_skeleton = projection(width, config.dropout)

    def logits(self, clips: Tensor, names: Sequence[str]) -> Tensor:
        """Cosine of the projected skeleton with each class text, ``(N, K)``."""
        projected = F.normalize(self.of_skeleton(self.encoder(clips)), dim=-1)
        return projected @ self.text.unit_text(class_prompts(names, self.config.template)).T


@dataclass(frozen=True)
class CrossProjectConfig:
    """Cross-projection as a method of a recipe."""

    kind: Literal["cross-projection"] = "cross-projection"
    dropout: float = 0.1


class CrossProjectClip(Task):
    """Mean of two symmetric contrasts: skeleton with projected video, and the other way round.

    The student's image tower is frozen and only gives video features.
    """

    def __init__(self, student: Student, model: CrossProjection) -> None:
        super().__init__()
        self.student, self.model = student.requires_grad_(False), model
        start = torch.tensor(1 / FIRST_TEMPERATURE).log()
        self.video_scale = nn.Parameter(start.clone())
        self.skeleton_scale = nn.Parameter(start.clone())

    def train(self, mode: bool = True) -> CrossProjectClip:
        """The video side stays in evaluation mode."""
        super().train(mode)
        self.student.eval()
        return self

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)`` and ``skeleton`` to ``loss``."""
        with torch.no_grad():
            video = self.student.encode_video(self.student.normalise(batch["video"]))
        skeleton = all_rows(self.model.encoder(batch["skeleton"]))
        video = all_rows(video)

        def contrast(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
            return info_nce(scale.exp() * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T)

        into_video = contrast(skeleton, self.model.of_video(video), self.video_scale)
        into_skeleton = contrast(self.model.of_skeleton(skeleton), video, self.skeleton_scale)
        return {
            "loss": (into_video + into_skeleton) / 2,
            "into_video": into_video,
            "into_skeleton": into_skeleton,
        }
