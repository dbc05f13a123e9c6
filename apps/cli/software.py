"""The doctor's checks of Python, packages, torch, GPUs, decoders and other programs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from apps.cli.findings import Finding, pip_install, probe

OURS = ("ski-data", "ski-eval", "ski-skeleton", "ski-vlm", "ski-lvlm")
USES = {
    "ski-data": "reading data; all others",
    "ski-eval": "figures, result cards, reports",
    "ski-skeleton": "skeleton encoders, training",
    "ski-vlm": "ski recognize, video students",
    "ski-lvlm": "ski caption, language models",
}
ROOT = Path(__file__).resolve().parents[2]
NVIDIA = "0x10de"
"""The maker's number on the PCI bus."""
OLDEST = (3, 10)
"""Python that this project runs with."""
SPICE_JAVA = 14
"""Newest Java that SPICE runs with."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def python() -> Iterator[Finding]:
    """The interpreter."""
    told = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info[:2] >= OLDEST:
        yield Finding("Python", "ok", told, "everything", needed=True)
    else:
        fix = "uv python install 3.11, then make the environment with it"
        told = f"{told}; 3.10 or later is needed"
        yield Finding("Python", "broken", told, "everything", needed=True, fix=fix)


def packages() -> Iterator[Finding]:
    """Our packages, and whether what is installed is within their bounds."""
    for name in OURS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            fix = pip_install(*_sources(name))
            yield Finding(name, "missing", "not installed", USES[name], needed=True, fix=fix)
            continue
        wrong, wanted = _unmet(name)
        if wrong:
            fix = pip_install(*wanted)
            told = f"{version}; {'; '.join(wrong)}"
            yield Finding(name, "broken", told, USES[name], needed=True, fix=fix)
        else:
            told = f"{version}, its requirements are met"
            yield Finding(name, "ok", told, USES[name], needed=True)


def _sources(name: str) -> list[str]:
    """What to install: this checkout's folder if it is one, or the name."""
    folder = ROOT / "packages" / name
    return ["-e", str(folder)] if folder.is_dir() else [name]


def _unmet(name: str) -> tuple[list[str], list[str]]:
    """What is wrong with the requirements of a package, and what to install."""
    if find_spec("packaging") is None:
        return ["bounds cannot be compared without the module packaging"], ["packaging"]
    from packaging.requirements import Requirement

    wrong, wanted = [], []
    for text in importlib.metadata.requires(name) or []:
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        bound = f"{need.name}{need.specifier}"
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{bound} is not installed")
        else:
            if need.specifier.contains(version, prereleases=True):
                continue
            wrong.append(f"{bound} is wanted, {version} is installed")
        wanted += _sources(need.name) if need.name in OURS else [bound]
    return wrong, wanted


def torch() -> Iterator[Finding]:
    """torch, torchvision, GPUs and bfloat16."""
    found = probe("torch")
    use = "all models"
    if "version" not in found:
        yield _failed("torch", found, use, pip_install("torch>=2.4"), needed=True)
        return
    build = found["cuda_build"]
    told = f"{found['version']}, {f'built for CUDA {build}' if build else 'built without CUDA'}"
    yield Finding("torch", "ok", told, use, needed=True)
    yield gpu(found, nvidia_hardware(), shutil.which("nvidia-smi") is not None)
    yield bfloat16(found)


def torchvision() -> Iterator[Finding]:
    """Whether torchvision is the one for this torch."""
    fix = pip_install("--upgrade", "torch", "torchvision")
    yield _worked("torchvision", probe("torchvision"), "open_clip's models", fix, needed=True)


def gpu(found: dict[str, Any], hardware: bool, tool: bool) -> Finding:
    """What a user of this torch on this machine must know of its GPUs.

    Args:
        found: Of the probe ``torch``.
        hardware: Whether there is an NVIDIA card.
        tool: Whether there is ``nvidia-smi``, which comes with the driver.
    """
    use = "training at the paper's sizes; a CPU does for ski demo and for recognition"
    if found["cuda"]:
        cards = ", ".join(f"{c['name']} ({c['memory'] / 2**30:.0f} GiB)" for c in found["gpus"])
        if found["gpu_works"]:
            return Finding("GPU", "ok", cards, use)
        fix = "sudo nvidia-smi --gpu-reset, then start ski doctor again"
        return Finding("GPU", "broken", f"{cards}: computes wrong sums", use, True, fix)
    if not hardware:
        told = "no NVIDIA card to be seen; everything runs on the CPU"
        fix = "take a machine with one, or give the container one: docker run --gpus all ..."
        return Finding("GPU", "missing", told, use, fix=fix)
    if found["cuda_build"] is None:
        told = "there is an NVIDIA card, but this torch is built without CUDA"
        fix = pip_install("--force-reinstall", "torch", "torchvision")
        return Finding("GPU", "broken", told, use, True, fix)
    reason = found.get("cuda_error", "no reason given")
    if not tool:
        told = f"there is an NVIDIA card, but no driver ({reason})"
        fix = "sudo apt-get install nvidia-driver, then restart"
        return Finding("GPU", "broken", told, use, True, fix)
    told = f"torch for CUDA {found['cuda_build']} cannot use the card ({reason})"
    fix = (
        "run nvidia-smi: is its CUDA version lower, take a newer driver (sudo apt-get install "
        "--only-upgrade nvidia-driver) or a torch built for an older CUDA"
    )
    return Finding("GPU", "broken", told, use, True, fix)


def nvidia_hardware() -> bool:
    """Whether the machine shows an NVIDIA card, with or without a driver."""
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return True
    for path in Path("/sys/bus/pci/devices").glob("*/vendor"):
        try:
            vendor, kind = path.read_text(), path.with_name("class").read_text()
        except OSError:
            continue
        if vendor.strip() == NVIDIA and kind.startswith("0x03"):  # displays and 3D controllers
            return True
    return False


