"""Key table of published Hyperformer checkpoints: the official class and SKI's copy of it."""

from __future__ import annotations

from collections.abc import Iterable

from ski_data.layouts import get_layout
from ski_skeleton.convert.table import Entry, Part, Table, norm_entries, same
from ski_skeleton.graph import hop_distances
from ski_skeleton.hyperformer import HEAD_WIDTH, PROJECTION_GROUPS, HyperformerConfig

OFFICIAL_HEAD = "fc"
"""Head of the official class: width to action classes."""
SKI_HEAD = "fc2"
"""Head of SKI's copy: width to CLIP's joint space."""


def hyperformer_table(config: HyperformerConfig, head: str) -> Table:
    """Table between our Hyperformer and the published names.

    Args:
        config: size of the model; ``config.output`` is the head's width.
        head: the published head's name, ``fc`` (official) or ``fc2`` (SKI).
    """
    W, V = config.width, config.joints
    hops = int(hop_distances(get_layout(config.layout).edges, V).max()) + 1
    table: Table = list(norm_entries("data_norm", [("data_bn", config.persons * V * 3)]))
    for index, stride in enumerate(config.strides):
        channels = 3 if index == 0 else W
        table += _block(f"blocks.{index}.", f"l{index + 1}.", channels, stride, hops, config)
    if config.output is not None:
        table.append(same("head.weight", f"{head}.weight", (config.output, W)))
        table.append(same("head.bias", f"{head}.bias", (config.output,)))
    return table


def _linear(name: str, others: Iterable[str], rows: int, channels: int) -> Entry:
    """A linear layer made of 1x1 convolutions with ``rows`` outputs each."""
    parts = tuple(Part(other, (rows, channels, 1, 1)) for other in others)
    return Entry(name, (rows * len(parts), channels), parts)


def _block(
    ours: str, theirs: str, channels: int, stride: int, hops: int, config: HyperformerConfig
) -> Iterable[Entry]:
    W, V, H = config.width, config.joints, config.heads
    a, b = f"{ours}attention.", f"{theirs}vit1."
    yield from norm_entries(f"{a}norm", [(f"{b}norm1", channels)], statistics=False)
    yield same(f"{a}hop_vectors", f"{b}attn.rpe", (hops, W))
    yield same(f"{a}edge_bias", f"{b}attn.w1", (H, HEAD_WIDTH))
    yield same(f"{a}outer", f"{b}attn.outer", (H, V, V))
    yield same(f"{a}alpha", f"{b}attn.alpha", (1,))
    q = Part(f"{b}attn.q.weight", (W, channels, 1, 1))
    kv = Part(f"{b}attn.kv.weight", (2 * W, channels, 1, 1))
    yield Entry(f"{a}qkv.weight", (3 * W, channels), (q, kv))
    group = W // PROJECTION_GROUPS
    yield Entry(
        f"{a}projection",
        (PROJECTION_GROUPS, group, group),
        (Part(f"{b}attn.proj.weight", (W, group, 1, 1)),),
    )
    yield same(f"{a}projection_bias", f"{b}attn.proj.bias", (W,))
    yield _linear(f"{a}edge.weight", [f"{b}pe_proj.weight"], W, channels)
    if channels != W:
        yield _linear(f"{ours}skip.weight", [f"{b}skip_proj.weight"], W, channels)
    yield from _temporal(f"{ours}temporal.", f"{theirs}tcn1.branches.", config)
    if channels != W or stride != 1:
        yield _linear(f"{ours}residual.weight", [f"{theirs}residual.conv.weight"], W, channels)
        yield same(f"{ours}residual.bias", f"{theirs}residual.conv.bias", (W,))
        yield from norm_entries(f"{ours}residual_norm", [(f"{theirs}residual.bn", W)])


def _temporal(ours: str, theirs: str, config: HyperformerConfig) -> Iterable[Entry]:
    W, convs = config.width, len(config.dilations)
    branch = W // (convs + 2)
    first = [f"{theirs}{i}.0" for i in range(convs + 1)]  # dilated branches, then max-pool
    yield _linear(f"{ours}reduce.weight", [f"{name}.weight" for name in first], branch, W)
    bias = tuple(Part(f"{name}.bias", (branch,)) for name in first)
    yield Entry(f"{ours}reduce.bias", (branch * len(first),), bias)
    yield from norm_entries(
        f"{ours}reduce_norm", [(f"{theirs}{i}.1", branch) for i in range(convs + 1)]
    )
    for i in range(convs):
        conv = (branch, branch, config.kernel, 1)
        yield same(f"{ours}convs.{i}.weight", f"{theirs}{i}.3.conv.weight", conv)
        yield same(f"{ours}convs.{i}.bias", f"{theirs}{i}.3.conv.bias", (branch,))
    yield _linear(f"{ours}through.weight", [f"{theirs}{convs + 1}.0.weight"], branch, W)
    yield same(f"{ours}through.bias", f"{theirs}{convs + 1}.0.bias", (branch,))
    last = [(f"{theirs}{i}.3.bn", branch) for i in range(convs)]
    last += [(f"{theirs}{convs}.4", branch), (f"{theirs}{convs + 1}.1", branch)]
    yield from norm_entries(f"{ours}norm", last)
