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

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object, set_seed
from torch import Tensor

from ski_data.config import from_plain, to_plain
from ski_data.errors import InputError
from ski_skeleton.errors import ConfigError, RunError
from ski_skeleton.train import checkpoint
from ski_skeleton.train.data import Source, epoch_batches, labels_to_balance, load
from ski_skeleton.train.history import History
from ski_skeleton.train.optim import OptimConfig, build_optimizer, learning_rate
from ski_skeleton.train.processes import WholeBatchNorm, process_count
from ski_skeleton.train.task import Task
from ski_skeleton.train.trackers import TrackerName, check_trackers, open_trackers

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
    """Optimiser steps between two lines of ``log.jsonl``, and two looks at the losses."""
    trackers: tuple[TrackerName, ...] = ()
    """Where the lines go, too; each needs the extra of its name."""
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
    arguments after a kill, it goes on from the last checkpoint and ends with the same weights, as
    long as the task draws from torch's generator alone.

    Under torchrun or ``accelerate launch`` every process gets an equal share of each batch, batch
    norms see the whole of it (:class:`WholeBatchNorm`), and rank 0 alone writes; ``folder`` must be
    on a file system that all nodes share.

    Raises:
        ConfigError: settings that do not fit the data set or the number of processes, or a tracker
            that is not installed.
        RunError: the folder belongs to a run with other settings, or is not shared by all nodes.
        DivergedError: a loss that is not finite (names the step and the batch), or weights.
    """
    folder = Path(folder)
    logging.getLogger("DeepSpeed").addFilter(_is_error)
    check_trackers(config.trackers)
    labels = labels_to_balance(source) if config.balanced else None
    AcceleratorState._reset_state()  # a training before this one may have had another precision
    cpu = process_count() > 1 and not torch.cuda.is_available()  # else accelerate goes alone
    try:
        accelerator = Accelerator(mixed_precision=config.precision, cpu=cpu)
    except ValueError as error:
        raise ConfigError(f'precision {config.precision}: {error}; set "bf16" or "no"') from error
    if config.precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError(
            'precision fp16: needs an accelerator, and there is none here; set "bf16" or "no"'
        )
    ranks, rank = accelerator.num_processes, accelerator.process_index
    if ranks != process_count():
        raise RunError(
            f"{process_count()} processes were started, but a training in this one ran before "
            "they found each other; start torchrun anew"
        )
    if (config.batch_size // config.accumulation) % ranks:
        raise ConfigError(
            f"batch_size {config.batch_size} in {config.accumulation} parts cannot be dealt to "
            f"{ranks} processes"
        )
    if accelerator.is_main_process:
        _claim(folder, task, config)
    accelerator.wait_for_everyone()
    set_seed(config.seed)

    steps_per_epoch = max(1, len(source) // config.batch_size)
    total = steps_per_epoch * config.epochs
    optimizer = build_optimizer(task.parameter_groups(), config.optim)
    scales = [group.get("scale", 1.0) for group in optimizer.param_groups]
    step, record = 0, {}
    latest = checkpoint.latest_checkpoint(folder)
    if latest is not None:
        record = checkpoint.load_checkpoint(latest, task, optimizer)
        step = int(record["step"])
        log.info("%s: going on from step %d of %d", folder.name, step, total)
    if ranks > 1 and len(set(gather_object([step]))) > 1:
        raise RunError(f"{folder}: not all processes find its checkpoints; use a shared folder")
    rng = torch.get_rng_state()
    model, optimizer = accelerator.prepare(task, optimizer)
    torch.set_rng_state(rng)  # wrapping a model may draw
    scaler = accelerator.scaler
    if scaler is not None and record.get("scaler"):
        scaler.load_state_dict(record["scaler"])

    trackers = []
    if accelerator.is_main_process:
        trackers = open_trackers(config.trackers, folder, step, to_plain(config))
    history = History(
        folder,
        step,
        accelerator,
        source,
        config.accumulation,
        record.get("pending", ()),
        trackers,
    )

    def save() -> None:
        if accelerator.is_main_process:
            extra = {
                "pending": history.pending(step),
                "scaler": {} if scaler is None else scaler.state_dict(),
            }
            plain = accelerator.unwrap_model(model)
            checkpoint.save_checkpoint(folder, step, plain, optimizer.optimizer, extra)

    with contextlib.ExitStack() as stack:
        for tracker in trackers:
            stack.callback(tracker.finish)
        saved = time.monotonic()
        while step < total:
            epoch, done = divmod(step, steps_per_epoch)
            source.set_epoch(epoch)
            batches = epoch_batches(
                len(source),
                config.batch_size,
                seed=config.seed,
                epoch=epoch,
                accumulation=config.accumulation,
                ranks=ranks,
                rank=rank,
                labels=labels,
            )
            model.train()
            loader = load(source, batches[done * config.accumulation :], workers=config.workers)
            for _ in range(done, steps_per_epoch):
                if rank:  # chance of its own; rank 0's is in the checkpoint
                    torch.manual_seed(_seed_of(config.seed, step, rank))
                rate = learning_rate(config.optim, step, steps_per_epoch, total)
                for group, scale in zip(optimizer.param_groups, scales, strict=True):
                    group["lr"] = rate * scale
                for part in range(config.accumulation):
                    batch = _to_device(next(loader), accelerator.device)
                    sync = part == config.accumulation - 1
                    with _maybe_no_sync(accelerator, model, sync):
                        with accelerator.autocast(), WholeBatchNorm() if ranks > 1 else _NOTHING:
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


_NOTHING = contextlib.nullcontext()


def _seed_of(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _is_error(record: logging.LogRecord) -> bool:
    """accelerate imports DeepSpeed where it is installed, which remarks that there is no GPU."""
    return record.levelno >= logging.ERROR


def _claim(folder: Path, task: Task, config: TrainConfig) -> None:
    """Make the folder this run's own, or check that it already is.

    A setting that a run of an earlier version does not name has its default.
    """
    shapes = {k: list(v.shape) for k, v in task.state_dict().items()}
    shape_hash = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]
    own = {"task": type(task).__name__, "weights": shape_hash}
    path = folder / "config.json"
    if path.exists():
        other = f"{folder}: holds a run with other settings; give another folder or remove it"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            earlier = from_plain(TrainConfig, found.pop("train"), str(path))
        except (ValueError, KeyError, InputError) as error:
            raise RunError(f"{other} ({error})") from error
        if found != own or earlier != config:
            raise RunError(other)
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    text = json.dumps(own | {"train": to_plain(config)}, indent=1) + "\n"
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()
    }


def _maybe_no_sync(accelerator: Accelerator, model: torch.nn.Module, sync: bool) -> Any:
    return contextlib.nullcontext() if sync else accelerator.no_sync(model)
