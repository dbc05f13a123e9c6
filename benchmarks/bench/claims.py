"""Claims: which process of which machine does a job now, as one file that is made atomically.

A claim is stale when its processes are gone: on the same machine this is looked up, on another one
it counts as gone when its file was not touched for :data:`PATIENCE` seconds.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLAIM = "claim"
BEAT, PATIENCE = 20.0, 300.0
"""Seconds between two touches of a claim, and without one until it is stale."""


class Claim:
    """A job that this process does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pids = [os.getpid()]

    def add(self, pid: int) -> None:
        """Another process that works on the job, and may outlive this one."""
        self.pids.append(pid)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        part.write_text(_content(self.pids), encoding="utf-8")
        os.replace(part, self.path)


@contextmanager
def claimed(folder: Path) -> Iterator[Claim | None]:
    """The claim on the job in ``folder``, or None while another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CLAIM
    if not _take(path):
        yield None
        return
    stop = threading.Event()
    beat = threading.Thread(target=_touch, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield Claim(path)
    finally:
        stop.set()
        beat.join()
        path.unlink(missing_ok=True)


def holder(folder: Path) -> str | None:
    """Who does the job in ``folder`` now, in words; None if nobody."""
    found = _read(folder / CLAIM)
    if found is None or _stale(folder / CLAIM, found):
        return None
    return f"process {found[1][0][0]} on {found[0]}"


def _take(path: Path) -> bool:
    """Make the claim's file, in the place of a stale one if need be."""
    for _ in range(2):
        try:
            _create(path, _content([os.getpid()]))
            return True
        except FileExistsError:
            if not _remove_stale(path):
                return False
    return False


def _remove_stale(path: Path) -> bool:
    """Remove a stale claim; one process at a time, since a new one may stand there by then."""
    found = _read(path)
    if found is not None and not _stale(path, found):
        return False
    guard = path.with_name(f"{path.name}.guard")
    try:
        _create(guard, "")
    except FileExistsError:
        if _age(guard) > PATIENCE:  # who made it died within these few lines
            guard.unlink(missing_ok=True)
        return False
    try:
        found = _read(path)
        if found is not None and not _stale(path, found):
            return False
        path.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)
    return True


def _create(path: Path, text: str) -> None:
    """A new file that has all its text from the first moment on.

    Raises:
        FileExistsError: there is one.
    """
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    try:
        os.link(part, path)
    finally:
        part.unlink()


def _content(pids: list[int]) -> str:
    processes = [[pid, _started(pid)] for pid in pids]
    return json.dumps({"host": socket.gethostname(), "processes": processes}) + "\n"


def _read(path: Path) -> tuple[str, list[tuple[int, str | None]]] | None:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return plain["host"], [(int(pid), start) for pid, start in plain["processes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stale(path: Path, found: tuple[str, list[tuple[int, str | None]]]) -> bool:
    host, processes = found
    if host != socket.gethostname():
        return _age(path) > PATIENCE
    return not any(_alive(pid, start) for pid, start in processes)


def _alive(pid: int, start: str | None) -> bool:
    """Whether the process is there and the same one that made the claim."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return start is None or _started(pid) == start


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; None where that cannot be looked up, or for a
    process that has ended and waits to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _touch(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        try:
            os.utime(path)
        except OSError:
            return
