"""SkeletonCLIP distillation (SCD), phase 2 of SKI: skeletons teach the video student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ski_data.video.mixing import MixConfig
from ski_skeleton.skeleton_clip import SkeletonClip, skeleton_text_logits
from ski_skeleton.text import class_prompts
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.averaging import StepCounter
from ski_vlm.distill.losses import Distance, logit_distance, soft_cross_entropy
from ski_vlm.distill.residual import ResidualConfig, ResidualTerms
from ski_vlm.errors import ConfigError
from ski_vlm.mixing import Mixed, mix_batch, smooth
from ski_vlm.students import Froster, Student, StudentOutput, ViFiClip
from ski_vlm.students.froster import ensemble


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

    residual: ResidualConfig | None = None
    """The two distances of a FROSTER student from its frozen CLIP, beside the others."""

    def __post_init__(self) -> None:
        wrong = []
        if self.residual is not None and self.residual.average_from is not None:
            wrong.append("residual.average_from is for FROSTER's own training; leave it out")
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
    """``video + skeleton + alpha * distance``; offline without ``skeleton``, and with ``residual``
    where there is one."""
    residual: Tensor | None = None
    """Weighted distances of FROSTER's features from those of its frozen CLIP."""


class SkeletonDistillation(Task):
    """Student and SkeletonCLIP train together, their logits drawn to each other.

    Only :attr:`student` is kept for inference; it holds no skeleton part.
    """

    def __init__(
        self,
        student: Student,
        teacher: SkeletonClip,
        names: Sequence[str],
        config: ScdConfig,
        *,
        frozen_clip: ViFiClip | None = None,
    ) -> None:
        super().__init__()
        if (config.residual is None) != (frozen_clip is None):
            raise ConfigError("the setting residual and a frozen CLIP belong together")
        if config.residual is not None and not isinstance(student, Froster):
            raise ConfigError("the setting residual is for a FROSTER student")
        self.terms: ResidualTerms | None = None
        self.steps: StepCounter | None = None
        if frozen_clip is not None and config.residual is not None:
            self.terms, self.steps = (
                ResidualTerms(frozen_clip, config.residual.share),
                StepCounter(),
            )
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
        rest += [p for p in self.terms.parameters() if p.requires_grad] if self.terms else []
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
        output, residual = self._student_output(batch.video)
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
        if config.mode == "online":
            total = total + second
        if residual is not None:
            total = total + residual
        return ScdLosses(first, second, distance, total, residual)

    def _student_output(self, video: Tensor) -> tuple[StudentOutput, Tensor | None]:
        """What the student says, and FROSTER's weighted distances where they are asked for."""
        config, student = self.config.residual, self.student
        if config is None or self.terms is None or self.steps is None:
            return student.forward_training(video, self.names), None
        assert isinstance(student, Froster)  # checked at the start
        step = self.steps.advance() if self.training else self.steps.value
        prompts = student.training_prompts(self.names, np.random.default_rng((config.seed, step)))
        frames, text = student.unit_frames(video), ensemble(student.text, prompts)
        mean = frames.mean(1)
        output = student.compared(mean, text)
        features = self.terms(frames, text, video, prompts)
        return output, config.weight * (features.video_distance + features.text_distance)

    def _skeleton_logits(self, skeleton: Tensor, paired: Tensor | None) -> tuple[Tensor, Tensor]:
        """F_LS ``(N, K)`` as cross entropy and as distance see it; zeros for unpaired clips."""
        teacher = self.teacher
        text = teacher.text.unit_text(class_prompts(self.names, teacher.config.template))
        if paired is None:
            embedding = teacher.embed(skeleton)
        else:  # empty skeletons would move the batch statistics
            rows = paired.nonzero()[:, 0]  # the one wait for the device
            found = teacher.embed(skeleton[rows]) if len(rows) else self._nothing(text)
            nothing = found.new_zeros(len(paired), found.shape[-1])
            embedding = nothing.index_copy(0, rows, found)
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
        found = {
            "loss": parts.total,
            "video_cross_entropy": parts.video,
            "skeleton_cross_entropy": parts.skeleton,
            "distance": parts.distance,
        }
        return found if parts.residual is None else {**found, "residual": parts.residual}
