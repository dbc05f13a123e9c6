"""SkeletonCLIP distillation as its formulas read: the oracle that its speed is compared with.

Both text towers take every class at all token positions in each step, attention is a softmax that
stands alone, QuickGELU is computed as it is written, and the skeleton encoder is the plain one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from benchmarks.speed.plain_hyperformer import PlainHyperformer
from ski_skeleton.hyperformer import Hyperformer
from ski_skeleton.text import ClipTextTower, class_prompts, tokenize
from ski_vlm.distill import SkeletonDistillation


class PlainScd(nn.Module):
    """The parameters of a task with ``released`` logits and a ViFi-CLIP, computed with plainly.

    Gradients and running statistics arrive in the task's own tensors.

    Args:
        task: whose teacher has a Hyperformer.
        tokens: positions that the text towers compute, ids behind the end token being zeros.
    """

    def __init__(self, task: SkeletonDistillation, tokens: int = 77) -> None:
        super().__init__()
        if not isinstance(task.teacher.encoder, Hyperformer):
            raise TypeError(f"{type(task.teacher.encoder).__name__} has no plain formulation here")
        self.task, self.tokens = task, tokens
        self.skeleton = PlainHyperformer(task.teacher.encoder)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """``video`` uint8 ``(N, T, H, W, 3)``, ``skeleton`` and ``label`` to the losses."""
        task, targets = self.task, F.one_hot(batch["label"], len(self.task.names))
        video, pose = self.logits(batch)
        first, second = (-(targets * F.log_softmax(x, -1)).sum(-1).mean() for x in (video, pose))
        distance = (video - pose).square().mean()
        return {
            "loss": first + second + task.config.alpha * distance,
            "video_cross_entropy": first,
            "skeleton_cross_entropy": second,
            "distance": distance,
        }

    def logits(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """F_LV and F_LS, both ``(N, K)``."""
        task = self.task
        video = self.video(batch["video"]) @ self.text(task.student.text, task.names).T
        return video, self.skeleton(batch["skeleton"]) @ self.text(task.teacher.text, task.names).T

    def video(self, frames: Tensor) -> Tensor:
        """uint8 ``(N, T, H, W, 3)`` to unit features ``(N, D)``."""
        student, (N, T) = self.task.student, frames.shape[:2]
        pixels = (frames.to(student.mean.dtype) - student.mean) / student.std
        features = image_features(student.image, pixels.permute(0, 1, 4, 2, 3).flatten(0, 1))
        return F.normalize(features.view(N, T, -1).mean(1), dim=-1)

    def text(self, tower: ClipTextTower, names: Sequence[str]) -> Tensor:
        """Unit features ``(K, D)`` of the class prompts."""
        prompts = class_prompts(names, self.task.student.config.template)
        ids = tokenize(prompts)[:, : self.tokens].to(tower.positional_embedding.device)
        return F.normalize(text_features(tower, ids), dim=-1)


def image_features(tower: VisionTransformer, frames: Tensor) -> Tensor:
    """Frames ``(B, 3, H, W)`` to features ``(B, D)``."""
    patches = tower.conv1(frames).flatten(2).transpose(1, 2)
    first = tower.class_embedding.expand(len(frames), 1, -1)
    x = tower.ln_pre(torch.cat([first, patches], 1) + tower.positional_embedding)
    for block in tower.transformer.resblocks:
        x = _block(block, x)
    return tower.ln_post(x)[:, 0] @ tower.proj


def text_features(tower: ClipTextTower, ids: Tensor) -> Tensor:
    """Token ids ``(K, L)`` to features ``(K, D)``."""
    length = ids.shape[1]
    x = tower.token_embedding(ids) + tower.positional_embedding[:length]
    mask = torch.full((length, length), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
    for block in tower.transformer.resblocks:
        x = _block(block, x, mask)
    x = tower.ln_final(x)
    return x[torch.arange(len(ids), device=ids.device), ids.argmax(-1)] @ tower.text_projection


def _block(block: ResidualAttentionBlock, x: Tensor, mask: Tensor | None = None) -> Tensor:
    attn, (B, L, D) = block.attn, x.shape
    heads = attn.num_heads
    packed = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (part.view(B, L, heads, -1).transpose(1, 2) for part in packed.chunk(3, -1))
    logits = q * (D // heads) ** -0.5 @ k.transpose(-1, -2)
    if mask is not None:
        logits = logits + mask
    found = torch.softmax(logits, -1) @ v
    x = x + attn.out_proj(found.transpose(1, 2).reshape(B, L, D))
    first, _, second = block.mlp
    hidden = first(block.ln_2(x))
    return x + second(hidden * torch.sigmoid(1.702 * hidden))
