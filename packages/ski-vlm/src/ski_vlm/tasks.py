"""Tasks of the video side that need no skeleton: image-text pretraining and fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ski_data.video.mixing import MixConfig
from ski_skeleton.text import tokenize
from ski_skeleton.train.task import Batch, Losses, Task
from ski_vlm.distill.losses import soft_cross_entropy
from ski_vlm.errors import ConfigError
from ski_vlm.mixing import mix_batch, smooth
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
        tokens = tokenize(captions, truncate=True)
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


@dataclass(frozen=True)
class FineTuneConfig:
    """Settings of fine-tuning on class names."""

    kind: Literal["finetune"] = "finetune"
    label_smoothing: float = 0.0
    mix: MixConfig | None = None
    """Mixup and cutmix; the published recipes mix and smooth by 0.1."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")


class FineTuneVideo(Task):
    """Fine-tuning of a student: cross entropy over the seen class names."""

    def __init__(
        self, student: Student, names: Sequence[str], config: FineTuneConfig | None = None
    ) -> None:
        super().__init__()
        self.student = student
        self.names = list(names)
        self.config = FineTuneConfig() if config is None else config

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The student's own."""
        return self.student.parameter_groups()

    def losses(self, batch: Batch) -> Losses:
        """``video`` uint8 ``(N, T, H, W, 3)`` and ``label`` ``(N,)`` to ``loss``."""
        targets = smooth(batch["label"], len(self.names), self.config.label_smoothing)
        mixed = mix_batch(self.student.normalise(batch["video"]), targets, self.config.mix)
        logits = self.student.forward_training(mixed.video, self.names).logits
        accuracy = (logits.argmax(-1) == mixed.targets.argmax(-1)).float().mean()
        return {"loss": soft_cross_entropy(logits, mixed.targets), "accuracy": accuracy}
