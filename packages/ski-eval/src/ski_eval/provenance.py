"""What a figure was made with: package versions, git state, hardware."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "ski-data",
    "ski-skeleton",
    "ski-vlm",
    "ski-lvlm",
    "ski-eval",
    "torch",
    "torchvision",
    "open_clip_torch",
    "transformers",
    "peft",
    "deepspeed",
    "accelerate",
    "numpy",
    "scikit-learn",
    "decord",
    "av",
)


def environment(
    repository: str | Path | None = None, packages: Sequence[str] = PACKAGES
) -> dict[str, Any]:
    """Versions, git state and hardware as plain values, for ``ResultCard.environment``.

    Collect it once per run: it may call ``git`` and ``nvidia-smi``. No package is imported.

    Args:
        repository: a folder of the code whose git state counts; None is the working folder.
        packages: distributions to list; those not installed are left out.
    """
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": package_versions(packages),
        "git": git_state(repository),
        "hardware": hardware(),
    }


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Installed versions by distribution name; packages that are not installed are left out."""
    found: dict[str, str] = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: str | Path | None = None) -> dict[str, Any] | None:
    """``{"commit": ..., "dirty": ...}``, or None outside a git repository or without git."""
    git = shutil.which("git")
    if git is None:
        return None
    base = [git, "-C", str(folder if folder is not None else Path.cwd())]
    head = _output([*base, "rev-parse", "--verify", "HEAD"])
    status = _output([*base, "status", "--porcelain"])
    if head is None or status is None:
        return None
    return {"commit": head.strip(), "dirty": bool(status.strip())}


def hardware() -> dict[str, Any]:
    """Processor model, usable cores, memory in GiB and the names of NVIDIA GPUs (or none)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "ram_gib": _ram_gib(),
        "gpus": _gpu_names(),
    }


def _output(command: Sequence[str]) -> str | None:
    environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    return done.stdout if done.returncode == 0 else None


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _ram_gib() -> float | None:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _gpu_names() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listing = _output([tool, "--query-gpu=name", "--format=csv,noheader"])
    return [line.strip() for line in (listing or "").splitlines() if line.strip()]
