"""Losses of collaborative distillation, as functions of logits."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class ScdLosses(NamedTuple):
    """Scalars of one batch."""

    video: Tensor
    """Cross entropy of the video logits F_LV."""
    skeleton: Tensor
    """Cross entropy of the skeleton logits F_LS."""
    distance: Tensor
    """Mean squared difference of the two logit matrices."""
    total: Tensor
    """``video + skeleton + alpha * distance``."""


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over clips of ``-sum_k targets log softmax(logits)``; both ``(N, K)``."""
    return -(targets * F.log_softmax(logits, -1)).sum(-1).mean()


def scd_losses(
    video_logits: Tensor,
    skeleton_logits: Tensor,
    targets: Tensor,
    alpha: float,
    *,
    video_matched: Tensor | None = None,
    skeleton_matched: Tensor | None = None,
    paired: Tensor | None = None,
) -> ScdLosses:
    """The released objective of phase 2: two cross entropies and alpha times their distance.

    Args:
        video_logits: F_LV ``(N, K)`` for the cross entropy.
        skeleton_logits: F_LS ``(N, K)`` for the cross entropy.
        targets: class probabilities ``(N, K)``.
        alpha: weight of the distance.
        video_matched: F_LV as it enters the distance, when it differs (e.g. unscaled cosines).
        skeleton_matched: F_LS as it enters the distance, when it differs.
        paired: bool ``(N,)``, which clips have a skeleton; F_LS then has rows for these alone.
            The others add nothing to the skeleton's cross entropy and to the distance, which stay
            means over all N clips.

    Gradients of the distance flow into both sides.
    """
    video = video_logits if video_matched is None else video_matched
    skeleton = skeleton_logits if skeleton_matched is None else skeleton_matched
    first = soft_cross_entropy(video_logits, targets)
    if paired is None:
        second = soft_cross_entropy(skeleton_logits, targets)
        distance = F.mse_loss(video, skeleton)
    else:
        log_probabilities = F.log_softmax(skeleton_logits, -1)
        second = -(targets[paired] * log_probabilities).sum() / len(targets)
        distance = (video[paired] - skeleton).square().sum() / video.numel()
    return ScdLosses(first, second, distance, first + second + alpha * distance)
