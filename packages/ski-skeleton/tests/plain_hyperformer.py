"""Hyperformer as its formulas read, term by term: the oracle of the fast module's tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ski_data.layouts import get_layout
from ski_skeleton.graph import hop_distances
from ski_skeleton.hyperformer import HEAD_WIDTH, PROJECTION_GROUPS, Hyperformer


def plain_attention(module, x, config):
    """``(B, C, T, V)`` to ``(B, W, T, V)``, one loop per pair of joints' terms."""
    layout = get_layout(config.layout)
    groups = config.groups if config.groups is not None else layout.groups
    hops = hop_distances(layout.edges, config.joints)
    B, C, T, V = x.shape
    W, H, E = config.width, config.heads, HEAD_WIDTH
    q_weight, k_weight, v_weight = module.qkv.weight.split(W)

    def conv(weight, value):
        return torch.einsum("oc,bctv->botv", weight, value)

    mean_of_group = torch.stack(
        [x[..., [j for j in range(V) if groups[j] == g]].mean(-1) for g in range(max(groups) + 1)],
        -1,
    )
    edge = conv(module.edge.weight, mean_of_group)[..., list(groups)]
    normed = F.layer_norm(x.permute(0, 2, 3, 1), (C,), module.norm.weight, module.norm.bias)
    normed = normed.permute(0, 3, 1, 2)
    q, k, v, e = (
        part.view(B, H, E, T, V)
        for part in (conv(q_weight, normed), conv(k_weight, normed), conv(v_weight, normed), edge)
    )
    r = module.hop_vectors[hops].view(V, V, H, E)
    logits = (
        torch.einsum("bhcti,bhctj->bhtij", q, k)
        + torch.einsum("bhcti,ijhc->bhtij", q, r)
        + torch.einsum("bhcti,bhctj->bhtij", q, e)
        + torch.einsum("hc,bhctj->bhtj", module.edge_bias, e)[:, :, :, None]
    )
    attention = torch.softmax(logits * E**-0.5, -1) * module.alpha + module.outer[None, :, None]
    out = torch.einsum("bhtij,bhctj->bhcti", attention, v).reshape(B, W, T, V)
    weight = module.projection.reshape(W, W // PROJECTION_GROUPS, 1, 1)
    return F.conv2d(out, weight, module.projection_bias, groups=PROJECTION_GROUPS)


ALL = slice(None)


def plain_norm(norm, x, channels=ALL):
    """Batch norm with running statistics over the channels of ``(B, C, T, V)``."""
    mean, var = norm.running_mean[channels], norm.running_var[channels]
    weight, bias = norm.weight[channels], norm.bias[channels]
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=norm.eps)


def plain_temporal(module, x, config):
    """Four branches, each computed alone."""
    b, s, pad = module.branch, module.stride, (config.kernel - 1) // 2
    outs = []
    for i in range(len(config.dilations) + 1):
        rows = slice(i * b, (i + 1) * b)
        y = F.conv2d(x, module.reduce.weight[rows, :, None, None], module.reduce.bias[rows])
        y = torch.relu(plain_norm(module.reduce_norm, y, rows))
        if i < len(config.dilations):
            conv, d = module.convs[i], config.dilations[i]
            y = F.conv2d(y, conv.weight, conv.bias, (s, 1), (pad * d, 0), (d, 1))
        else:
            y = F.max_pool2d(y, (3, 1), (s, 1), (1, 0))
        outs.append(plain_norm(module.norm, y, rows))
    rows = slice((len(config.dilations) + 1) * b, None)
    y = F.conv2d(x, module.through.weight[..., None, None], module.through.bias, (s, 1))
    return torch.cat([*outs, plain_norm(module.norm, y, rows)], 1)


def plain_features(model: Hyperformer, clips):
    """Pooled features ``(N, W)`` in evaluation mode."""
    N, C, T, V, M = clips.shape
    x = clips.permute(0, 4, 3, 1, 2).reshape(N, M * V * C, T)
    x = plain_norm(model.data_norm, x).view(N, M, V, C, T).permute(0, 1, 3, 4, 2)
    x = x.reshape(N * M, C, T, V)
    for block in model.blocks:
        skip = x if block.skip is None else F.conv2d(x, block.skip.weight[..., None, None])
        y = skip + plain_attention(block.attention, x, model.config)
        kept = x
        if block.residual is not None:
            weight = block.residual.weight[..., None, None]
            kept = F.conv2d(x, weight, block.residual.bias, (block.stride, 1))
            kept = plain_norm(block.residual_norm, kept)
        x = torch.relu(plain_temporal(block.temporal, y, model.config) + kept)
    return x.view(N, M, x.shape[1], -1).mean((1, 3))
