"""Checkpoints of a run in progress: enough to go on as if nothing had happened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ski_skeleton.errors import CheckpointError, DivergedError
from ski_skeleton.weights import load_plain, load_strictly, read_weights, write_weights

STATE = "trainer.pt"
WEIGHTS = "weights.safetensors"


def save_checkpoint(
    folder: Path,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: dict[str, Any],
) -> None:
    """Write ``checkpoints/STEP`` under ``folder`` whole, then drop the older ones.

    Raises:
        DivergedError: weights that are not finite; the older checkpoint stays.
    """
    odd = [
        name
        for name, value in module.state_dict().items()
        if isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and not bool(torch.isfinite(value).all())
    ]
    if odd:
        raise DivergedError(
            f"after step {step} {len(odd)} weights are not finite, such as {odd[0]}; lower the "
            "learning rate"
        )
    root = folder / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    target, part = root / str(step), root / f".{step}.part"
    if target.exists():
        return
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    write_weights(part / WEIGHTS, module.state_dict())
    rng = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        rng["cuda"] = torch.cuda.get_rng_state()
    content = {"step": step, "optimizer": optimizer.state_dict(), "rng": rng, **extra}
    torch.save(content, part / STATE)
    os.replace(part, target)
    for old in root.iterdir():
        if old != target:
            shutil.rmtree(old)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, if any."""
    found = [p for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    return max(found, key=lambda p: int(p.name), default=None)


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Restore module, optimiser and generators; gives back the saved record.

    Raises:
        CheckpointError: a damaged or foreign checkpoint.
    """
    load_strictly(module, read_weights(path / WEIGHTS), path)
    try:
        content = load_plain(path / STATE)
        optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["rng"]["cpu"])
        int(content["step"])
    except (CheckpointError, RuntimeError, ValueError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path / STATE}: cannot be read ({first}); remove {path} to start again"
        ) from error
    if torch.cuda.is_available() and "cuda" in content["rng"]:
        torch.cuda.set_rng_state(content["rng"]["cuda"])
    return content