def bfloat16(found: dict[str, Any]) -> Finding:
    """Where bfloat16, the recipes' precision, can be computed."""
    use = "recipes with precision bf16"
    if found["cuda"] and not found["gpu_bfloat16"]:
        told = "this GPU has none (before Ampere); torch emulates it slowly"
        return Finding("bfloat16", "missing", told, use, fix="set train.precision to fp16 or no")
    if found["cpu_bfloat16"]:
        where = "on the GPU and the CPU" if found["cuda"] else "on the CPU"
        return Finding("bfloat16", "ok", where, use)
    fix = pip_install("--upgrade", "torch")
    return Finding("bfloat16", "broken", "wrong sums on the CPU", use, fix=fix)


def pyav() -> Iterator[Finding]:
    """PyAV, by which all videos are read."""
    found, use, fix = probe("pyav"), "reading and writing videos", pip_install("av>=15")
    finding = _worked("PyAV", found, use, fix, needed=True)
    if finding.status == "ok" and found["lacking"]:
        told = f"{found['version']}, without {', '.join(found['lacking'])}"
        fix = pip_install("--force-reinstall", "--only-binary=:all:", "av>=15")
        finding = Finding("PyAV", "broken", told, use, True, fix)
    yield finding


def decord() -> Iterator[Finding]:
    """decord, the other reader of videos."""
    fix = pip_install("--force-reinstall", "decord>=0.6.0")
    yield _worked("decord", probe("decord"), "reading videos with backend='decord'", fix)


def opencv() -> Iterator[Finding]:
    """OpenCV."""
    fix = pip_install("--force-reinstall", "opencv-python-headless>=4.8")
    yield _worked("OpenCV", probe("cv2"), "scaling video frames", fix, needed=True)


def deepspeed() -> Iterator[Finding]:
    """DeepSpeed, and what its operators are compiled with."""
    use = "training ski-lvlm on GPUs; without one, it trains by torch alone"
    yield _worked("DeepSpeed", probe("deepspeed"), use, pip_install("deepspeed>=0.16"))
    use = "DeepSpeed's compiled optimizers, such as CPU Adam of the recipe with offload"
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    install = "sudo apt-get install g++"
    if compiler is None:
        yield Finding("compiler", "missing", "no C++ compiler", use, fix=install)
    elif not header.is_file():
        fix = f"sudo apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-dev"
        yield Finding("compiler", "broken", f"{compiler}, but no {header}", use, fix=fix)
    else:
        yield Finding("compiler", "ok", compiler, use)
    ninja = shutil.which("ninja")
    if ninja is None:
        fix = pip_install("ninja")
        yield Finding("ninja", "missing", "not on the path", use, fix=fix)
    else:
        yield Finding("ninja", "ok", ninja, use)
    nvcc = shutil.which("nvcc") or _nvcc_of_cuda_home()
    if nvidia_hardware() and nvcc is None:
        fix = "sudo apt-get install nvidia-cuda-toolkit, or set CUDA_HOME to where it is"
        yield Finding("CUDA toolkit", "missing", "no nvcc", use, fix=fix)


def _nvcc_of_cuda_home() -> str | None:
    path = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin" / "nvcc"
    return str(path) if path.is_file() else None


def java() -> Iterator[Finding]:
    """Java and the programs of METEOR and SPICE."""
    use = "METEOR and SPICE of captions"
    found = shutil.which("java")
    if found is None:
        fix = "sudo apt-get install default-jre-headless"
        yield Finding("Java", "missing", "not on the path", use, fix=fix)
    else:
        yield _java(found, use)
    if find_spec("pycocoevalcap") is None:
        fix = pip_install("pycocoevalcap>=1.2")
        yield Finding("METEOR, SPICE", "missing", "their jar files are not here", use, fix=fix)
    else:
        yield Finding("METEOR, SPICE", "ok", "jar files of pycocoevalcap", use)


def _java(found: str, use: str) -> Finding:
    done = subprocess.run(
        [found, "-version"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    if version is None:
        fix = "sudo apt-get install --reinstall default-jre-headless"
        return Finding("Java", "broken", f"{found} does not tell its version", use, fix=fix)
    if int(version[1]) > SPICE_JAVA:
        told = f"{version[1]}, {found}: METEOR runs, SPICE needs Java 8 to {SPICE_JAVA}"
        fix = "put an older Java first in PATH, for instance Temurin 11"
        return Finding("Java", "broken", told, use, fix=fix)
    return Finding("Java", "ok", f"{version[1]}, {found}", use)


def chromium() -> Iterator[Finding]:
    """A browser without a window."""
    use = "the tests of pages and of the web app"
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        fix = "sudo apt-get install chromium"
        yield Finding("Chromium", "missing", "not on the path", use, fix=fix)
    else:
        yield Finding("Chromium", "ok", found, use)


def _worked(name: str, found: dict[str, Any], use: str, fix: str, needed: bool = False) -> Finding:
    if "version" not in found:
        return _failed(name, found, use, fix, needed=needed)
    if not found["works"]:
        told = f"{found['version']}, but gives wrong results"
        return Finding(name, "broken", told, use, needed, fix)
    return Finding(name, "ok", found["version"], use, needed)


def _failed(name: str, found: dict[str, Any], use: str, fix: str, *, needed: bool) -> Finding:
    if "missing" in found:
        return Finding(name, "missing", f"no module {found['missing']}", use, needed, fix)
    return Finding(name, "broken", str(found["error"]), use, needed, fix)
