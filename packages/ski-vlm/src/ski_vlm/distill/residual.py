"""FROSTER's training: cross entropy and residual feature distillation from the frozen CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.text import ClipConfig
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.averaging import EpochAverage, StepCounter
from ski_vlm.errors import ConfigError
from ski_vlm.students.froster import Froster, ensemble
from ski_vlm.students.groups import decay_groups
from ski_vlm.students.vificlip import ViFiClip


@dataclass(frozen=True)
class ResidualConfig:
    """Weights of the terms, and which weights are kept."""

    share: float = 0.1
    """What part of the projection is added to a feature before it is compared."""
    weight: float = 2.0
    """Weight of both distances beside the cross entropy."""
    seed: int = 0
    """Seed of the templates that the steps draw."""
    average_from: int | None = None
    """First epoch, from 1, whose weights enter the average; 2 in the published recipe."""
    epoch_steps: int | None = None
    """Micro-batches of an epoch on one process, for the average; training fills it in."""
    clip: ClipConfig | None = None
    """The CLIP that must not be forgotten; unset it is the one that the student starts from."""
    kind: Literal["residual"] = "residual"

    def __post_init__(self) -> None:
        if min(self.share, self.weight) < 0:
            raise ConfigError("share and weight of the distillation must not be negative")
        if self.average_from is None and self.epoch_steps is not None:
            raise ConfigError("epoch_steps without average_from has no use; leave it out")


class ResidualFeatures(NamedTuple):
    """What is compared with the frozen CLIP, in unit features of it and its student."""

    frames: Tensor
    """``(N, T, D)``, the student's with its residual."""
    text: Tensor
    """``(K, D)``, the student's with its residual."""
    teacher_frames: Tensor
    teacher_text: Tensor

    @property
    def video_distance(self) -> Tensor:
        """One minus the mean cosine of frames."""
        return 1 - F.cosine_similarity(self.frames, self.teacher_frames, dim=-1).mean()

    @property
    def text_distance(self) -> Tensor:
        """One minus the mean cosine of class texts."""
        return 1 - F.cosine_similarity(self.text, self.teacher_text, dim=-1).mean()


class ResidualTerms(nn.Module):
    """The frozen CLIP and the two projectors; nothing of it is needed at inference.

    Args:
        teacher: the original CLIP on single frames; frozen here for good.
        share: what part of a projection is added.
    """

    def __init__(self, teacher: ViFiClip, share: float = 0.1) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self.teacher.text.freeze()
        self.teacher.eval()
        self.share = share
        width = teacher.text.width
        self.image_projector, self.text_projector = projector(width), projector(width)

    def train(self, mode: bool = True) -> ResidualTerms:
        """The teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(
        self, frames: Tensor, text: Tensor, video: Tensor, prompts: Sequence[Sequence[str]]
    ) -> ResidualFeatures:
        """Unit student features of frames ``(N, T, D)`` and texts ``(K, D)``, and what they encode.

        Args:
            frames: of the student.
            text: of the student, the ensemble over ``prompts``.
            video: normalised ``(N, T, 3, H, W)``.
            prompts: one list of K prompts per template.
        """
        with torch.no_grad():
            teacher_frames = F.normalize(self.teacher.frame_features(video), dim=-1)
            teacher_text = ensemble(self.teacher.text, prompts)
        return ResidualFeatures(
            frames + self.share * self.image_projector(frames),
            text + self.share * self.text_projector(text),
            teacher_frames,
            teacher_text,
        )


class ResidualDistillation(Task):
    """A FROSTER student and the CLIP that it must not forget.

    ``cross entropy + weight * (video distance + text distance)``, with hard labels.

    Args:
        student: what trains, wholly by its own settings.
        teacher: the original CLIP as a ViFi-CLIP; its weights never change.
        names: the classes.
        config: weights of the terms.
    """

    def __init__(
        self, student: Froster, teacher: ViFiClip, names: Sequence[str], config: ResidualConfig
    ) -> None:
        super().__init__()
        if student.text.width != teacher.text.width:
            raise ConfigError(
                f"student and teacher have joint spaces of widths {student.text.width} and "
                f"{teacher.text.width}; build both from one architecture"
            )
        self.student = student
        self.names, self.config = list(names), config
        self.terms = ResidualTerms(teacher, config.share)
        self.steps = StepCounter()
        self.average: EpochAverage[Froster] | None = None
        if config.average_from is not None:
            if config.epoch_steps is None:
                raise ConfigError("average_from needs epoch_steps: how long an epoch is")
            self.average = EpochAverage(
                student, first=config.average_from, steps=config.epoch_steps
            )

    def parts(
        self, video: Tensor, labels: Tensor, prompts: Sequence[Sequence[str]]
    ) -> tuple[Tensor, ResidualFeatures, Losses]:
        """Logits ``(N, K)``, compared features and losses of normalised ``(N, T, 3, H, W)``."""
        frames = self.student.unit_frames(video)
        text = ensemble(self.student.text, prompts)
        logits = self.student.logit_scale.exp() * frames.mean(1) @ text.T
        features = self.terms(frames, text, video, prompts)
        entropy = F.cross_entropy(logits, labels)
        video_distance, text_distance = features.video_distance, features.text_distance
        losses = {
            "loss": entropy + self.config.weight * (video_distance + text_distance),
            "video_cross_entropy": entropy,
            "video_distance": video_distance,
            "text_distance": text_distance,
        }
        return logits, features, losses

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)`` and ``label`` ``(N,)`` to the losses."""
        step = self.steps.advance() if self.training else self.steps.value
        if self.training and self.average is not None:
            self.average.before_step(self.student, step)
        prompts = self.student.training_prompts(
            self.names, np.random.default_rng((self.config.seed, step))
        )
        video = self.student.normalise(batch["video"])
        logits, _, losses = self.parts(video, batch["label"], prompts)
        accuracy = (logits.argmax(-1) == batch["label"]).float().mean()
        return {**losses, "accuracy": accuracy}

    def trained(self) -> Froster:
        """The student to keep after the last step: the average of its epochs where one is kept."""
        return self.student if self.average is None else self.average.finish(self.student)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The student's groups and the projectors."""
        return [*self.student.parameter_groups(), *decay_groups(self.terms.named_parameters())]


def projector(width: int) -> nn.Sequential:
    """Two layers without biases, the second zero at the start."""
    first, second = (nn.Linear(width, width, bias=False) for _ in range(2))
    nn.init.kaiming_normal_(first.weight)
    nn.init.zeros_(second.weight)
    return nn.Sequential(first, nn.GELU(), second)
