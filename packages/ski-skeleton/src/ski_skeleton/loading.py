"""The skeleton encoder of any model folder, and what the folder says of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ski_data.config import from_plain
from ski_data.skeleton import FeederConfig
from ski_skeleton import pipeline
from ski_skeleton.c2vl.model import C2vl
from ski_skeleton.c2vl.recipe import KIND as C2VL
from ski_skeleton.c2vl.recipe import load_c2vl
from ski_skeleton.encoder import MapEncoder
from ski_skeleton.encoders import ENCODERS, EncoderConfig, build_encoder, encoder_config
from ski_skeleton.errors import CheckpointError
from ski_skeleton.train.model_folder import read_model
from ski_skeleton.weights import load_strictly

KINDS = (pipeline.KIND, C2VL, *ENCODERS)
"""Kinds of model folders that hold a skeleton encoder."""


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder and what its folder says about it."""

    module: MapEncoder
    """Has ``encode`` and, for maps, ``activations``; in evaluation mode."""
    kind: str
    layout: str
    bodies: int
    trained_on: tuple[str, ...] | None
    """Names of the classes whose labels trained it; None: it does not say."""
    feeder: FeederConfig
    """As in its training, where the folder says; the defaults otherwise."""
    meta: dict[str, Any]
    c2vl: C2vl | None = None
    """The whole student, where the folder holds one."""


def load_encoder(folder: str | Path, *, fresh: bool = False, seed: int = 0) -> LoadedEncoder:
    """The skeleton encoder of a model folder of one of :data:`KINDS`.

    Args:
        folder: the model folder.
        fresh: random weights in place of the trained ones, for comparison.
        seed: of them.

    Raises:
        MissingFileError, CheckpointError: no model folder, a damaged one, or one of a kind that
            holds no skeleton encoder.
    """
    kind, plain, state, meta = read_model(folder)
    config: EncoderConfig
    student = None
    if kind == pipeline.KIND:
        model = pipeline.load_skeleton_clip(folder)[0]
        module, config = model.encoder, model.config.encoder
    elif kind == C2VL:
        student = load_c2vl(folder)[0]
        module, config = student.encoder, student.config.encoder
    elif kind in ENCODERS:
        config = encoder_config(kind, plain, str(folder))
        module = build_encoder(config)
        load_strictly(module, state, folder)
    else:
        raise CheckpointError(
            f"{folder}: a {kind} model has no skeleton encoder; {', '.join(KINDS)} models have one"
        )
    seen = meta.get("classes_seen")
    if seen is not None and not (
        isinstance(seen, list) and all(isinstance(name, str) for name in seen)
    ):
        raise CheckpointError(f"{folder}: classes_seen is no list of names; copy the folder again")
    if fresh:
        torch.manual_seed(seed)
        module, student = build_encoder(config), None
    return LoadedEncoder(
        module=module.eval(),
        kind=kind,
        layout=config.layout,
        bodies=config.persons,
        trained_on=None if seen is None else tuple(seen),
        feeder=from_plain(FeederConfig, meta.get("feeder", {}), f"{folder}: feeder"),
        meta=meta,
        c2vl=student,
    )


def changed_feeder(feeder: FeederConfig, window: int | None, stream: str | None) -> FeederConfig:
    """What a folder says of its clips, with what a command line says otherwise.

    Raises:
        InputError: a window or stream that there is not.
    """
    given = {"window": window, "stream": stream}
    return replace(feeder, **{key: value for key, value in given.items() if value is not None})
