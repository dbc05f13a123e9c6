"""Which video files are meant, and their clips in order, read ahead by other processes."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from ski_data.check_videos import VIDEOS
from ski_data.errors import InputError, MissingFileError, SkiDataError
from ski_data.manifest import FORMATS, Record, read_manifest
from ski_data.video.guarded import GuardedReader

V = TypeVar("V")
Prepare = Callable[[V, GuardedReader | None], np.ndarray]


def find_videos(named: Sequence[str | Path]) -> list[Path]:
    """Files as they are named, and those of a video's ending in folders and below, sorted.

    Raises:
        MissingFileError: a file or folder that is not there.
        InputError: nothing named, or a folder without videos.
    """
    found: list[Path] = []
    for path in map(Path, named):
        if os.path.isdir(path):
            inside = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in VIDEOS and p.is_file()
            )
            if not inside:
                raise InputError(
                    f"{path}: no videos in this folder ({' '.join(VIDEOS)}); name another one"
                )
            found += inside
        elif os.path.exists(path):
            found.append(path)
        else:
            raise MissingFileError(f"{path}: no such video file or folder")
    if not found:
        raise InputError("no videos given; name files or folders")
    return found


def find_records(source: str | Path) -> list[Record]:
    """Clips of a manifest, or videos of a folder under their paths in it without endings.

    Raises:
        MissingFileError: no such manifest or folder.
        InputError: a manifest that cannot be used or has clips without videos; an empty folder.
    """
    source = Path(source)
    if os.path.isdir(source):
        paths = find_videos([source])
        names = [p.relative_to(source).with_suffix("").as_posix() for p in paths]
        if len(set(names)) < len(names):  # a.mp4 beside a.avi
            names = [p.relative_to(source).as_posix() for p in paths]
        return [Record(name, video=path) for name, path in zip(names, paths, strict=True)]
    if os.path.exists(source) and source.suffix not in FORMATS:
        raise InputError(f"{source}: a folder or a manifest is needed ({' '.join(FORMATS)})")
    records = read_manifest(source)
    if not records:
        raise InputError(f"{source}: no clips in this manifest")
    without = [record.name for record in records if record.video is None]
    if without:
        raise InputError(f"{source}: clips without a video: {', '.join(without[:5])}")
    return records


def in_order(
    videos: Sequence[V],
    prepare: Prepare[V],
    *,
    ahead: int,
    workers: int = 1,
    timeout: float = 30.0,
) -> Iterator[np.ndarray | SkiDataError]:
    """What ``prepare`` makes of each video, in their order; errors of single videos as values.

    Args:
        videos: what is read.
        prepare: called with a video and its worker's reader; without workers, with None.
        ahead: how many are kept ready.
        workers: processes that read, each fed by a thread of this one; 0 for none.
        timeout: seconds that a process may take for one call.

    Raises:
        InputError: settings out of range.
    """
    if workers < 0 or timeout <= 0:
        raise InputError(
            f"workers must be at least 0 and a timeout above 0, got {workers} and {timeout}"
        )
    if workers == 0:
        return (_attempt(prepare, video, None) for video in videos)
    return _read_ahead(videos, prepare, ahead, workers, timeout)


def _attempt(
    prepare: Prepare[V], video: V, reader: GuardedReader | None
) -> np.ndarray | SkiDataError:
    try:
        return prepare(video, reader)
    except SkiDataError as error:
        return error


def _read_ahead(
    videos: Sequence[V], prepare: Prepare[V], ahead: int, workers: int, timeout: float
) -> Iterator[np.ndarray | SkiDataError]:
    own = threading.local()
    readers: list[GuardedReader] = []

    def start() -> None:
        own.reader = GuardedReader(timeout=timeout)
        readers.append(own.reader)

    def read(video: V) -> np.ndarray | SkiDataError:
        return _attempt(prepare, video, own.reader)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="read", initializer=start)
    waiting: deque[Future[np.ndarray | SkiDataError]] = deque()
    try:
        for video in videos:
            waiting.append(pool.submit(read, video))
            if len(waiting) >= ahead + workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        for reader in readers:
            reader.close()
