"""Key table of published Shift-GCN checkpoints, alone or inside STAR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ski_skeleton.convert.table import Entry, Part, Table, norm_entries, same
from ski_skeleton.shift_gcn import ShiftGcnConfig, spatial_shift


def shift_gcn_table(config: ShiftGcnConfig) -> Table:
    """Table between our Shift-GCN and the published names; the head is ``fc``."""
    V = config.joints
    table: Table = list(norm_entries("data_norm", [("data_bn", config.persons * V * 3)]))
    before = 3
    for i, (width, stride) in enumerate(zip(config.channels, config.strides, strict=True)):
        table += _block(i, before, width, stride, V)
        before = width
    if config.output is not None:
        table.append(same("head.weight", "fc.weight", (config.output, config.width)))
        table.append(same("head.bias", "fc.bias", (config.output,)))
    return table


def shift_gcn_constants(config: ShiftGcnConfig) -> Mapping[str, Tensor]:
    """Published entries that training does not change: shifts over joints, and none along them.

    The release keeps a shift ``xpos`` along the joint axis of each temporal shift, drawn within
    1e-8 of zero and given no gradient.
    """
    constants = {}
    before = 3
    for i, width in enumerate(config.channels):
        spatial, temporal = f"l{i + 1}.gcn1.", f"l{i + 1}.tcn1."
        constants[f"{spatial}shift_in"] = spatial_shift(config.joints, before, 1)
        constants[f"{spatial}shift_out"] = spatial_shift(config.joints, width, -1)
        for name in ("shift_in", "shift_out"):
            constants[f"{temporal}{name}.xpos"] = torch.zeros(width)
        before = width
    return constants


def _pointwise(ours: str, theirs: str, channels: int, width: int) -> Iterable[Entry]:
    """A linear layer that is published as a 1x1 convolution."""
    part = Part(f"{theirs}.weight", (width, channels, 1, 1))
    yield Entry(f"{ours}.weight", (width, channels), (part,))
    yield same(f"{ours}.bias", f"{theirs}.bias", (width,))


def _block(i: int, channels: int, width: int, stride: int, V: int) -> Iterable[Entry]:
    ours, theirs = f"blocks.{i}.spatial.", f"l{i + 1}.gcn1."
    weight = Part(f"{theirs}Linear_weight", (channels, width))
    yield Entry(f"{ours}weight", (channels, width), (weight,))
    yield Entry(f"{ours}bias", (width,), (Part(f"{theirs}Linear_bias", (1, 1, width)),))
    mask = Part(f"{theirs}Feature_Mask", (1, V, channels))
    yield Entry(f"{ours}mask", (V, channels), (mask,))
    yield from norm_entries(f"{ours}norm", [(f"{theirs}bn", V * width)])
    if channels != width:
        yield from _pointwise(f"{ours}down", f"{theirs}down.0", channels, width)
        yield from norm_entries(f"{ours}down_norm", [(f"{theirs}down.1", width)])
    ours, theirs = f"blocks.{i}.temporal.", f"l{i + 1}.tcn1."
    yield from norm_entries(f"{ours}norm", [(f"{theirs}bn", width)])
    yield same(f"{ours}shift.offset", f"{theirs}shift_in.ypos", (width,))
    yield from _pointwise(f"{ours}linear", f"{theirs}temporal_linear", width, width)
    yield same(f"{ours}strided.offset", f"{theirs}shift_out.ypos", (width,))
    yield from norm_entries(f"{ours}out_norm", [(f"{theirs}bn2", width)])
    if i > 0 and (channels != width or stride != 1):
        ours, theirs = f"blocks.{i}.", f"l{i + 1}.residual."
        yield from _pointwise(f"{ours}residual", f"{theirs}conv", channels, width)
        yield from norm_entries(f"{ours}residual_norm", [(f"{theirs}bn", width)])
