"""ViFi-CLIP: CLIP's image tower on every frame, features averaged over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_skeleton.text.blocks import class_token_block
from ski_vlm.students.base import Student, StudentConfig
from ski_vlm.students.transformer import FrameTransformer, is_plain


@dataclass(frozen=True)
class ViFiClipConfig(StudentConfig):
    """A CLIP on video, fine-tuned wholly or in one tower; frozen, it is CLIP's zero-shot row."""

    kind: Literal["vifi-clip"] = "vifi-clip"


class ViFiClip(FrameTransformer):
    """The mean of raw frame features, normalised, against the class texts.

    Any image tower of open_clip or timm serves; relevance maps tell transformers from others.
    """

    def pool_frames(self, features: Tensor) -> Tensor:
        """Raw frame features ``(N, T, D)`` are averaged, then normalised: ``(N, D)``."""
        return F.normalize(features.mean(1), dim=-1)

    def frame_features(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to frame features ``(N, T, D)``, not unit length.

        Of a plain Vision Transformer's last block, the class token alone is computed; what is
        compiled or exported is the tower as it is.
        """
        tower = self.image
        if not is_plain(tower) or torch.compiler.is_compiling():
            return Student.frame_features(self, video)
        x, T = self.first_tokens(video), video.shape[1]
        *blocks, last = tower.transformer.resblocks
        for number in range(len(blocks)):
            x = self.run_block(number, x, T)
        return self.projected(class_token_block(last, x)).unflatten(0, (-1, T))
