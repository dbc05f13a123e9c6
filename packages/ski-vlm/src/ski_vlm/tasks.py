"""Tasks of the video side that need no skeleton: image-text pretraining and fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_skeleton.text import tokenize
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.students import Student

LARGEST_SCALE = 100.0
"""CLIP's bound on exp(logit_scale)."""


class ContrastImagesAndTexts(Task):
    """Contrastive learning of single frames and their captions, where a caption may hold for many.

    For frame i and caption k that holds for it, with scaled cosine s: ``-log(e^s_ik / (e^s_ik +
    sum of e^s_ij over the captions j that do not hold for i))``, averaged over the frame's true
    captions; the same over frames for each caption; and the mean of both. With one caption per
    frame that holds for no other frame this is CLIP's loss.

    Args:
        model: the student whose towers train.
        holds: which of the captions hold for which frames of a batch, bool ``(N, K)``; by default
            those that stand with the frame.
    """

    def __init__(
        self,
        model: Student,
        holds: Callable[[Batch, Sequence[str]], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.holds = said_of_frame if holds is None else holds

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, 1, H, W, 3)`` and N lists ``captions`` to ``loss``."""
        captions = list(dict.fromkeys(caption for said in batch["captions"] for caption in said))
        image = self.model.encode_video(self.model.normalise(batch["video"]))
        tokens = tokenize(captions, truncate=True).to(image.device)
        text = F.normalize(self.model.text.encode_tokens(tokens), dim=-1)
        logits = self.model.logit_scale.exp().clamp(max=LARGEST_SCALE) * image @ text.T
        holds = self.holds(batch, captions).to(image.device)
        loss = (contrast(logits, holds) + contrast(logits.T, holds.T)) / 2
        hits = holds.gather(1, logits.argmax(-1, keepdim=True)).float().mean()
        return {"loss": loss, "accuracy": hits}


def said_of_frame(batch: Batch, captions: Sequence[str]) -> Tensor:
    """Which captions stand with which frames, bool ``(N, K)``."""
    return torch.tensor([[caption in said for caption in captions] for said in batch["captions"]])


def contrast(logits: Tensor, holds: Tensor) -> Tensor:
    """Mean loss of rows, each true entry against the row's false ones.

    Args:
        logits: ``(N, K)``.
        holds: bool ``(N, K)``, at least one true entry in each row.
    """
    false = logits.masked_fill(holds, -torch.inf)
    rivals = torch.logsumexp(false, -1, keepdim=True).clamp(min=torch.finfo(logits.dtype).min)
    each = F.softplus(rivals - logits) * holds
    return (each.sum(-1) / holds.sum(-1)).mean()


class FineTuneVideo(Task):
    """ViFi-CLIP fine-tuning: cross entropy over the seen class names."""

    def __init__(
        self, student: Student, names: Sequence[str], *, label_smoothing: float = 0.0
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
