"""SkeletonCLIP distillation: losses and the task that trains with them."""

from ski_vlm.distill.losses import ScdLosses, scd_losses, soft_cross_entropy
from ski_vlm.distill.scd import ScdConfig, SkeletonDistillation

__all__ = ["ScdConfig", "ScdLosses", "SkeletonDistillation", "scd_losses", "soft_cross_entropy"]
