"""SkeletonCLIP, phase 1 of SKI: a skeleton encoder aligned with CLIP's text space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ski_skeleton.encoder import Encoded
from ski_skeleton.encoders import EncoderConfig, build_encoder
from ski_skeleton.errors import ConfigError
from ski_skeleton.hyperformer import HyperformerConfig
from ski_skeleton.text.blocks import full_precision
from ski_skeleton.text.clip import ClipConfig, ClipTextTower, build_clip
from ski_skeleton.text.prompts import PHOTO_TEMPLATE, class_prompts
from ski_skeleton.text.sentence import SentenceConfig, SentenceTextTower


@dataclass(frozen=True)
class SkeletonClipConfig:
    """Encoder, text tower and similarity of a SkeletonCLIP.

    The paper's similarity is cosine / temperature with a frozen text tower; the released code
    takes the product of the raw embedding with the normalised text and trains the tower.
    """

    encoder: EncoderConfig = field(default_factory=HyperformerConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    sentence: SentenceConfig | None = None
    """A sentence encoder in the place of CLIP's text tower."""
    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: float = 0.01
    """Divides the similarity; the paper gives no value, this is CLIP's."""
    train_text: bool = False
    template: str = PHOTO_TEMPLATE

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"temperature must be positive, got {self.temperature}")
        if self.encoder.output is None:
            raise ConfigError("SkeletonCLIP needs an encoder with a head to the text width")
        if self.sentence is not None and self.train_text:
            raise ConfigError("a sentence encoder is always frozen; set train_text to false")


def paper_preset(config: SkeletonClipConfig) -> SkeletonClipConfig:
    """Cosine over CLIP's temperature, text tower frozen."""
    return replace(config, similarity="cosine", temperature=0.01, train_text=False)


def official_preset(config: SkeletonClipConfig) -> SkeletonClipConfig:
    """What the released code computes: raw dot product, text tower trained."""
    return replace(config, similarity="dot", temperature=1.0, train_text=True)


class SkeletonClip(nn.Module):
    """Skeleton clips ``(N, 3, T, V, M)`` and class names to logits ``(N, K)``."""

    def __init__(
        self, config: SkeletonClipConfig, text: ClipTextTower | SentenceTextTower | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder)
        if text is None and config.sentence is not None:
            text = SentenceTextTower(config.sentence)
        self.text = ClipTextTower(build_clip(config.clip)) if text is None else text
        if self.text.width != config.encoder.output:
            raise ConfigError(
                f"the encoder's head gives {config.encoder.output} channels, the text tower "
                f"{self.text.width}; set encoder.output to {self.text.width}"
            )
        if not config.train_text:
            self.text.freeze()

    def encode(self, clips: Tensor) -> Encoded:
        """Penultimate features ``(N, W)`` and tokens ``(N, T', W)``."""
        return self.encoder.encode(clips)

    def embed(self, clips: Tensor) -> Tensor:
        """Joint-space embeddings ``(N, D)``, not normalised."""
        return self.encoder(clips)

    def logits(self, clips: Tensor, names: Sequence[str]) -> Tensor:
        """Similarity of each clip with each class name, ``(N, K)``."""
        text = self.text.unit_text(class_prompts(names, self.config.template))
        return skeleton_text_logits(
            self.embed(clips), text, self.config.similarity, self.config.temperature
        )


def skeleton_text_logits(
    embedding: Tensor, text: Tensor, similarity: Literal["cosine", "dot"], temperature: float
) -> Tensor:
    """Logits ``(N, K)`` of embeddings ``(N, D)`` against unit text vectors ``(K, D)``."""
    if similarity == "cosine":
        embedding = F.normalize(embedding, dim=-1)
    with full_precision(embedding):
        return embedding.to(text.dtype) @ text.T / temperature
