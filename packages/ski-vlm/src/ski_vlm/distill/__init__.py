"""Distillation: from SkeletonCLIP, and from the frozen CLIP of FROSTER."""

from ski_vlm.distill.losses import (
    feature_distance,
    info_nce,
    logit_distance,
    soft_cross_entropy,
)
from ski_vlm.distill.residual import ResidualConfig, ResidualDistillation, ResidualTerms
from ski_vlm.distill.scd import ScdConfig, ScdLosses, SkeletonDistillation

__all__ = [
    "ResidualConfig",
    "ResidualDistillation",
    "ResidualTerms",
    "ScdConfig",
    "ScdLosses",
    "SkeletonDistillation",
    "feature_distance",
    "info_nce",
    "logit_distance",
    "soft_cross_entropy",
]
