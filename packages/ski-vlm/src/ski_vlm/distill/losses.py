"""Losses of collaborative distillation, as functions of logits and features."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_skeleton.train.processes import all_rows

Distance = Literal["mse", "kl", "contrastive"]
"""How far two logit matrices are apart; see :func:`logit_distance`."""
TEMPERATURES: dict[str, float] = {"mse": 1.0, "kl": 1.0, "contrastive": 0.07}
"""The temperature of each distance unless another is asked for."""


def soft_cross_entropy(logits: Tensor, targets: Tensor, rows: Tensor | None = None) -> Tensor:
    """Mean over clips of ``-sum_k targets log softmax(logits)``; both ``(N, K)``.

    With bool ``rows`` ``(N,)`` the other clips add nothing; the mean stays one over all N.
    """
    each = -(targets * F.log_softmax(logits, -1)).sum(-1)
    return each.mean() if rows is None else (each * rows).mean()


def logit_distance(
    kind: Distance,
    video: Tensor,
    skeleton: Tensor,
    *,
    temperature: float | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Distance of the video's logits from the skeleton's, both ``(N, K)``.

    - ``mse``: mean squared difference over N and K.
    - ``kl``: ``t^2 KL(softmax(skeleton / t) || softmax(video / t))``, mean over N.
    - ``contrastive``: symmetric InfoNCE between the unit rows of both, the clip's own row against
      those of the other clips, of all processes. The paper names it without a
      formula; this reading is ours.

    Args:
        kind: which of the three.
        video: F_LV.
        skeleton: F_LS.
        temperature: t of ``kl`` (default 1) and ``contrastive`` (default 0.07).
        rows: bool ``(N,)``, clips that take part; ``mse`` and ``kl`` stay means over all N.
    """
    t = TEMPERATURES[kind] if temperature is None else temperature
    if kind == "mse":
        if rows is None:
            return F.mse_loss(video, skeleton)
        return ((video - skeleton).square() * rows[:, None]).mean()
    if kind == "kl":
        log_video, log_skeleton = (F.log_softmax(x / t, -1) for x in (video, skeleton))
        each = (log_skeleton.exp() * (log_skeleton - log_video)).sum(-1) * t * t
        return each.mean() if rows is None else (each * rows).mean()
    video, skeleton = all_rows(video), all_rows(skeleton)
    if rows is not None:
        rows = all_rows(rows)
        video, skeleton = video[rows], skeleton[rows]
    return info_nce(F.normalize(video, dim=-1) @ F.normalize(skeleton, dim=-1).T / t)


def info_nce(similarities: Tensor, same: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of scaled similarities ``(N, N)``, true pairs on the diagonal.

    Args:
        similarities: rows of one kind, columns of the other.
        same: bool ``(N, N)``, pairs that are no negatives (clips of one class); left out of the
            denominators. The diagonal always counts.

    Returns:
        Half the sum of the row-wise and the column-wise cross entropy; 0 for no clips.
    """
    N = len(similarities)
    if N == 0:
        return similarities.sum()
    if same is not None:
        own = torch.eye(N, dtype=torch.bool, device=same.device)
        similarities = similarities.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(N, device=similarities.device)
    rows, columns = (F.cross_entropy(s, target) for s in (similarities, similarities.T))
    return (rows + columns) / 2


def feature_distance(kind: Literal["mse", "cosine"], video: Tensor, skeleton: Tensor) -> Tensor:
    """Mean distance of features ``(N, D)``: squared difference per entry, or 1 - cosine."""
    if kind == "mse":
        return F.mse_loss(video, skeleton)
    return 1 - F.cosine_similarity(video, skeleton, dim=-1).mean()
