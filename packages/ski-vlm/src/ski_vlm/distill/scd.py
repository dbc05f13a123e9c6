"""SkeletonCLIP distillation (SCD), phase 2 of SKI: skeletons teach the video student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ski_data.video.mixing import MixConfig
from ski_skeleton.skeleton_clip import SkeletonClip, skeleton_text_logits
from ski_skeleton.text import class_prompts
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.losses import Distance, logit_distance, soft_cross_entropy
from ski_vlm.errors import ConfigError
from ski_vlm.mixing import Mixed, mix_batch, smooth
from ski_vlm.students import Student


@dataclass(frozen=True)
class ScdConfig:
    """Settings of distillation between logits.

    ``released`` logits are what the public code computes: bare video cosines against the product
    of the raw skeleton embedding with unit text, in cross entropies and distance alike. ``cosine``
    follows the paper: both cross entropies see cosine / temperature, the distance sees the bare
    cosines.
    """

    kind: Literal["scd"] = "scd"
    alpha: float = 10.0
    """Weight of the distance; the paper's optimum is 0.01 on NTU60 48/12 and 10 on 110/10."""
    logits: Literal["cosine", "released"] = "cosine"
    label_smoothing: float = 0.0
    mode: Literal["online", "offline"] = "online"
    """Online, both sides learn; offline, SkeletonCLIP is frozen and in evaluation mode."""
    distance: Distance = "mse"
    temperature: float | None = None
    """Of the distances ``kl`` (1 by default) and ``contrastive`` (0.07)."""
    mix: MixConfig | None = None
    """Mixup and cutmix of the videos."""
    mixed_skeleton_labels: bool = False
    """The released code gives the mixed labels to the skeletons too, which were not mixed. By
    default they keep their own labels, and the distance sees skeleton logits mixed like videos."""

    def __post_init__(self) -> None:
        wrong = []
        if self.alpha < 0:
            wrong.append(f"alpha must not be negative, got {self.alpha}")
        if not 0 <= self.label_smoothing < 1:
            wrong.append(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.temperature is not None and (self.temperature <= 0 or self.distance == "mse"):
            wrong.append(
                "temperature must be positive and belongs to kl and contrastive, got "
                f"{self.temperature} with {self.distance}"
            )
        if wrong:
            raise ConfigError("distillation: " + "; ".join(wrong))


class ScdLosses(NamedTuple):
    """Scalars of one batch."""

    video: Tensor
    """Cross entropy of the video logits F_LV."""
    skeleton: Tensor
    """Cross entropy of the skeleton logits F_LS."""
    distance: Tensor
    """Distance of the two logit matrices."""
    total: Tensor
    """``video + skeleton + alpha * distance``; offline without ``skeleton``."""


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
        if config.mode == "offline":
            teacher.requires_grad_(False)
            teacher.text.freeze()

    def train(self, mode: bool = True) -> SkeletonDistillation:
        """An offline teacher stays in evaluation mode: its batch statistics do not drift."""
        super().train(mode)
        if self.config.mode == "offline":
            self.teacher.eval()
        return self

    def parameter_groups(self) -> list[dict[str, object]]:
        """The student's own groups, then all that trains of the teacher."""
        rest = [p for p in self.teacher.parameters() if p.requires_grad]
        groups = self.student.parameter_groups()
        return [*groups, {"params": rest, "scale": 1.0}] if rest else groups

    def scd(
        self, video: Tensor, skeleton: Tensor, targets: Tensor, paired: Tensor | None = None
    ) -> ScdLosses:
        """Losses of normalised video ``(N, T, 3, H, W)``, skeletons and targets ``(N, K)``.

        Skeletons of clips that bool ``paired`` ``(N,)`` leaves out are not looked at; these clips
        add nothing to the skeleton's cross entropy and to the distance.
        """
        return self._losses(mix_batch(video, targets, None), skeleton, paired)

    def _losses(self, batch: Mixed, skeleton: Tensor, paired: Tensor | None) -> ScdLosses:
        config = self.config
        output = self.student(batch.video, self.names)
        if config.mode == "offline":
            with torch.no_grad():
                pose, matched = self._skeleton_logits(skeleton, paired)
        else:
            pose, matched = self._skeleton_logits(skeleton, paired)
        logits = output.cosines if config.logits == "released" else output.logits
        as_released = config.mixed_skeleton_labels
        rows = paired if as_released or paired is None else batch.both(paired)
        first = soft_cross_entropy(logits, batch.targets)
        second = soft_cross_entropy(pose, batch.targets if as_released else batch.clean, paired)
        distance = logit_distance(
            config.distance,
            output.cosines,
            matched if as_released else batch.like_video(matched),
            temperature=config.temperature,
            rows=rows,
        )
        total = first + config.alpha * distance
        return ScdLosses(
            first, second, distance, total if config.mode == "offline" else total + second
        )

    def _skeleton_logits(self, skeleton: Tensor, paired: Tensor | None) -> tuple[Tensor, Tensor]:
        """F_LS ``(N, K)`` as cross entropy and as distance see it; zeros for unpaired clips."""
        teacher = self.teacher
        text = teacher.text.unit_text(class_prompts(self.names, teacher.config.template))
        if paired is None:
            embedding = teacher.embed(skeleton)
        else:  # empty skeletons would move the batch statistics
            found = teacher.embed(skeleton[paired]) if bool(paired.any()) else self._nothing(text)
            embedding = found.new_zeros(len(paired), found.shape[-1]).masked_scatter(
                paired[:, None], found
            )
        if self.config.logits == "released":
            pose = skeleton_text_logits(embedding, text, "dot", 1.0)
            return pose, pose
        cosines = skeleton_text_logits(embedding, text, "cosine", 1.0)
        return cosines / teacher.config.temperature, cosines

    def _nothing(self, text: Tensor) -> Tensor:
        """No embeddings, yet every weight gets a gradient: data-parallel training waits for it."""
        weights = [p for p in self.teacher.encoder.parameters() if p.requires_grad]
        nothing = torch.stack([p.sum() for p in weights]).sum() if weights else text.sum()
        return nothing.expand(0, text.shape[-1])

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)``, ``skeleton`` and ``label`` to the losses.

        Where the batch says ``paired``, bool ``(N,)``, the other clips teach the student alone.
        """
        targets = smooth(batch["label"], len(self.names), self.config.label_smoothing)
        video = self.student.normalise(batch["video"])
        mixed = mix_batch(video, targets, self.config.mix)
        parts = self._losses(mixed, batch["skeleton"], batch.get("paired"))
        return {
            "loss": parts.total,
            "video_cross_entropy": parts.video,
            "skeleton_cross_entropy": parts.skeleton,
            "distance": parts.distance,
        }
