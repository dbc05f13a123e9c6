"""Distillation between features: the student's video features follow those of a frozen teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_data.video.mixing import MixConfig
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.text import class_prompts
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.losses import feature_distance, soft_cross_entropy
from ski_vlm.distill.residual import projector
from ski_vlm.errors import ConfigError
from ski_vlm.mixing import mix_batch, smooth
from ski_vlm.students import Student

RESIDUAL = 0.1
"""Weight of the projected part, as published for FROSTER."""


@dataclass(frozen=True)
class FeatureConfig:
    """Settings of distillation between features.

    With a projection P the student's unit feature v becomes ``v + 0.1 P(v)`` before it is
    compared; P is thrown away afterwards. Without one, v itself is compared.
    """

    kind: Literal["feature"] = "feature"
    alpha: float = 10.0
    projection: bool = True
    distance: Literal["mse", "cosine"] = "mse"
    unit_skeleton: bool = True
    """Compare with unit skeleton features; the released code takes them as they are."""
    match_text: bool = False
    """Draw the student's class texts to SkeletonCLIP's in the same way."""
    label_smoothing: float = 0.0
    mix: MixConfig | None = None

    def __post_init__(self) -> None:
        if self.alpha < 0 or not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                "feature distillation: alpha must not be negative and label_smoothing in [0, 1), "
                f"got {self.alpha} and {self.label_smoothing}"
            )


class ResidualProjection(nn.Module):
    """``f + 0.1 P(f)``, P as FROSTER's projectors: at first it gives zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = projector(width)

    def forward(self, features: Tensor) -> Tensor:
        """``(..., D)`` to ``(..., D)``."""
        return features + RESIDUAL * self.layers(features)


class FeatureDistillation(Task):
    """Cross entropy of the student and ``alpha`` times a distance of features.

    SkeletonCLIP is frozen and in evaluation mode. Only :attr:`student` is kept for inference.

    Raises:
        ConfigError: the joint spaces of student and teacher differ in width.
    """

    def __init__(
        self, student: Student, teacher: SkeletonClip, names: Sequence[str], config: FeatureConfig
    ) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher.requires_grad_(False)
        teacher.text.freeze()
        self.names, self.config = list(names), config
        width = student.text.width
        if width != teacher.text.width:
            raise ConfigError(
                f"features of {width} and {teacher.text.width} channels cannot be compared; "
                "student and SkeletonCLIP need joint spaces of one width"
            )
        self.of_video = ResidualProjection(width) if config.projection else nn.Identity()
        both = config.projection and config.match_text
        self.of_text = ResidualProjection(width) if both else nn.Identity()

    def train(self, mode: bool = True) -> FeatureDistillation:
        """The teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The student's own groups and the projections."""
        rest = [*self.of_video.parameters(), *self.of_text.parameters()]
        groups = self.student.parameter_groups()
        return [*groups, {"params": rest, "scale": 1.0}] if rest else groups

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)``, ``skeleton`` and ``label`` to the losses.

        Clips that ``paired``, bool ``(N,)``, leaves out have no part in the distance.
        """
        config = self.config
        targets = smooth(batch["label"], len(self.names), config.label_smoothing)
        mixed = mix_batch(self.student.normalise(batch["video"]), targets, config.mix)
        output = self.student.forward_training(mixed.video, self.names)
        with torch.no_grad():
            skeleton = self.teacher.embed(batch["skeleton"])
            if config.unit_skeleton:
                skeleton = F.normalize(skeleton, dim=-1)
            skeleton = mixed.like_video(skeleton)
        video = self.of_video(F.normalize(output.video, dim=-1))
        if "paired" in batch:
            rows = mixed.both(batch["paired"])
            video, skeleton = video[rows], skeleton[rows]
        distance = (
            feature_distance(config.distance, video, skeleton)
            if len(video)
            else video.sum()  # no pair in this batch
        )
        cross_entropy = soft_cross_entropy(output.logits, mixed.targets)
        found = {"video_cross_entropy": cross_entropy, "distance": distance}
        if config.match_text:
            prompts = class_prompts(self.names, self.teacher.config.template)
            text = self.of_text(self.student.encode_classes(self.names))
            found["text_distance"] = feature_distance(
                config.distance, text, self.teacher.text.unit_text(prompts)
            )
        distances = sum(value for key, value in found.items() if key.endswith("distance"))
        return {"loss": cross_entropy + config.alpha * distances, **found}
