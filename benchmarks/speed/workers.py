"""Memory of worker processes that read a store: ``python -m benchmarks.speed.workers STORE fork``.

Prints the sums over the workers as JSON, in MB.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path
from typing import Literal

import numpy as np

from ski_data.store import SkeletonStore

WORKERS = 8
_READS = 10_000


def worker_memory(store: SkeletonStore, method: Literal["fork", "spawn"]) -> dict[str, float]:
    """Sums of peak RSS and of PSS, in MB, after each worker read random clips."""
    context = multiprocessing.get_context(method)
    ready, leave = context.Semaphore(0), context.Event()
    workers = [
        context.Process(target=_read_clips, args=(store, seed, ready, leave))
        for seed in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    try:
        for _ in workers:
            ready.acquire()
        sums = {
            "sum of peak RSS": sum(_kilobytes(w.pid, "status", "VmHWM") for w in workers),
            "sum of PSS": sum(_kilobytes(w.pid, "smaps_rollup", "Pss") for w in workers),
        }
    finally:
        leave.set()
        for worker in workers:
            worker.join()
    return {what: kilobytes / 1000 for what, kilobytes in sums.items()}


def _read_clips(store: SkeletonStore, seed: int, ready: Semaphore, leave: Event) -> None:
    for i in np.random.default_rng(seed).integers(0, len(store), _READS).tolist():
        store.clip(i)
    ready.release()
    leave.wait()


def _kilobytes(process: int | None, file: str, key: str) -> int:
    lines = Path(f"/proc/{process}/{file}").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    print(json.dumps(worker_memory(SkeletonStore(sys.argv[1]), sys.argv[2])))
