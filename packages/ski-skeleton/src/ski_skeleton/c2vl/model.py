"""The student of C2VL: a skeleton encoder and one head per modality into a shared space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.encoders import EncoderConfig, build_encoder
from ski_skeleton.errors import ConfigError, not_positive
from ski_skeleton.stgcn import StgcnConfig

MAX_SCALE = 100.0
"""Largest 1 / temperature that is learned, as in CLIP."""


@dataclass(frozen=True)
class C2vlConfig:
    """Sizes, targets and schedules; no published numbers of C2VL are known, these are ours."""

    encoder: EncoderConfig = field(default_factory=lambda: StgcnConfig(output=None))
    """Skeleton encoder without head; the literature's linear probes are of an ST-GCN like this."""
    concepts: tuple[Literal["text", "vision"], ...] = ("text", "vision")
    """Modalities that the skeleton is contrasted with."""
    concept_width: int = 768
    """Width of the frozen concept vectors; that of CLIP ViT-L/14."""
    width: int = 256
    """Width D of the shared space."""
    temperature: float = 0.07
    """Of the student's logits at the start; learned."""
    teacher_temperature: float = 0.04
    """Of the soft targets and the teacher's logits."""
    soft: float = 0.5
    """Weight w of the soft targets at the end, reached linearly; 0 is plain InfoNCE."""
    intra_share: float = 0.5
    """Share of intra-modal self-similarity in the soft targets; the rest is inter-modal."""
    distill: float = 0.1
    """Weight of the self-distillation."""
    momentum: float = 0.996
    """Decay of the teacher's average at the start; rises to 1 by a cosine."""

    def __post_init__(self) -> None:
        wrong = []
        if not self.concepts or len(set(self.concepts)) != len(self.concepts):
            wrong.append(f"concepts must be text, vision or both, got {self.concepts}")
        for name in ("concept_width", "width"):
            if getattr(self, name) < 1:
                wrong.append(f"{name} must be at least 1, got {getattr(self, name)}")
        wrong += not_positive(self, "temperature", "teacher_temperature")
        if self.temperature < 1 / MAX_SCALE:
            wrong.append(f"temperature must be at least {1 / MAX_SCALE}, got {self.temperature}")
        for name in ("soft", "intra_share", "momentum"):
            if not 0 <= getattr(self, name) <= 1:
                wrong.append(f"{name} must be in 0..1, got {getattr(self, name)}")
        if self.distill < 0:
            wrong.append(f"distill must not be negative, got {self.distill}")
        if self.encoder.output is not None:
            wrong.append("the encoder has its own head here; set encoder.output to null")
        if wrong:
            raise ConfigError("C2VL: " + "; ".join(wrong))


class C2vl(nn.Module):
    """Skeleton clips and concept vectors to unit vectors of the shared space."""

    def __init__(self, config: C2vlConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder)
        inner = self.encoder.width
        self.head = nn.Sequential(
            nn.Linear(inner, inner), nn.ReLU(), nn.Linear(inner, config.width)
        )
        self.concept_heads = nn.ModuleDict(
            {kind: nn.Linear(config.concept_width, config.width) for kind in config.concepts}
        )

    def embed(self, clips: Tensor) -> Tensor:
        """Clips ``(N, 3, T, V, M)`` to unit vectors ``(N, D)``."""
        return F.normalize(self.head(self.encoder.encode(clips).features), dim=-1)

    def embed_concepts(self, kind: str, vectors: Tensor) -> Tensor:
        """Concept vectors ``(N, concept_width)`` of ``text`` or ``vision`` to unit ``(N, D)``.

        They are scaled to unit length first.
        """
        return F.normalize(self.concept_heads[kind](F.normalize(vectors, dim=-1)), dim=-1)

    def class_scores(self, clips: Tensor, texts: Tensor) -> Tensor:
        """Cosines ``(N, K)`` of clips with class texts ``(K, concept_width)``, for zero-shot use.

        The texts must come from the tower that gave the captions' vectors.

        Raises:
            ConfigError: a student that was pretrained without text.
        """
        if "text" not in self.config.concepts:
            raise ConfigError("a C2VL that was pretrained without text cannot judge class names")
        return self.embed(clips) @ self.embed_concepts("text", texts).T

    def forward(self, clips: Tensor, concepts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Unit vectors ``(N, D)`` by modality: ``skeleton`` and each kind of ``concepts``."""
        found = {"skeleton": self.embed(clips)}
        for kind in self.config.concepts:
            found[kind] = self.embed_concepts(kind, concepts[kind])
        return found


class Temperature(nn.Module):
    """A learned temperature, kept as the logarithm of its inverse."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / start)))

    def forward(self) -> Tensor:
        """1 / temperature, at most :data:`MAX_SCALE`."""
        return self.log_scale.clamp(max=math.log(MAX_SCALE)).exp()
