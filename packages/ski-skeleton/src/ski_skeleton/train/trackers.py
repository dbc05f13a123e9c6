"""Trackers beside ``log.jsonl``: TensorBoard and Weights & Biases, each an extra."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from ski_skeleton.errors import ConfigError

TrackerName = Literal["tensorboard", "wandb"]


def check_trackers(names: Sequence[str]) -> None:
    """Whether the packages of all trackers are there.

    Raises:
        ConfigError: one is not installed; names the extra.
    """
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                f"trackers: {name} is not installed; pip install 'ski-skeleton[{name}]', or leave "
                f"it out (log.jsonl is written in any case)"
            )


def open_trackers(
    names: Sequence[str], folder: Path, step: int, settings: Mapping[str, Any]
) -> list[GeneralTracker]:
    """Trackers of the run ``folder``, which went to ``step`` before.

    TensorBoard's files come into ``folder/tensorboard``, where points behind ``step`` are dropped.
    A run of Weights & Biases goes on under the identity kept in ``folder/wandb.txt``.
    """
    found: list[GeneralTracker] = []
    for name in names:
        if name == "tensorboard":
            found.append(TensorBoardTracker(name, folder, purge_step=step + 1))
        else:
            identity = folder / "wandb.txt"
            if not identity.exists():
                identity.write_text(uuid.uuid4().hex + "\n", encoding="utf-8")
            run = identity.read_text(encoding="utf-8").strip()
            about = {"id": run, "name": folder.name, "resume": "allow", "config": dict(settings)}
            found.append(WandBTracker("ski-skeleton", dir=str(folder), **about))
    for tracker in found:
        tracker.start()
    return found
