"""X-CLIP: frames exchange messages, a transformer joins them, prompts follow the video.

As in the published X-CLIP: each block of the image tower gets a message token per frame, attended
over the frames; a multi-frame integration transformer (MIT) pools the frames; the class texts are
moved by cross-attention over the video's patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import LayerNorm, QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from ski_skeleton.text import class_prompts
from ski_skeleton.text.blocks import feed_forward, full_precision
from ski_skeleton.text.prompts import NAME_TEMPLATE
from ski_vlm.errors import ConfigError
from ski_vlm.students.base import StudentConfig, StudentOutput
from ski_vlm.students.groups import decay_groups
from ski_vlm.students.transformer import (
    FrameTransformer,
    Watch,
    attend,
    check_plain,
    plain_block,
    self_attention,
)

HEAD_WIDTH = 64
"""Channels of a head of the integration transformer and of the prompts' cross-attention."""
NEW_PARTS_SCALE = 10.0
"""Learning rate of the parts that CLIP does not bring, against CLIP's own."""


@dataclass(frozen=True)
class XClipConfig(StudentConfig):
    """X-CLIP; the number of frames belongs to the weights."""

    kind: Literal["x-clip"] = "x-clip"
    frames: int = 8
    template: str = NAME_TEMPLATE
    train: Literal["both", "image", "text"] = "image"
    """``image``: image tower, messages, MIT and prompts train, text tower and scale do not (as
    released); ``text``: the text tower and the scale alone; ``both``: all."""
    integration_layers: int = 1
    prompt_layers: int = 2
    drop_path: float = 0.0
    """Share of residual branches dropped in training in the last block, from 0 in the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.integration_layers, self.prompt_layers) < 1:
            raise ConfigError("integration_layers and prompt_layers must be at least 1")
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"drop_path must be in [0, 1), got {self.drop_path}")


class Message(nn.Module):
    """What the frames of a clip tell each other before a block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.norm = LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, classes: Tensor, drop: float) -> Tensor:
        """Class tokens ``(N, T, W)`` to message tokens ``(N, T, W)``."""
        message = self.fc(classes)
        branch = self_attention(self.attn, self.norm(message))
        return message + drop_clips(branch, drop, self.training)


class Integration(nn.Module):
    """The multi-frame integration transformer: T frame features to one vector."""

    def __init__(self, frames: int, width: int, layers: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(1, frames, width))
        nn.init.trunc_normal_(self.position, std=0.02)
        heads = _heads(width)
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(width, heads, act_layer=QuickGELU, norm_layer=nn.LayerNorm)
            for _ in range(layers)
        )
        _initialise(self)

    def forward(self, features: Tensor) -> Tensor:
        """``(N, T, D)`` to ``(N, D)``: the mean over frames of the blocks' output plus input."""
        x = features + self.position
        for block in self.blocks:
            x = plain_block(block, x)
        return (x + features).mean(1)


