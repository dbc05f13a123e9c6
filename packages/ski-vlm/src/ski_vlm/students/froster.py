"""FROSTER: frames look at their neighbours, per-frame cosines are averaged, texts are an ensemble.

As in the published FROSTER with its view expanded in time: every block's keys and values of a frame
are joined by those of the next and the previous frame, with no new weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from ski_skeleton.text import ClipTextTower, class_prompts
from ski_skeleton.text.blocks import feed_forward, heads_of, joined
from ski_skeleton.text.prompts import NAME_TEMPLATE
from ski_vlm.students.base import StudentConfig, StudentOutput
from ski_vlm.students.groups import decay_groups
from ski_vlm.students.templates import TEMPLATES, rewritten_labels, template_prompts
from ski_vlm.students.transformer import (
    FrameTransformer,
    Watch,
    attend,
    check_plain,
)


@dataclass(frozen=True)
class FrosterConfig(StudentConfig):
    """FROSTER with the published recipe's frames and pixels."""

    kind: Literal["froster"] = "froster"
    frames: int = 8
    normalisation: Literal["imagenet", "clip"] = "clip"
    template: str = NAME_TEMPLATE
    """The last prompt, beside the 28 templates."""
    rewritten: dict[str, str] = field(default_factory=dict)
    """Labels ``Title: description`` by class name; a name that is absent is its own label."""


def ski_preset(config: FrosterConfig) -> FrosterConfig:
    """Frames and pixels as SKI's authors ran it, in the pipeline of ViFi-CLIP."""
    return replace(config, frames=16, normalisation="imagenet")


class Froster(FrameTransformer):
    """The mean over frames of unit frame features, against an ensemble of class texts.

    The vector of a clip is not unit length: its product with a unit text is the mean over frames of
    their cosines.

    Raises:
        ConfigError: an image tower that is no plain Vision Transformer.
    """

    config: FrosterConfig

    def __init__(self, config: FrosterConfig, clip: CLIP | None = None) -> None:
        super().__init__(config, clip)
        check_plain(self.image)

    def block(self, number: int, x: Tensor, frames: int, watch: Watch | None = None) -> Tensor:
        """A block whose keys and values are those of the next, previous and own frame."""
        block = self.image.transformer.resblocks[number]
        q, k, v = heads_of(block.attn, block.ln_1(x))
        found = attend(q, with_neighbours(k, frames), with_neighbours(v, frames), watch)
        x = x + block.ls_1(joined(block.attn, found))
        return x + block.ls_2(feed_forward(block.mlp, block.ln_2(x)))

    def own_attention(self, attention: Tensor) -> Tensor:
        """A frame's attention to its own tokens, which are the last keys."""
        return attention[..., -attention.shape[-2] :]

    def unit_frames(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to unit frame features ``(N, T, D)``."""
        return F.normalize(self.frame_features(video), dim=-1)

    def pool_frames(self, features: Tensor) -> Tensor:
        """Frame features ``(N, T, D)`` to the mean of their unit vectors ``(N, D)``."""
        return F.normalize(features, dim=-1).mean(1)

    def prompts(self, names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[list]:
        """Prompts of all classes, a list for each template and one for the bare labels."""
        rewritten = self.config.rewritten
        bare = class_prompts(rewritten_labels(names, rewritten), self.config.template)
        return [*(template_prompts(names, each, rewritten) for each in templates), bare]

    def training_prompts(
        self, names: Sequence[str], generator: np.random.Generator
    ) -> list[list[str]]:
        """Prompts of a training step: one template, drawn for all classes, and the bare labels."""
        return self.prompts(names, [TEMPLATES[generator.integers(len(TEMPLATES))]])

    def encode_classes(self, names: Sequence[str]) -> Tensor:
        """Unit text features ``(K, D)`` over all templates and the bare labels."""
        return ensemble(self.text, self.prompts(names))

    def forward_training(self, video: Tensor, names: Sequence[str]) -> StudentOutput:
        """Against one template, drawn from torch's CPU generator, and the bare labels."""
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        return self.score(video, ensemble(self.text, self.training_prompts(names, generator)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All at one learning rate; vectors and scalars do not decay."""
        return decay_groups(self.named_parameters())


def with_neighbours(x: Tensor, frames: int) -> Tensor:
    """Keys or values ``(N*T, heads, L, d)`` of the next, previous and own frame, ``3 L`` in all.

    Beyond a clip's ends they are zeros, which take part in the attention.
    """
    clips = x.unflatten(0, (-1, frames))
    padded = F.pad(clips, (0, 0, 0, 0, 0, 0, 1, 1))
    return torch.cat([padded[:, 2:], padded[:, :-2], clips], 3).flatten(0, 1)


def ensemble(text: ClipTextTower, prompts: Sequence[Sequence[str]]) -> Tensor:
    """Unit mean ``(K, D)`` of the unit features of several prompts per class."""
    return F.normalize(torch.stack([text.unit_text(each) for each in prompts]).mean(0), dim=-1)
