"""Where a student finds evidence for a class: gradient-weighted relevance of its image tower.

Vision Transformers: ``cam = mean over heads of max(dy/dA * A, 0)``; relevance starts as the
identity and grows by ``R = R + cam R`` over the chosen blocks; the class token's row over the
patches is the map. What a frame sees beside its own class token and patches is left out: X-CLIP's
message, FROSTER's neighbours, learned vectors. Convolutional towers (CLIP's ResNets, timm's) have
no patches: there the map is ``max(sum over channels of dy/dF * F, 0)`` of the last activations F
with one value per 16 x 16 pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import Tensor, nn

from ski_vlm.errors import ConfigError
from ski_vlm.students.transformer import FrameTransformer, Watch, check_plain

CELL = 16
"""Pixels between neighbours of a convolutional tower's map."""


def attention_maps(
    model: FrameTransformer, frames: Tensor, names: list[str], target: int, *, blocks: int = 1
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
    with torch.no_grad():
        text = model.eval().encode_classes(names[target : target + 1])[0]
    return relevance(model, frames, text, blocks=blocks)


def relevance(
    model: FrameTransformer, frames: Tensor, text: Tensor, *, blocks: int = 1
) -> np.ndarray:
    """:func:`attention_maps` for a class vector ``(D,)``, as the student's ``score`` takes it.

    Raises:
        ConfigError: a number of blocks out of range, or a timm tower without maps.
    """
    model.eval()
    pixels, text = model.normalise(frames[None])[0], text.detach().clone()
    if isinstance(model.image, ModifiedResNet | TimmModel):
        maps = _convolutional_maps(model.image, pixels, text)
    else:
        maps = _transformer_maps(model, pixels, text, blocks)
    low, high = maps.min(), maps.max()
    scaled = (maps - low) / (high - low).clamp(min=1e-12)
    return scaled.cpu().numpy().astype(np.float32)


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


def _transformer_maps(model: FrameTransformer, pixels: Tensor, text: Tensor, blocks: int) -> Tensor:
    tower = check_plain(model.image)
    layers = len(tower.transformer.resblocks)
    if not 1 <= blocks <= layers:
        raise ConfigError(f"blocks must be in 1..{layers}, got {blocks}")
    watch = Watch(blocks)
    with torch.enable_grad():
        tokens = model.tokens(pixels[None], watch)
        score = model.score_tokens(tokens, text[None]).cosines
        gradients = torch.autograd.grad(score.sum(), watch.kept)
    own = len(tower.positional_embedding)
    relevance = torch.eye(own, device=pixels.device).expand(len(pixels), own, own)
    for attention, gradient in zip(watch.kept, gradients, strict=True):
        cam = model.own_attention((gradient * attention).detach()).clamp(min=0).mean(1)
        relevance = relevance + cam @ relevance
    return relevance[:, 0, 1:].reshape(len(pixels), *tower.grid_size)
