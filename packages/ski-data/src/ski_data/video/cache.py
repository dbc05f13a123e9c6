"""Video stores: clips decoded once, at training resolution, in one memory-mapped file.

A store is a folder: ``frames.bin``, uint8 RGB frames, clip after clip; ``index.parquet``, one row
per clip; ``meta.json``, size, crop and checksum. Frames are whole pictures (crop ``full``), so
that training still draws its own crops.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ski_data import __version__
from ski_data.errors import ExistingOutputError, InputError, MissingFileError
from ski_data.folders import missing_parents, remove_empty
from ski_data.manifest import Record, read_manifest
from ski_data.progress import Progress
from ski_data.video.decode import VideoError, probe, read_all, scaled_size

FRAMES, INDEX, META = "frames.bin", "index.parquet", "meta.json"
FORMAT = 1
_COLUMNS = {
    "name": pa.string(),
    "frames": pa.int64(),
    "offset": pa.int64(),
    "height": pa.int64(),
    "width": pa.int64(),
    "label": pa.int64(),
    "source_frames": pa.int64(),
    "source": pa.string(),
    "sha256": pa.string(),
}
_META = {"format": int, "clips": int, "bytes": int, "short_side": int, "crop": str, "sha256": str}


class VideoStoreError(InputError):
    """A video store whose parts are missing, damaged or do not fit together."""


class VideoStore:
    """A store on disk, read only.

    Args:
        folder: What :func:`write_video_store` wrote.

    Attributes:
        folder: The same.
        short_side: Pixels of every frame's shorter side.
        index: NumPy arrays by column: ``name``, ``frames``, ``offset`` (bytes), ``height``,
            ``width``, ``label`` (-1 unknown), ``source_frames`` (of the video), ``source``
            (its path), ``sha256`` (of the clip's bytes).

    Raises:
        MissingFileError: No such folder, or a part is missing.
        VideoStoreError: A part cannot be read or does not fit the others.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise MissingFileError(f"{self.folder}: no such video store (a folder with {META})")
        for part in (META, INDEX, FRAMES):
            if not (self.folder / part).is_file():
                raise MissingFileError(f"{self.folder}: {part} is missing; this is no whole store")
        meta = _read_meta(self.folder / META)
        self.short_side: int = meta["short_side"]
        self.sha256: str = meta["sha256"]
        try:
            table = pq.read_table(self.folder / INDEX)
        except (pa.ArrowException, OSError) as error:
            raise VideoStoreError(f"{self.folder / INDEX}: not readable ({error})") from None
        if set(table.column_names) != set(_COLUMNS):
            raise VideoStoreError(
                f"{self.folder / INDEX}: columns {', '.join(_COLUMNS)} expected, found "
                f"{', '.join(table.column_names)}"
            )
        self.index: dict[str, np.ndarray] = {
            name: table.column(name).to_numpy() for name in table.column_names
        }
        size = (self.folder / FRAMES).stat().st_size
        ends = self.index["offset"] + _bytes(self.index)
        if len(self) != meta["clips"] or size != meta["bytes"] or ends.max(initial=0) != size:
            raise VideoStoreError(
                f"{self.folder}: {META}, {INDEX} and {FRAMES} do not fit together; it was cut off "
                "or mixed up, make the store again"
            )
        self._data = np.memmap(self.folder / FRAMES, np.uint8, mode="r")
        self._rows = {name: i for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.index["name"])

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def __reduce__(self) -> tuple[type[VideoStore], tuple[Path]]:
        return VideoStore, (self.folder,)  # workers map the file again instead of copying it

    @property
    def names(self) -> list[str]:
        """Names of the clips, in order."""
        return self.index["name"].tolist()

    def row(self, which: int | str) -> int:
        """Position of a clip given by position or name.

        Raises:
            InputError: No such clip.
        """
        if isinstance(which, str):
            if which not in self._rows:
                raise InputError(f"{self.folder}: no clip named {which!r} among {len(self)}")
            return self._rows[which]
        if not 0 <= which < len(self):
            raise InputError(f"{self.folder}: clips are numbered 0..{len(self) - 1}, not {which}")
        return int(which)

    def length(self, which: int | str) -> int:
        """How many frames a clip has in the store."""
        return int(self.index["frames"][self.row(which)])

    def clip(self, which: int | str) -> np.ndarray:
        """All frames of a clip: uint8 (T, H, W, 3), a read-only view of the file."""
        i = self.row(which)
        shape = tuple(int(self.index[key][i]) for key in ("frames", "height", "width"))
        start = int(self.index["offset"][i])
        return self._data[start : start + int(np.prod(shape)) * 3].reshape(*shape, 3)

    def frames(self, which: int | str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Chosen frames of a clip: uint8 (T, H, W, 3), a copy.

        Raises:
            InputError: No such clip, or frames beyond it.
        """
        clip = self.clip(which)
        chosen = np.asarray(indices)
        if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= len(clip):
            raise InputError(
                f"{self.folder}: clip {which!r} has frames 0..{len(clip) - 1}, asked for {indices}"
            )
        return np.asarray(clip[chosen])

    def verify(self) -> None:
        """Read everything and compare with the checksums.

        Raises:
            VideoStoreError: The content changed since it was written; names the first such clip.
        """
        for i, name in enumerate(self.names):
            if hashlib.sha256(np.ascontiguousarray(self.clip(i))).hexdigest() != str(
                self.index["sha256"][i]
            ):
                raise VideoStoreError(
                    f"{self.folder}: clip {name} does not fit its checksum; make the store again"
                )
        if _digest(self.names, self.index["sha256"].tolist()) != self.sha256:
            raise VideoStoreError(f"{self.folder}: {INDEX} does not fit {META}'s checksum")


@dataclass(frozen=True)
class _Job:
    """One clip to decode into its place in the file."""

    path: str
    file: str
    offset: int
    frames: int
    size: tuple[int, int]

    def __str__(self) -> str:
        return self.path


def write_video_store(
    folder: Path | str,
    records: Sequence[Record],
    *,
    short_side: int = 256,
    max_frames: int = 128,
    workers: int = 1,
    progress: bool = True,
) -> VideoStore:
    """Decode every record's video into a store; it appears whole or not at all.

    Args:
        folder: The store to make; it must not be there.
        records: Clips with a ``video`` file; names must differ.
        short_side: Frames are scaled so that their shorter side has this many pixels.
        max_frames: Longer videos are thinned to this many evenly spread frames.
        workers: Processes that decode; the content does not depend on it.
        progress: Show it on standard error.

    Returns:
        The store, opened.

    Raises:
        ExistingOutputError: The folder is there already.
        MissingFileError: A video is missing.
        VideoError: A video cannot be read.
        InputError: A record without video, a name used twice, sizes that make no sense.
    """
    folder = Path(folder)
    if folder.exists():
        raise ExistingOutputError(f"{folder} is there already; name another folder or remove it")
    if short_side < 1 or max_frames < 1 or workers < 1:
        raise InputError(
            "short_side, max_frames and workers must be at least 1, not "
            f"{short_side}, {max_frames}, {workers}"
        )
    paths = _video_paths(records)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    made = missing_parents(partial)
    partial.mkdir(parents=True)
    try:
        index = _plan(records, paths, short_side, max_frames, workers)
        total = int(_bytes(index).sum())
        target = partial / FRAMES
        with target.open("wb") as file:
            file.truncate(total)
        columns = (index[key].tolist() for key in ("offset", "frames", "height", "width"))
        jobs = [
            _Job(path, str(target), offset, frames, (height, width))
            for path, offset, frames, height, width in zip(paths, *columns, strict=True)
        ]
        index["sha256"] = _decode_all(jobs, workers, progress)
        schema = pa.schema(list(_COLUMNS.items()))
        arrays = [pa.array(index[key], kind) for key, kind in _COLUMNS.items()]
        pq.write_table(pa.table(arrays, schema=schema), partial / INDEX)
        meta = {
            "format": FORMAT,
            "clips": len(jobs),
            "bytes": total,
            "short_side": short_side,
            "max_frames": max_frames,
            "crop": "full",
            "pixels": "uint8 RGB (T, H, W, 3)",
            "created_by": f"ski-data {__version__}",
            "sha256": _digest(index["name"], index["sha256"]),
        }
        (partial / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        remove_empty(made)
    return VideoStore(folder)


def cache(
    manifest: str,
    out: str,
    short_side: int = 256,
    max_frames: int = 128,
    workers: int = 2,
) -> None:
    """Decode the videos of a manifest once, into a store that training reads without decoding.

    Args:
        manifest: List of clips (.csv, .jsonl or .parquet) with a video column.
        out: Folder of the store to make.
        short_side: Pixels of the frames' shorter side.
        max_frames: Longer videos are thinned to this many evenly spread frames.
        workers: Processes that decode.
    """
    records = read_manifest(manifest)
    without = [record.name for record in records if record.video is None]
    if without:
        raise InputError(
            f"{manifest}: clip {without[0]} has no video; give its file or leave it out"
        )
    store = write_video_store(
        out,
        records,
        short_side=short_side,
        max_frames=max_frames,
        workers=workers,
    )
    frames = int(store.index["frames"].sum())
    size = (store.folder / FRAMES).stat().st_size
    print(f"{store.folder}: {len(store)} clips, {frames} frames, {size / 1e6:.1f} MB")


def _video_paths(records: Sequence[Record]) -> list[str]:
    if not records:
        raise InputError("a video store needs at least one clip")
    names: set[str] = set()
    for record in records:
        if record.video is None:
            raise InputError(f"clip {record.name} has no video; give its file or leave it out")
        if record.name in names:
            raise InputError(f"clip {record.name}: the name is used twice")
        names.add(record.name)
    return [str(record.video) for record in records]


def _plan(
    records: Sequence[Record],
    paths: Sequence[str],
    short_side: int,
    max_frames: int,
    workers: int,
) -> dict[str, Any]:
    """The index but for the checksums: every clip's length, size and place in the file."""
    found = dict(_each(probe, paths, workers))
    infos = [found[i] for i in range(len(paths))]
    sizes = [scaled_size(info.height, info.width, short_side) for info in infos]
    index: dict[str, Any] = {
        "name": [record.name for record in records],
        "frames": np.array([min(info.frames, max_frames) for info in infos], np.int64),
        "height": np.array([height for height, _ in sizes], np.int64),
        "width": np.array([width for _, width in sizes], np.int64),
        "label": [-1 if record.label is None else record.label for record in records],
        "source_frames": [info.frames for info in infos],
        "source": [os.path.abspath(path) for path in paths],
    }
    ends = np.cumsum(_bytes(index))
    index["offset"] = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    return index


def _decode_all(jobs: Sequence[_Job], workers: int, progress: bool) -> list[str]:
    digests = [""] * len(jobs)
    shown = Progress("decode videos", len(jobs)) if progress else nullcontext()
    with shown as bar:
        for done, (i, digest) in enumerate(_each(_decode, jobs, workers), 1):
            digests[i] = digest
            if bar is not None:
                bar.update(done, Path(jobs[i].path).name)
    return digests


def _each(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int
) -> Iterator[tuple[int, Any]]:
    """(position, result) of each item as it gets ready."""
    if workers == 1 or len(items) == 1:
        yield from ((i, function(item)) for i, item in enumerate(items))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads
    with ProcessPoolExecutor(min(workers, len(items)), context, _start_worker) as pool:
        futures = {pool.submit(function, item): i for i, item in enumerate(items)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            left = [str(items[i]) for future, i in futures.items() if not _ended_well(future)]
            raise VideoError(
                f"a decoding process died at one of: {'; '.join(left[: 2 * workers])}. Run with "
                "workers 1 to see which, or give the machine more memory"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _ended_well(future: Any) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _start_worker() -> None:
    cv2.setNumThreads(1)


def _decode(job: _Job) -> str:
    """Decode one clip into the store's file; its checksum."""
    frames = read_all(job.path, job.frames, size=job.size)
    if frames.shape != (job.frames, *job.size, 3):
        raise VideoError(f"{job.path}: changed while it was read; start again")
    data = memoryview(np.ascontiguousarray(frames)).cast("B")
    with open(job.file, "r+b") as file:
        file.seek(job.offset)
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def _bytes(index: dict[str, Any]) -> np.ndarray:
    return index["frames"] * index["height"] * index["width"] * 3


def _digest(names: Sequence[str], digests: Sequence[str]) -> str:
    lines = (f"{name}\t{digest}\n" for name, digest in zip(names, digests, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise VideoStoreError(f"{path}: not readable ({error}); make the store again") from None
    if not isinstance(meta, dict):
        raise VideoStoreError(f"{path}: not the description of a video store")
    wrong = [key for key, kind in _META.items() if not isinstance(meta.get(key), kind)]
    if wrong:
        raise VideoStoreError(f"{path}: missing or of the wrong kind: {', '.join(wrong)}")
    if meta["format"] != FORMAT:
        raise VideoStoreError(f"{path}: format {meta['format']}, this version reads {FORMAT}")
    return meta
