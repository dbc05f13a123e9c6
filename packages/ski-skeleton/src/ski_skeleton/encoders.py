"""Skeleton encoders by the kind that a recipe or a model folder names.

The settings of an encoder are one of three dataclasses, told apart by their ``kind``; settings
that name none are a Hyperformer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ski_data.config import from_plain
from ski_skeleton.encoder import MapEncoder
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.shift_gcn import ShiftGcn, ShiftGcnConfig
from ski_skeleton.stgcn import Stgcn, StgcnConfig

EncoderConfig = HyperformerConfig | StgcnConfig | ShiftGcnConfig
"""Settings of an encoder."""

ENCODERS: Mapping[str, type] = {
    "hyperformer": HyperformerConfig,
    "stgcn": StgcnConfig,
    "shift_gcn": ShiftGcnConfig,
}
"""Settings by kind; also the kinds of model folders that hold an encoder alone."""


def build_encoder(config: EncoderConfig) -> MapEncoder:
    """The encoder of ``config`` with fresh weights."""
    if isinstance(config, StgcnConfig):
        return Stgcn(config)
    if isinstance(config, ShiftGcnConfig):
        return ShiftGcn(config)
    return Hyperformer(config)


def encoder_config(kind: str, plain: Mapping[str, Any], where: str) -> EncoderConfig:
    """Settings of an encoder from plain values, such as a model folder's.

    Raises:
        InputError: settings that are none of this kind; ``where`` names their source.
    """
    config: EncoderConfig = from_plain(ENCODERS[kind], plain, where)
    return config
