"""The doctor's checks of disk, memory, the hub's cache and the locale."""

from __future__ import annotations

import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from apps.cli.findings import Finding

GIB = 2**30
DISK, MEMORY, SHARED = 2 * GIB, 2 * GIB, 256 * 2**20
"""Free bytes below which runs fail: of a disk, of memory, of shared memory."""


def disks() -> Iterator[Finding]:
    """Free space where runs and temporary files go."""
    use = "runs, checkpoints and temporary files"
    told: dict[int, str] = {}
    for name, folder in (("working folder", Path.cwd()), ("temp", Path(tempfile.gettempdir()))):
        device = folder.stat().st_dev
        if device not in told:
            told[device] = name
            fix = f"make room in {folder}, or take another: export TMPDIR=FOLDER"
            yield enough(f"disk ({name})", shutil.disk_usage(folder).free, DISK, use, fix)


def memory() -> Iterator[Finding]:
    """Memory that a program can still have, and what worker processes share."""
    fix = "end other programs, or take smaller batches: --batch-size 1"
    yield enough("memory", free_memory(), MEMORY, "loading models and videos", fix)
    shared = Path("/dev/shm")
    if shared.is_dir():
        fix = "sudo mount -o remount,size=8G /dev/shm; of a container: docker run --shm-size=8g ..."
        use = "training with worker processes"
        yield enough(
            "shared memory", shutil.disk_usage(shared).free, SHARED, use, fix, needed=False
        )


def enough(name: str, free: int, least: int, use: str, fix: str, *, needed: bool = True) -> Finding:
    """A finding on free bytes."""
    told = f"{free / GIB:.1f} GiB free"
    if free >= least:
        return Finding(name, "ok", told, use, needed)
    return Finding(name, "broken", f"{told}, less than {least / GIB:g}", use, needed, fix)


def free_memory() -> int:
    """Bytes that the system can give out, within the limit of this container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    table = Path("/proc/meminfo")
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and limit.read_text().strip() != "max":
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def hub() -> Iterator[Finding]:
    """Where fetched weights go, and whether any may be fetched."""
    use = "weights by name, such as ViT-B-16/openai; folders and files of weights need none"
    folder = cache_folder()
    offline = [
        name
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        if os.environ.get(name, "0").upper() in ("1", "ON", "YES", "TRUE")
    ]
    count = len(list(folder.glob("models--*"))) if folder.is_dir() else 0
    told = f"{folder}, {count} models in it"
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        fix = "export HF_HOME=FOLDER, one that you can write to"
        yield Finding("model cache", "broken", f"{told}; {above} cannot be written", use, fix=fix)
    elif offline:
        told = f"{told}; {offline[0]} is set, so nothing is fetched"
        fix = f"unset {' '.join(offline)}, or copy the cache of a machine that has the weights"
        status = "ok" if count else "missing"
        yield Finding("model cache", status, told, use, fix=None if count else fix)
    else:
        yield Finding("model cache", "ok", told, use)


def cache_folder() -> Path:
    """Where the hub's programs keep what they fetch."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", home))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def text_encoding() -> Iterator[Finding]:
    """Whether class names in any script can be read and printed."""
    use = "class names and file names beyond English"
    names = {
        "files": locale.getpreferredencoding(False),
        "file names": sys.getfilesystemencoding(),
        "output": getattr(sys.stdout, "encoding", None) or "none",
    }
    wrong = [f"{what} in {name}" for what, name in names.items() if not _utf8(name)]
    if wrong:
        fix = "export LC_ALL=C.UTF-8, or PYTHONUTF8=1"
        yield Finding("locale", "broken", f"not UTF-8: {', '.join(wrong)}", use, True, fix)
    else:
        yield Finding("locale", "ok", "UTF-8", use, needed=True)


def _utf8(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "") == "utf8"
