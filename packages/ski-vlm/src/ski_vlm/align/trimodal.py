"""Tri-modal alignment in the manner of AudioCLIP: video, skeleton and text, each with each.

Source: Guzhov et al., "AudioCLIP", 2022, with a skeleton encoder in the place of the audio one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.encoder import MapEncoder
from ski_skeleton.train.processes import all_rows
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.losses import info_nce
from ski_vlm.errors import ConfigError
from ski_vlm.students import Student
from ski_vlm.tasks import LARGEST_SCALE


@dataclass(frozen=True)
class TrimodalConfig:
    """Settings of tri-modal alignment."""

    kind: Literal["tri-modal"] = "tri-modal"
    mask_same_class: bool = False
    """Leave clips of one class out of each other's negatives; the published loss keeps them."""


class AlignThreeModalities(Task):
    """Contrast of each clip's video, skeleton and class text with those of the batch.

    Three ``(N, N)`` matrices of cosines, each times its own learned scale; the loss is the mean of
    the six cross entropies along rows and columns. Scales of the skeleton's pairs start at their
    bound. A clip is then named by the cosine of its skeleton with the class texts.

    Raises:
        ConfigError: the encoder's head does not reach into the student's joint space.
    """

    def __init__(
        self, student: Student, encoder: MapEncoder, names: Sequence[str], config: TrimodalConfig
    ) -> None:
        super().__init__()
        if encoder.config.output != student.text.width:
            raise ConfigError(
                f"the encoder's head gives {encoder.config.output} channels, the joint space has "
                f"{student.text.width}; set encoder.output to {student.text.width}"
            )
        self.student, self.encoder = student, encoder
        self.names, self.config = list(names), config
        start = torch.tensor(math.log(LARGEST_SCALE))
        self.video_scale = nn.Parameter(start.clone())
        self.text_scale = nn.Parameter(start.clone())

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)``, ``skeleton`` and ``label`` to ``loss``."""
        output = self.student(self.student.normalise(batch["video"]), self.names)
        label = batch["label"]
        rows = torch.arange(len(label), device=label.device)
        text = output.text[rows, label] if output.text.ndim == 3 else output.text[label]
        video = F.normalize(output.video, dim=-1)
        skeleton = F.normalize(self.encoder(batch["skeleton"]), dim=-1)
        video, skeleton, text, label = map(all_rows, (video, skeleton, text, label))
        same = label[:, None] == label if self.config.mask_same_class else None

        def contrast(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
            return info_nce(scale.exp().clamp(1.0, LARGEST_SCALE) * a @ b.T, same)

        parts = {
            "video_text": contrast(video, text, self.student.logit_scale),
            "skeleton_video": contrast(skeleton, video, self.video_scale),
            "skeleton_text": contrast(skeleton, text, self.text_scale),
        }
        return {"loss": torch.stack(list(parts.values())).mean(), **parts}
