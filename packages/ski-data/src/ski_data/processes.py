"""Processes: one writer of a folder at a time, and workers that do not outlive their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import IO

from ski_data.errors import InputError, SkiDataError

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


def worker_count(workers: int | None) -> int:
    """How many processes work for ``--workers``: one per CPU by default, for 0 this one alone.

    Raises:
        InputError: A negative number.
    """
    if workers is None:
        return os.cpu_count() or 1
    if workers < 0:
        raise InputError(f"--workers must be 0 (this process alone) or more, not {workers}")
    return max(1, workers)


def locked(path: Path) -> IO[bytes]:
    """The file, open and locked until it is closed or the process ends, however it ends.

    Raises:
        SkiDataError: Another process holds it.
    """
    file = path.open("a+b")
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SkiDataError(
            f"{path.parent}: another process is writing this store; wait for it to end"
        ) from None
    return file


def end_with_parent() -> None:
    """Let this worker end when the process that started it does, also by a kill."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def keep_freed_memory() -> None:
    """Let this worker keep memory that it frees, up to 128 MB, for what it allocates next.

    glibc gives large pieces back at once; a worker that reads one file after the other then spends
    a third of its time on getting the same pages again. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for setting in (_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD):
        mallopt(setting, 1 << 27)
