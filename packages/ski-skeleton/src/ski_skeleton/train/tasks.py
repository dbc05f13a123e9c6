"""Tasks of the skeleton side: closed-set pretraining and alignment with text."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F

from ski_skeleton.encoder import MapEncoder
from ski_skeleton.skeleton_clip import SkeletonClip
from ski_skeleton.train.task import Batch, Losses, Task


class ClassifySkeletons(Task):
    """Cross entropy of an encoder's class logits: on all classes, or on the seen ones alone."""

    def __init__(self, encoder: MapEncoder, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.label_smoothing = label_smoothing

    def losses(self, batch: Batch) -> Losses:
        """``skeleton`` ``(N, 3, T, V, M)`` and ``label`` ``(N,)`` to ``loss`` and ``accuracy``."""
        logits = self.encoder(batch["skeleton"])
        return {
            "loss": F.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing),
            "accuracy": (logits.argmax(-1) == batch["label"]).float().mean(),
        }


class AlignSkeletons(Task):
    """SkeletonCLIP, phase 1: cross entropy over the seen class names.

    Label smoothing is optional; labels are never mixed, since the released code mixes them
    without mixing the skeletons.
    """

    def __init__(
        self, model: SkeletonClip, names: Sequence[str], *, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.names = list(names)
        self.label_smoothing = label_smoothing

    def losses(self, batch: Batch) -> Losses:
        """``skeleton`` ``(N, 3, T, V, M)`` and ``label`` ``(N,)`` to ``loss`` and ``accuracy``."""
        logits = self.model.logits(batch["skeleton"], self.names)
        return {
            "loss": F.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing),
            "accuracy": (logits.argmax(-1) == batch["label"]).float().mean(),
        }
