"""``log.jsonl`` of a training run: losses, tokens per second and share of the matrix products."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ski_lvlm.engine import world
from ski_lvlm.model import Batch, Loss


class History:
    """What happened since the last line of ``log.jsonl``."""

    def __init__(
        self,
        out: Path,
        step: int,
        main: bool,
        flops: Callable[[Batch], float],
        ceiling: float,
    ) -> None:
        self.path, self.main, self.flops, self.ceiling = out / "log.jsonl", main, flops, ceiling
        if main and self.path.exists():  # lines behind the checkpoint will be written again
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [
                line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step
            ]
            self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._forget()

    def _forget(self) -> None:
        self.sums: list[torch.Tensor] = []
        self.supervised = self.tokens = 0
        self.work = 0.0
        self.since = time.perf_counter()

    def add(self, loss: Loss, batch: Batch) -> None:
        """A micro-batch and its loss."""
        self.sums.append(loss.sum.detach())
        self.supervised += loss.tokens
        self.tokens += int(batch.mask.sum())
        self.work += self.flops(batch)

    def flush(self, step: int, epoch: float, rate: float, norm: float) -> dict[str, Any]:
        """Sum up over all processes, write a line, and begin anew."""
        device = self.sums[0].device
        total = torch.stack(self.sums).sum().double().cpu()
        counts = torch.tensor(
            [float(total), float(self.supervised), float(self.tokens), self.work],
            dtype=torch.float64,
            device="cpu" if device.type == "cpu" else device,
        )
        if dist.is_initialized():
            dist.all_reduce(counts)
        seconds = time.perf_counter() - self.since
        loss, supervised, tokens, work = counts.tolist()
        line = {
            "step": step,
            "epoch": round(epoch, 4),
            "loss": loss / max(supervised, 1),
            "lr": rate,
            "gradient_norm": norm,
            "tokens_per_second": round(tokens / seconds, 1),
            "mfu": round(work / seconds / (world()[1] * self.ceiling), 4),
            "seconds": round(seconds, 3),
        }
        if self.main:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self._forget()
        return line


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a matrix product of this size on this device, the best of five."""
    size = 4096 if device.type == "cuda" else 512
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
