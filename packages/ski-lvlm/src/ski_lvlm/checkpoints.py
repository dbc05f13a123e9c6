"""The folder of a training run: whose it is, and its checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
import yaml

from ski_data.config import to_plain
from ski_lvlm.engine import MOMENTS, State, trainable
from ski_lvlm.model import SkiLvlm
from ski_lvlm.recipe import LvlmRecipe, read_recipe
from ski_skeleton.errors import CheckpointError, RunError
from ski_skeleton.weights import read_weights, write_weights

_STATE, _RECORD = "state.safetensors", "record.json"


def claim(out: Path, recipe: LvlmRecipe) -> None:
    """Make the folder this run's own, or check that it already is.

    Raises:
        RunError: It holds something else, or a run with other settings.
    """
    path = out / "config.yaml"
    free = {"zero", "micro_batch", "log_every", "checkpoint_every", "checkpointing"}
    free |= {"attention", "packed"}
    plain = to_plain(recipe)
    if path.exists():
        before = to_plain(read_recipe(path))
        changed = [k for k in plain if k not in free and before[k] != plain[k]]
        if changed:
            raise RunError(
                f"{out}: holds a run with other settings ({', '.join(changed)}); give another "
                "folder or remove it"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out}: is there already and no run of this program; give another folder")
    out.mkdir(parents=True, exist_ok=True)
    part = path.with_name(".config.yaml.part")
    part.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    os.replace(part, path)


def latest(out: Path) -> Path | None:
    """The checkpoint to go on from."""
    found = [p for p in (out / "checkpoints").glob("*") if p.name.isdigit()]
    return max(found, key=lambda p: int(p.name), default=None)


def write(out: Path, step: int, state: State) -> None:
    """Write ``checkpoints/STEP`` whole, then drop the older ones."""
    root = out / "checkpoints"
    target, part = root / str(step), root / f".{step}.part"
    if target.exists():
        return
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_weights(part / _STATE, state)
    (part / _RECORD).write_text(json.dumps({"step": step}) + "\n", encoding="utf-8")
    os.replace(part, target)
    for old in root.iterdir():
        if old != target:
            shutil.rmtree(old)


def read(path: Path) -> tuple[State, int]:
    """State and number of updates of a checkpoint.

    Raises:
        CheckpointError: Damaged.
    """
    try:
        step = int(json.loads((path / _RECORD).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / _RECORD}: cannot be read ({error}); remove {path} to start again"
        ) from error
    return read_weights(path / _STATE), step


def put(model: SkiLvlm, state: State, path: Path) -> None:
    """The weights of a checkpoint into the model.

    Raises:
        CheckpointError: Of another model.
    """
    wanted = trainable(model)
    names = {name for name in state if not name.startswith(MOMENTS)}
    odd = [n for n in wanted if n in state and state[n].shape != wanted[n].shape]
    if names != set(wanted) or odd:
        raise CheckpointError(
            f"{path}: holds {sorted(names)}, this model trains {sorted(wanted)}; remove {path} to "
            "start again"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(state[name])
