"""STAR: attributes of body parts, asked of skeleton features and matched with part descriptions.

Chen et al., "Fine-grained side information guided dual-prompts for zero-shot skeleton action
recognition", ACM MM 2024. It works on the feature map of a frozen encoder, per frame and joint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.errors import ConfigError, not_positive
from ski_skeleton.train.task import Batch, Losses, Task

KINECT25_PARTS = {
    "head": (2, 3, 20),
    "hand": (7, 11, 21, 22, 23, 24),
    "arm": (4, 5, 6, 8, 9, 10),
    "hip": (0, 1),
    "leg": (12, 13, 16, 17),
    "foot": (14, 15, 18, 19),
}
"""Published parts of the 25 joints of the Kinect v2, by name."""


@dataclass(frozen=True)
class StarConfig:
    """Parts, sizes, losses and training of a STAR head."""

    part_names: tuple[str, ...] = tuple(KINECT25_PARTS)
    part_joints: tuple[tuple[int, ...], ...] = tuple(KINECT25_PARTS.values())
    """Joints of each part, numbers of the encoder's joint axis."""
    attributes: int = 100
    """Learned attributes per part."""
    heads: int = 4
    hidden: int = 256
    """Hidden width of the text maps."""
    global_weight: float = 0.1
    part_weight: float = 1.0
    label_weight: float = 0.1
    label_classes: Literal["seen", "all"] = "seen"
    """Classes whose part texts are told apart; the release takes the unseen names too."""
    epochs: int = 40
    batch_size: int = 64
    lr: float = 0.01
    milestones: tuple[float, ...] = (10.0, 20.0)
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        wrong = []
        if not self.part_names or len(self.part_names) != len(self.part_joints):
            wrong.append(f"{len(self.part_names)} part names, {len(self.part_joints)} joint lists")
        if len(set(self.part_names)) != len(self.part_names):
            wrong.append(f"part names must differ, got {list(self.part_names)}")
        joints = [joint for part in self.part_joints for joint in part]
        if any(not part for part in self.part_joints) or min(joints, default=0) < 0:
            wrong.append("every part needs joints, numbered from 0")
        wrong += not_positive(self, "attributes", "heads", "hidden", "epochs", "batch_size", "lr")
        if wrong:
            raise ConfigError("STAR: " + "; ".join(wrong))


def official_preset(config: StarConfig) -> StarConfig:
    """What the released code computes: unseen names take part in the label term."""
    return replace(config, label_classes="all")


class TextMap(nn.Module):
    """Text vectors to attribute space: linear, ReLU, linear."""

    def __init__(self, text_width: int, hidden: int, attributes: int) -> None:
        super().__init__()
        self.first = nn.Linear(text_width, hidden)
        self.second = nn.Linear(hidden, attributes)

    def forward(self, text: Tensor) -> Tensor:
        """``(..., E)`` to ``(..., A)``."""
        return self.second(F.relu(self.first(text)))


class PartHead(nn.Module):
    """One body part: its attributes ask the part's tokens; its texts have a map of their own."""

    def __init__(self, config: StarConfig, width: int, text_width: int, classes: int) -> None:
        super().__init__()
        self.prompt = nn.Parameter(torch.randn(config.attributes, text_width))
        self.attention = nn.MultiheadAttention(
            text_width, config.heads, kdim=width, vdim=width, batch_first=True
        )
        self.first = nn.Linear(text_width, text_width)
        self.second = nn.Linear(text_width, text_width)
        self.bilinear = nn.Parameter(torch.empty(text_width, text_width))
        self.text_map = TextMap(text_width, config.hidden, config.attributes)
        self.text_prompt = nn.Parameter(torch.zeros(classes, text_width))
        nn.init.xavier_uniform_(self.bilinear)
        nn.init.normal_(self.text_prompt, std=0.02)

    def attend(self, tokens: Tensor) -> Tensor:
        """What each attribute finds in tokens ``(N, L, D)``: ``(N, A, E)``."""
        query = self.prompt.expand(len(tokens), -1, -1)
        found = self.attention(query, tokens, tokens, need_weights=False)[0]
        return self.second(F.relu(self.first(found)))

    def semantic(self, evidence: Tensor) -> Tensor:
        """Strength of each attribute, ``(N, A)``."""
        return torch.einsum("ae,ef,naf->na", self.prompt, self.bilinear, evidence)

    def texts(self, text: Tensor) -> Tensor:
        """The part's texts of all classes ``(K, E)`` with their prompts, mapped: ``(K, A)``."""
        return self.text_map(text + self.text_prompt)


