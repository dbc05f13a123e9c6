"""Mixup and cutmix of a batch on its device, drawn from torch's generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ski_data.video.mixing import Mix, MixConfig, draw_mix, mix_targets, mix_videos


@dataclass(frozen=True)
class Mixed:
    """A batch of videos and targets, mixed or as it was."""

    video: Tensor
    """``(N, T, 3, H, W)``."""
    targets: Tensor
    """``(N, K)``, those of the mixed video."""
    clean: Tensor
    """``(N, K)``, those of the clips before they were mixed."""
    mix: Mix

    def like_video(self, rows: Tensor) -> Tensor:
        """Values ``(N, ...)`` of the unmixed clips, mixed as the video was."""
        return rows if self.mix == Mix() else mix_targets(rows, self.mix.lam)

    def both(self, rows: Tensor) -> Tensor:
        """For which videos every clip in them has its bool of ``(N,)``."""
        return rows if self.mix == Mix() else rows & rows.flip(0)


def smooth(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Class probabilities ``(N, K)``: 1 - s + s/K at the label, s/K elsewhere."""
    return F.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def mix_batch(video: Tensor, targets: Tensor, config: MixConfig | None) -> Mixed:
    """Mix clip n with clip N-1-n by one drawn mix; without ``config`` nothing changes.

    The draw comes from torch's CPU generator, so a resumed run repeats it.
    """
    if config is None:
        return Mixed(video, targets, targets, Mix())
    seed = int(torch.randint(2**62, ()))
    mix = draw_mix(config, video.shape[-2], video.shape[-1], np.random.default_rng(seed))
    return Mixed(mix_videos(video, mix), mix_targets(targets, mix.lam), targets, mix)
