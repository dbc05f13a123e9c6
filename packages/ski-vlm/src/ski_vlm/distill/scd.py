"""SkeletonCLIP distillation (SCD), phase 2 of SKI: skeletons teach the video student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_skeleton.skeleton_clip import SkeletonClip, skeleton_text_logits
from ski_skeleton.text import class_prompts
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.losses import ScdLosses, scd_losses
from ski_vlm.errors import ConfigError
from ski_vlm.students import Student


@dataclass(frozen=True)
class ScdConfig:
    """Settings of online distillation.

    ``released`` logits are what the public code computes: bare video cosines against the product
    of the raw skeleton embedding with unit text, in cross entropies and distance alike. ``cosine``
    follows the paper: both cross entropies see cosine / temperature, the distance sees the bare
    cosines.
    """

    alpha: float = 10.0
    """Weight of the distance; the paper's optimum is 0.01 on NTU60 48/12 and 10 on 110/10."""
    logits: Literal["cosine", "released"] = "cosine"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ConfigError(f"alpha must not be negative, got {self.alpha}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")


class SkeletonDistillation(Task):
    """Student and SkeletonCLIP train together, their logits drawn to each other.

    Only :attr:`student` is kept for inference; it holds no skeleton part.
    """

    def __init__(
        self, student: Student, teacher: SkeletonClip, names: Sequence[str], config: ScdConfig
    ) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.names, self.config = list(names), config
        if config.logits == "released":  # the scale is in no released loss: it keeps its value
            student.logit_scale.requires_grad_(False)

    def scd(
        self, video: Tensor, skeleton: Tensor, targets: Tensor, paired: Tensor | None = None
    ) -> ScdLosses:
        """Losses of normalised video ``(N, T, 3, H, W)``, skeletons and targets ``(N, K)``.

        Skeletons of clips that bool ``paired`` ``(N,)`` leaves out are not looked at.
        """
        output = self.student(video, self.names)
        text = self.teacher.text.unit_text(class_prompts(self.names, self.teacher.config.template))
        embedding = self._embed(skeleton, text, paired)
        if self.config.logits == "released":
            pose = skeleton_text_logits(embedding, text, "dot", 1.0)
            return scd_losses(output.cosines, pose, targets, self.config.alpha, paired=paired)
        cosines = skeleton_text_logits(embedding, text, "cosine", 1.0)
        return scd_losses(
            output.logits,
            cosines / self.teacher.config.temperature,
            targets,
            self.config.alpha,
            video_matched=output.cosines,
            skeleton_matched=cosines,
            paired=paired,
        )

    def _embed(self, skeleton: Tensor, text: Tensor, paired: Tensor | None) -> Tensor:
        """Embeddings of the paired skeletons alone: empty ones would move the batch statistics."""
        if paired is None:
            return self.teacher.embed(skeleton)
        if bool(paired.any()):
            return self.teacher.embed(skeleton[paired])
        weights = [p for p in self.teacher.encoder.parameters() if p.requires_grad]
        nothing = torch.stack([p.sum() for p in weights]).sum() if weights else text.sum()
        return nothing.expand(0, text.shape[-1])  # all weights get a gradient: data-parallel waits

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)``, ``skeleton`` and ``label`` to the losses.

        Where the batch says ``paired``, bool ``(N,)``, the other clips teach the student alone.
        """
        targets = F.one_hot(batch["label"], len(self.names)).float()
        smoothing = self.config.label_smoothing
        targets = targets * (1 - smoothing) + smoothing / len(self.names)
        video = self.student.normalise(batch["video"])
        parts = self.scd(video, batch["skeleton"], targets, batch.get("paired"))
        return {
            "loss": parts.total,
            "video_cross_entropy": parts.video,
            "skeleton_cross_entropy": parts.skeleton,
            "distance": parts.distance,
        }
