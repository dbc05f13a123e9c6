"""Students on a plain CLIP Vision Transformer: its blocks in the open, frame by frame.

The fused attention kernel computes everything but relevance maps; those need the attention matrix
itself, and ask for it with a :class:`Watch`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ski_skeleton.text.blocks import are_plain, feed_forward, full_precision, heads_of, joined
from ski_vlm.errors import ConfigError
from ski_vlm.students.base import Student, StudentOutput


class Watch:
    """Keeps the attention ``(B, heads, L, keys)`` of a transformer's last blocks, with its graph.

    Args:
        blocks: how many of the last blocks.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.kept: list[Tensor] = []

    def keep(self, attention: Tensor) -> Tensor:
        """The attention to go on with, which gets a gradient."""
        if not attention.requires_grad:
            attention.requires_grad_()
        self.kept.append(attention)
        return attention


def attend(q: Tensor, k: Tensor, v: Tensor, watch: Watch | None = None) -> Tensor:
    """Attention of heads ``(B, heads, L, d)`` over keys and values ``(B, heads, keys, d)``."""
    if watch is None:
        return F.scaled_dot_product_attention(q, k, v)
    attention = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
    return watch.keep(attention) @ v


def self_attention(attn: nn.MultiheadAttention, x: Tensor, watch: Watch | None = None) -> Tensor:
    """Unmasked self-attention of ``x`` ``(B, L, D)`` with the weights of ``attn``."""
    return joined(attn, attend(*heads_of(attn, x), watch))


def plain_block(block: ResidualAttentionBlock, x: Tensor, watch: Watch | None = None) -> Tensor:
    """A residual block as it is, ``(B, L, D)`` to the same."""
    x = x + block.ls_1(self_attention(block.attn, block.ln_1(x), watch))
    return x + block.ls_2(feed_forward(block.mlp, block.ln_2(x)))


def is_plain(tower: nn.Module) -> bool:
    """Whether ``tower`` is a Vision Transformer of plain blocks that pools by its class token."""
    return (
        isinstance(tower, VisionTransformer)
        and are_plain(tower.transformer.resblocks)
        and tower.attn_pool is None
        and tower.pool_type == "tok"
        and not tower.final_ln_after_pool
    )


def check_plain(tower: nn.Module) -> VisionTransformer:
    """``tower``, if it is a Vision Transformer of plain blocks that pools by its class token.

    Raises:
        ConfigError: another kind of tower.
    """
    if not isinstance(tower, VisionTransformer):
        kind = getattr(tower, "trunk", tower)
        raise ConfigError(
            f"{type(kind).__name__} is no Vision Transformer of CLIP's kind; choose one such as "
            "ViT-B-16-quickgelu"
        )
    if not is_plain(tower):
        blocks = tower.transformer.resblocks
        odd = {type(b).__name__ for b in blocks if type(b) is not ResidualAttentionBlock}
        raise ConfigError(
            f"a Vision Transformer with plain blocks and a class token is needed; this one has "
            f"{', '.join(sorted(odd)) or 'another pooling'}; choose one such as ViT-B-16-quickgelu"
        )
    return tower


class FrameTransformer(Student):
    """A student that runs its image transformer block by block on the frames of clips.

    Subclasses change :meth:`block` (what frames exchange) and :meth:`pool_frames` (how they become
    one vector).
    """

    def pool_frames(self, features: Tensor) -> Tensor:
        """Frame features ``(N, T, D)`` to the clip's vector ``(N, D)``."""
        raise TypeError(f"{type(self).__name__} cannot pool {tuple(features.shape)}")

    def first_tokens(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to the first block's input ``(N*T, L, W)``."""
        with full_precision(video):
            return self.image._embeds(video.flatten(0, 1))

    def block(
        self,
        number: int,
        x: Tensor,
        frames: int,  # noqa: ARG002
        watch: Watch | None = None,
    ) -> Tensor:
        """Block ``number`` on tokens ``(N*T, L, W)`` of clips of T ``frames``."""
        return plain_block(self.image.transformer.resblocks[number], x, watch)

    def run_block(self, number: int, x: Tensor, frames: int, watch: Watch | None = None) -> Tensor:
        """:meth:`block`, computed again in the backward pass where that is asked for."""
        if self.checkpointing and torch.is_grad_enabled() and watch is None:
            return checkpoint(self.block, number, x, frames, use_reentrant=False)
        return self.block(number, x, frames, watch)

    def tokens(self, video: Tensor, watch: Watch | None = None) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to the last block's output ``(N, T, L, W)``.

        Token 0 is the class token, the patches follow.
        """
        N, T = video.shape[:2]
        x = self.first_tokens(video)
        layers = len(self.image.transformer.resblocks)
        for number in range(layers):
            watched = watch is not None and number >= layers - watch.blocks
            x = self.run_block(number, x, T, watch if watched else None)
        return x.view(N, T, *x.shape[1:])

    def class_features(self, tokens: Tensor) -> Tensor:
        """Tokens ``(N, T, L, W)`` to frame features ``(N, T, D)``, not unit length."""
        return self.projected(tokens[:, :, 0])

    def projected(self, classes: Tensor) -> Tensor:
        """Class tokens ``(..., W)`` to features ``(..., D)``, also under autocast in full."""
        tower = self.image
        with full_precision(classes):
            return tower.ln_post(classes.to(tower.proj.dtype)) @ tower.proj

    def frame_features(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to frame features ``(N, T, D)``, not unit length."""
        return self.class_features(self.tokens(video))

    def encode_video(self, video: Tensor) -> Tensor:
        """Normalised ``(N, T, 3, H, W)`` to video features ``(N, D)``."""
        return self.pool_frames(self.frame_features(video))

    def score_tokens(self, tokens: Tensor, text: Tensor) -> StudentOutput:
        """:meth:`score` from the last block's output ``(N, T, L, W)``."""
        return self.compared(self.pool_frames(self.class_features(tokens)), text)

    def own_attention(self, attention: Tensor) -> Tensor:
        """Of a block's attention, that among a frame's class token and patches.

        ``(B, heads, L, keys)`` to ``(B, heads, 1 + P, 1 + P)``.
        """
        own = len(self.image.positional_embedding)
        return attention[..., :own, :own]
