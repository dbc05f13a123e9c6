"""Hyperformer as its formulas read, term by term, channels first.

The oracle of the fast module's tests and, being trainable, what its speed is compared with: every
1x1 convolution and batch norm stands alone, attention terms are added one by one, and activations
are ``(B, C, T, V)`` with ``B = N * M``, as in the published class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ski_data.layouts import get_layout
from ski_skeleton.graph import hop_distances
from ski_skeleton.hyperformer import (
    HEAD_WIDTH,
    PROJECTION_GROUPS,
    Hyperformer,
    HyperformerBlock,
    HypergraphAttention,
    TemporalBranches,
)


class PlainHyperformer(nn.Module):
    """The parameters of a Hyperformer, computed with plainly.

    Gradients and running statistics arrive in the model's own tensors.
    """

    groups: Tensor
    hops: Tensor

    def __init__(self, model: Hyperformer) -> None:
        super().__init__()
        self.model, config = model, model.config
        layout = get_layout(config.layout)
        groups = config.groups if config.groups is not None else layout.groups
        self.register_buffer("groups", torch.as_tensor(groups))
        self.register_buffer("hops", hop_distances(layout.edges, config.joints))

    def forward(self, clips: Tensor) -> Tensor:
        """Clips ``(N, 3, T, V, M)`` to ``(N, output)``."""
        features, head = self.features(clips), self.model.head
        return features if head is None else F.linear(features, head.weight, head.bias)

    def features(self, clips: Tensor) -> Tensor:
        """Pooled features ``(N, W)``."""
        N, C, T, V, M = clips.shape
        x = clips.permute(0, 4, 3, 1, 2).reshape(N, M * V * C, T)
        x = _norm(self.model.data_norm, x).view(N, M, V, C, T).permute(0, 1, 3, 4, 2)
        x = x.reshape(N * M, C, T, V)
        for block in self.model.blocks:
            x = self._block(block, x)
        return x.view(N, M, x.shape[1], -1).mean((1, 3))

    def _block(self, block: HyperformerBlock, x: Tensor) -> Tensor:
        y = x if block.skip is None else _pointwise(x, block.skip.weight)
        y = y + self._attention(block.attention, x)
        kept = x
        if block.residual is not None:
            kept = _pointwise(x, block.residual.weight, block.residual.bias, block.stride)
            kept = _norm(block.residual_norm, kept)
        return torch.relu(_temporal(block.temporal, y) + kept)

    def _attention(self, module: HypergraphAttention, x: Tensor) -> Tensor:
        B, C, T, V = x.shape
        W, H, E = module.width, module.heads, HEAD_WIDTH
        member = F.one_hot(self.groups).to(x.dtype)
        means = torch.einsum("bctv,vg->bctg", x, member) / member.sum(0)
        e = _pointwise(means, module.edge.weight)[..., self.groups]
        normed = F.layer_norm(x.permute(0, 2, 3, 1), (C,), module.norm.weight, module.norm.bias)
        normed = normed.permute(0, 3, 1, 2)
        weights = module.qkv.weight
        q, k, v, e = (
            part.view(B, H, E, T, V).permute(0, 3, 1, 4, 2)  # (B, T, H, V, E)
            for part in (
                _pointwise(normed, weights[:W]),
                *_pointwise(normed, weights[W:]).split(W, 1),
                e,
            )
        )
        r = module.hop_vectors[self.hops].view(V, V, H, E)
        logits = torch.einsum("bthic,bthjc->bthij", q, k)
        logits = logits + torch.einsum("bthic,ijhc->bthij", q, r)
        logits = logits + torch.einsum("bthic,bthjc->bthij", q, e)
        logits = logits + torch.einsum("hc,bthjc->bthj", module.edge_bias, e)[:, :, :, None]
        attention = torch.softmax(logits * E**-0.5, -1) * module.alpha + module.outer
        out = torch.matmul(attention, v).permute(0, 2, 4, 1, 3).reshape(B, W, T, V)
        weight = module.projection.reshape(W, W // PROJECTION_GROUPS, 1, 1)
        return F.conv2d(out, weight, module.projection_bias, groups=PROJECTION_GROUPS)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """1x1 convolution of ``(B, C, T, V)``, strided in time."""
    return F.conv2d(x, weight[..., None, None], bias, (stride, 1))


_ALL = slice(None)


def _norm(norm: nn.BatchNorm1d, x: Tensor, channels: slice = _ALL) -> Tensor:
    """Batch norm over some channels of ``(B, C, ...)``, with the module's own mode."""
    return F.batch_norm(
        x,
        norm.running_mean[channels],
        norm.running_var[channels],
        norm.weight[channels],
        norm.bias[channels],
        norm.training,
        norm.momentum,
        norm.eps,
    )


def _temporal(module: TemporalBranches, x: Tensor) -> Tensor:
    """Four branches, each computed alone."""
    width, stride, convs = module.branch, module.stride, len(module.convs)
    outs = []
    for i in range(convs + 1):
        rows = slice(i * width, (i + 1) * width)
        y = _pointwise(x, module.reduce.weight[rows], module.reduce.bias[rows])
        y = torch.relu(_norm(module.reduce_norm, y, rows))
        if i < convs:
            conv = module.convs[i]
            reach, dilation = conv.kernel_size[0] // 2, conv.dilation[0]
            y = F.conv2d(
                y, conv.weight, conv.bias, (stride, 1), (reach * dilation, 0), (dilation, 1)
            )
        else:
            y = F.max_pool2d(y, (3, 1), (stride, 1), (1, 0))
        outs.append(_norm(module.norm, y, rows))
    rows = slice((convs + 1) * width, None)
    y = _pointwise(x, module.through.weight, module.through.bias, stride)
    return torch.cat([*outs, _norm(module.norm, y, rows)], 1)
