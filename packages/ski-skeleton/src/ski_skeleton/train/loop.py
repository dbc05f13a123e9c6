"""The one training loop: any task, any data set, on accelerate."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from ski_data.config import to_plain
from ski_skeleton.errors import ConfigError, DivergedError, RunError
from ski_skeleton.train import checkpoint
from ski_skeleton.train.data import Source, epoch_batches, labels_to_balance, load
from ski_skeleton.train.optim import OptimConfig, build_optimizer, learning_rate
from ski_skeleton.train.task import Task

log = logging.getLogger(__name__)

ProgressReport = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a short text."""


@dataclass(frozen=True)
class TrainConfig:
    """How long, how much at once, and how a run is kept."""

    epochs: int = 10
    batch_size: int = 32
    """Clips per optimiser step over all processes and accumulation steps."""
    accumulation: int = 1
    """Micro-batches per optimiser step and process."""
    seed: int = 0
    balanced: bool = False
    """Draw every class equally often in an epoch, clips of small classes more than once."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Autocast; weights stay float32."""
    clip_norm: float | None = None
    workers: int = 0
    """Loader processes."""
    checkpoint_seconds: float = 60.0
    """Least time between two checkpoints; the last step always gets one."""
    log_every: int = 10
    """Optimiser steps between two lines of ``log.jsonl``."""
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        wrong = [
            f"{name} must be at least 1, got {getattr(self, name)}"
            for name in ("epochs", "batch_size", "accumulation", "log_every")
            if getattr(self, name) < 1
        ]
        wrong += [
            f"{name} must not be negative, got {getattr(self, name)}"
            for name in ("workers", "checkpoint_seconds", "seed")
            if getattr(self, name) < 0
        ]
        if self.clip_norm is not None and self.clip_norm <= 0:
            wrong.append(f"clip_norm must be positive, got {self.clip_norm}")
        if self.accumulation > 0 and self.batch_size % self.accumulation:
            wrong.append(f"batch_size {self.batch_size} is no multiple of accumulation")
        if wrong:
            raise ConfigError("training: " + "; ".join(wrong))


