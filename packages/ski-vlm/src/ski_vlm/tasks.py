"""Tasks of the video side that need no skeleton: image-text pretraining and fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F

from ski_skeleton.text import tokenize
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.students.vificlip import ViFiClip

LARGEST_SCALE = 100.0
"""CLIP's bound on exp(logit_scale)."""


class ContrastImagesAndTexts(Task):
    """CLIP's symmetric contrastive loss over single frames and their captions.

    Pairs of a batch that share the caption are positives of each other.
    """

    def __init__(self, model: ViFiClip) -> None:
        super().__init__()
        self.model = model

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, 1, H, W, 3)`` and N ``caption`` strings to ``loss``."""
        image = self.model.encode_video(self.model.normalise(batch["video"]))
        tokens = tokenize(batch["caption"], truncate=True).to(image.device)
        text = F.normalize(self.model.text.encode_tokens(tokens), dim=-1)
        scale = self.model.logit_scale.exp().clamp(max=LARGEST_SCALE)
        logits = scale * image @ text.T
        same = (tokens[:, None] == tokens[None]).all(-1).float()
        targets = same / same.sum(-1, keepdim=True)
        rows = -(targets * F.log_softmax(logits, -1)).sum(-1).mean()
        columns = -(targets * F.log_softmax(logits.T, -1)).sum(-1).mean()
        hits = same.gather(1, logits.argmax(-1, keepdim=True)).mean()
        return {"loss": (rows + columns) / 2, "accuracy": hits}


class FineTuneVideo(Task):
    """ViFi-CLIP fine-tuning: cross entropy over the seen class names."""

    def __init__(
        self, student: ViFiClip, names: Sequence[str], *, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.student = student
        self.names = list(names)
        self.label_smoothing = label_smoothing

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)`` and ``label`` ``(N,)`` to ``loss``."""
        logits = self.student(self.student.normalise(batch["video"]), self.names).logits
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing)
        accuracy = (logits.argmax(-1) == batch["label"]).float().mean()
        return {"loss": loss, "accuracy": accuracy}
