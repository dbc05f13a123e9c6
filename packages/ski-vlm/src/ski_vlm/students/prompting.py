"""Vision-language prompting of ViFi-CLIP: vectors beside words and patches learn, nothing else.

The second stage of the published ViFi-CLIP: n vectors stand before the class name and n behind the
patches, with fresh ones at the input of each block of the prompted depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from ski_skeleton.text import ClipTextTower, class_prompts, tokenize
from ski_skeleton.text.blocks import causal_block
from ski_skeleton.text.clip import CONTEXT, without_weights
from ski_vlm.errors import ConfigError
from ski_vlm.students.base import StudentConfig
from ski_vlm.students.transformer import FrameTransformer, Watch, check_plain
from ski_vlm.students.vificlip import ViFiClip

FIRST_WORDS = "a photo of a"
"""What up to four text vectors start from."""
DEVIATION = 0.02
"""Standard deviation of all other vectors at the start."""


@dataclass(frozen=True)
class PromptedConfig(StudentConfig):
    """How many vectors each tower gets, and at the input of how many blocks.

    ``train`` says which towers' vectors train; CLIP's weights and scale never do.
    """

    kind: Literal["vifi-clip-prompted"] = "vifi-clip-prompted"
    template: str = "{name}."
    """What follows the learned text vectors."""
    text_vectors: int = 16
    image_vectors: int = 16
    text_depth: int = 9
    """Text blocks whose input gets vectors."""
    image_depth: int = 9
    """Image blocks whose input gets vectors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("text_vectors", "image_vectors", "text_depth", "image_depth")
        wrong = [f"{n} must be at least 1, got {v}" for n in names if (v := getattr(self, n)) < 1]
        if self.text_vectors > CONTEXT - 8:
            wrong.append(f"{self.text_vectors} text_vectors leave no room for a class name")
        if wrong:
            raise ConfigError("prompting: " + "; ".join(wrong))


def base_to_novel_preset(config: PromptedConfig) -> PromptedConfig:
    """The published sizes for training on base classes and testing on novel ones."""
    return replace(config, text_vectors=16, image_vectors=16, text_depth=9, image_depth=9)


def few_shot_preset(config: PromptedConfig) -> PromptedConfig:
    """The published sizes for few clips per class."""
    return replace(config, text_vectors=10, image_vectors=10, text_depth=12, image_depth=12)


class PromptedViFiClip(ViFiClip):
    """A ViFi-CLIP whose only weights that train are prompts.

    Raises:
        ConfigError: an image tower that is no plain Vision Transformer, or a depth beyond a tower's
            blocks.
    """

    config: PromptedConfig

    def __init__(self, config: PromptedConfig, clip: CLIP | None = None) -> None:
        super().__init__(config, clip)
        tower = check_plain(self.image)
        if not self.text.plain:
            raise ConfigError("prompts need a text tower of plain blocks, as ViT-B-16-quickgelu's")
        wrong = [
            f"{name}_depth {depth} of {layers} blocks"
            for name, depth, layers in (
                ("image", config.image_depth, len(tower.transformer.resblocks)),
                ("text", config.text_depth, len(self.text.transformer.resblocks)),
            )
            if depth > layers
        ]
        if wrong:
            raise ConfigError("prompts are deeper than the towers: " + "; ".join(wrong))
        self.requires_grad_(False)
        self.text.freeze()
        width = len(tower.class_embedding)
        self.image_context = _vectors(config.image_depth, config.image_vectors, width)
        width = self.text.positional_embedding.shape[1]
        self.text_context = _vectors(config.text_depth, config.text_vectors, width)
        self.image_context.requires_grad_(config.train != "text")
        self.text_context.requires_grad_(config.train != "image")
        self.start_from_words()

    @torch.no_grad()
    def start_from_words(self) -> None:
        """Up to four text vectors start as the tower's words ``a photo of a``."""
        count = self.config.text_vectors
        if count <= len(FIRST_WORDS.split()):
            words = tokenize([FIRST_WORDS])[0, 1 : 1 + count].to(self.text_context.device)
            self.text_context[0] = self.text.token_embedding(words)

    def first_tokens(self, video: Tensor) -> Tensor:
        """Class token, patches and the first block's vectors ``(N*T, 1 + P + n, W)``."""
        x = super().first_tokens(video)
        context = self.image.ln_pre(self.image_context[0])
        return torch.cat([x, context.expand(x.shape[0], -1, -1)], 1)

    def block(self, number: int, x: Tensor, frames: int, watch: Watch | None = None) -> Tensor:
        """A block that gets vectors of its own in place of those that come out of the last one."""
        if 0 < number < self.config.image_depth:
            context = self.image_context[number].expand(x.shape[0], -1, -1)
            x = torch.cat([x[:, : -self.config.image_vectors], context], 1)
        return super().block(number, x, frames, watch)

    def frame_features(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to frame features ``(N, T, D)``, not unit length."""
        return FrameTransformer.frame_features(self, video)

    def encode_classes(self, names: Sequence[str]) -> Tensor:
        """Unit text features ``(K, D)``: start, vectors, then the template with the class name."""
        prompts = class_prompts(names, self.config.template)
        return F.normalize(prompted_text(self.text, self.text_context, prompts), dim=-1)


def prompted_text(text: ClipTextTower, context: Tensor, prompts: Sequence[str]) -> Tensor:
    """Features ``(K, D)`` of prompts behind learned vectors, not unit length.

    Args:
        text: the tower.
        context: ``(blocks, n, W)``; the vectors of a block's input, at positions 1 to n.
        prompts: what follows the vectors.
    """
    n = context.shape[1]
    ids = tokenize(prompts, context=len(text.positional_embedding) - n, truncate=True)
    end = ids.argmax(-1)
    words = text.token_embedding(ids[:, : int(end.max()) + 1].to(context.device))
    end = end.to(context.device)
    vectors = context[:, None].expand(-1, len(ids), -1, -1)
    x = torch.cat([words[:, :1], vectors[0], words[:, 1:]], 1)
    length = x.shape[1]
    x = x + text.positional_embedding[:length]
    for number, block in enumerate(text.transformer.resblocks):
        if 0 < number < len(context):
            x = torch.cat([x[:, :1], vectors[number], x[:, 1 + n :]], 1)
        x = causal_block(block, x)
    x = text.ln_final(x[torch.arange(len(x), device=x.device), end + n])
    return x @ text.text_projection


def add_prompts(model: ViFiClip, **settings: int | str) -> PromptedViFiClip:
    """A trained ViFi-CLIP made ready for prompting; its weights are copied.

    Args:
        model: the first stage.
        settings: fields of :class:`PromptedConfig` beyond the model's own.
    """
    own = {f.name: getattr(model.config, f.name) for f in fields(StudentConfig)}
    own["clip"] = without_weights(model.config.clip)
    del own["template"], own["train"]
    made = PromptedViFiClip(PromptedConfig(**{**own, **settings}))
    made.load_state_dict({**made.state_dict(), **model.state_dict()})
    made.start_from_words()
    return made.train(model.training)


def _vectors(depth: int, count: int, width: int) -> nn.Parameter:
    return nn.Parameter(DEVIATION * torch.randn(depth, count, width))
