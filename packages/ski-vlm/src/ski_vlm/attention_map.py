"""Where a student finds evidence for a class: gradient-weighted relevance of its image tower.

Vision Transformers: ``cam = mean over heads of max(dy/dA * A, 0)``; relevance starts as the
identity and grows by ``R = R + cam R`` over the chosen blocks; the class token's row over the
patches is the map. Convolutional towers (CLIP's ResNets, timm's) have no patches: there the map is
``max(sum over channels of dy/dF * F, 0)`` of the last activations F with one value per 16 x 16
pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from ski_vlm.errors import ConfigError
from ski_vlm.students import Student

CELL = 16
"""Pixels between neighbours of a convolutional tower's map."""


def attention_maps(
    model: Student, frames: Tensor, names: list[str], target: int, *, blocks: int = 1
) -> np.ndarray:
    """Relevance of every patch of every frame for one class.

    Args:
        model: the student.
        frames: uint8 ``(T, H, W, 3)`` at the model's input size.
        names: class names; their order gives ``target`` its meaning.
        target: index of the class to explain.
        blocks: how many of a transformer's last blocks to follow; 1 is the released choice.

    Returns:
        float32 ``(T, h, w)`` in 0..1, scaled over the clip, one value per patch or place.

    Raises:
        ConfigError: a target or number of blocks out of range, or a timm tower without maps.
    """
    if not 0 <= target < len(names):
        raise ConfigError(f"target {target} is not one of {len(names)} classes")
    model.eval()
    pixels = model.normalise(frames[None])[0]
    text = model.encode_classes(names)[target].detach()
    if isinstance(model.image, ModifiedResNet | TimmModel):
        maps = _convolutional_maps(model.image, pixels, text)
    else:
        maps = _transformer_maps(model, pixels, text, blocks)
    low, high = maps.min(), maps.max()
    return ((maps - low) / (high - low).clamp(min=1e-12)).numpy().astype(np.float32)


def _convolutional_maps(tower: ModifiedResNet | TimmModel, pixels: Tensor, text: Tensor) -> Tensor:
    kept: list[Tensor] = []
    layer = _last_fine_layer(tower)
    hook = layer.register_forward_hook(lambda *call: kept.append(call[2]))
    try:
        with torch.enable_grad():
            pooled = tower(pixels.requires_grad_())
            score = F.normalize(pooled.mean(0), dim=-1) @ text
            (gradient,) = torch.autograd.grad(score, kept)
    finally:
        hook.remove()
    return (gradient * kept[0]).sum(1).clamp(min=0).detach()


def _last_fine_layer(tower: ModifiedResNet | TimmModel) -> nn.Module:
    """The last layer whose activations ``(T, C, h, w)`` are at most 16 pixels apart."""
    if isinstance(tower, ModifiedResNet):
        return tower.layer3
    stages = getattr(tower.trunk, "feature_info", [])
    coarse = max((stage["reduction"] for stage in stages), default=0)
    if coarse <= CELL:
        raise ConfigError(
            f"{type(tower.trunk).__name__} is no convolutional timm tower with a stage of {CELL} "
            "pixels, the only ones of timm with relevance maps"
        )
    fine = [stage["module"] for stage in stages if stage["reduction"] <= CELL]
    return tower.trunk.get_submodule(fine[-1])


def _transformer_maps(model: Student, pixels: Tensor, text: Tensor, blocks: int) -> Tensor:
    layers = list(model.image.transformer.resblocks)
    if not 1 <= blocks <= len(layers):
        raise ConfigError(f"blocks must be in 1..{len(layers)}, got {blocks}")
    with torch.enable_grad():
        x = model.image._embeds(pixels)
        kept: list[Tensor] = []
        for number, layer in enumerate(layers):
            if number < len(layers) - blocks:
                x = layer(x)
            else:
                x, attention = _block_with_attention(layer, x)
                kept.append(attention)
        pooled = model.image._pool(x)[0] @ model.image.proj
        score = F.normalize(pooled.mean(0), dim=-1) @ text
        gradients = torch.autograd.grad(score, kept)
    tokens = kept[0].shape[-1]
    relevance = torch.eye(tokens).expand(len(pixels), tokens, tokens)
    for attention, gradient in zip(kept, gradients, strict=True):
        cam = (gradient * attention).detach().clamp(min=0).mean(1)
        relevance = relevance + cam @ relevance
    side = model.image_size // model.image.patch_size[0]
    return relevance[:, 0, 1:].reshape(len(pixels), side, side)


def _block_with_attention(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """A residual block computed with its attention ``(B, H, L, L)`` in the open."""
    attn: nn.MultiheadAttention = block.attn
    B, L, D = x.shape
    heads = attn.num_heads
    normed = block.ln_1(x)
    packed = F.linear(normed, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = packed.view(B, L, 3, heads, D // heads).permute(2, 0, 3, 1, 4)
    attention = torch.softmax(q @ k.transpose(-1, -2) * (D // heads) ** -0.5, -1)
    attention.requires_grad_()
    out = attn.out_proj((attention @ v).transpose(1, 2).reshape(B, L, D))
    x = x + block.ls_1(out)
    return x + block.ls_2(block.mlp(block.ln_2(x))), attention
