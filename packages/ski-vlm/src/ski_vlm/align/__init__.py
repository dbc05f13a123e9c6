"""What SKI is compared with: other ways to bring skeletons, videos and texts together."""

from ski_vlm.align.cross_projection import (
    CrossProjectClip,
    CrossProjectConfig,
    CrossProjection,
    CrossProjectionConfig,
)
from ski_vlm.align.late_fusion import (
    LateFusion,
    LateFusionConfig,
    TrainLateFusion,
    fused_logits,
    fused_scores,
)
from ski_vlm.align.trimodal import AlignThreeModalities, TrimodalConfig

__all__ = [
    "AlignThreeModalities",
    "CrossProjectClip",
    "CrossProjectConfig",
    "CrossProjection",
    "CrossProjectionConfig",
    "LateFusion",
    "LateFusionConfig",
    "TrainLateFusion",
    "TrimodalConfig",
    "fused_logits",
    "fused_scores",
]
