"""Skeleton encoders by the kind that a recipe or a model folder names.

The settings of an encoder are one of the dataclasses of ``ENCODERS``, told apart by their ``kind``;
settings that name none are the first's. A new encoder is one line of that table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from ski_data.config import from_plain
from ski_skeleton.encoder import MapEncoder
from ski_skeleton.hyperformer import Hyperformer, HyperformerConfig
from ski_skeleton.shift_gcn import ShiftGcn, ShiftGcnConfig
from ski_skeleton.stgcn import Stgcn, StgcnConfig


class Kind(NamedTuple):
    """Settings and module of an encoder."""

    config: type
    model: type[MapEncoder]


ENCODERS: Mapping[str, Kind] = {
    "hyperformer": Kind(HyperformerConfig, Hyperformer),
    "stgcn": Kind(StgcnConfig, Stgcn),
    "shift_gcn": Kind(ShiftGcnConfig, ShiftGcn),
}
"""Settings and module by kind; also the kinds of model folders that hold an encoder alone."""

EncoderConfig = reduce(or_, [kind.config for kind in ENCODERS.values()])
"""Settings of an encoder, whichever of the table."""


def build_encoder(config: EncoderConfig) -> MapEncoder:
    """The encoder of ``config`` with fresh weights."""
    return ENCODERS[config.kind].model(config)


def encoder_config(kind: str, plain: Mapping[str, Any], where: str) -> EncoderConfig:
    """Settings of an encoder from plain values, such as a model folder's.

    Raises:
        InputError: settings that are none of this kind; ``where`` names their source.
    """
    return from_plain(ENCODERS[kind].config, plain, where)
