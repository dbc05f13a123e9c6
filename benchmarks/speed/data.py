"""Speed and memory of ski-data: ``python -m benchmarks.speed.data``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal

from benchmarks.speed.data_store import measure_store
from benchmarks.speed.data_text import measure_text
from benchmarks.speed.data_video import measure_video
from benchmarks.speed.measure import Row, as_json, as_table, at_least_one, machine
from ski_data import command
from ski_data.errors import InputError

BYTES_PER_CLIP = 35_000
"""What a clip of the store takes on disk, with room to spare for the other files."""

Part = Literal["text", "store", "video"]


def benchmark(
    *, only: Part | None = None, clips: int = 114_480, folder: str | None = None, json: bool = False
) -> None:
    """Measure the hot paths of ski-data, each beside its floor in the same run.

    Args:
        only: The part to run: text, store or video.
        clips: Clips of the skeleton store; NTU RGB+D 120 has 114,480, which takes 4 GB on disk.
        folder: Where to make files (removed at the end); the system's temporary folder by default.
        json: Print one JSON object instead of a table.
    """
    rows = measure(only=only, clips=clips, folder=folder)
    if json:
        print(as_json(rows))
    else:
        print(", ".join(f"{key}: {value}" for key, value in machine().items()))
        print(as_table(rows))


def measure(
    *, only: Part | None = None, clips: int, folder: str | None = None, quick: bool = False
) -> list[Row]:
    """The rows of a part, or of all.

    Args:
        only: The part to run.
        clips: Clips of the skeleton store.
        folder: Where to make files (removed at the end).
        quick: Short texts and small videos, to see that everything runs.

    Raises:
        InputError: No clips, or not enough room for them.
    """
    at_least_one(clips=clips)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="ski-speed-") as made:
        if only in (None, "text"):
            rows += measure_text(Path(made), quick=quick)
        if only in (None, "store"):
            if (free := shutil.disk_usage(made).free) < clips * BYTES_PER_CLIP:
                raise InputError(
                    f"{made}: {free / 1e9:.1f} GB free, {clips} clips need "
                    f"{clips * BYTES_PER_CLIP / 1e9:.1f}; name another --folder or fewer --clips"
                )
            rows += measure_store(Path(made), clips)
        if only in (None, "video"):
            rows += measure_video(Path(made), quick=quick)
    return rows


if __name__ == "__main__":
    sys.exit(command.run_one(benchmark, prog="python -m benchmarks.speed.data"))
