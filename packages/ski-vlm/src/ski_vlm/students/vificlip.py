"""ViFi-CLIP: CLIP's image tower on every frame, features averaged over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from ski_vlm.students.base import Student, StudentConfig


@dataclass(frozen=True)
class ViFiClipConfig(StudentConfig):
    """A CLIP on video, fine-tuned wholly or in one tower; frozen, it is CLIP's zero-shot row."""

    kind: Literal["vifi-clip"] = "vifi-clip"


class ViFiClip(Student):
    """The mean of raw frame features, normalised, against the class texts."""

    def encode_video(self, video: Tensor) -> Tensor:
        """Unit video features ``(N, D)``: raw frame features are averaged, then normalised."""
        return F.normalize(self.frame_features(video).mean(1), dim=-1)
