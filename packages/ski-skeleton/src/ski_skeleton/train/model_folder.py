"""A trained model as a folder: weights, settings, and what it was trained on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ski_data.config import to_plain
from ski_data.errors import ExistingOutputError, MissingFileError
from ski_skeleton.errors import CheckpointError
from ski_skeleton.weights import read_weights, write_weights

WEIGHTS, CONFIG, META = "weights.safetensors", "config.json", "meta.json"


def write_model(
    folder: str | Path,
    kind: str,
    config: Any,
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any],
) -> Path:
    """Write ``folder`` whole or not at all.

    Args:
        folder: must not exist yet.
        kind: what :func:`read_model` will ask for, e.g. ``skeleton-clip``.
        config: the dataclass that builds the model.
        state: its state dict.
        meta: what it was trained on: class names seen, split hash, data hash, seed.

    Raises:
        ExistingOutputError: the folder is already there.
    """
    folder = Path(folder)
    if folder.exists():
        raise ExistingOutputError(f"{folder}: already there; choose another folder or remove it")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_weights(part / WEIGHTS, state)
    settings = {"kind": kind, "config": to_plain(config)}
    (part / CONFIG).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    versions = {"ski-skeleton": version("ski-skeleton"), "torch": torch.__version__}
    record = {"versions": versions, **to_plain(meta)}
    (part / META).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(part, folder)
    return folder


def read_model(
    folder: str | Path, kind: str | None = None
) -> tuple[str, dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Kind, plain config, state dict and meta of a model folder.

    Raises:
        MissingFileError: no such folder, or it holds no model.
        CheckpointError: another kind of model, or a damaged file.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG, META):
        if not (folder / name).is_file():
            raise MissingFileError(
                f"{folder}: no {name} in it; a model folder holds {WEIGHTS}, {CONFIG} and {META}"
            )
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        found, config = settings["kind"], settings["config"]
        if not isinstance(meta, dict):
            raise TypeError(f"{META} holds no entries by name")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: damaged {CONFIG} or {META} ({error}); copy it again"
        ) from error
    if kind is not None and found != kind:
        raise CheckpointError(f"{folder}: holds a {found} model, a {kind} model is needed")
    return found, config, read_weights(folder / WEIGHTS), meta