class Semantics(NamedTuple):
    """What the head finds in a batch of feature maps."""

    evidence: Tensor
    """``(N, P, A, E)``."""
    parts: Tensor
    """``(N, P, A)``."""
    whole: Tensor
    """``(N, A)``, their sum."""


class Star(nn.Module):
    """The head on encoder maps ``(N, D, T, V)`` and class texts of width E."""

    def __init__(self, config: StarConfig, width: int, text_width: int, classes: int) -> None:
        super().__init__()
        if text_width % config.heads:
            raise ConfigError(f"text width {text_width} is no multiple of {config.heads} heads")
        self.config = config
        self.parts = nn.ModuleList(
            PartHead(config, width, text_width, classes) for _ in config.part_names
        )
        self.name_map = TextMap(text_width, config.hidden, config.attributes)

    def forward(self, maps: Tensor) -> Semantics:
        """Attributes of each part and of the whole body."""
        evidence, parts = [], []
        for head, joints in zip(self.parts, self.config.part_joints, strict=True):
            tokens = maps[..., list(joints)].flatten(2).transpose(1, 2)
            evidence.append(head.attend(tokens))
            parts.append(head.semantic(evidence[-1]))
        each = torch.stack(parts, 1)
        return Semantics(torch.stack(evidence, 1), each, each.sum(1))

    def map_parts(self, part_text: Tensor) -> Tensor:
        """Part texts ``(K, P, E)`` with their prompts, mapped: ``(P, K, A)``."""
        mapped = [head.texts(part_text[:, i]) for i, head in enumerate(self.parts)]
        return torch.stack(mapped)

    def scores(self, maps: Tensor, name_text: Tensor) -> Tensor:
        """Cosines ``(N, K)`` of the whole body with mapped names ``(K, E)``."""
        return cosines(self(maps).whole, self.name_map(name_text))


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of ``(N, A)`` with every row of ``(K, A)``."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


def star_losses(
    semantics: Semantics,
    parts: Tensor,
    names: Tensor,
    labels: Tensor,
    seen: Sequence[int],
    label_classes: Literal["seen", "all"],
) -> Losses:
    """The three terms that are trained on.

    Args:
        semantics: of the batch.
        parts: mapped part texts ``(P, K, A)`` of all classes.
        names: mapped names ``(K, A)``.
        labels: ``(N,)``, rows of the texts, all of them seen.
        seen: the seen classes' rows.
        label_classes: whose part texts are told apart by the names.
    """
    chosen = torch.as_tensor(list(seen), device=names.device)
    position = torch.full((len(names),), -1, device=names.device)
    position[chosen] = torch.arange(len(chosen), device=names.device)
    target = position[labels]
    part_terms = [
        F.cross_entropy(cosines(semantics.parts[:, i], mapped[chosen]), target)
        for i, mapped in enumerate(parts)
    ]
    rows = chosen if label_classes == "seen" else torch.arange(len(names), device=names.device)
    dots = parts[:, rows] @ names[rows].T
    own = torch.arange(len(rows), device=names.device).expand(len(parts), -1)
    return {
        "global_ce": F.cross_entropy(cosines(semantics.whole, names[chosen]), target),
        "part_ce": torch.stack(part_terms).mean(),
        "pd_label": F.cross_entropy(dots.flatten(0, 1), own.flatten()),
    }


class StarTask(Task):
    """Training of the head.

    Batches hold ``map`` ``(N, D, T, V)`` and ``label`` ``(N,)``, rows of the texts.

    Args:
        model: the head.
        part_text: ``(K, P, E)`` of all classes.
        name_text: ``(K, E)``.
        seen: rows of the classes that train.
    """

    def __init__(
        self, model: Star, part_text: Tensor, name_text: Tensor, seen: Sequence[int]
    ) -> None:
        super().__init__()
        self.model = model
        self.seen = list(seen)
        self.register_buffer("part_text", part_text, persistent=False)
        self.register_buffer("name_text", name_text, persistent=False)

    def losses(self, batch: Batch) -> Losses:
        """The three terms and their weighted sum ``loss``."""
        config = self.model.config
        terms = star_losses(
            self.model(batch["map"]),
            self.model.map_parts(self.part_text),
            self.model.name_map(self.name_text),
            batch["label"],
            self.seen,
            config.label_classes,
        )
        total = (
            config.global_weight * terms["global_ce"]
            + config.part_weight * terms["part_ce"]
            + config.label_weight * terms["pd_label"]
        )
        return {"loss": total, **terms}
