"""How long a loop waits for clips that workers read from a cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.speed.measure import Cells
from ski_data.manifest import Record
from ski_data.paired import PairedDataset
from ski_data.synthetic.dataset import encode
from ski_data.video.cache import write_video_store
from ski_data.video.transforms import VideoTransformConfig
from ski_skeleton.train.data import load

CLIPS, LENGTH, BATCHES, BATCH, WORKERS = 4, 40, 4, 2, 2
"""Clips of the store, their frames, batches of the loop, clips of a batch, loader processes."""


@dataclass(frozen=True)
class Stall:
    """Wall seconds of a loop, its first batch left out: the workers start with it."""

    waited: float
    computed: float
    alone: float
    """Processor seconds that one process takes for a clip."""

    def row(self) -> Cells:
        """For the table."""
        batches = BATCHES - 1
        return {
            "task": "loader",
            "way": f"cached clips, augmented, {WORKERS} workers",
            "clips/s of one worker": 1 / self.alone,
            "computing, ms per batch": 1e3 * self.computed / batches,
            "waiting, ms per batch": 1e3 * self.waited / batches,
            "% of the time waiting": 100 * self.waited / (self.waited + self.computed),
        }


def measure_stall(folder: Path, run: Callable[[Tensor], object], frames: int, size: int) -> Stall:
    """A loop over training clips of a small cache.

    Args:
        folder: gets the videos and their cache.
        run: takes a batch, uint8 ``(N, T, size, size, 3)``.
        frames: T.
        size: pixels of a frame's side.
    """
    side = size * 8 // 7  # 256 for 224
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (LENGTH, 8, 11, 3), dtype=np.uint8)
    pixels = coarse.repeat(side // 8, 1).repeat(side // 8, 2)
    records = []
    for number in range(CLIPS):
        path = folder / f"{number}.mp4"
        encode(path, np.roll(pixels, number, 0))
        records.append(Record(str(number), video=path, label=0))
    source = PairedDataset(
        records,
        videos=write_video_store(folder / "cache", records, short_side=side, workers=1),
        frames=frames,
        video=VideoTransformConfig(size=size, short_side=side),
        train=True,
    )
    source[0]
    start = time.process_time()
    for number in range(CLIPS):
        source[number]
    alone = (time.process_time() - start) / CLIPS
    order = [[(i * BATCH + k) % CLIPS for k in range(BATCH)] for i in range(BATCHES)]
    loader = load(source, order, workers=WORKERS)
    waited = computed = 0.0
    for number in range(BATCHES):
        start = time.perf_counter()
        video = next(loader)["video"]
        ready = time.perf_counter()
        run(video)
        if number:
            waited += ready - start
            computed += time.perf_counter() - ready
    return Stall(waited, computed, alone)
