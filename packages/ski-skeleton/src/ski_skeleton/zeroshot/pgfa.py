"""PGFA: features drawn to class texts in one space, and prototypes of the test clips.

Zhou et al., "Zero-shot skeleton-based action recognition with prototype-guided feature alignment"
(PGFA), IEEE TIP 2025. A linear map is trained on features of a frozen encoder, or, as in the paper,
encoder and map together (:class:`MatchSkeletons`). The prototypes look at unlabelled test clips, so
their figures are transductive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError, not_positive
from ski_skeleton.skeleton_clip import SkeletonClip, SkeletonClipConfig
from ski_skeleton.text.prompts import class_prompts
from ski_skeleton.train.task import Batch, Losses, Task


@dataclass(frozen=True)
class MatchConfig:
    """The loss that matches clips and texts within a batch."""

    temperature: float = 0.07
    """Divides cosines."""
    sharpness: float = 10.0
    """Targets are the softmax of this at pairs of one class and 0 at others."""

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.sharpness <= 0:
            raise ConfigError(
                "matching: temperature and sharpness must be positive, not "
                f"{self.temperature} and {self.sharpness}"
            )


@dataclass(frozen=True)
class PgfaConfig:
    """Loss and training of the linear map."""

    matching: MatchConfig = field(default_factory=MatchConfig)
    epochs: int = 50
    batch_size: int = 128
    lr: float = 0.05
    """Published: 0.05 on NTU60 and PKU-MMD, 0.005 on NTU120."""
    weight_decay: float = 5e-4
    warmup_epochs: float = 5.0

    def __post_init__(self) -> None:
        wrong = not_positive(self, "epochs", "lr")
        if self.batch_size < 2:
            wrong.append(
                f"batch_size must be at least 2 (pairs are told apart), got {self.batch_size}"
            )
        if wrong:
            raise ConfigError("PGFA: " + "; ".join(wrong))


@dataclass(frozen=True)
class PrototypeConfig:
    """Test-time prototypes."""

    share: float = 0.9
    """Share of the clips given to a class that make its prototype, the surest ones (published: 0.9
    on NTU60, 0.4 on NTU120, 1 on PKU-MMD)."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f"prototypes: share must be within 0..1, got {self.share}")


class Pgfa(nn.Module):
    """A linear map of features ``(N, D)`` to the space of class texts ``(K, E)``."""

    def __init__(self, config: PgfaConfig, feature_width: int, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(feature_width, text_width)

    def forward(self, feature: Tensor) -> Tensor:
        """``(N, E)``, not normalised."""
        return self.linear(feature)


def label_matching_loss(
    embedding: Tensor, text: Tensor, label: Tensor, config: MatchConfig
) -> Tensor:
    """Mean of the losses from clips to texts and from texts to clips, a scalar.

    Each is the mean over rows of the divergence of ``softmax(cosine / temperature)`` from
    ``softmax(sharpness * same class)``, within the batch.

    Args:
        embedding: of clips ``(N, E)``.
        text: of their classes ``(N, E)``.
        label: classes ``(N,)``.
        config: temperature and sharpness.
    """
    cosine = F.normalize(embedding, dim=-1) @ F.normalize(text, dim=-1).T
    same = (label[:, None] == label).to(cosine.dtype)
    target = (config.sharpness * same).log_softmax(-1)  # for either side, `same` being symmetric
    terms = [
        F.kl_div(told.log_softmax(-1), target, reduction="batchmean", log_target=True)
        for told in (cosine / config.temperature, cosine.T / config.temperature)
    ]
    return (terms[0] + terms[1]) / 2


class PgfaTask(Task):
    """Training of the map; batches hold ``feature`` ``(N, D)`` and ``label`` ``(N,)``."""

    text: Tensor

    def __init__(self, model: Pgfa, text: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("text", F.normalize(text, dim=-1), persistent=False)

    def losses(self, batch: Batch) -> Losses:
        """See :func:`_matched`."""
        label = batch["label"]
        embedding = self.model(batch["feature"])
        return _matched(embedding, self.text[label], label, self.model.config.matching)


class MatchSkeletons(Task):
    """PGFA's end-to-end training of a SkeletonCLIP, in the place of cross entropy over classes.

    Raises:
        ConfigError: a model that does not compare by cosine.
    """

    def __init__(self, model: SkeletonClip, names: Sequence[str], config: MatchConfig) -> None:
        super().__init__()
        check_cosine(model.config)
        self.model, self.config = model, config
        self.prompts = class_prompts(names, model.config.template)

    def losses(self, batch: Batch) -> Losses:
        """``skeleton`` ``(N, 3, T, V, M)``, ``label`` ``(N,)``; the others are in its process."""
        label = batch["label"]
        text = self.model.text.unit_text(self.prompts)[label]
        return _matched(self.model.embed(batch["skeleton"]), text, label, self.config)


def check_cosine(config: SkeletonClipConfig) -> None:
    """Whether a SkeletonCLIP compares clips and texts by cosine.

    Raises:
        ConfigError: it does not.
    """
    if config.similarity != "cosine":
        raise ConfigError(
            "matching and prototypes compare by cosine; set model.similarity to cosine, or leave "
            "them out"
        )


def _matched(embedding: Tensor, text: Tensor, label: Tensor, config: MatchConfig) -> Losses:
    """``loss``, and the mean ``cosine`` of clips ``(N, E)`` with their own texts ``(N, E)``."""
    cosine = F.cosine_similarity(embedding, text, dim=-1).mean()
    return {"loss": label_matching_loss(embedding, text, label, config), "cosine": cosine}


def prototypes(embedding: Tensor, text: Tensor, config: PrototypeConfig) -> Tensor:
    """Unit class vectors ``(K, E)`` with those of the test clips in the place of texts.

    A class gets the mean of the unit embeddings of its surest clips: of those whose best cosine is
    with its text, the ``share`` with the lowest entropy of the softmax of the cosines. A class for
    which the share comes to no clip keeps its text.

    Args:
        embedding: of unlabelled test clips ``(N, E)``.
        text: of the candidate classes ``(K, E)``, in the same space.
        config: the share.
    """
    x, found = F.normalize(embedding, dim=-1), F.normalize(text, dim=-1)
    cosine = x @ found.T
    told, log = cosine.argmax(-1), cosine.log_softmax(-1)
    entropy = -(log.exp() * log).sum(-1)
    rows = []
    for index in range(len(found)):
        own = torch.nonzero(told == index)[:, 0]
        kept = own[entropy[own].argsort(stable=True)[: int(len(own) * config.share)]]
        rows.append(x[kept].mean(0) if len(kept) else found[index])
    return F.normalize(torch.stack(rows), dim=-1)
