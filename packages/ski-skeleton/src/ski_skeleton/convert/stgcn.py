"""Key table of published ST-GCN checkpoints, as of SkeletonCLR, AimCLR and SMIE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ski_skeleton.convert.table import Entry, Part, Table, norm_entries, same
from ski_skeleton.stgcn import SUBSETS, StgcnConfig, adjacency


def stgcn_table(config: StgcnConfig) -> Table:
    """Table between our ST-GCN and the published names; the head is ``fc``."""
    V = config.joints
    table: Table = list(norm_entries("data_norm", [("data_bn", V * 3)]))
    before = 3
    for i, (width, stride) in enumerate(zip(config.channels, config.strides, strict=True)):
        table += _block(i, before, width, stride, config)
        before = width
    if config.output is not None:
        table.append(same("head.weight", "fc.weight", (config.output, config.width)))
        table.append(same("head.bias", "fc.bias", (config.output,)))
    return table


def stgcn_constants(config: StgcnConfig) -> Mapping[str, Tensor]:
    """Published entries that training does not change: the graph."""
    return {"A": adjacency(config.layout)}


def _block(i: int, channels: int, width: int, stride: int, config: StgcnConfig) -> Iterable[Entry]:
    ours, theirs, V = f"blocks.{i}.", f"st_gcn_networks.{i}.", config.joints
    conv = Part(f"{theirs}gcn.conv.weight", (SUBSETS * width, channels, 1, 1))
    yield Entry(f"{ours}spatial.linear.weight", (SUBSETS * width, channels), (conv,))
    yield same(f"{ours}spatial.linear.bias", f"{theirs}gcn.conv.bias", (SUBSETS * width,))
    yield same(f"{ours}spatial.importance", f"edge_importance.{i}", (SUBSETS, V, V))
    yield from norm_entries(f"{ours}norm", [(f"{theirs}tcn.0", width)])
    kernel = (width, width, config.kernel, 1)
    yield same(f"{ours}temporal.weight", f"{theirs}tcn.2.weight", kernel)
    yield same(f"{ours}temporal.bias", f"{theirs}tcn.2.bias", (width,))
    yield from norm_entries(f"{ours}temporal_norm", [(f"{theirs}tcn.3", width)])
    if i > 0 and (channels != width or stride != 1):
        through = Part(f"{theirs}residual.0.weight", (width, channels, 1, 1))
        yield Entry(f"{ours}residual.weight", (width, channels), (through,))
        yield same(f"{ours}residual.bias", f"{theirs}residual.0.bias", (width,))
        yield from norm_entries(f"{ours}residual_norm", [(f"{theirs}residual.1", width)])
