"""Mixup and cutmix of a batch on its device, drawn from torch's generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ski_data.video.mixing import Mix, MixConfig, draw_mix


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
        return rows if self.mix == Mix() else _blended(rows, self.mix.lam)

    def both(self, rows: Tensor) -> Tensor:
        """For which videos every clip in them has its bool of ``(N,)``."""
        return rows if self.mix == Mix() else rows & rows.flip(0)


def smooth(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Class probabilities ``(N, K)``: 1 - s + s/K at the label, s/K elsewhere."""
    zeros = torch.zeros(len(labels), classes, device=labels.device)
    return zeros.scatter(1, labels[:, None], 1 - smoothing) + smoothing / classes


def mix_batch(video: Tensor, targets: Tensor, config: MixConfig | None) -> Mixed:
    """Mix clip n with clip N-1-n by one drawn mix; without ``config`` nothing changes.

    The draw comes from torch's CPU generator, so a resumed run repeats it.
    """
    if config is None:
        return Mixed(video, targets, targets, Mix())
    seed = int(torch.randint(2**62, ()))
    mix = draw_mix(config, video.shape[-2], video.shape[-1], np.random.default_rng(seed))
    if mix.box is None:
        mixed = _blended(video, mix.lam)
    else:
        top, bottom, left, right = mix.box
        mixed = video.clone()
        mixed[..., top:bottom, left:right] = video[..., top:bottom, left:right].flip(0)
    return Mixed(mixed, _blended(targets, mix.lam), targets, mix)


def _blended(rows: Tensor, share: float) -> Tensor:
    """``share`` of each row and the rest of its partner in reversed order."""
    return rows * share + rows.flip(0) * (1 - share)
