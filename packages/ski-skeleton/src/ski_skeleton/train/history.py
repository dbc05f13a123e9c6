"""Losses of a run: kept on the device until they are checked, written and shown."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from torch import Tensor

from ski_skeleton.errors import DivergedError
from ski_skeleton.train.data import Source

NAMED = 8
"""Samples whose names an error tells."""


class History:
    """Losses since the last line of ``log.jsonl``.

    Args:
        folder: of the run; lines behind ``step`` are dropped, they will be written again.
        step: optimiser steps done.
        accelerator: of the run.
        source: of the batches; its ``names``, where it has them, are told in errors.
        accumulation: losses per optimiser step.
        pending: losses behind the last line, from a checkpoint.
        trackers: also told of every line.
    """

    def __init__(
        self,
        folder: Path,
        step: int,
        accelerator: Accelerator,
        source: Source,
        accumulation: int,
        pending: Sequence[dict[str, float]] = (),
        trackers: Sequence[GeneralTracker] = (),
    ) -> None:
        self.path, self.accelerator, self.trackers = folder / "log.jsonl", accelerator, trackers
        self.source, self.accumulation = source, accumulation
        self.started = time.monotonic()
        self.losses = [
            {k: torch.tensor(v, device=accelerator.device) for k, v in entry.items()}
            for entry in pending
        ]
        self.batches: list[list[int]] = [[] for _ in pending]
        if accelerator.is_main_process and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [x for x in lines if x.endswith("}") and json.loads(x)["step"] <= step]
            self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, losses: dict[str, Tensor], batch: dict[str, Any]) -> None:
        """Keep the losses of one batch, without waiting for the device."""
        self.losses.append({k: v.detach().float() for k, v in losses.items()})
        self.batches.append(batch["index"].tolist() if "index" in batch else [])

    def pending(self, step: int) -> list[dict[str, float]]:
        """Losses behind the last line, for a checkpoint of ``step``.

        Raises:
            DivergedError: one of them is not finite.
        """
        if not self.losses:
            return []
        self._check(torch.stack([entry["loss"] for entry in self.losses]), step)
        return [{k: v.item() for k, v in entry.items()} for entry in self.losses]

    def flush(self, step: int, epoch: float, rate: float) -> dict[str, float]:
        """Write a line: the means since the last one, over all processes.

        Raises:
            DivergedError: a loss is not finite; names step and samples.
        """
        names = list(self.losses[0])
        own = torch.stack([torch.stack([entry[k] for k in names]) for entry in self.losses])
        whole = own
        if self.accelerator.num_processes > 1:
            whole = self.accelerator.reduce(own.clone(), reduction="mean")
        place = names.index("loss")
        self._check(own[:, place], step)
        self._check(whole[:, place], step)  # of another process, which names the samples
        means = dict(zip(names, whole.mean(0).tolist(), strict=True))
        self.losses.clear()
        self.batches.clear()
        if self.accelerator.is_main_process:
            seconds = round(time.monotonic() - self.started, 2)
            line = {"step": step, "epoch": round(epoch, 4), "lr": rate, "seconds": seconds, **means}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            for tracker in self.trackers:
                tracker.log({k: v for k, v in line.items() if k != "step"}, step=step)
        return means

    def _check(self, losses: Tensor, step: int) -> None:
        finite = torch.isfinite(losses).tolist()
        if all(finite):
            return
        first = finite.index(False)
        at = step - (len(finite) - 1 - first) // self.accumulation
        samples = str(self.batches[first])
        names = getattr(self.source, "names", None)
        if names is not None and self.batches[first]:
            told = [str(names[i]) for i in self.batches[first]]
            samples += f" ({', '.join(told[:NAMED])}{', ...' if len(told) > NAMED else ''})"
        raise DivergedError(
            f"the loss is {losses[first].item()} at step {at}, for samples {samples}; lower the "
            "learning rate or check these samples"
        )