def fit(
    task: Task,
    source: Source,
    config: TrainConfig,
    folder: str | Path,
    *,
    report: ProgressReport | None = None,
) -> None:
    """Train ``task`` on ``source`` and leave it trained, in evaluation mode, on the CPU.

    The folder gets ``config.json``, ``log.jsonl`` and ``checkpoints/``. Called again with the same
    arguments after a kill, it goes on from the last checkpoint and ends with the same weights.

    Raises:
        ConfigError: settings that do not fit the data set or the number of processes.
        RunError: the folder belongs to a run with other settings.
        DivergedError: a loss that is not finite; names the step and the batch.
    """
    folder = Path(folder)
    logging.getLogger("DeepSpeed").addFilter(_is_error)
    try:
        accelerator = Accelerator(mixed_precision=config.precision)
    except ValueError as error:
        raise ConfigError(f'precision {config.precision}: {error}; set "bf16" or "no"') from error
    ranks = accelerator.num_processes
    micro = config.batch_size // config.accumulation
    if micro % ranks:
        raise ConfigError(f"micro-batch {micro} cannot be dealt to {ranks} processes")
    labels = labels_to_balance(source) if config.balanced else None
    if accelerator.is_main_process:
        _claim(folder, task, config)
    accelerator.wait_for_everyone()
    set_seed(config.seed)

    per_epoch = max(1, len(epoch_batches(len(source), micro, seed=0, epoch=0)))
    steps_per_epoch = max(1, per_epoch // config.accumulation)
    total = steps_per_epoch * config.epochs
    optimizer = build_optimizer(task.parameter_groups(), config.optim)
    scales = [group.get("scale", 1.0) for group in optimizer.param_groups]
    step = 0
    latest = checkpoint.latest_checkpoint(folder)
    if latest is not None:
        step = int(checkpoint.load_checkpoint(latest, task, optimizer)["step"])
        log.info("%s: going on from step %d of %d", folder.name, step, total)
    model, optimizer = accelerator.prepare(task, optimizer)

    def save() -> None:
        if accelerator.is_main_process:
            checkpoint.save_checkpoint(
                folder, step, accelerator.unwrap_model(model), optimizer.optimizer, {}
            )

    history = _History(folder, step, accelerator.is_main_process)
    saved = time.monotonic()
    while step < total:
        epoch, done = divmod(step, steps_per_epoch)
        source.set_epoch(epoch)
        batches = epoch_batches(
            len(source),
            micro,
            seed=config.seed,
            epoch=epoch,
            ranks=ranks,
            rank=accelerator.process_index,
            labels=labels,
        )
        batches = batches[done * config.accumulation : steps_per_epoch * config.accumulation]
        model.train()
        loader = load(source, batches, workers=config.workers)
        for _ in range(done, steps_per_epoch):
            rate = learning_rate(config.optim, step, steps_per_epoch, total)
            for group, scale in zip(optimizer.param_groups, scales, strict=True):
                group["lr"] = rate * scale
            for part in range(config.accumulation):
                batch = _to_device(next(loader), accelerator.device)
                sync = part == config.accumulation - 1
                with _maybe_no_sync(accelerator, model, sync), accelerator.autocast():
                    losses = model(batch)
                    accelerator.backward(losses["loss"] / config.accumulation)
                history.add(losses, batch)
            if config.clip_norm is not None:
                accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % config.log_every == 0 or step == total:
                means = history.flush(step, step / steps_per_epoch, rate)
                if report is not None and accelerator.is_main_process:
                    report(step, total, f"loss {means['loss']:.3f}")
            if time.monotonic() - saved > config.checkpoint_seconds and step < total:
                save()
                saved = time.monotonic()
    save()
    accelerator.wait_for_everyone()
    task.zero_grad(set_to_none=True)
    task.to("cpu").eval()


class _History:
    """Losses since the last line of ``log.jsonl``, kept on the device until they are written."""

    def __init__(self, folder: Path, step: int, main: bool) -> None:
        self.path, self.main = folder / "log.jsonl", main
        self.losses: list[dict[str, Tensor]] = []
        self.batches: list[list[int]] = []
        self.started = time.monotonic()
        if main and self.path.exists():  # lines behind the checkpoint will be written again
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [
                line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step
            ]
            self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, losses: dict[str, Tensor], batch: dict[str, Any]) -> None:
        self.losses.append({k: v.detach().float() for k, v in losses.items()})
        self.batches.append(batch["index"].tolist() if "index" in batch else [])

    def flush(self, step: int, epoch: float, rate: float) -> dict[str, float]:
        stacked = {k: torch.stack([entry[k] for entry in self.losses]) for k in self.losses[0]}
        finite = torch.isfinite(stacked["loss"]).tolist()
        if not all(finite):
            first = finite.index(False)
            raise DivergedError(
                f"the loss is {stacked['loss'][first].item()} within the "
                f"{len(finite)} batches before step {step}, first for samples "
                f"{self.batches[first]}; lower the learning rate or check these samples"
            )
        means = {k: float(v.mean()) for k, v in stacked.items()}
        self.losses.clear()
        self.batches.clear()
        if self.main:
            seconds = round(time.monotonic() - self.started, 2)
            line = {"step": step, "epoch": round(epoch, 4), "lr": rate, "seconds": seconds, **means}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return means


def _is_error(record: logging.LogRecord) -> bool:
    """accelerate imports DeepSpeed where it is installed, which remarks that there is no GPU."""
    return record.levelno >= logging.ERROR


def _claim(folder: Path, task: Task, config: TrainConfig) -> None:
    """Make the folder this run's own, or check that it already is."""
    shapes = {k: list(v.shape) for k, v in task.state_dict().items()}
    shape_hash = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]
    plain = {"task": type(task).__name__, "weights": shape_hash, "train": to_plain(config)}
    path = folder / "config.json"
    text = json.dumps(plain, indent=1) + "\n"
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise RunError(
                f"{folder}: holds a run with other settings; give another folder or remove it"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()
    }


def _maybe_no_sync(accelerator: Accelerator, model: torch.nn.Module, sync: bool) -> Any:
    return contextlib.nullcontext() if sync else accelerator.no_sync(model)
