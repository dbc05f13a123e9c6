"""Losses of C2VL: contrast of skeletons with concepts under softened targets.

Axis letters: N pairs of a batch, D width. Rows ``a`` and ``b`` are unit vectors ``(N, D)``, row i
of both from the same clip. The method is described in C2VL (arXiv 2405.20606); its code and numbers
are not public, so the formulas are this package's reading of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_skeleton.errors import ConfigError


def intra_targets(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Self-similarity within the modalities, ``(N, N)``: rows sum to 1.

    ``softmax_j((a_i.a_j + b_i.b_j) / (2 temperature))``: clips that look alike in both modalities
    are no plain negatives of each other. Symmetric logits, hence the same for both directions.
    """
    return torch.softmax((a @ a.T + b @ b.T) / (2 * temperature), -1)


def inter_targets(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Consistency between the modalities, ``(N, N)``: rows sum to 1.

    Mean of ``softmax_j(a_i.b_j / temperature)`` and ``softmax_j(b_i.a_j / temperature)``, hence the
    same for both directions.
    """
    scores = a @ b.T / temperature
    return (torch.softmax(scores, -1) + torch.softmax(scores.T, -1)) / 2


def soft_targets(
    a: Tensor, b: Tensor, *, weight: float, intra_share: float, temperature: float
) -> Tensor:
    """``(1 - w) I + w (r R + (1 - r) C)``, ``(N, N)``, without gradient.

    Args:
        a: the teacher's unit vectors of one modality, ``(N, D)``.
        b: the same of the other modality.
        weight: w, how far the targets are softened; 0 is plain instance discrimination.
        intra_share: r, the share of :func:`intra_targets` R, against :func:`inter_targets` C.
        temperature: of both softmaxes.
    """
    if not (0 <= weight <= 1 and 0 <= intra_share <= 1):
        raise ConfigError(f"weight and intra_share must be in 0..1, got {weight}, {intra_share}")
    with torch.no_grad():
        own = torch.eye(len(a), dtype=a.dtype, device=a.device)
        if weight == 0:
            return own
        soft = torch.zeros_like(own)
        if intra_share > 0:
            soft += intra_share * intra_targets(a, b, temperature)
        if intra_share < 1:
            soft += (1 - intra_share) * inter_targets(a, b, temperature)
        return (1 - weight) * own + weight * soft


def progressive_weight(step: int, total: int, largest: float) -> float:
    """w of the targets at ``step`` (from 0) of ``total``: linear from 0 to ``largest``."""
    return largest * min(1.0, step / max(1, total))


def contrast(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of ``softmax(logits)`` under ``targets``, both ``(N, N)``, mean over rows."""
    return -(targets * F.log_softmax(logits, -1)).sum(-1).mean()


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) of logits ``(N, N)``, mean over rows.

    No gradient reaches the teacher.
    """
    log_teacher = F.log_softmax(teacher.detach(), -1)
    log_student = F.log_softmax(student, -1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(-1).mean()


def pair_losses(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    *,
    scale: Tensor,
    weight: float,
    intra_share: float,
    teacher_temperature: float,
) -> tuple[Tensor, Tensor]:
    """Contrast and self-distillation of one pair of modalities, summed over both directions.

    Args:
        student: unit vectors ``(N, D)`` of the two modalities.
        teacher: the same of the teacher.
        scale: 1 / temperature of the student's logits.
        weight: see :func:`soft_targets`.
        intra_share: see :func:`soft_targets`.
        teacher_temperature: of targets and of the teacher's logits.
    """
    a, b = student
    a_teacher, b_teacher = (rows.detach() for rows in teacher)
    targets = soft_targets(
        a_teacher,
        b_teacher,
        weight=weight,
        intra_share=intra_share,
        temperature=teacher_temperature,
    )
    logits = scale * (a @ b.T)
    teacher_logits = a_teacher @ b_teacher.T / teacher_temperature
    pulled = contrast(logits, targets) + contrast(logits.T, targets)
    told = distillation(logits, teacher_logits) + distillation(logits.T, teacher_logits.T)
    return pulled, told