class PromptLayer(nn.Module):
    """Class texts look at a video's patches: pre-norm cross-attention, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = _heads(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width)
        )

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, text: Tensor, patches: Tensor) -> Tensor:
        """Texts ``(N, K, D)`` and patches ``(N, P, D)`` to texts ``(N, K, D)``."""
        q = self._split(self.query(self.norm_1(text)))
        found = attend(q, self._split(self.key(patches)), self._split(self.value(patches)))
        text = text + self.out(found.transpose(1, 2).flatten(2))
        return text + feed_forward(self.mlp, self.norm_2(text))


class VideoPrompts(nn.Module):
    """Video-specific prompts: patches of a clip to what is added to its class texts."""

    def __init__(self, image_width: int, width: int, layers: int) -> None:
        super().__init__()
        self.image_norm = LayerNorm(image_width)
        self.image_proj = nn.Parameter(torch.randn(image_width, width))
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(PromptLayer(width) for _ in range(layers))
        self.alpha = nn.Parameter(torch.full((width,), 0.1))
        _initialise(self.layers)

    def patches(self, tokens: Tensor) -> Tensor:
        """Patch tokens ``(N, T, P, W)`` to ``(N, P, D)``, averaged over frames.

        The projection is linear: it comes after the mean, T times cheaper than before it.
        """
        return self.image_norm(tokens).mean(1) @ self.image_proj

    def forward(self, text: Tensor, patches: Tensor) -> Tensor:
        """Class texts ``(K, D)`` and patches ``(N, P, D)`` to additions ``(N, K, D)``."""
        text = text.expand(patches.shape[0], *text.shape)
        patches = self.norm(patches)
        for layer in self.layers:
            text = layer(text, patches)
        return self.alpha * text


class XClip(FrameTransformer):
    """Cosines of a clip's vector with class texts that the clip itself has changed.

    Class texts ``(K, D)`` of :meth:`encode_classes` are not unit length here: their size counts
    against that of the additions.

    Raises:
        ConfigError: an image tower that is no plain Vision Transformer, or a width D that its heads
            do not divide.
    """

    config: XClipConfig

    def __init__(self, config: XClipConfig, clip: CLIP | None = None) -> None:
        super().__init__(config, clip)
        tower = check_plain(self.image)
        width, D = tower.proj.shape
        blocks = tower.transformer.resblocks
        heads = blocks[0].attn.num_heads
        self.messages = nn.ModuleList(Message(width, heads) for _ in blocks)
        self.integration = Integration(config.frames, D, config.integration_layers)
        self.prompts = VideoPrompts(width, D, config.prompt_layers)
        last = max(1, len(blocks) - 1)
        self.drops = [config.drop_path * number / last for number in range(len(blocks))]
        self.logit_scale.requires_grad_(config.train != "image")
        if config.train == "text":
            for part in (self.messages, self.integration, self.prompts):
                part.requires_grad_(False)

    def block(self, number: int, x: Tensor, frames: int, watch: Watch | None = None) -> Tensor:
        """A block with one message token per frame, which is not kept."""
        block, drop = self.image.transformer.resblocks[number], self.drops[number]
        length = x.shape[1]
        message = self.messages[number](x[:, 0].unflatten(0, (-1, frames)), drop)
        x = torch.cat([x, message.flatten(0, 1)[:, None]], 1)
        attended = block.ls_1(self_attention(block.attn, block.ln_1(x), watch))[:, :length]
        x = x[:, :length] + self._drop(attended, drop, frames)
        return x + self._drop(block.ls_2(feed_forward(block.mlp, block.ln_2(x))), drop, frames)

    def _drop(self, branch: Tensor, share: float, frames: int) -> Tensor:
        """Drop a residual branch ``(N*T, L, W)`` for whole clips."""
        clips = branch.unflatten(0, (-1, frames))
        return drop_clips(clips, share, self.training).flatten(0, 1)

    def tokens(self, video: Tensor, watch: Watch | None = None) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to the last block's output ``(N, T, L, W)``.

        Raises:
            ConfigError: clips of another number of frames than the weights'.
        """
        if video.shape[1] != self.config.frames:
            raise ConfigError(
                f"this X-CLIP takes clips of {self.config.frames} frames, got {video.shape[1]}; "
                f"sample {self.config.frames} of them: the number belongs to its weights"
            )
        return super().tokens(video, watch)

    def pool_frames(self, features: Tensor) -> Tensor:
        """Frame features ``(N, T, D)`` to unit video features ``(N, D)``."""
        return F.normalize(self.integration(features), dim=-1)

    def encode_classes(self, names: Sequence[str]) -> Tensor:
        """Text features ``(K, D)`` of class names, not unit length."""
        return self.text.encode_text(class_prompts(names, self.config.template))

    def score(self, video: Tensor, text: Tensor) -> StudentOutput:
        """Normalised ``(N, T, 3, H, W)`` and class texts ``(K, D)``, not unit length."""
        return self.score_tokens(self.tokens(video), text)

    def score_tokens(self, tokens: Tensor, text: Tensor) -> StudentOutput:
        """:meth:`score` from the last block's output ``(N, T, L, W)``."""
        features = self.pool_frames(self.class_features(tokens))
        patches = self.prompts.patches(tokens[:, :, 1:])
        changed = F.normalize(text + self.prompts(text, patches), dim=-1)
        with full_precision(features):
            cosines = torch.einsum("nd,nkd->nk", features, changed.to(features.dtype))
        return StudentOutput(cosines, self.logit_scale.exp(), features, changed)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """CLIP's weights at the learning rate, the others at ten times it.

        Only matrices that are no positional embedding decay.
        """
        new = ("messages.", "integration.", "prompts.")
        named = list(self.named_parameters())
        own = [(n, p) for n, p in named if not n.startswith(new)]
        fresh = [(n, p) for n, p in named if n.startswith(new)]
        position = ("positional_embedding", "integration.position")
        return [
            *decay_groups(own, 1.0, position),
            *decay_groups(fresh, NEW_PARTS_SCALE, position),
        ]


def drop_clips(branch: Tensor, share: float, training: bool) -> Tensor:
    """A residual branch ``(N, ...)``, in training zero for a ``share`` of the clips, others scaled.

    The mean over draws is the branch itself (stochastic depth).
    """
    if not training or share == 0:
        return branch
    ones = branch.new_ones(branch.shape[0], *(1 for _ in branch.shape[1:]))
    return branch * F.dropout(ones, share)


def _heads(width: int) -> int:
    heads = max(1, width // HEAD_WIDTH)
    if width % heads:
        raise ConfigError(f"a joint space of width {width} does not divide into {heads} heads")
    return heads


def _initialise(module: nn.Module) -> None:
    """Linear layers: truncated normal of deviation 0.02, biases zero, as released."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
