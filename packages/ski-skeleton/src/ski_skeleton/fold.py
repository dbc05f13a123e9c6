"""Batch norms folded into the layers in front of them, for inference."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from ski_skeleton.encoder import ChannelNorm
from ski_skeleton.hyperformer import HyperformerBlock, TemporalBranches
from ski_skeleton.shift_gcn import ShiftGcnBlock, ShiftGraphConvolution
from ski_skeleton.stgcn import StgcnBlock

Model = TypeVar("Model", bound=nn.Module)

PAIRS: tuple[tuple[type[nn.Module], str, str], ...] = (
    (TemporalBranches, "reduce", "reduce_norm"),
    (HyperformerBlock, "residual", "residual_norm"),
    (StgcnBlock, "temporal", "temporal_norm"),
    (StgcnBlock, "residual", "residual_norm"),
    (ShiftGraphConvolution, "down", "down_norm"),
    (ShiftGcnBlock, "residual", "residual_norm"),
)
"""Module, its layer, and the norm that sees that layer's output and nothing else."""


def fold_batch_norm(model: Model) -> Model:
    """A copy for inference in which linear layers and convolutions hold the norms behind them.

    The outputs are those of the model in evaluation mode, up to rounding. Norms stay where
    something comes between (a shift, a graph, max-pooling) or nothing in front (the input's). The
    copy is in evaluation mode and its parameters ask for no gradients; it is not to be trained, and
    its ``state_dict`` is no longer the model's.

    Args:
        model: an encoder, or any module that holds some.
    """
    folded = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(folded.modules()):
        for kind, layer, norm in PAIRS:
            if isinstance(module, kind) and getattr(module, layer) is not None:
                _fold(getattr(module, layer), getattr(module, norm))
                setattr(module, norm, nn.Identity())
        if isinstance(module, TemporalBranches):
            _fold_branches(module)
    return folded


def _fold_branches(module: TemporalBranches) -> None:
    """The norm over all branches, part by part; that of max-pooling stays."""
    parts = [_part(module.norm, i * module.branch, module.branch) for i in range(module.branches)]
    for layer, part in zip([*module.convs, module.through], [*parts[:-2], parts[-1]], strict=True):
        _fold(layer, part)
    module.pool_norm, module.norm = parts[-2], nn.Identity()


def _part(norm: ChannelNorm, start: int, width: int) -> ChannelNorm:
    """The norm of some of the channels."""
    part = ChannelNorm(width, norm.eps).to(norm.weight).eval().requires_grad_(False)
    state = norm.state_dict()
    part.load_state_dict(
        {name: v[start : start + width] if v.ndim else v for name, v in state.items()}
    )
    return part


@torch.no_grad()
def _fold(layer: nn.Linear | nn.Conv2d, norm: ChannelNorm) -> None:
    """``norm(layer(x))`` as the layer alone."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.sub_(norm.running_mean).mul_(scale).add_(norm.bias)
