"""SkeletonCLIP distillation: losses and the tasks that train with them."""

from ski_vlm.distill.losses import (
    feature_distance,
    info_nce,
    logit_distance,
    soft_cross_entropy,
)
from ski_vlm.distill.scd import ScdConfig, ScdLosses, SkeletonDistillation

__all__ = [
    "ScdConfig",
    "ScdLosses",
    "SkeletonDistillation",
    "feature_distance",
    "info_nce",
    "logit_distance",
    "soft_cross_entropy",
]
