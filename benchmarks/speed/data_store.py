"""Speed and memory of skeleton stores of the size of NTU RGB+D 120."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.speed.measure import Row, best
from benchmarks.speed.workers import WORKERS
from ski_data.layouts import KINECT25
from ski_data.splits import dataset_classes
from ski_data.store import SkeletonStore, StoreWriter

_READS = 2000
_PADDED = 300
_ARCHIVE_ROWS = 500


def make_store(folder: Path, clips: int) -> SkeletonStore:
    """A store of random clips, 20 to 300 frames long (80 in the mean), a fifth with two bodies."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(74), 0.42, clips), 20, _PADDED).astype(int)
    motion = rng.normal(size=(3, 8 * _PADDED, 25, 2)).astype(np.float32)
    with StoreWriter(folder, KINECT25, classes=dataset_classes("ntu120")) as writer:
        for i in range(clips):
            start, bodies = int(rng.integers(7 * _PADDED)), 1 + int(rng.random() < 0.2)
            numbers = {"setup": 1 + i % 32, "camera": 1 + i % 3, "subject": 1 + i % 106}
            writer.add(
                f"S{1 + i % 32:03d}C{1 + i % 3:03d}P{1 + i % 106:03d}R001A{1 + i % 120:03d}-{i}",
                motion[:, start : start + lengths[i], :, :bodies],
                source=f"part{i % 40}.zip",
                label=i % 120,
                replication=1,
                **numbers,
            )
    return SkeletonStore(folder)


def measure_store(folder: Path, clips: int) -> list[Row]:
    """Rows on opening, random reads and the memory of workers; files are made in ``folder``."""
    started = time.process_time()
    store = make_store(folder / "store", clips)
    seconds = time.process_time() - started
    path = store.folder / "joints.npy"
    size = path.stat().st_size
    rows = [
        Row("write the store", size / seconds / 1e6, "MB/s", "copy its bytes", _copy_rate(path)),
        Row(
            f"open a store of {clips:,} clips",
            best(lambda: SkeletonStore(folder / "store"), 9) * 1e3,
            "ms",
            "`np.load(mmap_mode='r')` of its joints alone",
            best(lambda: np.load(path, mmap_mode="r"), 9) * 1e3,
            more_is_better=False,
        ),
    ]
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, len(store), _READS).tolist()
    names = [store.name(i) for i in chosen]
    kept = [np.array(store.tracks(i)) for i in chosen]

    def each(function: Callable[[int], object], values: list) -> float:
        def all_of_them() -> None:
            for value in values:
                function(value)

        return best(all_of_them, 5) / len(values)

    read, copy = each(store.clip, chosen), each(np.copy, kept)
    rows += [
        Row("random clips", 1 / read, "clips/s", "memcpy of the same bytes", 1 / copy),
        Row(
            "random clips as stored (`tracks`)",
            1 / each(store.tracks, chosen),
            "clips/s",
            "memcpy of the same bytes",
            1 / copy,
        ),
        Row(
            "random clips by name",
            1 / each(store.clip, names),
            "clips/s",
            "by number",
            1 / read,
        ),
    ]
    rows += _archive_rows(folder, store, read)
    for method in ("fork", "spawn") if Path("/proc").is_dir() else ():
        # from a process that has imported nothing else, so that only the store's share counts
        command = [sys.executable, "-m", "benchmarks.speed.workers", str(store.folder), method]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for what, megabytes in json.loads(done.stdout).items():
            text = f"{WORKERS} workers ({method}) over {clips:,} clips, {what}"
            rows.append(Row(text, megabytes, "MB", "limit", 1000, more_is_better=False, goal=1))
    return rows


def _copy_rate(path: Path) -> float:
    """MB/s of copying a file's first bytes within the folder, written out as the store was."""
    other = path.with_name("copy")
    with path.open("rb") as file:
        data = file.read(1 << 28)
    try:
        return len(data) / 1e6 / best(lambda: other.write_bytes(data), 3)
    finally:
        other.unlink(missing_ok=True)


def _archive_rows(folder: Path, store: SkeletonStore, read: float) -> list[Row]:
    """Beside the community's archives: rows of (300, 150) float32, padded with zeros."""
    array = np.zeros((min(_ARCHIVE_ROWS, len(store)), _PADDED, 150), np.float32)
    for i, row in enumerate(array):
        clip = store.clip(i)
        row[: clip.shape[1]] = clip.transpose(1, 3, 2, 0).reshape(clip.shape[1], 150)
    file = folder / "archive.npz"
    np.savez(file, x_train=array)
    i = len(array) // 2

    def whole() -> np.ndarray:
        with np.load(file) as archive:
            return archive["x_train"][i]

    def one_row() -> np.ndarray:
        """The best that can be done: an uncompressed archive, opened once, the place known."""
        data = os.pread(descriptor, array[i].nbytes, start + i * array[i].nbytes)
        row = np.frombuffer(data, np.float32).reshape(_PADDED, 150)
        return row[: np.flatnonzero(row.any(axis=1))[-1] + 1].copy()

    content = file.read_bytes()
    start = content.index(array[0].tobytes()[:4096])
    descriptor = os.open(file, os.O_RDONLY)
    try:
        by_place = best(one_row, 50)
    finally:
        os.close(descriptor)
    text = f"`np.load(npz)['x_train'][i]`, {len(array)} rows in the file"
    return [
        Row("random clips", 1 / read, "clips/s", text, 1 / best(whole, 5), goal=20, plain=True),
        Row(
            "random clips",
            1 / read,
            "clips/s",
            "the row's bytes picked out of an uncompressed npz at a known place",
            1 / by_place,
        ),
    ]
