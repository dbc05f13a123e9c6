"""Late fusion of a video student with SkeletonCLIP; needs a skeleton at test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.errors import ConfigError
from ski_vlm.students import Student

Fusion = Literal["logits", "probabilities"]


def fused_scores(
    video: NDArray[np.floating], skeleton: NDArray[np.floating], how: Fusion
) -> NDArray[np.float64]:
    """Class probabilities ``(N, K)`` from two logit matrices ``(N, K)``.

    - ``logits``: softmax of the sum, as released; the larger logits decide.
    - ``probabilities``: mean of the two softmaxes.

    Raises:
        ConfigError: matrices of different shapes, or another word for how.
    """
    if np.shape(video) != np.shape(skeleton):
        raise ConfigError(
            f"logits of the same clips and classes are fused, not {np.shape(video)} and "
            f"{np.shape(skeleton)}"
        )
    if how not in ("logits", "probabilities"):
        raise ConfigError(f"fusion is of logits or of probabilities, not {how!r}")
    if how == "logits":
        return _softmax(np.asarray(video, np.float64) + np.asarray(skeleton, np.float64))
    return (_softmax(np.asarray(video)) + _softmax(np.asarray(skeleton))) / 2


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, -1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def fused_logits(
    student: Student,
    teacher: SkeletonClip,
    fusion: LateFusion,
    batch: Batch,
    names: Sequence[str],
) -> Tensor:
    """Scaled cosines ``(N, K)`` of the fused features with the student's class texts.

    Args:
        student: gives the video's feature, the texts and the scale.
        teacher: gives the skeleton's feature.
        fusion: the trained layer; gradients reach it alone.
        batch: ``video`` uint8 ``(N, T, H, W, 3)`` and ``skeleton``.
        names: K class names.
    """
    with torch.no_grad():
        output = student(student.normalise(batch["video"]), names)
        skeleton = F.normalize(teacher.embed(batch["skeleton"]), dim=-1)
    fused = fusion(F.normalize(output.video, dim=-1), skeleton)
    text = output.text if output.text.ndim == 3 else output.text.expand(len(fused), -1, -1)
    return output.scale * torch.einsum("nd,nkd->nk", fused, text)


@dataclass(frozen=True)
class LateFusionConfig:
    """Trained fusion as a method of a recipe."""

    kind: Literal["late-fusion"] = "late-fusion"
    label_smoothing: float = 0.0


class LateFusion(nn.Module):
    """One linear layer from the video's and the skeleton's feature to the joint space."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)

    def forward(self, video: Tensor, skeleton: Tensor) -> Tensor:
        """Unit features ``(N, D)`` of both to unit features ``(N, D)``."""
        return F.normalize(self.linear(torch.cat([video, skeleton], -1)), dim=-1)


class TrainLateFusion(Task):
    """The linear layer learns the seen classes; student and SkeletonCLIP are frozen.

    The paper gives no formula for its trained fusion; this one is ours.
    """

    def __init__(
        self,
        student: Student,
        teacher: SkeletonClip,
        names: Sequence[str],
        config: LateFusionConfig,
    ) -> None:
        super().__init__()
        width = student.text.width
        if width != teacher.text.width:
            raise ConfigError(
                f"late fusion needs joint spaces of one width, not {width} and {teacher.text.width}"
            )
        self.student, self.teacher = student.requires_grad_(False), teacher.requires_grad_(False)
        self.student.text.freeze()
        self.fusion = LateFusion(width)
        self.names, self.config = list(names), config

    def train(self, mode: bool = True) -> TrainLateFusion:
        """Both sides stay in evaluation mode."""
        super().train(mode)
        self.student.eval()
        self.teacher.eval()
        return self

    def logits(self, batch: Batch, names: Sequence[str]) -> Tensor:
        """``video`` uint8 and ``skeleton`` to scaled cosines ``(N, K)``."""
        return fused_logits(self.student, self.teacher, self.fusion, batch, names)

    def losses(self, batch: Batch) -> Losses:
        """``video``, ``skeleton`` and ``label`` ``(N,)`` to ``loss`` and ``accuracy``."""
        logits = self.logits(batch, self.names)
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self.config.label_smoothing)
        return {"loss": loss, "accuracy": (logits.argmax(-1) == batch["label"]).float().mean()}
